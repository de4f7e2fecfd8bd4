//! Creates and enters namespaces.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

/// A network namespace that lives as long as this handle or a process in it.
pub(crate) struct Namespace(File);

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Moves the whole process into a new network and a new mount namespace and, without root, a new user namespace in
/// which it is root. The process must have only one thread.
pub(crate) fn enter_namespace() -> anyhow::Result<()> {
    let (user, group) = (geteuid(), getegid());
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if user.is_root() {
        unshare(own).context("creating a network and a mount namespace")?;
        return keep_mounts_private();
    }
    unshare(CloneFlags::CLONE_NEWUSER | own).context("creating a user namespace")?;
    std::fs::write("/proc/self/setgroups", "deny").context("writing /proc/self/setgroups")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("writing /proc/self/uid_map")?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("writing /proc/self/gid_map")?;
    keep_mounts_private()
}

/// Makes later mounts visible to this process and its children only.
fn keep_mounts_private() -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("setting mounts private")
}

/// Returns whether this process is in the user namespace of an ordinary user.
pub(crate) fn is_rootless() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().nth(2).is_some_and(|length| length == "1"))
}

/// Returns the reason for which this process cannot enter new namespaces; `None` if it can. A child process tries it.
pub(crate) fn unavailable_reason() -> Option<String> {
    let me = std::env::current_exe().ok()?;
    let output = std::process::Command::new(me).arg(TRY_NAMESPACE_ARGUMENT).output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("cannot start a child process: {error}")),
    }
}

/// First argument that makes the driver try [`enter_namespace`] and exit.
const TRY_NAMESPACE_ARGUMENT: &str = "try-namespace";

/// Tries to enter new namespaces and prints an error on stderr; `None` if the arguments request something else.
pub(crate) fn try_namespace_if_requested(arguments: &[OsString]) -> Option<ExitCode> {
    if arguments.get(1)? != TRY_NAMESPACE_ARGUMENT {
        return None;
    }
    Some(match enter_namespace() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::output::print_status(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    })
}

impl Namespace {
    /// Creates a namespace with these sysctls (names below `net.`).
    pub(crate) async fn make(sysctls: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let namespace = on_thread(move || {
            unshare(CloneFlags::CLONE_NEWNET).context("creating a network namespace")?;
            // /proc/sys/net refers to the namespace of the calling thread.
            for (name, value) in &sysctls {
                let path = sysctl_path(name);
                std::fs::write(&path, value).with_context(|| format!("setting net.{name}={value}"))?;
            }
            File::open("/proc/thread-self/ns/net").context("opening the namespace")
        });
        namespace.await.map(Self)
    }

    /// Runs `work` on a thread that is in the namespace.
    pub(crate) async fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let handle = self.0.try_clone().context("copying a namespace's handle")?;
        on_thread(move || {
            setns(handle, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
            work()
        })
        .await
    }
}

/// Returns the file of a sysctl such as `ipv4.conf.all.rp_filter`.
fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(name.replace('.', "/"))
}

/// Runs `work` on a new thread, which ends after it: a thread that has changed its namespace must not be reused.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("namespace".to_owned())
        .spawn(move || {
            // Fails only if the result is no longer needed.
            let _ = sender.send(work());
        })
        .context("starting a thread")?;
    receiver.await.context("the thread in a namespace panicked")?
}
