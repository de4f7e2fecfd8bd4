//! Specifications of a run's containers and networks. Pure.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig, Ipam, IpamConfig, NetworkCreateRequest, PortBinding,
};
use protocol::limits;

use crate::backend::docker::{HOST_LABEL, IMAGES, LOCK_DIR_LABEL, RUN_LABEL, WORK_DIR};
use crate::backend::{EnvironmentSpec, MEMORY_DIRECTORY, Node, ShopAddress};
use model::settings::Storage;

/// Capabilities of the server's node: NET_ADMIN for `tc` and the shaper's routes, NET_RAW for the shaper's raw sockets,
/// SYS_NICE for the real-time scheduling of the shaper's forwarder.
const SERVER_CAPABILITIES: [&str; 3] = ["NET_ADMIN", "NET_RAW", "SYS_NICE"];
/// Capabilities of a client's node: NET_RAW for the probe's raw socket.
pub(in crate::backend) const CLIENT_CAPABILITIES: [&str; 1] = ["NET_RAW"];
/// Maximum memory of a node, bytes. 10,000 virtual users need 85 MB in the client and 74 MB in the server; the rest is
/// for the kernel's buffers of their connections, the shaper's queue and a database in memory.
pub(in crate::backend) const MAX_MEMORY_BYTES: i64 = 4 << 30;
/// Maximum number of threads and processes of a node. Programs start a few per core, and tokio up to 512 for blocking
/// calls.
pub(in crate::backend) const MAX_PROCESSES: i64 = 2_048;

/// Device that the shaper needs.
pub(super) const TUN: &str = "/dev/net/tun";

/// Reachability of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend) enum NetworkKind {
    /// Nodes on one host, without external access.
    Closed,
    /// Nodes on one host, with external access and published ports.
    Open,
    /// Nodes on all hosts of a Swarm.
    Overlay {
        /// Subnet, if the daemon's default would be too small.
        subnet: Option<&'static str>,
    },
}

/// Names of a run's resources.
pub(in crate::backend) mod names {
    use crate::backend::Node;

    /// Returns the name of a node's container.
    pub(crate) fn node(run_id: &str, node: Node) -> String {
        format!("testbed-{run_id}-{node}")
    }

    /// Returns the name of the network.
    pub(crate) fn network(run_id: &str) -> String {
        format!("testbed-{run_id}")
    }

    /// Returns the name of the hub's container in a Swarm.
    pub(crate) fn hub(run_id: &str) -> String {
        format!("testbed-{run_id}-hub")
    }

    /// Returns the name of the service whose tasks are the clients.
    pub(crate) fn clients(run_id: &str) -> String {
        format!("testbed-{run_id}-clients")
    }
}

/// Returns the labels of all resources of a run.
pub(in crate::backend) fn labels(spec: &EnvironmentSpec) -> HashMap<String, String> {
    HashMap::from([
        (RUN_LABEL.to_owned(), spec.run_id.clone()),
        (HOST_LABEL.to_owned(), spec.host.clone()),
        (LOCK_DIR_LABEL.to_owned(), spec.lock_dir.display().to_string()),
    ])
}

/// Returns the specification of the run's network on one Docker host.
pub(super) fn network_request(spec: &EnvironmentSpec, kind: NetworkKind) -> NetworkCreateRequest {
    let (driver, subnet) = match kind {
        NetworkKind::Closed | NetworkKind::Open => ("bridge", None),
        NetworkKind::Overlay { subnet } => ("overlay", subnet),
    };
    let ipam = subnet.map(|subnet| Ipam {
        config: Some(vec![IpamConfig { subnet: Some(subnet.to_owned()), ..IpamConfig::default() }]),
        ..Ipam::default()
    });
    NetworkCreateRequest {
        name: names::network(&spec.run_id),
        driver: Some(driver.to_owned()),
        internal: Some(kind != NetworkKind::Open),
        // Otherwise only services could use the network.
        attachable: matches!(kind, NetworkKind::Overlay { .. }).then_some(true),
        ipam,
        labels: Some(labels(spec)),
        ..NetworkCreateRequest::default()
    }
}

/// Returns the specification of a node's container.
pub(super) fn description(
    node: Node,
    spec: &EnvironmentSpec,
    sysctls: BTreeMap<String, String>,
) -> ContainerCreateBody {
    let [server_image, client_image] = IMAGES;
    let image = match node {
        Node::Server => server_image,
        Node::Client(_) => client_image,
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some(node.to_string()),
        // Root: the emulators need it, and the probe needs a raw socket. The container exists only during the run.
        user: Some("0:0".to_owned()),
        // Programs start in the node by exec.
        entrypoint: Some(vec!["sleep".to_owned()]),
        cmd: Some(vec!["infinity".to_owned()]),
        // Created by the daemon when the container starts.
        working_dir: Some(WORK_DIR.to_owned()),
        // The image's health check expects the shop as the main program.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(labels(spec)),
        host_config: Some(host_config(node, spec, sysctls)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(node: Node, spec: &EnvironmentSpec, sysctls: BTreeMap<String, String>) -> HostConfig {
    let sysctls = sysctls.into_iter().map(|(name, value)| (format!("net.{name}"), value)).collect();
    let shared = HostConfig {
        network_mode: Some(names::network(&spec.run_id)),
        // The init process reaps orphans: no program does.
        init: Some(true),
        sysctls: Some(sysctls),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
        memory: Some(MAX_MEMORY_BYTES),
        pids_limit: Some(MAX_PROCESSES),
        ..HostConfig::default()
    };
    match node {
        Node::Client(_) => HostConfig { cap_add: Some(capabilities(&CLIENT_CAPABILITIES)), ..shared },
        Node::Server => HostConfig {
            tmpfs: (spec.storage == Storage::Memory).then(|| HashMap::from([(memory_directory(), String::new())])),
            cap_add: Some(capabilities(&SERVER_CAPABILITIES)),
            devices: Some(vec![DeviceMapping {
                path_on_host: Some(TUN.to_owned()),
                path_in_container: Some(TUN.to_owned()),
                cgroup_permissions: Some("rwm".to_owned()),
            }]),
            ..shared
        },
    }
}

/// Returns the path of the tmpfs in the server's container.
fn memory_directory() -> String {
    format!("{WORK_DIR}/{MEMORY_DIRECTORY}")
}

/// Converts capabilities to the type of Docker's API.
pub(in crate::backend) fn capabilities(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Returns the specification of a container that is not a node.
pub(super) fn helper(spec: &EnvironmentSpec) -> ContainerCreateBody {
    let mut body = description(Node::Client(0), spec, BTreeMap::new());
    body.hostname = None;
    if let Some(host) = &mut body.host_config {
        host.cap_add = None;
    }
    body
}

/// Publishes the server's ports as the ports of `shop`.
pub(super) fn publish(body: &mut ContainerCreateBody, shop: &ShopAddress) {
    let ports = [
        (format!("{}/tcp", limits::ACCOUNTS_PORT), Some(shop.accounts_port)),
        (format!("{}/tcp", limits::SHOP_PORT), Some(shop.shop_port)),
        (format!("{}/udp", limits::ECHO_PORT), shop.echo_port),
    ];
    let published = ports.into_iter().filter_map(|(inside, outside)| {
        let outside = outside.map(|port| port.to_string());
        outside.map(|port| (inside, Some(vec![PortBinding { host_ip: None, host_port: Some(port) }])))
    });
    let bindings: HashMap<_, _> = published.collect();
    body.exposed_ports = Some(bindings.keys().cloned().collect());
    if let Some(host) = &mut body.host_config {
        host.port_bindings = Some(bindings);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    pub(in crate::backend) fn spec() -> EnvironmentSpec {
        EnvironmentSpec {
            run_id: "r1".to_owned(),
            host: "h".to_owned(),
            lock_dir: "/tmp/f".into(),
            logs: "/tmp/l".into(),
            stop: CancellationToken::new(),
            clients: 2,
            storage: Storage::Memory,
            sysctls: [("ipv4.tcp_no_metrics_save".to_owned(), "1".to_owned())].into(),
            optional_sysctls: [("ipv4.tcp_syn_linear_timeouts".to_owned(), "0".to_owned())].into(),
        }
    }

    fn described(node: Node) -> ContainerCreateBody {
        description(node, &spec(), spec().sysctls)
    }

    #[test]
    fn only_the_server_may_change_its_network_and_nothing_but_nodes_may_send_raw_packets() {
        let caps = |body: ContainerCreateBody| body.host_config.and_then(|host| host.cap_add);
        assert_eq!(caps(described(Node::Server)), Some(capabilities(&["NET_ADMIN", "NET_RAW", "SYS_NICE"])));
        assert_eq!(caps(described(Node::Client(1))), Some(capabilities(&["NET_RAW"])));
        assert_eq!(caps(helper(&spec())), None);
    }

    #[test]
    fn only_the_server_has_a_tmpfs_and_only_for_storage_in_memory() {
        let tmpfs = |node, storage| {
            let body = description(node, &EnvironmentSpec { storage, ..spec() }, BTreeMap::new());
            body.host_config.and_then(|host| host.tmpfs).map(|tmpfs| tmpfs.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(tmpfs(Node::Server, Storage::Memory), Some(vec!["/testbed/memory".to_owned()]));
        assert_eq!(tmpfs(Node::Server, Storage::Disk), None);
        assert_eq!(tmpfs(Node::Client(1), Storage::Memory), None);
    }

    #[test]
    fn every_container_has_the_labels_and_settings_of_its_run() {
        for node in spec().nodes() {
            let body = described(node);
            let labels = body.labels.unwrap();
            assert_eq!([&labels[RUN_LABEL], &labels[HOST_LABEL], &labels[LOCK_DIR_LABEL]], ["r1", "h", "/tmp/f"]);
            let host = body.host_config.unwrap();
            assert_eq!(
                (host.init, &host.sysctls.unwrap()["net.ipv4.tcp_no_metrics_save"]),
                (Some(true), &"1".to_owned())
            );
            assert!(names::node("r1", node).contains("r1"));
        }
    }

    #[test]
    fn the_servers_three_ports_are_published_under_the_chosen_ones() {
        let mut body = described(Node::Server);
        publish(&mut body, &ShopAddress::published("192.0.2.1", 7000).unwrap());
        let bindings = body.host_config.unwrap().port_bindings.unwrap();
        for (inside, outside) in [("5000/tcp", "7000"), ("5001/tcp", "7001"), ("5002/udp", "7002")] {
            let binding = &bindings[inside].as_ref().unwrap()[0];
            assert_eq!(binding.host_port.as_deref(), Some(outside), "{inside}");
        }
    }

    #[test]
    fn compose_and_dockerfile_have_the_same_base_images() {
        let compose = include_str!("../../../../compose.yaml");
        let defaults =
            include_str!("../../../../docker/Dockerfile").lines().filter_map(|line| line.strip_prefix("ARG "));
        let images = defaults.filter_map(|line| line.split_once("_IMAGE=")).collect::<Vec<_>>();
        assert_eq!(images.len(), 2);
        for (name, image) in images {
            let argument = format!("{name}_IMAGE: ${{TESTBED_{name}_IMAGE:-{image}}}\n");
            assert!(compose.contains(&argument), "compose.yaml lacks {argument}");
        }
    }
}
