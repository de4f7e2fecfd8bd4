//! Making and entering namespaces.

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

/// Moves the whole process into its own namespaces: a network and a mount namespace of its own and, without root, a
/// user namespace in which it is root. To be called while the process has one thread only.
pub(crate) fn enter_namespace() -> anyhow::Result<()> {
    let (user, group) = (geteuid(), getegid());
    let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if user.is_root() {
        unshare(own).context("making a network and a mount namespace")?;
        return keep_mounts_private();
    }
    unshare(CloneFlags::CLONE_NEWUSER | own).context("creating a user namespace")?;
    std::fs::write("/proc/self/setgroups", "deny").context("writing /proc/self/setgroups")?;
    std::fs::write("/proc/self/uid_map", format!("0 {user} 1")).context("writing /proc/self/uid_map")?;
    std::fs::write("/proc/self/gid_map", format!("0 {group} 1")).context("writing /proc/self/gid_map")?;
    keep_mounts_private()
}

/// What is mounted from here on is seen by this process and its children only.
fn keep_mounts_private() -> anyhow::Result<()> {
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).context("making mounts private")
}

/// Whether the environment is in a user namespace of an ordinary user.
pub(crate) fn is_rootless() -> bool {
    std::fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().nth(2).is_some_and(|length| length == "1"))
}

/// Why this process couldn't enter an environment, found out in a child process that tries.
pub(crate) fn unavailable_reason() -> Option<String> {
    let me = std::env::current_exe().ok()?;
    let tried = std::process::Command::new(me).arg(TRY_NAMESPACE_ARGUMENT).output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("could not start a child process: {error}")),
    }
}

/// The first argument that makes the driver try [`enter_namespace`] and exit.
const TRY_NAMESPACE_ARGUMENT: &str = "try-namespace";

/// Tries to enter an environment and says on stderr what was in the way; `None` when the arguments ask for something
/// else.
pub(crate) fn try_namespace_if_requested(arguments: &[OsString]) -> Option<ExitCode> {
    if arguments.get(1)? != TRY_NAMESPACE_ARGUMENT {
        return None;
    }
    Some(match enter_namespace() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::output::say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    })
}

impl Namespace {
    /// A new namespace with `lo` up and these settings (names under `net.`).
    pub(crate) async fn make(sysctls: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let namespace = on_thread(move || {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
            // /proc/sys/net shows the namespace of the thread that looks.
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

/// `ipv4.conf.all.rp_filter` → its file.
fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(name.replace('.', "/"))
}

/// Runs `work` on a thread of its own, which ends after it: a thread that has changed namespace must not be used again.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("namespace".to_owned())
        .spawn(move || {
            // The receiver is gone only when the result is not needed any more.
            let _ = sender.send(work());
        })
        .context("starting a thread")?;
    receiver.await.context("the thread in a namespace panicked")?
}
