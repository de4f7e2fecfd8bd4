//! `testbed doctor`: what works on this machine, and what to do about what does not.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::backend::{docker, netns};
use crate::output::result;

/// What the shaper needs.
const TUN: &str = "/dev/net/tun";

/// What was found about one thing.
struct Finding {
    what: &'static str,
    /// What works; or why not, and what to do.
    state: Result<String, String>,
}

/// How `testbed run` would work here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Choice {
    command: &'static str,
    backend: &'static str,
    emulator: &'static str,
}

/// What a choice depends on.
#[derive(Debug, Clone, Copy)]
struct Works {
    namespaces: bool,
    docker: bool,
    /// This user may open the TUN device.
    tun: bool,
    /// There is a TUN device: Docker's daemon, which is root, gives it to containers.
    tun_exists: bool,
    netem: bool,
    /// tcset on this host; the server's image has its own.
    tcset: bool,
}

impl Works {
    /// The command that works, with what `--backend auto` and `--emulator auto` choose; `None` when none does.
    fn choice(self) -> Option<Choice> {
        let emulator = |tcset: bool, tun: bool| match (self.netem && tcset, tun) {
            (true, _) => Some("tcset"),
            (false, true) => Some("shaper"),
            (false, false) => None,
        };
        let on = |command, backend, emulator| Choice { command, backend, emulator };
        let docker = emulator(true, self.tun_exists).filter(|_| self.docker);
        let namespaces = emulator(self.tcset, self.tun).filter(|_| self.namespaces);
        // Where Docker answers, it is what `auto` takes.
        let command = if self.docker { "testbed run --backend netns" } else { "testbed run" };
        docker
            .map(|emulator| on("testbed run", "docker", emulator))
            .or_else(|| namespaces.map(|emulator| on(command, "netns", emulator)))
    }
}

/// Checks this host and prints what was found, as lines or as JSON. Returns whether a run can work.
///
/// # Errors
/// When the findings cannot be written as JSON.
pub(super) async fn examine(as_json: bool) -> anyhow::Result<bool> {
    let findings = [namespaces(), docker_engine().await, tun(), tcset(), netem(), open_files()];
    let [namespaces, docker, tun, tcset, netem, _] = findings.each_ref().map(|finding| finding.state.is_ok());
    let tun_exists = Path::new(TUN).exists();
    let choice = Works { namespaces, docker, tun, tun_exists, netem, tcset }.choice();
    if as_json {
        result(&serde_json::to_string_pretty(&json(&findings, choice))?);
    } else {
        for Finding { what, state } in &findings {
            result(&match state {
                Ok(found) => format!("ok       {what}: {found}"),
                Err(why) => format!("missing  {what}: {why}"),
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
            format!("`{command}` will use engine {backend} with emulator {emulator}")
        }
        None => {
            "no run can work here yet: it needs network namespaces or Docker, and a TUN device or netem with tcset; \
                 fix an item marked missing"
                .to_owned()
        }
    }
}

fn namespaces() -> Finding {
    let state = match netns::why_not() {
        None => Ok("can be made (engine netns)".to_owned()),
        Some(why) => Err(format!(
            "{why}; run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, and on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0)"
        )),
    };
    Finding { what: "network namespaces", state }
}

async fn docker_engine() -> Finding {
    let state = match docker::connect(None).await {
        Err(error) => Err(format!("{error:#}")),
        Ok(backend) => match backend.missing_images(&docker::IMAGES).await.as_deref() {
            Err(error) => Err(format!("{error:#}")),
            Ok([]) => Ok("an engine answers, the images are there (engine docker)".to_owned()),
            Ok(missing) => Err(format!(
                "an engine answers, but images are missing: {}; {}",
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
        Err(error) => Err(no_tun(&error)),
    };
    Finding { what: TUN, state }
}

/// Why the TUN device cannot be opened, and how to change that.
fn no_tun(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "no permission to open it: run as root, or give it with \
                                            `sudo chmod 666 /dev/net/tun`; in a container with `--device /dev/net/tun`"
            .to_owned(),
        io::ErrorKind::NotFound => {
            "not present: `sudo modprobe tun`; in a container start it with `--device /dev/net/tun`".to_owned()
        }
        _ => format!("cannot be opened ({error}): `sudo modprobe tun`, or run as root"),
    }
}

fn tcset() -> Finding {
    let state = match std::process::Command::new("tcset").arg("-V").output() {
        Ok(output) if output.status.success() => {
            Ok(format!("{} (emulator tcset on namespaces)", String::from_utf8_lossy(&output.stdout).trim()))
        }
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(_) => Err("not installed; `pip install tcconfig` if you want netem on namespaces".to_owned()),
    };
    Finding { what: "tcset", state }
}

/// A look only: a run finds out by trying.
fn netem() -> Finding {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let folder = format!("/lib/modules/{}", release.trim());
    let is_loaded = std::fs::read_to_string("/proc/modules").is_ok_and(|text| text.contains("sch_netem"));
    let is_listed = ["modules.dep", "modules.builtin"]
        .iter()
        .any(|list| std::fs::read_to_string(format!("{folder}/{list}")).is_ok_and(|text| text.contains("sch_netem")));
    let state = match (is_loaded, is_listed) {
        (true, _) => Ok("loaded".to_owned()),
        (false, true) => Ok("the kernel has it; `modprobe sch_netem` if it does not load by itself".to_owned()),
        (false, false) => Err("not found: use the emulator shaper".to_owned()),
    };
    Finding { what: "kernel netem", state }
}

fn open_files() -> Finding {
    let state = match nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= 4_096 => Ok(format!("{hard} at most")),
        Ok((_, hard)) => Err(format!("{hard} at most: too few for many virtual shoppers; raise `ulimit -n`")),
        Err(error) => Err(error.to_string()),
    };
    Finding { what: "open files", state }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_permission_is_no_missing_device() {
        let why = |code| no_tun(&io::Error::from_raw_os_error(code));
        for code in [nix::libc::EACCES, nix::libc::EPERM] {
            assert!(why(code).contains("permission") && why(code).contains("chmod"), "{}", why(code));
        }
        assert!(why(nix::libc::ENOENT).contains("not present") && !why(nix::libc::ENOENT).contains("permission"));
        assert!(why(nix::libc::ENODEV).contains("modprobe"));
    }

    #[test]
    fn the_last_line_names_the_command_that_works() {
        let nothing =
            Works { namespaces: false, docker: false, tun: false, tun_exists: false, netem: false, tcset: false };
        let line = |works: Works| last_line(works.choice());
        assert!(line(nothing).starts_with("no run can work here yet"));
        assert!(line(Works { docker: true, ..nothing }).starts_with("no run"), "no emulator");
        for (works, expected) in [
            (
                Works { docker: true, tun_exists: true, ..nothing },
                "`testbed run` will use engine docker with emulator shaper",
            ),
            (
                Works { docker: true, netem: true, ..nothing },
                "`testbed run` will use engine docker with emulator tcset",
            ),
            (
                Works { namespaces: true, tun: true, netem: true, ..nothing },
                "`testbed run` will use engine netns with emulator shaper",
            ),
            (
                Works { namespaces: true, docker: true, netem: false, tun: true, ..nothing },
                "`testbed run --backend netns` will use engine netns with emulator shaper",
            ),
        ] {
            assert_eq!(line(works), expected);
        }
    }
}
