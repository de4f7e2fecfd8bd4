//! The service whose tasks are the clients.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bollard::Docker;
use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, HealthConfig, Limit, NetworkAttachmentConfig, Service, ServiceSpec,
    ServiceSpecMode, ServiceSpecModeReplicated, Task, TaskSpec, TaskSpecContainerSpec, TaskSpecContainerSpecPrivileges,
    TaskSpecResources, TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum, TaskState,
};
use bollard::query_parameters::{InspectServiceOptions, ListNodesOptions, ListTasksOptions, UpdateServiceOptions};
use serde_json::{Value, json};

use crate::backend::EnvironmentSpec;
use crate::backend::docker::{
    CLIENT_CAPABILITIES, IMAGES, MAX_MEMORY_BYTES, MAX_PROCESSES, WORK_DIR, capabilities, is_missing, labels, names,
};

/// Timeout for tasks to end. A task on a lost host never ends.
const END_TIMEOUT: Duration = Duration::from_secs(40);
/// Interval between two queries of tasks.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Environment variable with the secret that hub and agents share.
pub(super) const TOKEN: &str = "TESTBED_TOKEN";

/// Returns the specification of the service. Swarm fills in the agents' settings for each task.
pub(super) fn description(
    spec: &EnvironmentSpec,
    sysctls: &BTreeMap<String, String>,
    hub: SocketAddrV4,
    token: &str,
) -> ServiceSpec {
    let network =
        NetworkAttachmentConfig { target: Some(names::network(&spec.run_id)), ..NetworkAttachmentConfig::default() };
    let restart = TaskSpecRestartPolicy {
        condition: Some(TaskSpecRestartPolicyConditionEnum::ANY),
        delay: Some(0),
        ..TaskSpecRestartPolicy::default()
    };
    let limits = Limit { memory_bytes: Some(MAX_MEMORY_BYTES), pids: Some(MAX_PROCESSES), ..Limit::default() };
    ServiceSpec {
        name: Some(names::clients(&spec.run_id)),
        labels: Some(labels(spec)),
        task_template: Some(TaskSpec {
            container_spec: Some(container(spec, sysctls, hub, token)),
            networks: Some(vec![network]),
            restart_policy: Some(restart),
            resources: Some(TaskSpecResources { limits: Some(limits), ..TaskSpecResources::default() }),
            ..TaskSpec::default()
        }),
        mode: Some(replicas(spec.clients)),
        // Virtual addresses need IPVS, which some kernels lack, and the service is not addressed by name.
        endpoint_spec: Some(EndpointSpec { mode: Some(EndpointSpecModeEnum::DNSRR), ports: None }),
        ..ServiceSpec::default()
    }
}

fn container(
    spec: &EnvironmentSpec,
    sysctls: &BTreeMap<String, String>,
    hub: SocketAddrV4,
    token: &str,
) -> TaskSpecContainerSpec {
    let [_, client_image] = IMAGES;
    let hub = hub.to_string();
    let environment = [
        ("TESTBED_HUB", hub.as_str()),
        ("TESTBED_AGENT_ID", "{{.Task.Slot}}"),
        ("TESTBED_AGENT_HOST", "{{.Node.Hostname}}"),
        ("TESTBED_AGENT_WORK_DIR", WORK_DIR),
        (TOKEN, token),
    ];
    TaskSpecContainerSpec {
        image: Some(client_image.to_owned()),
        labels: Some(labels(spec)),
        command: Some(vec!["testbed-agent".to_owned(), "serve".to_owned()]),
        env: Some(environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        dir: Some(WORK_DIR.to_owned()),
        // Root: the probe needs a raw socket. The container exists only during the run.
        user: Some("0:0".to_owned()),
        // As in `host_config` of `docker/specs.rs`: the agent does not reap orphans.
        init: Some(true),
        stop_grace_period: Some(0),
        sysctls: Some(sysctls.iter().map(|(name, value)| (format!("net.{name}"), value.clone())).collect()),
        capability_drop: Some(capabilities(&["ALL"])),
        capability_add: Some(capabilities(&CLIENT_CAPABILITIES)),
        // Docker 20.10 ignores this option, which its Swarm does not have.
        privileges: Some(TaskSpecContainerSpecPrivileges { no_new_privileges: Some(true), ..Default::default() }),
        health_check: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        ..TaskSpecContainerSpec::default()
    }
}

async fn tasks(docker: &Docker, service: &str) -> anyhow::Result<Vec<Task>> {
    let filters = HashMap::from([("service".to_owned(), vec![service.to_owned()])]);
    let options = ListTasksOptions { filters: Some(filters) };
    docker.list_tasks(Some(options)).await.context("listing the service's tasks")
}

/// Returns the error message of a task that does not run.
fn error_message(task: &Task) -> Option<&str> {
    let status = task.status.as_ref()?;
    let failed = matches!(status.state, Some(TaskState::FAILED | TaskState::REJECTED));
    status.err.as_deref().filter(|message| failed && !message.is_empty())
}

/// Checks for tasks that failed to start.
///
/// # Errors
/// The message of the first failed task.
pub(super) async fn check(docker: &Docker, service: &str) -> anyhow::Result<()> {
    match tasks(docker, service).await?.iter().find_map(error_message) {
        None => Ok(()),
        Some(message) => bail!("a client's task does not start: {message}"),
    }
}

/// Returns the number of tasks in each state, as text.
pub(super) async fn states(docker: &Docker, service: &str) -> anyhow::Result<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for task in tasks(docker, service).await? {
        let status = task.status.unwrap_or_default();
        let state = status.state.map_or_else(|| "unknown".to_owned(), |state| state.to_string());
        let message = status.err.or(status.message).unwrap_or_default();
        *counts.entry(format!("{state} ({message})")).or_default() += 1;
    }
    Ok(counts.into_iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "))
}

/// Removes the service after its tasks have ended on all hosts: tasks of a removed service are not listed, although
/// they may still run.
pub(super) async fn remove(docker: &Docker, name: &str) -> anyhow::Result<()> {
    let what = || format!("removing the service {name}");
    let service = match docker.inspect_service(name, None::<InspectServiceOptions>).await {
        Err(error) if is_missing(&error) => return Ok(()),
        service => service.with_context(what)?,
    };
    // The service is removed even if its tasks did not end.
    let ended = end_tasks(docker, name, service).await;
    docker.delete_service(name).await.with_context(what)?;
    tracing::debug!("removed service {name}");
    ended.with_context(|| format!("ending the tasks of the service {name}"))
}

async fn end_tasks(docker: &Docker, name: &str, service: Service) -> anyhow::Result<()> {
    let mut spec = service.spec.unwrap_or_default();
    spec.mode = Some(replicas(0));
    let version = service.version.and_then(|version| version.index).context("the service has no version")?;
    let options = UpdateServiceOptions { version: version.try_into()?, ..Default::default() };
    docker.update_service(name, spec, options, None).await?;
    let deadline = Instant::now() + END_TIMEOUT;
    while Instant::now() < deadline && !tasks(docker, name).await?.is_empty() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

fn replicas(count: u32) -> ServiceSpecMode {
    let replicated = ServiceSpecModeReplicated { replicas: Some(i64::from(count)) };
    ServiceSpecMode { replicated: Some(replicated), ..ServiceSpecMode::default() }
}

/// Returns the hosts of the Swarm for the manifest.
pub(super) async fn hosts(docker: &Docker) -> anyhow::Result<Value> {
    let nodes = docker.list_nodes(None::<ListNodesOptions>).await.context("listing the Swarm's hosts")?;
    let hosts: Vec<Value> = nodes
        .into_iter()
        .map(|node| {
            let description = node.description.unwrap_or_default();
            json!({
                "host": description.hostname,
                "engine": description.engine.and_then(|engine| engine.engine_version),
                "nano_cpus": description.resources.as_ref().and_then(|resources| resources.nano_cpus),
                "memory_bytes": description.resources.and_then(|resources| resources.memory_bytes),
                "role": node.spec.and_then(|spec| spec.role),
                "state": node.status.and_then(|status| status.state),
            })
        })
        .collect();
    Ok(Value::Array(hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_gets_its_number_and_reports_its_host() {
        let spec = crate::backend::docker::tests::spec();
        let service = description(&spec, &spec.sysctls, "10.0.1.2:7700".parse().unwrap(), "secret");
        let task = service.task_template.unwrap().container_spec.unwrap();
        assert_eq!(task.init, Some(true));
        let environment = task.env.unwrap();
        for expected in
            ["TESTBED_AGENT_ID={{.Task.Slot}}", "TESTBED_AGENT_HOST={{.Node.Hostname}}", "TESTBED_TOKEN=secret"]
        {
            assert!(environment.iter().any(|variable| variable == expected), "{expected}: {environment:?}");
        }
        assert_eq!(service.mode.unwrap().replicated.unwrap().replicas, Some(2));
        assert_eq!(service.labels, Some(labels(&spec)));
    }
}
