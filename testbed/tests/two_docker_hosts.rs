//! The driver with two Docker hosts. `tools/two-docker-hosts up DIR` creates them in virtual machines. These tests run
//! in the network of the first (`tools/two-docker-hosts exec DIR a cargo test … -- --ignored`), with their URLs in
//! TESTBED_DOCKER_HOSTS.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::{Finished, Running, WAIT_TIMEOUT, finish, testbed};
use nix::sys::signal::Signal;
use test_support::{run, test};

/// URLs of the two Docker hosts.
struct DockerHosts {
    a: String,
    b: String,
    /// Address of the published ports of the first.
    address: String,
}

/// Environment variable with their URLs, separated by a space.
const URLS: &str = "TESTBED_DOCKER_HOSTS";

fn two_docker_hosts() -> Result<(), String> {
    std::env::var(URLS)
        .map(|_| ())
        .map_err(|error| format!("needs two Docker hosts in {URLS} ({error}): run 'tools/two-docker-hosts up'"))
}

fn main() -> ExitCode {
    let tests = [
        test!(server_and_clients_on_two_docker_hosts_are_measured_through_published_ports),
        test!(clean_removes_stale_resources_of_a_killed_driver_on_both_docker_hosts),
        test!(an_external_server_is_measured_and_labelled_as_manual),
        test!(a_manual_condition_that_was_not_set_is_unverified),
        test!(an_unrequested_rate_limit_is_detected),
        test!(ctrl_c_while_a_manual_condition_is_awaited_ends_the_run),
        test!(a_published_port_in_use_is_reported_with_a_fix),
        test!(a_swarm_distributes_clients_over_its_hosts_and_is_left_empty),
        test!(a_lost_client_of_a_swarm_fails_one_cell_and_is_recreated),
        test!(clean_removes_stale_resources_of_a_killed_driver_in_a_swarm),
    ];
    let reason = "needs two Docker hosts: 'tools/two-docker-hosts', then '--ignored'";
    run(1, tests.map(|test| test.needs(&[two_docker_hosts]).exclusive().on_request(reason)))
}

impl DockerHosts {
    fn from_env() -> Self {
        let urls = std::env::var(URLS).unwrap();
        let (a, b) = urls.split_once(' ').expect("TESTBED_DOCKER_HOSTS contains two URLs separated by a space");
        let address = a.trim_start_matches("tcp://").split(':').next().unwrap().to_owned();
        Self { a: a.to_owned(), b: b.to_owned(), address }
    }

    fn both(&self) -> [&str; 2] {
        [&self.a, &self.b]
    }

    /// Returns all resources with the run's id on both.
    fn resources_of(&self, run_id: &str) -> Vec<String> {
        let filter = format!("label=testbed.run={run_id}");
        let lists = [["ps", "--all"], ["network", "ls"], ["service", "ls"]];
        let mut resources = Vec::new();
        for (url, list) in self.both().into_iter().flat_map(|url| lists.map(|list| (url, list))) {
            // The second Docker host is a worker of the Swarm, which lists no services.
            let output = docker(url, &[&list[..], &["--quiet", "--filter", &filter]].concat());
            resources.extend(output.lines().map(|id| format!("{url} {list:?} {id}")));
        }
        resources
    }

    /// Waits until no resource is left: Swarm removes them asynchronously.
    fn assert_nothing_is_left(&self, run_id: &str) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while !self.resources_of(run_id).is_empty() {
            assert!(Instant::now() < deadline, "left: {:?}", self.resources_of(run_id));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn docker(url: &str, arguments: &[&str]) -> String {
    let output = Command::new("docker").args(["--host", url]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn on_two(hosts: &DockerHosts, additional: &[&'static str]) -> Vec<String> {
    let common = ["run", "--clients", "3", "--emulator", "shaper", "--delay", "0,40ms", "--duration", "3s"];
    let mut arguments: Vec<String> = common.iter().chain(additional).map(ToString::to_string).collect();
    arguments.extend(["--server-docker-host".to_owned(), hosts.a.clone()]);
    arguments.extend(["--client-docker-host".to_owned(), hosts.b.clone()]);
    arguments
}

/// Starts a driver for an external server on the first Docker host, with clients on the second.
fn start_with_external_server(hosts: &DockerHosts, clients: &str, additional: &[&str]) -> Running {
    let common = ["run", "--external-server", &hosts.address, "--client-docker-host", &hosts.b, "--clients", clients];
    Running::start_with_stdin(&[&common, additional].concat())
}

/// Asserts that `clean` removes the stale resources of the killed driver on both Docker hosts.
fn assert_clean_removes(hosts: &DockerHosts, killed: &Finished) {
    let clean = ["clean", "--server-docker-host", &hosts.a, "--client-docker-host", &hosts.b];
    let cleaned = testbed(killed.directory.path(), &clean).output().unwrap();
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    hosts.assert_nothing_is_left(&killed.run().id);
}

fn as_strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn server_and_clients_on_two_docker_hosts_are_measured_through_published_ports() {
    let hosts = DockerHosts::from_env();
    // Not the default ports: another shop may use them.
    let finished = finish(&as_strs(&on_two(&hosts, &["--publish-port", "6000"])));
    finished.assert_verified();
    let run = finished.run();
    run.assert_has_delay("delay-40ms-r1", 40.0);
    let info = &run.manifest()["backend_info"];
    assert_eq!(info["server_host"], hosts.a.as_str());
    assert_eq!(info["client_hosts"][0], hosts.b.as_str());
    assert_eq!(run.manifest()["order_check"]["consistent"], true);
    hosts.assert_nothing_is_left(&run.id);
}

fn clean_removes_stale_resources_of_a_killed_driver_on_both_docker_hosts() {
    let hosts = DockerHosts::from_env();
    let mut running = Running::start(&as_strs(&on_two(&hosts, &["--duration", "30s"])));
    running.wait_for_line("emulator shaper");
    running.signal(Signal::SIGKILL);
    let finished = running.end();
    assert_eq!(hosts.resources_of(&finished.run().id).len(), 6, "server, three clients, two networks");
    assert_clean_removes(&hosts, &finished);
}

fn an_external_server_is_measured_and_labelled_as_manual() {
    let hosts = DockerHosts::from_env();
    let shop = ExternalShop::start(&hosts.a);
    let mut running = start_with_external_server(&hosts, "2", &["--delay", "0,40ms", "--duration", "3s"]);
    running.wait_for_line("press Enter");
    running.press_enter();
    running.wait_for_line("delay 40ms");
    running.wait_for_line("press Enter");
    shop.set(&["--delay", "40ms"]);
    running.press_enter();
    let finished = running.end();
    finished.assert_verified();
    finished.run().assert_has_delay("delay-40ms-r1", 40.0);
    let manifest = finished.run().manifest();
    assert_eq!((&manifest["condition_control"], &manifest["emulator"]), (&"manual".into(), &"manual".into()));
    assert!(manifest["notes"].to_string().contains("conditions set manually"), "{}", manifest["notes"]);
}

fn a_manual_condition_that_was_not_set_is_unverified() {
    let hosts = DockerHosts::from_env();
    let _shop = ExternalShop::start(&hosts.a);
    let mut running = start_with_external_server(&hosts, "1", &["--delay", "40ms", "--duration", "2s"]);
    for _ in 0..2 {
        running.wait_for_line("press Enter");
        running.press_enter();
    }
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.printed());
    let problems = &finished.run().csv("cells.csv")[0]["problems"];
    assert!(problems.contains("delay: requested 40 ms") && problems.contains("path: TCP handshake"), "{problems}");
}

fn an_unrequested_rate_limit_is_detected() {
    let hosts = DockerHosts::from_env();
    let shop = ExternalShop::start(&hosts.a);
    let mut running = start_with_external_server(&hosts, "1", &["--delay", "40ms", "--duration", "2s"]);
    running.wait_for_line("press Enter");
    running.press_enter();
    running.wait_for_line("press Enter");
    shop.set(&["--delay", "40ms", "--rate", "2Mbit"]);
    running.press_enter();
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.printed());
    let problems = &finished.run().csv("cells.csv")[0]["problems"];
    assert!(problems.contains("rate: none requested, probe measured"), "{problems}");
}

fn ctrl_c_while_a_manual_condition_is_awaited_ends_the_run() {
    let hosts = DockerHosts::from_env();
    let _shop = ExternalShop::start(&hosts.a);
    let mut running = start_with_external_server(&hosts, "1", &["--delay", "40ms"]);
    running.wait_for_line("press Enter");
    running.signal(Signal::SIGINT);
    let finished = running.end();
    assert_eq!(finished.code(), Some(130), "{}", finished.printed());
    hosts.assert_nothing_is_left(&finished.run().id);
}

fn a_published_port_in_use_is_reported_with_a_fix() {
    let hosts = DockerHosts::from_env();
    let _shop = ExternalShop::start(&hosts.a);
    let finished = finish(&as_strs(&on_two(&hosts, &[])));
    assert_eq!(finished.code(), Some(1), "{}", finished.printed());
    assert!(finished.printed().contains("--publish-port"), "{}", finished.printed());
    hosts.assert_nothing_is_left(&finished.run().id);
}

/// A shop and a shaper with the same rights as in compose.yaml. Removed when dropped.
struct ExternalShop {
    docker_host: String,
    shaper: std::process::Child,
}

const EXTERNAL_SHOP: &str = "testbed-test-external-shop";
const EXTERNAL_SHAPER: &str = "testbed-test-external-shaper";
const NO_RIGHTS: [&str; 4] = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"];

impl ExternalShop {
    fn start(url: &str) -> Self {
        docker(url, &["rm", "--force", "--volumes", EXTERNAL_SHAPER, EXTERNAL_SHOP]);
        let ports =
            ["-p", "5000:5000", "-p", "5001:5001", "-p", "5002:5002/udp", "-e", "SHOP_ECHO_LISTEN=0.0.0.0:5002"];
        let run =
            [&["run", "--detach", "--name", EXTERNAL_SHOP], &NO_RIGHTS[..], &ports, &["testbed-shop-server:latest"]]
                .concat();
        assert!(!docker(url, &run).is_empty(), "the shop did not start");
        let network = format!("container:{EXTERNAL_SHOP}");
        let run = ["--host", url, "run", "--rm", "--interactive", "--user", "0", "--name", EXTERNAL_SHAPER];
        let rights =
            ["--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", "--cap-add", "SYS_NICE", "--device", "/dev/net/tun"];
        let command = ["--entrypoint", "shaper", "testbed-shop-server:latest", "run", "--exit-on-stdin-eof"];
        let mut shaper = Command::new("docker");
        shaper.args(run).args(["--network", &network]).args(NO_RIGHTS).args(rights).args(command);
        let mut shaper = shaper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shaper.stdout.take().unwrap()), &mut ready).unwrap();
        assert!(ready.contains("ready"), "{ready}");
        let wait = ["exec", EXTERNAL_SHOP, "shop-server", "ready"];
        docker(url, &wait);
        Self { docker_host: url.to_owned(), shaper }
    }

    fn set(&self, options: &[&str]) {
        docker(&self.docker_host, &[&["exec", EXTERNAL_SHAPER, "shaper", "set"], options].concat());
    }
}

impl Drop for ExternalShop {
    fn drop(&mut self) {
        docker(&self.docker_host, &["rm", "--force", "--volumes", EXTERNAL_SHAPER, EXTERNAL_SHOP]);
        let _ = self.shaper.kill();
        let _ = self.shaper.wait();
    }
}

/// Makes the two Docker hosts a Swarm, if they are none yet.
fn create_swarm(hosts: &DockerHosts) {
    if docker(&hosts.a, &["node", "ls", "--quiet"]).lines().count() == 2 {
        return;
    }
    docker(&hosts.a, &["swarm", "init", "--advertise-addr", &hosts.address]);
    let token = docker(&hosts.a, &["swarm", "join-token", "--quiet", "worker"]);
    docker(&hosts.b, &["swarm", "join", "--token", token.trim(), &format!("{}:2377", hosts.address)]);
    assert_eq!(docker(&hosts.a, &["node", "ls", "--quiet"]).lines().count(), 2, "expected two nodes in the Swarm");
}

fn a_swarm_distributes_clients_over_its_hosts_and_is_left_empty() {
    let hosts = DockerHosts::from_env();
    create_swarm(&hosts);
    let arguments =
        ["run", "--backend", "swarm", "--server-docker-host", &hosts.a, "--clients", "6", "--delay", "0,40ms"];
    let finished = finish(&[&arguments[..], &["--loss", "5%", "--duration", "3s"]].concat());
    finished.assert_verified();
    let run = finished.run();
    run.assert_has_delay("delay-40ms-r1", 40.0);
    let client_hosts = run.manifest()["backend_info"]["client_hosts"].clone();
    let client_hosts: Vec<&str> =
        client_hosts.as_object().unwrap().values().map(|hosts| hosts[0].as_str().unwrap()).collect();
    assert_eq!(client_hosts.len(), 6);
    for host in ["vm-a", "vm-b"] {
        assert!(client_hosts.iter().filter(|other| **other == host).count() >= 2, "{host}: {client_hosts:?}");
    }
    hosts.assert_nothing_is_left(&run.id);
}

fn a_lost_client_of_a_swarm_fails_one_cell_and_is_recreated() {
    let hosts = DockerHosts::from_env();
    create_swarm(&hosts);
    let arguments =
        ["run", "--backend", "swarm", "--server-docker-host", &hosts.a, "--clients", "2", "--delay", "0,40ms"];
    let mut running = Running::start(&[&arguments[..], &["--repetitions", "2", "--duration", "4s"]].concat());
    running.wait_for_line("1/4 ");
    let victim = docker(&hosts.b, &["ps", "--quiet", "--filter", "label=testbed.run"]);
    let victim = victim.lines().next().expect("a client on the second Docker host");
    let rights = "{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}";
    let rights = docker(&hosts.b, &["inspect", "--format", rights, victim]).replace("CAP_", "");
    docker(&hosts.b, &["kill", victim]);
    let finished = running.end();
    assert_eq!(rights.trim(), "[ALL] [NET_RAW] 4294967296 2048", "of a client's task");
    assert_eq!(finished.code(), Some(3), "{}", finished.printed());
    let run = finished.run();
    let verdicts: Vec<String> = run.csv("cells.csv").iter().map(|cell| cell["verdict"].clone()).collect();
    assert_eq!(verdicts.len(), 4, "{verdicts:?}");
    assert!(verdicts.contains(&"failed".to_owned()), "{verdicts:?}");
    assert_eq!(verdicts.last().unwrap(), "verified", "{verdicts:?}");
    hosts.assert_nothing_is_left(&run.id);
}

fn clean_removes_stale_resources_of_a_killed_driver_in_a_swarm() {
    let hosts = DockerHosts::from_env();
    create_swarm(&hosts);
    let arguments = ["run", "--backend", "swarm", "--server-docker-host", &hosts.a, "--clients", "2", "--delay", "0"];
    let mut running = Running::start(&[&arguments[..], &["--duration", "30s"]].concat());
    running.wait_for_line("emulator shaper");
    running.signal(Signal::SIGKILL);
    let finished = running.end();
    assert!(!hosts.resources_of(&finished.run().id).is_empty());
    assert_clean_removes(&hosts, &finished);
}
