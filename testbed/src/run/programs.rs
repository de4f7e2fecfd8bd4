//! Checks that the programs in the nodes are of the driver's build: an image may contain an older one.

use crate::backend::docker::other_build;
use crate::backend::{Backend, Node, NodeCommand};
use crate::program::Program;

/// A program in a node, and the version it printed.
type PrintedVersion = (Node, Program, String);

/// Runs `--version` of all programs that a run uses, in the server's node and in one client's node on each host that
/// may have a different image. Returns their common version.
///
/// # Errors
/// When a program does not run, was built from other sources than this driver, or has another optimisation level than
/// the others.
pub(super) async fn check(backend: &dyn Backend, has_server: bool) -> anyhow::Result<String> {
    let mut versions = Vec::new();
    for (node, program) in used(has_server, &backend.clients_by_host()) {
        let command = NodeCommand::program(program, ["--version"]);
        let printed = backend.exec(node, &command).await?.success(&command)?.stdout;
        versions.push((node, program, printed.trim().to_owned()));
    }
    common_version(&versions)
}

fn used(has_server: bool, clients: &[Node]) -> Vec<(Node, Program)> {
    let on_server = [Program::ShopServer, Program::Shaper].map(|program| (Node::Server, program));
    let on_clients = clients.iter().map(|node| (*node, Program::ShopClient));
    on_server.into_iter().filter(|_| has_server).chain(on_clients).collect()
}

fn common_version(versions: &[PrintedVersion]) -> anyhow::Result<String> {
    let mut common: Option<&str> = None;
    for (node, program, printed) in versions {
        let version = printed.strip_prefix(program.name()).unwrap_or(printed).trim_start();
        let expected = common.unwrap_or(protocol::VERSION);
        if !protocol::is_same_build(version) || common.is_some_and(|common| common != version) {
            return Err(other_build(&node.to_string(), printed, &format!("{} {expected}", program.name())));
        }
        common = Some(version);
    }
    Ok(common.unwrap_or(protocol::VERSION).to_owned())
}

/// Returns a note for the manifest if the programs were compiled without optimisation.
pub(super) fn unoptimised(version: &str) -> Option<&'static str> {
    version.contains("opt-level 0").then_some(
        "the programs in the nodes were compiled without optimisation (opt-level 0): latencies are higher \
         than with a release build; use `cargo run --release` or the images",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the version of this build at an optimisation level.
    fn version(level: &str) -> String {
        let (build, _) = protocol::VERSION.rsplit_once(' ').unwrap();
        format!("{build} {level})")
    }

    fn versions(server: &str, shaper: &str, client: &str) -> Vec<PrintedVersion> {
        vec![
            (Node::Server, Program::ShopServer, format!("shop-server {server}")),
            (Node::Server, Program::Shaper, format!("shaper {shaper}")),
            (Node::Client(1), Program::ShopClient, format!("shop-client {client}")),
        ]
    }

    #[test]
    fn the_shop_the_shaper_and_a_client_of_each_host_are_checked() {
        let clients = [Node::Client(1), Node::Client(2)];
        let on_clients = clients.map(|node| (node, Program::ShopClient));
        let on_server = [(Node::Server, Program::ShopServer), (Node::Server, Program::Shaper)];
        assert_eq!(used(true, &clients), [&on_server[..], &on_clients].concat());
        assert_eq!(used(false, &clients), on_clients);
    }

    #[test]
    fn programs_of_this_build_are_accepted_at_any_common_optimisation_level() {
        for level in ["0", "3"] {
            let build = version(level);
            assert_eq!(common_version(&versions(&build, &build, &build)).unwrap(), build);
        }
        assert_eq!(common_version(&[]).unwrap(), protocol::VERSION);
    }

    #[test]
    fn a_program_of_another_build_is_refused_and_named() {
        let (here, other) = (version("3"), version("3").replace("(build ", "(build f"));
        for (versions, named) in [
            (versions(&other, &here, &here), "server: image built from other sources: got 'shop-server "),
            (versions(&here, &other, &here), "server: image built from other sources: got 'shaper "),
            (versions(&here, &here, &other), "client-1: image built from other sources: got 'shop-client "),
            (versions(&here, "0.1.0", &here), "got 'shaper 0.1.0', expected 'shaper "),
            (versions(&here, &version("0"), &here), "opt-level 0)', expected 'shaper "),
        ] {
            let error = common_version(&versions).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn only_programs_without_optimisation_are_noted() {
        assert!(unoptimised(&version("0")).is_some());
        assert!(unoptimised(&version("3")).is_none());
    }
}
