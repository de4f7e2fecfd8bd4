//! The server and a hub as containers on this engine, a manager of a Docker Swarm; clients as tasks of a service,
//! spread over all its hosts; all of them on one overlay network.
//!
//! The server is no task: Swarm gives tasks no devices, and the driver could not exec into one on another host. Into
//! client tasks it can't either, so each runs an agent that connects to the hub, and the driver talks to the hub
//! (`testbed-agent`). No disk is shared, and no other host's engine is needed.

mod hub;
mod service;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use bollard::models::LocalNodeState;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use crate::backend::docker::{DockerHost, HOW_TO_BUILD_IMAGES, NetworkKind, WORK_DIR, names};
use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, CommandOutput, EnvironmentSpec, Node, NodeCommand, ShopAddress, in_time, log_tail};
use crate::program::Program;
use hub::Hub;

/// Where the hub listens on the overlay network.
const HUB_PORT: u16 = 7700;
/// How long tasks may take to come up: this, and for each …
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// … so much more.
const START_TIMEOUT_EACH: Duration = Duration::from_millis(1_500);
/// How often the service's tasks are looked at while they come up.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long an agent may take to clean up, or a new task to take a lost one's place.
const RECREATE_TIMEOUT: Duration = Duration::from_secs(60);
/// More clients than the usual overlay network has addresses for, with the server and the hub.
const MAX_ON_SMALL_NETWORK: u32 = 240;
/// The network for more of them.
const LARGE_NETWORK: &str = "10.77.0.0/16";

/// Clients on the hosts of a Swarm.
pub(crate) struct SwarmBackend {
    /// A manager.
    docker_host: DockerHost,
    plan: Option<EnvironmentSpec>,
    shop: ShopAddress,
    hub: Option<Hub>,
    /// Where each client was seen, in order: Swarm may move one.
    machines: RefCell<BTreeMap<u32, Vec<String>>>,
    /// What the clients were given.
    sysctls: BTreeMap<String, String>,
}

impl SwarmBackend {
    /// On the Swarm that `site` is a manager of.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn new(docker_host: DockerHost) -> anyhow::Result<Self> {
        let is_manager = docker_host.swarm().is_some_and(|swarm| {
            swarm.local_node_state == Some(LocalNodeState::ACTIVE) && swarm.control_available == Some(true)
        });
        if !is_manager {
            bail!(
                "{} is no manager of a Swarm: `docker swarm init` makes it one, `docker swarm join` adds hosts",
                docker_host.url()
            );
        }
        let (machines, sysctls) = (RefCell::default(), BTreeMap::new());
        Ok(Self { docker_host, plan: None, shop: ShopAddress::of_node(&""), hub: None, machines, sysctls })
    }

    fn plan(&self) -> anyhow::Result<&EnvironmentSpec> {
        self.plan.as_ref().context("the environment is not up")
    }

    fn hub(&self) -> anyhow::Result<&Hub> {
        self.hub.as_ref().context("the environment is not up")
    }

    fn server(&self) -> anyhow::Result<String> {
        Ok(names::node(&self.plan()?.run_id, Node::Server))
    }

    async fn make_server(&mut self, plan: &EnvironmentSpec) -> anyhow::Result<()> {
        self.docker_host.make_node(Node::Server, plan, None).await?;
        let (server, network) = (names::node(&plan.run_id, Node::Server), names::network(&plan.run_id));
        self.shop = ShopAddress::of_node(&self.docker_host.address_of(&server, &network).await?);
        Ok(())
    }

    /// Starts the hub in a container of its own: in the server's, its traffic would take the link that is shaped. Gives
    /// its address: a name that is looked up too early costs an agent five seconds.
    async fn start_hub(&mut self, plan: &EnvironmentSpec, token: &str) -> anyhow::Result<SocketAddrV4> {
        let container = names::hub(&plan.run_id);
        self.docker_host.make_helper(&container, plan).await?;
        let ask = NodeCommand::program(Program::Agent, ["--version"]);
        let printed = self.docker_host.exec(&container, &ask).await?.success(&ask)?.stdout;
        check_build("the hub's container", printed.trim().trim_start_matches("testbed-agent "))?;
        let listen = format!("0.0.0.0:{HUB_PORT}");
        let command = NodeCommand::program(Program::Agent, ["hub", "--listen", &listen]).env(service::TOKEN, token);
        let log = plan.logs.join("hub.log");
        let process = self.docker_host.spawn(&container, &command, &log).await?;
        self.hub = Some(Hub::new(process).await.with_context(|| log_tail(&log))?);
        let address = self.docker_host.address_of(&container, &names::network(&plan.run_id)).await?;
        Ok(SocketAddrV4::new(address, HUB_PORT))
    }

    /// Makes the service and waits for all its agents. Kernel settings that a host turns out not to have are left out.
    async fn start_clients(&mut self, plan: &EnvironmentSpec, hub: SocketAddrV4, token: &str) -> anyhow::Result<()> {
        loop {
            self.sysctls = self.docker_host.sysctls(plan);
            let spec = service::description(plan, &self.sysctls, hub, token);
            let made = self.docker_host.docker().create_service(spec, None).await;
            let id = made.context("making the service of clients")?.id.context("the service has no id")?;
            let Err(complaint) = self.wait_for_agents(plan, &id).await else { return Ok(()) };
            self.docker_host.learn(&format!("{complaint:#}"), plan);
            if self.docker_host.sysctls(plan) == self.sysctls {
                return Err(complaint);
            }
            self.remove_service(plan).await?;
        }
    }

    async fn wait_for_agents(&mut self, plan: &EnvironmentSpec, service: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT + START_TIMEOUT_EACH * plan.clients;
        loop {
            let hub = self.hub.as_mut().context("the hub is not up")?;
            let (there, wanted) = (hub.agents().values().filter(|agent| agent.is_there).count(), plan.clients);
            if there == wanted as usize {
                break;
            }
            if Instant::now() >= deadline {
                let tasks = service::states(self.docker_host.docker(), service).await?;
                bail!("{there} of {wanted} clients came up; the service's tasks: {tasks}");
            }
            tokio::select! {
                changed = hub.changed() => changed?,
                () = sleep(POLL_INTERVAL) => service::check(self.docker_host.docker(), service).await?,
                () = plan.stop.cancelled() => bail!("interrupted while the clients came up"),
            }
        }
        self.note_machines();
        self.check_versions()
    }

    fn note_machines(&self) {
        let Some(hub) = &self.hub else { return };
        let mut machines = self.machines.borrow_mut();
        for (number, agent) in hub.agents() {
            let seen = machines.entry(number).or_default();
            if seen.last() != Some(&agent.machine) {
                seen.push(agent.machine);
            }
        }
    }

    /// Every host has its own copy of the image, which may be of yesterday.
    fn check_versions(&self) -> anyhow::Result<()> {
        let agents = self.hub()?.agents();
        agents.values().try_for_each(|agent| check_build(&format!("host {}", agent.machine), &agent.version))
    }

    async fn remove_service(&self, plan: &EnvironmentSpec) -> anyhow::Result<()> {
        service::remove(self.docker_host.docker(), &names::clients(&plan.run_id)).await
    }

    async fn recreate_client(&mut self, number: u32) -> anyhow::Result<()> {
        let stop = self.plan()?.stop.clone();
        let deadline = Instant::now() + RECREATE_TIMEOUT;
        loop {
            let hub = self.hub.as_mut().context("the hub is not up")?;
            let reset = timeout_at(deadline, hub.reset(number)).await;
            let Err(error) = reset.unwrap_or_else(|_| bail!("its agent does not answer")) else { break };
            if Instant::now() >= deadline {
                return Err(error).with_context(|| format!("client-{number} does not come back: is its host there?"));
            }
            // Lost: Swarm starts another task in its place.
            tokio::select! {
                changed = hub.changed() => changed?,
                () = sleep(POLL_INTERVAL) => {}
                () = stop.cancelled() => bail!("interrupted while client-{number} was renewed"),
            }
        }
        self.note_machines();
        self.check_versions()
    }
}

fn check_build(holder: &str, version: &str) -> anyhow::Result<()> {
    if !protocol::is_same_build(version) {
        let expected = protocol::VERSION;
        bail!(
            "{holder}: image built from other sources: got '{version}', expected '{expected}'; rebuild the images \
             there: {HOW_TO_BUILD_IMAGES}"
        );
    }
    Ok(())
}

#[async_trait(?Send)]
impl Backend for SwarmBackend {
    fn name(&self) -> &'static str {
        "swarm"
    }

    async fn up(&mut self, plan: &EnvironmentSpec) -> anyhow::Result<()> {
        // Set first: `down` must find what a failure below leaves half done.
        self.plan = Some(plan.clone());
        let subnet = (plan.clients > MAX_ON_SMALL_NETWORK).then_some(LARGE_NETWORK);
        self.docker_host.make_network(plan, NetworkKind::Overlay { subnet }).await?;
        let token = format!("{:016x}", getrandom::u64().context("no randomness for the hub's token")?);
        // A network reaches another host with its first task there, so the hub is there before the clients.
        self.make_server(plan).await?;
        let hub = self.start_hub(plan, &token).await?;
        self.start_clients(plan, hub, &token).await
    }

    fn shop(&self) -> &ShopAddress {
        &self.shop
    }

    fn folder(&self, _node: Node) -> String {
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
        bail!("the CPU time of a task elsewhere is not known")
    }

    fn sysctls(&self, _plan: &EnvironmentSpec) -> BTreeMap<String, String> {
        self.sysctls.clone()
    }

    async fn is_local(&self) -> bool {
        false
    }

    async fn recreate(&mut self, node: Node) -> anyhow::Result<()> {
        let Node::Client(number) = node else {
            let plan = self.plan()?.clone();
            self.docker_host.remove_container(&names::node(&plan.run_id, Node::Server)).await?;
            return self.make_server(&plan).await;
        };
        self.recreate_client(number).await
    }

    async fn down(&mut self) -> anyhow::Result<()> {
        let Some(plan) = self.plan.clone() else { return Ok(()) };
        self.note_machines();
        let service = self.remove_service(&plan).await;
        self.hub = None;
        let containers = [names::node(&plan.run_id, Node::Server), names::hub(&plan.run_id)];
        let removed = join_all(containers.iter().map(|name| self.docker_host.remove_container(name))).await;
        let network = self.docker_host.remove_network(&names::network(&plan.run_id)).await;
        // The containers of tasks go some seconds after them, here and on the other hosts alike.
        self.docker_host.wait_for_no_container(&plan.run_id).await;
        std::iter::once(service).chain(removed).chain([network]).collect::<anyhow::Result<()>>()?;
        self.plan = None;
        Ok(())
    }

    async fn info(&self) -> anyhow::Result<serde_json::Value> {
        self.note_machines();
        let machines = service::machines(self.docker_host.docker()).await?;
        let clients = self.machines.borrow().clone().into_iter();
        let clients: BTreeMap<String, Vec<String>> =
            clients.map(|(number, seen)| (Node::Client(number).to_string(), seen)).collect();
        Ok(serde_json::json!({ "manager": self.docker_host.info().await?, "hosts": machines, "client_hosts": clients }))
    }
}
