//! The driver with backend docker: real containers.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::process::{Command, ExitCode};

use common::{RunFiles, Running, docker_with_images, finish, testbed};
use nix::sys::signal::Signal;
use test_support::{run, test};

fn main() -> ExitCode {
    let tests = [
        test!(a_sweep_in_containers_is_verified_and_leaves_no_stale_resources),
        test!(containers_have_limits_and_only_the_capabilities_that_their_role_needs),
        test!(ctrl_c_stops_the_clients_and_removes_the_containers),
        test!(clean_removes_stale_resources_of_a_killed_driver),
    ];
    // Exclusive: another run would remove the stale resources of the killed driver.
    run(1, tests.map(|test| test.needs(&[docker_with_images]).exclusive()))
}

const SHORT: [&str; 9] = ["run", "--backend", "docker", "--emulator", "shaper", "--clients", "2", "--duration", "2s"];

/// Returns the containers and networks with the run's id.
fn resources_of(run_id: &str) -> Vec<String> {
    let filter = format!("label=testbed.run={run_id}");
    let mut resources = Vec::new();
    for list in [vec!["ps", "-a", "--format", "{{.Names}}"], vec!["network", "ls", "--format", "{{.Name}}"]] {
        let output = Command::new("docker").args(list).args(["--filter", &filter]).output().unwrap();
        resources.extend(String::from_utf8_lossy(&output.stdout).lines().map(ToOwned::to_owned));
    }
    resources
}

fn a_sweep_in_containers_is_verified_and_leaves_no_stale_resources() {
    let finished = finish(&[&SHORT[..], &["--delay", "0,40ms"]].concat());
    finished.assert_verified();
    let run = finished.run();
    run.assert_has_delay("delay-40ms-r1", 40.0);
    assert_eq!(run.manifest()["order_check"]["consistent"], true);
    let images = run.manifest()["backend_info"]["docker_hosts"][0]["images"].clone();
    assert!(images.as_object().unwrap().values().all(serde_json::Value::is_string), "{images}");
    assert!(
        run.csv("cells.csv").iter().all(|cell| !cell["host_cpu_percent"].is_empty()),
        "the Docker host is this host"
    );
    assert_eq!(resources_of(&run.id), Vec::<String>::new());
}

/// Returns a container's capabilities, limits and security options from the Docker Engine, and those of its first
/// process from the kernel.
fn rights(container: &str) -> String {
    let shown = "{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}} \
                 {{.HostConfig.PidsLimit}} ";
    let status = ["exec", container, "sed", "-n", "s/^\\(CapBnd\\|NoNewPrivs\\):\\t//p", "/proc/1/status"];
    let outputs = [&["inspect", "--format", shown, container][..], &status].map(|arguments| {
        let output = Command::new("docker").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    });
    // Newer Docker Engines print CAP_NET_RAW instead of NET_RAW.
    outputs.concat().replace("CAP_", "").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn containers_have_limits_and_only_the_capabilities_that_their_role_needs() {
    let mut running = Running::start(&[&SHORT[..], &["--delay", "0,20ms", "--duration", "20s"]].concat());
    running.wait_for_line("emulator shaper");
    let run_id = RunFiles::only_one_in(running.directory.path()).id;
    let rights = ["server", "client-1"].map(|node| rights(&format!("testbed-{run_id}-{node}")));
    running.signal(Signal::SIGINT);
    running.end();
    let limits = "[no-new-privileges:true] 4294967296 2048";
    // Bits 12, 13 and 23 of the bounding set are NET_ADMIN, NET_RAW and SYS_NICE (linux/capability.h).
    assert_eq!(rights[0], format!("[ALL] [NET_ADMIN NET_RAW SYS_NICE] {limits} 0000000000803000 1"));
    assert_eq!(rights[1], format!("[ALL] [NET_RAW] {limits} 0000000000002000 1"));
}

fn ctrl_c_stops_the_clients_and_removes_the_containers() {
    let mut running = Running::start(&[&SHORT[..], &["--delay", "0,20ms", "--duration", "20s"]].concat());
    running.wait_for_line("emulator shaper");
    running.signal(Signal::SIGINT);
    let finished = running.end();
    assert_eq!(finished.code(), Some(130), "{}", finished.printed());
    assert_eq!(resources_of(&finished.run().id), Vec::<String>::new());
}

fn clean_removes_stale_resources_of_a_killed_driver() {
    let mut running = Running::start(&[&SHORT[..], &["--delay", "0,20ms", "--duration", "20s"]].concat());
    running.wait_for_line("emulator shaper");
    running.signal(Signal::SIGKILL);
    let finished = running.end();
    let run_id = finished.run().id;
    assert_eq!(resources_of(&run_id).len(), 4, "server, two clients, network");
    let cleaned = testbed(finished.directory.path(), &["clean"]).output().unwrap();
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    assert_eq!(resources_of(&run_id), Vec::<String>::new());
}
