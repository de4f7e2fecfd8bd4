//! Specification of an environment's nodes.

use crate::backend::EnvironmentSpec;
use crate::host_info;
use crate::run::coordinator::Coordinator;

/// Returns the specification of environment `number` (from 1), with the kernel settings that make hosts comparable.
pub(super) fn environment_spec(coordinator: &Coordinator<'_>, number: u32) -> EnvironmentSpec {
    let settings = [
        // Otherwise TCP reuses metrics of a peer (RTT, slow-start threshold) from the previous cell.
        ("ipv4.tcp_no_metrics_save", "1"),
        // Loose: the shaper sends packets through another interface than responses use; strict would drop them.
        ("ipv4.conf.all.rp_filter", "2"),
        // With a connection per request, a client would run out of ports within the minute of TIME_WAIT.
        ("ipv4.tcp_tw_reuse", "1"),
        ("ipv4.ip_local_port_range", "10000 65000"),
    ];
    // Not every kernel supports these two. Environments are IPv4 only, so IPv6 neighbour discovery would be noise.
    // Linux 6.5 and later retransmit SYNs after 1, 2, 3, 4 s instead of 1, 3, 7.
    let optional = [("ipv6.conf.all.disable_ipv6", "1"), ("ipv4.tcp_syn_linear_timeouts", "0")];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let request = coordinator.request;
    let (run_id, logs) = match number {
        1 => (request.run_id.clone(), coordinator.directory.logs()),
        _ => {
            let logs = coordinator.directory.logs().join(format!("environment-{number}"));
            (format!("{}-{number}", request.run_id), logs)
        }
    };
    EnvironmentSpec {
        run_id,
        host: host_info::name(),
        lock_dir: request.lock_dir.clone(),
        logs,
        stop: coordinator.stop.clone(),
        clients: request.scenario.clients.get(),
        storage: request.scenario.server.storage,
        sysctls: settings.map(owned).into(),
        optional_sysctls: optional.map(owned).into(),
    }
}
