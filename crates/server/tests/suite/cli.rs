//! The program: help, environment variables, the administrator's password, check, ready, and error messages.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Client, Server, check, order, program};

fn serve(directory: &Path) -> Command {
    let mut command = program();
    command.args(["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"]);
    command.args(["--password-memory-kib", "8", "--database"]).arg(directory.join("shop.db"));
    command
}

/// Runs a server until it is ready. Returns whether a login as administrator succeeded, and stderr.
fn start_and_log_in(mut command: Command, username: &str, password: impl Fn(&str) -> String) -> (bool, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap_or_default();
    let mut login = None;
    // The first lines contain the password; the rest is read after the process has ended.
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    if let Some(accounts) = ready["accounts"].as_str() {
        while !stderr.contains(" ready ") {
            assert!(reader.read_line(&mut stderr).unwrap() > 0, "{stderr}");
        }
        let request = json!({"command": "login", "username": username, "password": password(&stderr)});
        login = Some(Client::connect(accounts.parse().unwrap()).call(request));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::io::Read::read_to_string(&mut reader, &mut stderr).unwrap();
    (login.is_some_and(|login| login["result"]["admin"] == true), stderr)
}

#[test]
fn a_generated_password_is_shown_once() {
    let directory = tempfile::tempdir().unwrap();
    let shown = |stderr: &str| {
        let (_, rest) = stderr.split_once("with the password ").unwrap_or_default();
        rest.lines().next().unwrap_or_default().to_owned()
    };
    let (logged_in, stderr) = start_and_log_in(serve(directory.path()), "admin", shown);
    assert!(logged_in && shown(&stderr).len() == 32, "{stderr}");
    let password = shown(&stderr);
    let (logged_in, stderr) = start_and_log_in(serve(directory.path()), "admin", |_| password.clone());
    assert!(logged_in && !stderr.contains("password"), "{stderr}");
}

#[test]
fn the_administrators_password_comes_from_the_environment_or_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = serve(directory.path());
    command.env("SHOP_ADMIN_PASSWORD", "from-environment").args(["--admin-username", "boss"]);
    let (logged_in, stderr) = start_and_log_in(command, "boss", |_| "from-environment".into());
    assert!(logged_in && !stderr.contains("password"), "{stderr}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "from a file\n").unwrap();
    let mut command = serve(directory.path());
    command.env("SHOP_ADMIN_PASSWORD_FILE", &file);
    let (logged_in, stderr) = start_and_log_in(command, "admin", |_| "from a file".into());
    assert!(logged_in && !stderr.contains("password"), "{stderr}");
}

fn failure(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stdout), "", "{command:?}");
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn errors_at_the_start_are_reported_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let with = |arguments: &[&str]| {
        let mut command = program();
        command.args(["--database"]).arg(directory.path().join("shop.db")).args(arguments);
        command
    };
    let mut both = with(&["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"]);
    both.env("SHOP_ADMIN_PASSWORD", "password-1").env("SHOP_ADMIN_PASSWORD_FILE", "x");
    let mut short = serve(directory.path());
    short.env("SHOP_ADMIN_PASSWORD", "short");
    let mut no_directory = program();
    no_directory.args(["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"]);
    no_directory.arg("--database").arg(directory.path().join("nowhere/shop.db"));
    for (command, code, part) in [
        (
            with(&["--accounts-listen", &taken.to_string()]),
            1,
            format!("{taken}: Address already in use (os error 98): another program"),
        ),
        (with(&["--idle-timeout", "5"]), 2, "30s".into()),
        (with(&["--password-memory-kib", "3"]), 2, "expected 8 to 4194304".into()),
        (with(&["--password-memory-kib", "8", "--password-parallelism", "2"]), 1, "8 KiB".into()),
        (with(&["--log", "=="]), 1, "--log".into()),
        (with(&["--log", "inof"]), 1, "invalid --log 'inof': expected one of the levels off, error".into()),
        (with(&["--accounts-listen", "203.0.113.9:0"]), 1, "no interface of this host has the address".into()),
        (with(&["--max-connections", "0"]), 2, "expected a whole number of at least 1".into()),
        (with(&["--colour", "red"]), 2, "--colour".into()),
        (with(&["--password-workers", "0"]), 2, "password-workers".into()),
        (both, 1, "set twice".into()),
        (short, 1, "8 to 1024".into()),
        (no_directory, 1, "nowhere".into()),
    ] {
        let shown = format!("{command:?}");
        let (status, stderr) = failure(command);
        assert!(status == Some(code) && stderr.contains(&part), "{shown}: {status:?} {stderr}");
    }
    drop(holder);
}

#[test]
fn a_database_of_another_program_or_a_newer_version_is_rejected() {
    let server = Server::start(&[]);
    let directory = server.directory();
    server.customer("ann");
    drop(server);
    let mut command = serve(directory.path());
    command.args(["--admin-username", "ann"]);
    assert!(failure(command).1.contains("'ann' exists and is not an administrator"));
    Connection::open(directory.path().join("shop.db")).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let (status, stderr) = failure(serve(directory.path()));
    assert!(status == Some(1) && stderr.contains("version 2") && stderr.contains("newer shop-server"), "{stderr}");
    fs::write(directory.path().join("shop.db"), "These are notes, not a database, despite the name. ".repeat(50))
        .unwrap();
    let (status, stderr) = failure(serve(directory.path()));
    assert!(status == Some(1) && stderr.contains("shop.db"), "{stderr}");
}

#[test]
fn help_shows_settings_with_defaults_and_environment_variables() {
    let output = program().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for part in [
        "0.0.0.0:5000",
        "0.0.0.0:5001",
        "shop.db",
        "19456",
        "SHOP_DATABASE",
        "SHOP_ADMIN_PASSWORD",
        "--durability",
        "SHOP_MAX_BATCH",
        "--shutdown-grace",
        "check",
        "ready",
    ] {
        assert!(help.contains(part), "{part} is missing:\n{help}");
    }
    assert!(program().arg("--version").output().unwrap().status.success());
}

#[test]
fn environment_variables_are_read_with_and_without_a_subcommand() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("other.db");
    let mut command = program();
    command.env("SHOP_DATABASE", &database).env("SHOP_ACCOUNTS_LISTEN", "127.0.0.1:0");
    command.env("SHOP_SHOP_LISTEN", "127.0.0.1:0").env("SHOP_CATALOGUE", "none").env("SHOP_PASSWORD_MEMORY_KIB", "8");
    command.env("SHOP_ADMIN_PASSWORD", "password-1").arg("serve");
    assert!(start_and_log_in(command, "admin", |_| "password-1".into()).0);
    let output = program().env("SHOP_DATABASE", &database).arg("check").output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["products"], &report["users"]), (&json!(0), &json!(1)));
}

#[test]
fn the_check_works_on_a_running_server_and_detects_tampering() {
    let server = Server::start(&[]);
    let token = server.customer("ann");
    server.on_shop().ok(order(&token, 1, 3));
    let report = server.check();
    assert_eq!(
        report,
        json!({"products": 60, "units_added": 6_000_000, "units_in_stock": 5_999_997, "units_sold": 3, "units_ordered": 3, "orders": 1,
               "users": 2, "consistent": true})
    );
    let database = Connection::open(server.database()).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    for (tamper, undo) in [
        ("UPDATE products SET stock = stock - 1 WHERE id = 7", "UPDATE products SET stock = stock + 1 WHERE id = 7"),
        ("UPDATE order_items SET quantity = 4", "UPDATE order_items SET quantity = 3"),
        ("UPDATE orders SET total_cents = total_cents + 1", "UPDATE orders SET total_cents = total_cents - 1"),
        // The sums agree, the products do not.
        (
            "UPDATE products SET stock = stock + CASE id WHEN 7 THEN -1 WHEN 1 THEN 1 ELSE 0 END",
            "UPDATE products SET stock = stock - CASE id WHEN 7 THEN -1 WHEN 1 THEN 1 ELSE 0 END",
        ),
    ] {
        database.execute_batch(tamper).unwrap();
        assert_eq!(server.check()["consistent"], false, "{tamper}");
        database.execute_batch(undo).unwrap();
        assert_eq!(server.check()["consistent"], true, "{undo}");
    }
    let directory = server.directory();
    drop(server);
    assert_eq!(check(&directory.path().join("shop.db"))["consistent"], true);
    let mut absent = program();
    absent.args(["check", "--database"]).arg(directory.path().join("absent.db"));
    let (status, stderr) = failure(absent);
    assert!(
        status == Some(1) && stderr.contains("absent.db") && !directory.path().join("absent.db").exists(),
        "{stderr}"
    );
}

#[test]
fn ready_fails_without_a_shop_and_with_another_server() {
    let server = Server::start(&[]);
    let ready = |address: &str, timeout: &str| {
        program().args(["ready", "--address", address, "--timeout", timeout]).output().unwrap().status.code()
    };
    assert_eq!(ready(&server.shop.to_string(), "1m"), Some(0));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    let (_reserved, closed) = closed_port();
    for address in [server.accounts.to_string(), silent_address, closed, "nonsense".to_owned()] {
        assert_eq!(ready(&address, "100ms"), Some(1), "{address}");
    }
}

/// Returns the address of a closed port, which is reserved until the socket is closed.
fn closed_port() -> (OwnedFd, String) {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let address = getsockname::<SockaddrIn>(socket.as_raw_fd()).unwrap().to_string();
    (socket, address)
}
