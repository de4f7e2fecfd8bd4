//! Clients as tasks of a service on all hosts of a Docker Swarm; server and hub as containers on the Docker host that
//! manages it; all on one overlay network.
//!
//! The server is not a task: Swarm gives tasks no devices, and the driver cannot exec into a task on another host. For
//! the same reason each client task runs an agent (`testbed-agent`), which connects to the hub, and the driver
//! controls the clients through the hub. No shared disk and no access to other Docker hosts is needed.

mod hub;
mod service;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use bollard::models::LocalNodeState;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use crate::backend::docker::{DockerHost, NetworkKind, WORK_DIR, names, other_build};
use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, CommandOutput, EnvironmentSpec, Node, NodeCommand, ShopAddress, in_time, log_tail};
use crate::program::Program;
use hub::Hub;

/// TCP port of the hub on the overlay network.
const HUB_PORT: u16 = 7700;
/// Timeout of the start of all tasks, plus [`START_TIMEOUT_PER_TASK`] for each.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_TIMEOUT_PER_TASK: Duration = Duration::from_millis(1_500);
/// Interval of checks of the service's tasks.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of an agent's reset, or of a new task that replaces a lost one.
const RECREATE_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of clients on an overlay network of the default size, next to server and hub.
const MAX_ON_SMALL_NETWORK: u32 = 240;
/// Subnet for more clients.
const LARGE_NETWORK: &str = "10.77.0.0/16";

/// Clients on the hosts of a Swarm.
pub(crate) struct SwarmBackend {
    /// Docker host of the manager.
    docker_host: DockerHost,
    /// Specification of the nodes that are up.
    spec: RefCell<Option<Rc<EnvironmentSpec>>>,
    shop: RefCell<ShopAddress>,
    hub: RefCell<Option<Rc<Hub>>>,
    /// Hosts of each client in the order of its tasks: Swarm may move a client.
    client_hosts: RefCell<BTreeMap<u32, Vec<String>>>,
    /// Kernel settings of the clients.
    sysctls: RefCell<BTreeMap<String, String>>,
}

impl SwarmBackend {
    /// Creates a backend for the Swarm that a Docker host manages.
    ///
    /// # Errors
    /// When it is not the manager of a Swarm.
    pub(crate) fn new(docker_host: DockerHost) -> anyhow::Result<Self> {
        let is_manager = docker_host.swarm().is_some_and(|swarm| {
            swarm.local_node_state == Some(LocalNodeState::ACTIVE) && swarm.control_available == Some(true)
        });
        if !is_manager {
            bail!(
                "{} is not a Swarm manager: initialise a Swarm there with `docker swarm init`, and add hosts with \
                 `docker swarm join`",
                docker_host.url()
            );
        }
        Ok(Self {
            docker_host,
            spec: RefCell::default(),
            shop: RefCell::new(ShopAddress::of_node(&"")),
            hub: RefCell::default(),
            client_hosts: RefCell::default(),
            sysctls: RefCell::default(),
        })
    }

    fn spec(&self) -> anyhow::Result<Rc<EnvironmentSpec>> {
        self.spec.borrow().clone().context("the environment is not up")
    }

    fn hub(&self) -> anyhow::Result<Rc<Hub>> {
        self.hub.borrow().clone().context("the hub is not running")
    }

    fn server(&self) -> anyhow::Result<String> {
        Ok(names::node(&self.spec()?.run_id, Node::Server))
    }

    async fn create_server(&self, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        self.docker_host.make_node(Node::Server, spec, None).await?;
        let (server, network) = (names::node(&spec.run_id, Node::Server), names::network(&spec.run_id));
        let address = self.docker_host.address_of(&server, &network).await?;
        self.shop.replace(ShopAddress::of_node(&address));
        Ok(())
    }

    /// Starts the hub in a dedicated container: in the server's, its traffic would use the shaped link. Returns its
    /// address instead of a name: an agent that looks up the name too early loses five seconds.
    async fn start_hub(&self, spec: &EnvironmentSpec, token: &str) -> anyhow::Result<SocketAddrV4> {
        let container = names::hub(&spec.run_id);
        self.docker_host.make_helper(&container, spec).await?;
        let version = NodeCommand::program(Program::Agent, ["--version"]);
        let printed = self.docker_host.exec(&container, &version).await?.success(&version)?.stdout;
        check_build("the hub's container", printed.trim().trim_start_matches("testbed-agent "))?;
        let listen = format!("0.0.0.0:{HUB_PORT}");
        let command = NodeCommand::program(Program::Agent, ["hub", "--listen", &listen]).env(service::TOKEN, token);
        let log = spec.logs.join("hub.log");
        let process = self.docker_host.spawn(&container, &command, &log).await?;
        self.hub.replace(Some(Rc::new(Hub::new(process).await.with_context(|| log_tail(&log))?)));
        let address = self.docker_host.address_of(&container, &names::network(&spec.run_id)).await?;
        Ok(SocketAddrV4::new(address, HUB_PORT))
    }

    /// Creates the service and waits for all its agents. Kernel settings that a host does not support are omitted.
    async fn start_clients(&self, spec: &EnvironmentSpec, hub: SocketAddrV4, token: &str) -> anyhow::Result<()> {
        loop {
            let sysctls = self.docker_host.sysctls(spec);
            self.sysctls.replace(sysctls.clone());
            let service = service::description(spec, &sysctls, hub, token);
            let created = self.docker_host.docker().create_service(service, None).await;
            let id = created.context("creating the service of clients")?.id.context("the service has no id")?;
            let Err(error) = self.wait_for_agents(spec, &id).await else { return Ok(()) };
            self.docker_host.record_missing(&format!("{error:#}"), spec);
            if self.docker_host.sysctls(spec) == sysctls {
                return Err(error);
            }
            self.remove_service(spec).await?;
        }
    }

    async fn wait_for_agents(&self, spec: &EnvironmentSpec, service: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT + START_TIMEOUT_PER_TASK * spec.clients;
        let hub = self.hub()?;
        let mut changes = hub.changes();
        loop {
            let connected = hub.agents().values().filter(|agent| agent.is_connected).count();
            if connected == spec.clients as usize {
                break;
            }
            if Instant::now() >= deadline {
                let tasks = service::states(self.docker_host.docker(), service).await?;
                bail!("{connected} of {} clients connected; the service's tasks: {tasks}", spec.clients);
            }
            tokio::select! {
                changed = changes.next() => changed?,
                () = sleep(POLL_INTERVAL) => service::check(self.docker_host.docker(), service).await?,
                () = spec.stop.cancelled() => bail!("interrupted while the clients were starting"),
            }
        }
        self.record_hosts();
        self.check_versions()
    }

    fn record_hosts(&self) {
        let Ok(hub) = self.hub() else { return };
        let mut client_hosts = self.client_hosts.borrow_mut();
        for (number, agent) in hub.agents() {
            let hosts = client_hosts.entry(number).or_default();
            if hosts.last() != Some(&agent.host) {
                hosts.push(agent.host);
            }
        }
    }

    /// Checks the build of each agent: every host has its own copy of the image, which may be outdated.
    fn check_versions(&self) -> anyhow::Result<()> {
        let agents = self.hub()?.agents();
        agents.values().try_for_each(|agent| check_build(&format!("host {}", agent.host), &agent.version))
    }

    async fn remove_service(&self, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        service::remove(self.docker_host.docker(), &names::clients(&spec.run_id)).await
    }

    async fn recreate_client(&self, number: u32) -> anyhow::Result<()> {
        let stop = self.spec()?.stop.clone();
        let deadline = Instant::now() + RECREATE_TIMEOUT;
        let hub = self.hub()?;
        let mut changes = hub.changes();
        loop {
            let reset = timeout_at(deadline, hub.reset(number)).await;
            let Err(error) = reset.unwrap_or_else(|_| bail!("no response from its agent")) else { break };
            if Instant::now() >= deadline {
                return Err(error).with_context(|| format!("client-{number} does not reconnect: is its host running?"));
            }
            // If the agent is lost, Swarm replaces its task.
            tokio::select! {
                changed = changes.next() => changed?,
                () = sleep(POLL_INTERVAL) => {}
                () = stop.cancelled() => bail!("interrupted while client-{number} was recreated"),
            }
        }
        self.record_hosts();
        self.check_versions()
    }
}

fn check_build(holder: &str, version: &str) -> anyhow::Result<()> {
    if !protocol::is_same_build(version) {
        return Err(other_build(holder, version, protocol::VERSION));
    }
    Ok(())
}

#[async_trait(?Send)]
impl Backend for SwarmBackend {
    fn name(&self) -> &'static str {
        "swarm"
    }

    async fn up(&self, spec: &EnvironmentSpec) -> anyhow::Result<()> {
        // Set first: after a failure below, `down` removes what was created until then.
        self.spec.replace(Some(Rc::new(spec.clone())));
        let subnet = (spec.clients > MAX_ON_SMALL_NETWORK).then_some(LARGE_NETWORK);
        self.docker_host.make_network(spec, NetworkKind::Overlay { subnet }).await?;
        let token = format!("{:016x}", getrandom::u64().context("cannot generate the hub's token")?);
        // The overlay network extends to another host with the first task there, so the hub listens before that.
        self.create_server(spec).await?;
        let hub = self.start_hub(spec, &token).await?;
        self.start_clients(spec, hub, &token).await
    }

    fn shop(&self) -> ShopAddress {
        self.shop.borrow().clone()
    }

    fn work_dir(&self, _node: Node) -> String {
        WORK_DIR.to_owned()
    }

    async fn exec(&self, node: Node, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        let Node::Client(number) = node else { return self.docker_host.exec(&self.server()?, command).await };
        let ran = in_time(self.hub()?.run(number, command)).await;
        ran.with_context(|| format!("running `{command}` in {node}"))
    }

    async fn spawn(&self, node: Node, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess> {
        let Node::Client(number) = node else { return self.docker_host.spawn(&self.server()?, command, log).await };
        let spawned = self.hub()?.spawn(number, command, log).await;
        spawned.with_context(|| format!("starting `{command}` in {node}"))
    }

    async fn get_file(&self, node: Node, path: &str) -> anyhow::Result<Vec<u8>> {
        let Node::Client(number) = node else { return self.docker_host.get_file(&self.server()?, path).await };
        in_time(self.hub()?.get_file(number, path)).await.with_context(|| format!("getting {path} from {node}"))
    }

    async fn cpu_time(&self, node: Node) -> anyhow::Result<Duration> {
        let Node::Client(_) = node else { return self.docker_host.cpu_time(&self.server()?).await };
        bail!("the CPU time of a Swarm task is unknown")
    }

    fn sysctls(&self, _spec: &EnvironmentSpec) -> BTreeMap<String, String> {
        self.sysctls.borrow().clone()
    }

    async fn is_local(&self) -> bool {
        false
    }

    async fn recreate(&self, node: Node) -> anyhow::Result<()> {
        let Node::Client(number) = node else {
            let spec = self.spec()?;
            self.docker_host.remove_container(&names::node(&spec.run_id, Node::Server)).await?;
            return self.create_server(&spec).await;
        };
        self.recreate_client(number).await
    }

    async fn down(&self) -> anyhow::Result<()> {
        let Ok(spec) = self.spec() else { return Ok(()) };
        self.record_hosts();
        let service = self.remove_service(&spec).await;
        self.hub.take();
        let containers = [names::node(&spec.run_id, Node::Server), names::hub(&spec.run_id)];
        let removed = join_all(containers.iter().map(|name| self.docker_host.remove_container(name))).await;
        let network = self.docker_host.remove_network(&names::network(&spec.run_id)).await;
        // Docker removes the containers of tasks some seconds after the tasks, on all hosts.
        self.docker_host.wait_for_no_container(&spec.run_id).await;
        std::iter::once(service).chain(removed).chain([network]).collect::<anyhow::Result<()>>()?;
        self.spec.take();
        Ok(())
    }

    async fn info(&self) -> anyhow::Result<serde_json::Value> {
        self.record_hosts();
        let hosts = service::hosts(self.docker_host.docker()).await?;
        let client_hosts = self.client_hosts.borrow().clone().into_iter();
        let client_hosts: BTreeMap<String, Vec<String>> =
            client_hosts.map(|(number, hosts)| (Node::Client(number).to_string(), hosts)).collect();
        let manager = self.docker_host.info().await?;
        Ok(serde_json::json!({ "manager": manager, "hosts": hosts, "client_hosts": client_hosts }))
    }
}
