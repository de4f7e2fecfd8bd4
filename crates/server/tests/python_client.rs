//! The Python client in `docs/protocol.md`, against the real server. Needs python3.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests and their helpers")]

#[path = "suite/support.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod support;

use std::path::Path;
use std::process::{Command, ExitCode};

use protocol::limits;
use support::Server;
use test_support::{requirements, run, test};

fn main() -> ExitCode {
    run(1, [test!(the_python_client_works).needs(&[|| requirements::program("python3", &["--version"], "python3")])])
}

/// Returns the first fenced block of Python in `docs/protocol.md`.
fn client_on_the_page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, rest) = page.split_once("```python\n").expect("docs/protocol.md has a Python example");
    rest.split_once("```").unwrap().0.to_owned()
}

fn the_python_client_works() {
    let server = Server::start(&["--catalogue-stock", "10"]);
    let on_port = |text: &str, default: u16, actual: std::net::SocketAddr| {
        let changed = text.replace(&format!("\"127.0.0.1\", {default}"), &format!("\"127.0.0.1\", {}", actual.port()));
        assert_ne!(changed, text, "the example does not connect to port {default}");
        changed
    };
    let client = on_port(&client_on_the_page(), limits::ACCOUNTS_PORT, server.accounts);
    let client = on_port(&client, limits::SHOP_PORT, server.shop);
    let output = Command::new("python3").arg("-c").arg(client).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "order 1 costs 2998 cents\n");
    assert_eq!(server.check()["units_sold"], 2);
}
