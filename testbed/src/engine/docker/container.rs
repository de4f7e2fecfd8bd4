//! What a node looks like as a container. Pure.

use std::collections::HashMap;

use bollard::models::{ContainerCreateBody, DeviceMapping, HealthConfig, HostConfig};

use super::{FOLDER_LABEL, HOST_LABEL, IMAGES, RUN_LABEL};
use crate::engine::{LabPlan, Node};

/// The container's name.
pub(super) fn name(run_id: &str, node: Node) -> String {
    format!("testbed-{run_id}-{node}")
}

/// The name of the run's network.
pub(super) fn network(run_id: &str) -> String {
    format!("testbed-{run_id}")
}

/// What everything of a run is labelled with.
pub(super) fn labels(plan: &LabPlan) -> HashMap<String, String> {
    HashMap::from([
        (RUN_LABEL.to_owned(), plan.run_id.clone()),
        (HOST_LABEL.to_owned(), plan.host.clone()),
        (FOLDER_LABEL.to_owned(), plan.folder.display().to_string()),
    ])
}

/// What to create for a node.
pub(super) fn description(node: Node, plan: &LabPlan) -> ContainerCreateBody {
    let [server_image, client_image] = IMAGES;
    let (image, idle): (&str, &[&str]) = match node {
        Node::Server => (server_image, &["sleep", "infinity"]),
        Node::Client(_) => (client_image, &["shop-client", "idle"]),
    };
    let idle: Vec<String> = idle.iter().map(ToString::to_string).collect();
    ContainerCreateBody {
        image: Some(image.to_owned()),
        hostname: Some(node.to_string()),
        // A throw-away node: the emulators need root, and the probe a raw socket.
        user: Some("0:0".to_owned()),
        entrypoint: Some(idle),
        cmd: Some(Vec::new()),
        // The image's check expects the shop as the container's main program.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(labels(plan)),
        host_config: Some(host_config(node, plan)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(node: Node, plan: &LabPlan) -> HostConfig {
    let sysctls = plan.sysctls.iter().map(|(name, value)| (format!("net.{name}"), value.clone())).collect();
    let shared = HostConfig {
        network_mode: Some(network(&plan.run_id)),
        init: Some(true),
        sysctls: Some(sysctls),
        ..HostConfig::default()
    };
    match node {
        Node::Client(_) => shared,
        Node::Server => HostConfig {
            // SYS_NICE lets the shaper's packet thread run ahead of busy programs, so that packets leave on time.
            cap_add: Some(vec!["NET_ADMIN".to_owned(), "SYS_NICE".to_owned()]),
            devices: Some(vec![DeviceMapping {
                path_on_host: Some("/dev/net/tun".to_owned()),
                path_in_container: Some("/dev/net/tun".to_owned()),
                cgroup_permissions: Some("rwm".to_owned()),
            }]),
            ..shared
        },
    }
}

/// A tar archive with an empty folder, to be unpacked at the root.
pub(super) fn folder_archive(folder: &str) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o700);
    header.set_size(0);
    archive.append_data(&mut header, folder.trim_start_matches('/'), std::io::empty())?;
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> LabPlan {
        let sysctls = [("ipv4.tcp_no_metrics_save".to_owned(), "1".to_owned())].into();
        LabPlan { run_id: "r1".to_owned(), host: "h".to_owned(), folder: "/tmp/f".into(), clients: 2, sysctls }
    }

    #[test]
    fn only_the_server_may_change_its_network() {
        let caps = |node| description(node, &plan()).host_config.and_then(|host| host.cap_add);
        assert_eq!(caps(Node::Server), Some(vec!["NET_ADMIN".to_owned(), "SYS_NICE".to_owned()]));
        assert_eq!(caps(Node::Client(1)), None);
    }

    #[test]
    fn every_container_carries_the_runs_id_and_its_settings() {
        for node in plan().nodes() {
            let body = description(node, &plan());
            let labels = body.labels.unwrap();
            assert_eq!([&labels[RUN_LABEL], &labels[HOST_LABEL], &labels[FOLDER_LABEL]], ["r1", "h", "/tmp/f"]);
            assert_eq!(body.host_config.unwrap().sysctls.unwrap()["net.ipv4.tcp_no_metrics_save"], "1");
            assert!(name("r1", node).contains("r1"));
        }
    }
}
