//! `testbed doctor`: what works on this machine, and what to do about what does not.

use std::fs::OpenOptions;
use std::path::Path;

use crate::engine::{docker, netns};
use crate::output::result;

/// What the shaper needs.
const TUN: &str = "/dev/net/tun";

/// What was found about one thing.
struct Finding {
    what: &'static str,
    /// What works; or why not, and what to do.
    state: Result<String, String>,
}

/// Looks and prints; true when at least one engine can be used with at least one emulator.
pub(crate) async fn examine() -> bool {
    let namespaces = namespaces();
    let tun = tun();
    let docker = docker_engine().await;
    let (tcset, netem) = (tcset(), netem());
    // The server's image brings tcset; namespaces need the host's.
    let has_netem = netem.state.is_ok() && (tcset.state.is_ok() || docker.state.is_ok());
    // The engine, which is root, gives containers the device, whoever may open it here.
    let shaper_works = tun.state.is_ok() || (docker.state.is_ok() && Path::new(TUN).exists());
    let usable = (namespaces.state.is_ok() || docker.state.is_ok()) && (shaper_works || has_netem);
    for Finding { what, state } in [namespaces, docker, tun, tcset, netem, open_files()] {
        let line = match state {
            Ok(found) => format!("ok       {what}: {found}"),
            Err(why) => format!("missing  {what}: {why}"),
        };
        result(&line);
    }
    let verdict = if usable { "`testbed run` can work here" } else { "`testbed run` can't work here yet" };
    result(verdict);
    usable
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
        Ok(engine) => match engine.missing_images(&docker::IMAGES).await.as_deref() {
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
        Err(error) => Err(format!("{error}; `modprobe tun`, or run as root; containers get it from their engine")),
    };
    Finding { what: TUN, state }
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
