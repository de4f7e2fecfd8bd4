//! Power failure: User-mode Linux runs the server on a block device and is killed, so everything is lost that its kernel has
//! not written to the device. A kill of the server's process alone would not show whether commits reach the disk.
//!
//! The guest runs this test program again; `TESTBED_POWER_LOSS` says what it is to do.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rusqlite::Connection;
use serde_json::json;
use test_support::requirements;

use crate::support::{Server, program};

/// Task of the guest: the durability of the server that it starts, or [`VERIFY`].
const VARIABLE: &str = "TESTBED_POWER_LOSS";
const VERIFY: &str = "verify";
/// Where the guest mounts the block device.
const MOUNT_POINT: &str = "/run/disk";
/// Starts the test program in the guest.
const START: &str = "mkdir /run/disk && mount -t ext4 /dev/ubda /run/disk && exec \"$0\"";
/// Connections that place orders.
const CLIENTS: usize = 4;
/// Memory of the guest, MiB.
const MEMORY_MIB: &str = "512";

/// Acknowledged or stored orders: id by idempotency key.
type Orders = HashMap<String, i64>;

/// Checks that User-mode Linux runs and that the block device can be formatted.
pub(crate) fn user_mode_linux() -> Result<(), String> {
    requirements::program("mke2fs", &["-V"], "e2fsprogs")?;
    let boot = boot_script();
    requirements::program(boot.to_str().unwrap(), &["--memory", MEMORY_MIB, "true"], "user-mode-linux")
}

fn boot_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/netem/boot")
}

pub(crate) fn no_acknowledged_order_is_lost_with_durability_full() {
    let disk = Disk::new();
    let mut acknowledged = Orders::new();
    for enough in [100, 300, 700, 1100] {
        acknowledged.extend(disk.fail_after("full", enough));
        let stored = disk.stored();
        for (key, id) in &acknowledged {
            assert_eq!(stored.get(key), Some(id), "the acknowledged order {id} is lost");
        }
    }
    println!("4 power failures, durability full: none of {} acknowledged orders lost", acknowledged.len());
}

/// Shows that the test above can fail: with durability `normal`, commits are not synced, which the documentation says.
pub(crate) fn orders_are_lost_with_durability_normal_and_the_rest_is_consistent() {
    let disk = Disk::new();
    let acknowledged = disk.fail_after("normal", 1000);
    let stored = disk.stored();
    let lost = acknowledged.keys().filter(|key| !stored.contains_key(*key)).count();
    println!("a power failure, durability normal: {lost} of {} acknowledged orders lost", acknowledged.len());
    assert!(lost > 0, "nothing was lost: this test cannot detect a loss");
}

/// Block device of the guest.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Self { directory };
        fs::File::create(disk.path()).unwrap().set_len(64 << 20).unwrap();
        let formatted = Command::new("mke2fs").args(["-q", "-t", "ext4", "-F"]).arg(disk.path()).status().unwrap();
        assert!(formatted.success());
        disk
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn boot(&self, task: &str) -> Child {
        let mut command = Command::new(boot_script());
        command.args(["--memory", MEMORY_MIB, "--disk"]).arg(self.path());
        command.args(["sh", "-c", START]).arg(env::current_exe().unwrap());
        command.env(VARIABLE, task).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a server under load and kills its kernel after `enough` acknowledged orders. Returns these and later ones.
    fn fail_after(&self, durability: &str, enough: usize) -> Orders {
        let mut guest = self.boot(durability);
        let mut orders = Orders::new();
        for line in BufReader::new(guest.stdout.take().unwrap()).lines() {
            // The last line may be incomplete.
            let Some((key, id)) = line.as_deref().ok().and_then(parse) else { continue };
            orders.insert(key, id);
            if orders.len() == enough {
                kill(Pid::from_raw(i32::try_from(guest.id()).unwrap()), Signal::SIGTERM).unwrap();
            }
        }
        assert!(!guest.wait().unwrap().success());
        assert!(orders.len() >= enough, "the guest ended after {} orders", orders.len());
        orders
    }

    /// Starts a server on the device, as after a power failure. Returns the stored orders.
    fn stored(&self) -> Orders {
        let guest = self.boot(VERIFY).wait_with_output().unwrap();
        assert!(guest.status.success(), "{}", String::from_utf8_lossy(&guest.stdout));
        String::from_utf8(guest.stdout).unwrap().lines().filter_map(parse).collect()
    }
}

/// Parses `KEY ID.`; the full stop shows that the line is complete.
fn parse(line: &str) -> Option<(String, i64)> {
    let (key, id) = line.trim_end().strip_suffix('.')?.split_once(' ')?;
    Some((key.to_owned(), id.parse().ok()?))
}

fn print(key: &str, id: i64) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{key} {id}.").and_then(|()| stdout.flush()).unwrap();
}

/// Runs the guest's task, if this program runs in the guest. Returns whether it does.
pub(crate) fn run_as_guest() -> bool {
    let Ok(task) = env::var(VARIABLE) else { return false };
    let database = Path::new(MOUNT_POINT).join("shop.db");
    let durability = if task == VERIFY { "full" } else { &task };
    let settings = ["--log", "error", "--catalogue-stock", "1000000000", "--durability", durability];
    let mut command = program();
    command.arg("--database").arg(&database);
    let server = Server::start_command(command, Arc::new(tempfile::tempdir().unwrap()), &settings);
    if task == VERIFY {
        verify(&server, &database);
    } else {
        place_orders(&server);
    }
    true
}

fn place_orders(server: &Server) {
    // Different keys after each boot.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = boot.trim();
    let username = format!("user-{boot}");
    let token = server.customer(&username);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let token = &token;
            scope.spawn(move || {
                let mut shop = server.on_shop();
                for number in 0.. {
                    let key = format!("{boot}-{client}-{number}");
                    let items = json!([{"product_id": 1, "quantity": 1}, {"product_id": 2, "quantity": 1}]);
                    let request =
                        json!({"command": "place_order", "token": token, "items": items, "idempotency_key": key});
                    print(&key, shop.ok(request)["order_id"].as_i64().unwrap());
                }
            });
        }
    });
}

fn verify(server: &Server, database: &Path) {
    let report = crate::support::check(database);
    assert_eq!(report["consistent"], true, "{report}");
    server.on_shop().ok(json!({"command": "view_products"}));
    let connection = Connection::open(database).unwrap();
    let mut statement = connection.prepare("SELECT idempotency_key, id FROM orders").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).unwrap();
    for row in rows {
        let (key, id) = row.unwrap();
        print(&key, id);
    }
}
