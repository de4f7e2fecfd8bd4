//! `testbed doctor`: checks whether this host can run the testbed, and suggests fixes.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::backend::{docker, netns};
use crate::output::result;

/// Device that the shaper needs.
const TUN: &str = "/dev/net/tun";

/// Result of one check.
struct Finding {
    what: &'static str,
    /// What is available, otherwise what is missing and how to fix it.
    state: Result<String, String>,
}

/// Command, backend and emulator with which `testbed run` works on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Choice {
    command: &'static str,
    backend: &'static str,
    emulator: &'static str,
}

/// Capabilities of this host.
#[derive(Debug, Clone, Copy)]
struct Capabilities {
    namespaces: bool,
    docker: bool,
    /// This user may open the TUN device.
    tun: bool,
    /// The TUN device exists: the Docker daemon, which is root, passes it to containers.
    tun_exists: bool,
    netem: bool,
    /// tcset is installed on this host; the server's image contains its own.
    tcset: bool,
}

impl Capabilities {
    /// Returns the command that works, and the selection of `--backend auto` and `--emulator auto`; `None` if none works.
    fn choice(self) -> Option<Choice> {
        let emulator = |tcset: bool, tun: bool| match (self.netem && tcset, tun) {
            (true, _) => Some("tcset"),
            (false, true) => Some("shaper"),
            (false, false) => None,
        };
        let on = |command, backend, emulator| Choice { command, backend, emulator };
        let docker = emulator(true, self.tun_exists).filter(|_| self.docker);
        let namespaces = emulator(self.tcset, self.tun).filter(|_| self.namespaces);
        // `auto` selects Docker if its daemon is reachable.
        let command = if self.docker { "testbed run --backend netns" } else { "testbed run" };
        docker
            .map(|emulator| on("testbed run", "docker", emulator))
            .or_else(|| namespaces.map(|emulator| on(command, "netns", emulator)))
    }
}

/// Checks this host and prints the findings, as lines or as JSON. Returns whether a run can work.
///
/// # Errors
/// The findings cannot be written as JSON.
pub(super) async fn examine(as_json: bool) -> anyhow::Result<bool> {
    let findings = [namespaces(), docker_daemon().await, tun(), tcset(), netem(), open_files()];
    let [namespaces, docker, tun, tcset, netem, _] = findings.each_ref().map(|finding| finding.state.is_ok());
    let tun_exists = Path::new(TUN).exists();
    let choice = Capabilities { namespaces, docker, tun, tun_exists, netem, tcset }.choice();
    if as_json {
        result(&serde_json::to_string_pretty(&json(&findings, choice))?);
    } else {
        for Finding { what, state } in &findings {
            result(&match state {
                Ok(found) => format!("ok       {what}: {found}"),
                Err(reason) => format!("missing  {what}: {reason}"),
            });
        }
        result(&last_line(choice));
    }
    Ok(choice.is_some())
}

fn json(findings: &[Finding], choice: Option<Choice>) -> serde_json::Value {
    let list = findings.iter().map(|Finding { what, state }| {
        let (Ok(detail) | Err(detail)) = state;
        serde_json::json!({ "what": what, "ok": state.is_ok(), "detail": detail })
    });
    serde_json::json!({ "ready": choice.is_some(), "run": choice, "findings": list.collect::<Vec<_>>() })
}

fn last_line(choice: Option<Choice>) -> String {
    match choice {
        Some(Choice { command, backend, emulator }) => {
            format!("ready: `{command}` works on this host (backend {backend}, emulator {emulator})")
        }
        None => {
            "not ready: fix the items marked missing (a run needs network namespaces or Docker, and a TUN device or \
                 netem with tcset)"
                .to_owned()
        }
    }
}

fn namespaces() -> Finding {
    let state = match netns::unavailable_reason() {
        None => Ok("can be created (backend netns)".to_owned()),
        Some(reason) => Err(format!(
            "{reason}; run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0)"
        )),
    };
    Finding { what: "network namespaces", state }
}

async fn docker_daemon() -> Finding {
    let state = match docker::connect(None).await {
        Err(error) => Err(format!("{error:#}")),
        Ok(docker_host) => match docker_host.missing_images(&docker::IMAGES).await.as_deref() {
            Err(error) => Err(format!("{error:#}")),
            Ok([]) => Ok("daemon reachable, images present (backend docker)".to_owned()),
            Ok(missing) => Err(format!(
                "daemon reachable, images missing: {}; {}",
                missing.join(", "),
                docker::HOW_TO_BUILD_IMAGES
            )),
        },
    };
    Finding { what: "Docker", state }
}

fn tun() -> Finding {
    let state = match OpenOptions::new().read(true).write(true).open(TUN) {
        Ok(_) => Ok("can be opened (emulator shaper)".to_owned()),
        Err(error) => Err(tun_fix(&error)),
    };
    Finding { what: TUN, state }
}

/// Returns the reason for which the TUN device cannot be opened, and the fix.
fn tun_fix(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "no permission to open it: run as root, or grant it with `sudo chmod 666 /dev/net/tun`; in a container, start \
             it with `--device /dev/net/tun`"
                .to_owned()
        }
        io::ErrorKind::NotFound => {
            "not present: `sudo modprobe tun`; in a container, start it with `--device /dev/net/tun`".to_owned()
        }
        _ => format!("cannot be opened ({error}): `sudo modprobe tun`, or run as root"),
    }
}

fn tcset() -> Finding {
    let state = match std::process::Command::new("tcset").arg("-V").output() {
        Ok(output) if output.status.success() => {
            Ok(format!("{} (emulator tcset in namespaces)", String::from_utf8_lossy(&output.stdout).trim()))
        }
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(_) => Err("not installed: `pip install tcconfig` for netem in namespaces".to_owned()),
    };
    Finding { what: "tcset", state }
}

/// Looks for the kernel module without loading it.
fn netem() -> Finding {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let directory = format!("/lib/modules/{}", release.trim());
    let is_loaded = std::fs::read_to_string("/proc/modules").is_ok_and(|text| text.contains("sch_netem"));
    let is_listed = ["modules.dep", "modules.builtin"].iter().any(|list| {
        std::fs::read_to_string(format!("{directory}/{list}")).is_ok_and(|text| text.contains("sch_netem"))
    });
    let state = match (is_loaded, is_listed) {
        (true, _) => Ok("loaded".to_owned()),
        (false, true) => Ok("available; `modprobe sch_netem` if it does not load automatically".to_owned()),
        (false, false) => Err("not found: use --emulator shaper".to_owned()),
    };
    Finding { what: "kernel netem", state }
}

fn open_files() -> Finding {
    let state = match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= 4_096 => Ok(format!("limit {hard}")),
        Ok((_, hard)) => Err(format!("limit {hard}: too low for many virtual users; raise `ulimit -n`")),
        Err(error) => Err(error.to_string()),
    };
    Finding { what: "open files", state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_permission_is_distinguished_from_a_missing_device() {
        let fix = |code| tun_fix(&io::Error::from_raw_os_error(code));
        for code in [nix::libc::EACCES, nix::libc::EPERM] {
            assert!(fix(code).contains("permission") && fix(code).contains("chmod"), "{}", fix(code));
        }
        assert!(fix(nix::libc::ENOENT).contains("not present") && !fix(nix::libc::ENOENT).contains("permission"));
        assert!(fix(nix::libc::ENODEV).contains("modprobe"));
    }

    #[test]
    fn the_last_line_names_the_command_that_works() {
        let nothing = Capabilities {
            namespaces: false,
            docker: false,
            tun: false,
            tun_exists: false,
            netem: false,
            tcset: false,
        };
        let line = |capabilities: Capabilities| last_line(capabilities.choice());
        assert!(line(nothing).starts_with("not ready: "));
        assert!(line(Capabilities { docker: true, ..nothing }).starts_with("not ready: "), "no emulator");
        for (capabilities, expected) in [
            (
                Capabilities { docker: true, tun_exists: true, ..nothing },
                "ready: `testbed run` works on this host (backend docker, emulator shaper)",
            ),
            (
                Capabilities { docker: true, netem: true, ..nothing },
                "ready: `testbed run` works on this host (backend docker, emulator tcset)",
            ),
            (
                Capabilities { namespaces: true, tun: true, netem: true, ..nothing },
                "ready: `testbed run` works on this host (backend netns, emulator shaper)",
            ),
            (
                Capabilities { namespaces: true, docker: true, netem: false, tun: true, ..nothing },
                "ready: `testbed run --backend netns` works on this host (backend netns, emulator shaper)",
            ),
        ] {
            assert_eq!(line(capabilities), expected);
        }
    }
}
