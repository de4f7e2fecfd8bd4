//! The driver on two Docker engines, as on two machines: `tools/two-docker-hosts up DIR` makes them, and these tests
//! run in the first one's network (`tools/two-docker-hosts exec DIR a cargo test … -- --ignored`) with their URLs in
//! TESTBED_DOCKER_HOSTS.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the failure")]

mod common;

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use common::{Finished, Running, WAIT_TIMEOUT, finish, testbed};
use nix::sys::signal::Signal;
use test_support::{run, test};

/// The two engines.
struct BackendFactory {
    a: String,
    b: String,
    /// Where the first one's published ports are reached.
    address: String,
}

/// The environment variable with their URLs, a blank between.
const URLS: &str = "TESTBED_DOCKER_HOSTS";

fn backends() -> Result<(), String> {
    std::env::var(URLS)
        .map(|_| ())
        .map_err(|error| format!("needs two engines in {URLS} ({error}): run 'tools/two-docker-hosts up'"))
}

fn main() -> ExitCode {
    let tests = [
        test!(server_and_clients_on_two_engines_are_measured_through_published_ports),
        test!(what_a_killed_driver_left_on_both_engines_is_removed_by_clean),
        test!(a_shop_started_by_hand_is_measured_and_labelled_as_not_controlled),
        test!(a_condition_that_nobody_set_is_not_verified),
        test!(a_rate_that_nobody_asked_for_is_seen),
        test!(ctrl_c_while_somebody_is_to_set_a_condition_ends_the_run_at_once),
        test!(a_published_port_that_is_taken_is_told_with_what_to_do),
        test!(a_swarm_spreads_clients_over_its_machines_and_is_left_empty),
        test!(a_lost_client_of_a_swarm_costs_one_cell_and_comes_back),
        test!(what_a_killed_driver_left_in_a_swarm_is_removed_by_clean),
    ];
    let reason = "needs two Docker engines: 'tools/two-docker-hosts', then '--ignored'";
    run(1, tests.map(|test| test.needs(&[backends]).exclusive().on_request(reason)))
}

impl BackendFactory {
    fn from_environment() -> Self {
        let urls = std::env::var(URLS).unwrap();
        let (a, b) = urls.split_once(' ').expect("TESTBED_DOCKER_HOSTS is two URLs with a blank between");
        let address = a.trim_start_matches("tcp://").split(':').next().unwrap().to_owned();
        Self { a: a.to_owned(), b: b.to_owned(), address }
    }

    fn both(&self) -> [&str; 2] {
        [&self.a, &self.b]
    }

    /// Everything on both with the run's id.
    fn things_of(&self, run_id: &str) -> Vec<String> {
        let filter = format!("label=testbed.run={run_id}");
        let lists = [["ps", "--all"], ["network", "ls"], ["service", "ls"]];
        let mut things = Vec::new();
        for (backend, list) in self.both().into_iter().flat_map(|backend| lists.map(|list| (backend, list))) {
            // The second engine is a worker of the Swarm, which lists no services.
            let output = docker(backend, &[&list[..], &["--quiet", "--filter", &filter]].concat());
            things.extend(output.lines().map(|id| format!("{backend} {list:?} {id}")));
        }
        things
    }

    /// Waits until nothing is there: what Swarm removes, it removes in its own time.
    fn assert_nothing_is_left(&self, run_id: &str) {
        let deadline = Instant::now() + WAIT_TIMEOUT;
        while !self.things_of(run_id).is_empty() {
            assert!(Instant::now() < deadline, "left: {:?}", self.things_of(run_id));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn docker(backend: &str, arguments: &[&str]) -> String {
    let output = Command::new("docker").args(["--host", backend]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn on_two(backends: &BackendFactory, more: &[&'static str]) -> Vec<String> {
    let common = ["run", "--clients", "3", "--emulator", "shaper", "--delay", "0,40ms", "--duration", "3s"];
    let mut arguments: Vec<String> = common.iter().chain(more).map(ToString::to_string).collect();
    arguments.extend(["--server-docker-host".to_owned(), backends.a.clone()]);
    arguments.extend(["--client-docker-host".to_owned(), backends.b.clone()]);
    arguments
}

/// A driver for a shop that was started by hand on the first engine, with its clients on the second.
fn start_with_external_shop(backends: &BackendFactory, clients: &str, more: &[&str]) -> Running {
    let common = ["run", "--server", &backends.address, "--client-docker-host", &backends.b, "--clients", clients];
    Running::start_with_stdin(&[&common, more].concat())
}

/// After the driver was killed: `clean` removes what it left on both engines.
fn assert_clean_removes(backends: &BackendFactory, killed: &Finished) {
    let clean = ["clean", "--server-docker-host", &backends.a, "--client-docker-host", &backends.b];
    let cleaned = testbed(killed.folder.path(), &clean).output().unwrap();
    assert!(cleaned.status.success(), "{}", String::from_utf8_lossy(&cleaned.stderr));
    backends.assert_nothing_is_left(&killed.run().id);
}

fn as_strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn server_and_clients_on_two_engines_are_measured_through_published_ports() {
    let backends = BackendFactory::from_environment();
    // Not the usual ports: somebody's shop may be up there.
    let finished = finish(&as_strs(&on_two(&backends, &["--publish-port", "6000"])));
    finished.assert_verified();
    let run = finished.run();
    run.assert_has_delay("delay-40ms-r1", 40.0);
    let info = &run.manifest()["backend_info"];
    assert_eq!(info["server_on"], backends.a.as_str());
    assert_eq!(info["clients_on_in_turn"][0], backends.b.as_str());
    assert_eq!(run.manifest()["order_check"]["consistent"], true);
    backends.assert_nothing_is_left(&run.id);
}

fn what_a_killed_driver_left_on_both_engines_is_removed_by_clean() {
    let backends = BackendFactory::from_environment();
    let mut running = Running::start(&as_strs(&on_two(&backends, &["--duration", "30s"])));
    running.wait_for_line("emulator shaper");
    running.signal(Signal::SIGKILL);
    let finished = running.end();
    assert_eq!(backends.things_of(&finished.run().id).len(), 6, "server, three clients, two networks");
    assert_clean_removes(&backends, &finished);
}

fn a_shop_started_by_hand_is_measured_and_labelled_as_not_controlled() {
    let backends = BackendFactory::from_environment();
    let shop = ExternalShop::start(&backends.a);
    let mut running = start_with_external_shop(&backends, "2", &["--delay", "0,40ms", "--duration", "3s"]);
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
    assert!(manifest["notes"].to_string().contains("not controlled"), "{}", manifest["notes"]);
}

fn a_condition_that_nobody_set_is_not_verified() {
    let backends = BackendFactory::from_environment();
    let _shop = ExternalShop::start(&backends.a);
    let mut running = start_with_external_shop(&backends, "1", &["--delay", "40ms", "--duration", "2s"]);
    for _ in 0..2 {
        running.wait_for_line("press Enter");
        running.press_enter();
    }
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.words());
    let problems = &finished.run().csv("cells.csv")[0]["problems"];
    assert!(problems.contains("delay: asked 40 ms") && problems.contains("way: a TCP handshake"), "{problems}");
}

fn a_rate_that_nobody_asked_for_is_seen() {
    let backends = BackendFactory::from_environment();
    let shop = ExternalShop::start(&backends.a);
    let mut running = start_with_external_shop(&backends, "1", &["--delay", "40ms", "--duration", "2s"]);
    running.wait_for_line("press Enter");
    running.press_enter();
    running.wait_for_line("press Enter");
    shop.set(&["--delay", "40ms", "--rate", "2Mbit"]);
    running.press_enter();
    let finished = running.end();
    assert_eq!(finished.code(), Some(3), "{}", finished.words());
    let problems = &finished.run().csv("cells.csv")[0]["problems"];
    assert!(problems.contains("rate: none was asked, the probe saw"), "{problems}");
}

fn ctrl_c_while_somebody_is_to_set_a_condition_ends_the_run_at_once() {
    let backends = BackendFactory::from_environment();
    let _shop = ExternalShop::start(&backends.a);
    let mut running = start_with_external_shop(&backends, "1", &["--delay", "40ms"]);
    running.wait_for_line("press Enter");
    running.signal(Signal::SIGINT);
    let finished = running.end();
    assert_eq!(finished.code(), Some(130), "{}", finished.words());
    backends.assert_nothing_is_left(&finished.run().id);
}

fn a_published_port_that_is_taken_is_told_with_what_to_do() {
    let backends = BackendFactory::from_environment();
    let _shop = ExternalShop::start(&backends.a);
    let finished = finish(&as_strs(&on_two(&backends, &[])));
    assert_eq!(finished.code(), Some(1), "{}", finished.words());
    assert!(finished.words().contains("--publish-port"), "{}", finished.words());
    backends.assert_nothing_is_left(&finished.run().id);
}

/// A shop and a shaper with the rights that compose.yaml gives them. Removed when dropped.
struct ExternalShop {
    backend: String,
    shaper: std::process::Child,
}

const EXTERNAL_SHOP: &str = "testbed-test-external-shop";
const EXTERNAL_SHAPER: &str = "testbed-test-external-shaper";
const NO_RIGHTS: [&str; 4] = ["--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"];

impl ExternalShop {
    fn start(backend: &str) -> Self {
        docker(backend, &["rm", "--force", "--volumes", EXTERNAL_SHAPER, EXTERNAL_SHOP]);
        let ports =
            ["-p", "5000:5000", "-p", "5001:5001", "-p", "5002:5002/udp", "-e", "SHOP_ECHO_LISTEN=0.0.0.0:5002"];
        let run =
            [&["run", "--detach", "--name", EXTERNAL_SHOP], &NO_RIGHTS[..], &ports, &["testbed-shop-server:latest"]]
                .concat();
        assert!(!docker(backend, &run).is_empty(), "the shop did not start");
        let network = format!("container:{EXTERNAL_SHOP}");
        let run = ["--host", backend, "run", "--rm", "--interactive", "--user", "0", "--name", EXTERNAL_SHAPER];
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
        docker(backend, &wait);
        Self { backend: backend.to_owned(), shaper }
    }

    fn set(&self, options: &[&str]) {
        docker(&self.backend, &[&["exec", EXTERNAL_SHAPER, "shaper", "set"], options].concat());
    }
}

impl Drop for ExternalShop {
    fn drop(&mut self) {
        docker(&self.backend, &["rm", "--force", "--volumes", EXTERNAL_SHAPER, EXTERNAL_SHOP]);
        let _ = self.shaper.kill();
        let _ = self.shaper.wait();
    }
}

/// Makes the two engines a Swarm, as far as they are none.
fn make_swarm(backends: &BackendFactory) {
    if docker(&backends.a, &["node", "ls", "--quiet"]).lines().count() == 2 {
        return;
    }
    docker(&backends.a, &["swarm", "init", "--advertise-addr", &backends.address]);
    let token = docker(&backends.a, &["swarm", "join-token", "--quiet", "worker"]);
    docker(&backends.b, &["swarm", "join", "--token", token.trim(), &format!("{}:2377", backends.address)]);
    assert_eq!(docker(&backends.a, &["node", "ls", "--quiet"]).lines().count(), 2, "the Swarm has two machines");
}

fn a_swarm_spreads_clients_over_its_machines_and_is_left_empty() {
    let backends = BackendFactory::from_environment();
    make_swarm(&backends);
    let arguments =
        ["run", "--backend", "swarm", "--server-docker-host", &backends.a, "--clients", "6", "--delay", "0,40ms"];
    let finished = finish(&[&arguments[..], &["--loss", "5%", "--duration", "3s"]].concat());
    finished.assert_verified();
    let run = finished.run();
    run.assert_has_delay("delay-40ms-r1", 40.0);
    let clients_on = run.manifest()["backend_info"]["clients_on"].clone();
    let machines: Vec<&str> = clients_on.as_object().unwrap().values().map(|seen| seen[0].as_str().unwrap()).collect();
    assert_eq!(machines.len(), 6);
    for machine in ["vm-a", "vm-b"] {
        assert!(machines.iter().filter(|seen| **seen == machine).count() >= 2, "{machine}: {machines:?}");
    }
    backends.assert_nothing_is_left(&run.id);
}

fn a_lost_client_of_a_swarm_costs_one_cell_and_comes_back() {
    let backends = BackendFactory::from_environment();
    make_swarm(&backends);
    let arguments =
        ["run", "--backend", "swarm", "--server-docker-host", &backends.a, "--clients", "2", "--delay", "0,40ms"];
    let mut running = Running::start(&[&arguments[..], &["--repetitions", "2", "--duration", "4s"]].concat());
    running.wait_for_line("1/4 ");
    let victim = docker(&backends.b, &["ps", "--quiet", "--filter", "label=testbed.run"]);
    let victim = victim.lines().next().expect("a client on the second machine");
    let rights = "{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}} {{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}";
    let rights = docker(&backends.b, &["inspect", "--format", rights, victim]).replace("CAP_", "");
    docker(&backends.b, &["kill", victim]);
    let finished = running.end();
    assert_eq!(rights.trim(), "[ALL] [NET_RAW] 4294967296 2048", "of a client's task");
    assert_eq!(finished.code(), Some(3), "{}", finished.words());
    let run = finished.run();
    let verdicts: Vec<String> = run.csv("cells.csv").iter().map(|cell| cell["verdict"].clone()).collect();
    assert_eq!(verdicts.len(), 4, "{verdicts:?}");
    assert!(verdicts.contains(&"failed".to_owned()), "{verdicts:?}");
    assert_eq!(verdicts.last().unwrap(), "verified", "{verdicts:?}");
    backends.assert_nothing_is_left(&run.id);
}

fn what_a_killed_driver_left_in_a_swarm_is_removed_by_clean() {
    let backends = BackendFactory::from_environment();
    make_swarm(&backends);
    let arguments =
        ["run", "--backend", "swarm", "--server-docker-host", &backends.a, "--clients", "2", "--delay", "0"];
    let mut running = Running::start(&[&arguments[..], &["--duration", "30s"]].concat());
    running.wait_for_line("emulator shaper");
    running.signal(Signal::SIGKILL);
    let finished = running.end();
    assert!(!backends.things_of(&finished.run().id).is_empty());
    assert_clean_removes(&backends, &finished);
}
