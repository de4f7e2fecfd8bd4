//! The program's face: help, environment, the administrator's password, check, ready, and what it says when it fails.

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

fn serve(folder: &Path) -> Command {
    let mut command = program();
    command.args(["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"]);
    command.args(["--password-memory-kib", "8", "--database"]).arg(folder.join("shop.db"));
    command
}

/// Runs a server until it is ready, tries to log in as administrator, and gives what it said on stderr.
fn start_and_log_in(mut command: Command, username: &str, password: impl Fn(&str) -> String) -> (bool, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap_or_default();
    let mut login = None;
    // stderr is whole once the process has ended; until then the password is read out of its first lines.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    if let Some(accounts) = ready["accounts"].as_str() {
        while !said.contains(" ready ") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let request = json!({"command": "login", "username": username, "password": password(&said)});
        login = Some(Client::connect(accounts.parse().unwrap()).call(request));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    (login.is_some_and(|login| login["result"]["admin"] == true), said)
}

#[test]
fn an_invented_password_is_shown_once() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |said: &str| {
        let (_, rest) = said.split_once("with the password ").unwrap_or_default();
        rest.lines().next().unwrap_or_default().to_owned()
    };
    let (logged_in, said) = start_and_log_in(serve(folder.path()), "admin", shown);
    assert!(logged_in && shown(&said).len() == 32, "{said}");
    let password = shown(&said);
    let (logged_in, said) = start_and_log_in(serve(folder.path()), "admin", |_| password.clone());
    assert!(logged_in && !said.contains("password"), "{said}");
}

#[test]
fn the_administrators_password_comes_from_the_environment_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(folder.path());
    command.env("SHOP_ADMIN_PASSWORD", "from-environment").args(["--admin-username", "boss"]);
    let (logged_in, said) = start_and_log_in(command, "boss", |_| "from-environment".into());
    assert!(logged_in && !said.contains("password"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "from a file\n").unwrap();
    let mut command = serve(folder.path());
    command.env("SHOP_ADMIN_PASSWORD_FILE", &file);
    let (logged_in, said) = start_and_log_in(command, "admin", |_| "from a file".into());
    assert!(logged_in && !said.contains("password"), "{said}");
}

fn failure(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&stdout), "", "{command:?}");
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_keeps_it_from_starting_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let with = |arguments: &[&str]| {
        let mut command = program();
        command.args(["--database"]).arg(folder.path().join("shop.db")).args(arguments);
        command
    };
    let mut both = with(&["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"]);
    both.env("SHOP_ADMIN_PASSWORD", "password-1").env("SHOP_ADMIN_PASSWORD_FILE", "x");
    let mut short = serve(folder.path());
    short.env("SHOP_ADMIN_PASSWORD", "short");
    let mut no_folder = program();
    no_folder.args(["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"]);
    no_folder.arg("--database").arg(folder.path().join("nowhere/shop.db"));
    for (command, code, part) in [
        (with(&["--accounts-listen", &taken.to_string()]), 1, taken.to_string()),
        (with(&["--idle-timeout", "5"]), 2, "30s".into()),
        (with(&["--password-memory-kib", "3"]), 1, "3 KiB".into()),
        (with(&["--log", "=="]), 1, "--log".into()),
        (with(&["--colour", "red"]), 2, "--colour".into()),
        (with(&["--password-workers", "0"]), 2, "password-workers".into()),
        (both, 1, "set twice".into()),
        (short, 1, "8 to 1024".into()),
        (no_folder, 1, "nowhere".into()),
    ] {
        let shown = format!("{command:?}");
        let (status, said) = failure(command);
        assert!(status == Some(code) && said.contains(&part), "{shown}: {status:?} {said}");
    }
    drop(holder);
}

#[test]
fn a_database_that_is_not_ours_or_too_new_is_refused() {
    let server = Server::start(&[]);
    let folder = server.folder();
    server.customer("ann");
    drop(server);
    let mut command = serve(folder.path());
    command.args(["--admin-username", "ann"]);
    assert!(failure(command).1.contains("'ann' exists and is no administrator"));
    Connection::open(folder.path().join("shop.db")).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let (status, said) = failure(serve(folder.path()));
    assert!(status == Some(1) && said.contains("version 2") && said.contains("newer shop-server"), "{said}");
    fs::write(folder.path().join("shop.db"), "These are notes and no database, in spite of the name. ".repeat(50))
        .unwrap();
    let (status, said) = failure(serve(folder.path()));
    assert!(status == Some(1) && said.contains("shop.db"), "{said}");
}

#[test]
fn help_shows_every_setting_with_its_default_and_variable() {
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
fn settings_come_from_the_environment_too_also_beside_a_subcommand() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("other.db");
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
fn the_check_works_while_the_server_runs_and_finds_what_was_tampered_with() {
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
    let folder = server.folder();
    drop(server);
    assert_eq!(check(&folder.path().join("shop.db"))["consistent"], true);
    let mut nothing = program();
    nothing.args(["check", "--database"]).arg(folder.path().join("absent.db"));
    let (status, said) = failure(nothing);
    assert!(status == Some(1) && said.contains("absent.db") && !folder.path().join("absent.db").exists(), "{said}");
}

#[test]
fn ready_tells_a_shop_from_nothing_and_from_something_else() {
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

/// The address of a closed port, which is reserved as long as the socket lives.
fn closed_port() -> (OwnedFd, String) {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let address = getsockname::<SockaddrIn>(socket.as_raw_fd()).unwrap().to_string();
    (socket, address)
}
