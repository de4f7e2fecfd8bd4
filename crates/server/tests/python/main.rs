//! Two clients in Python against the real server: the one in `docs/protocol.md`, and one that checks the server against
//! that page. Need python3.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "tests and their helpers")]

#[path = "../suite/support.rs"]
#[allow(dead_code, reason = "the suite uses the rest")]
mod support;

use std::path::Path;
use std::process::{Command, ExitCode};

use protocol::limits;
use support::Server;
use test_support::{requirements, run, test};

fn main() -> ExitCode {
    let python: fn() -> Result<(), String> = || requirements::program("python3", &["--version"], "python3");
    run(
        2,
        [test!(the_client_on_the_page_works).needs(&[python]), test!(the_server_conforms_to_the_page).needs(&[python])],
    )
}

/// Returns the first fenced block of Python in `docs/protocol.md`.
fn client_on_the_page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protocol.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, rest) = page.split_once("```python\n").expect("docs/protocol.md has a Python example");
    rest.split_once("```").unwrap().0.to_owned()
}

fn the_client_on_the_page_works() {
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

fn the_server_conforms_to_the_page() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/conformance.py");
    let output = Command::new("python3").arg(script).arg(env!("CARGO_BIN_EXE_shop-server")).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}");
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    assert!(report.trim_end().ends_with(" checks, 0 failed"), "{report}");
}
