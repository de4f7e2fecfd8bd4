//! A disk that is full, or on which every write fails, while the server runs: a small filesystem in memory, mounted in a
//! namespace of the server's own, and a limit of the size of files (RLIMIT_FSIZE).

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use test_support::requirements;

use crate::support::{Server, error, program, refusal};

/// Size of the filesystem, KiB: several times that of the log, which is emptied at 4 MiB.
const SIZE_KIB: usize = 16 * 1024;

/// Starts a program in its own mount namespace; without root also in its own user namespace.
const UNSHARE: [&str; 3] = ["--user", "--map-root-user", "--mount"];

/// Checks that a mount namespace can be created.
pub(crate) fn own_mounts() -> Result<(), String> {
    let arguments = [&UNSHARE[..], &["mount", "-t", "tmpfs", "tmpfs", "/mnt"]].concat();
    requirements::program("unshare", &arguments, "util-linux")
}

/// Server whose database is on a small filesystem.
struct SmallDisk {
    server: Server,
    /// The filesystem, as seen from this process's namespace.
    root: PathBuf,
    /// The same in the server's namespace.
    mount_point: PathBuf,
    token: String,
    acknowledged: Vec<(String, i64)>,
}

impl SmallDisk {
    fn start() -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let mount_point = directory.path().join("disk");
        fs::create_dir(&mount_point).unwrap();
        let mount = format!("mount -t tmpfs -o size={SIZE_KIB}k tmpfs \"$0\" && trap '' XFSZ && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(UNSHARE).args(["sh", "-c", &mount]).arg(&mount_point).arg(program().get_program());
        command.arg("--database").arg(mount_point.join("shop.db"));
        let server = Server::start_command(command, directory, &["--log", "error"]);
        let root = PathBuf::from(format!("/proc/{}/root{}", server.pid(), mount_point.display()));
        let token = server.customer("ann");
        Self { server, root, mount_point, token, acknowledged: Vec::new() }
    }

    /// Places an order with a new idempotency key.
    fn order(&mut self) -> Value {
        let key = format!("key-{}", self.acknowledged.len());
        let response = self.server.on_shop().call(self.request(&key));
        if let Some(id) = response["result"]["order_id"].as_i64() {
            self.acknowledged.push((key, id));
        }
        response
    }

    fn request(&self, key: &str) -> Value {
        let items = json!([{"product_id": 1, "quantity": 1}]);
        json!({"command": "place_order", "token": self.token, "items": items, "idempotency_key": key})
    }

    /// Returns the report of `shop-server check`, which sees the filesystem only in the server's namespace.
    fn check(&self) -> Value {
        let mut command = Command::new("nsenter");
        command.args(["--user", "--preserve-credentials", "--mount", "--target", &self.server.pid().to_string()]);
        command.arg(program().get_program()).args(["check", "--database"]).arg(self.mount_point.join("shop.db"));
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    }

    /// Limits the size of the files that the server writes; the signal that a violation sends is ignored.
    fn limit_files(&self, bytes: &str) {
        let mut prlimit = Command::new("prlimit");
        prlimit.args(["--pid", &self.server.pid().to_string(), &format!("--fsize={bytes}:unlimited")]);
        assert!(prlimit.status().unwrap().success());
    }

    /// Asserts that orders succeed again and that none was lost.
    fn assert_recovered(&mut self) {
        for _ in 0..50 {
            assert_eq!(self.order()["ok"], true);
        }
        let mut shop = self.server.on_shop();
        for (key, id) in &self.acknowledged {
            let repeated = shop.ok(self.request(key));
            assert_eq!((&repeated["order_id"], &repeated["replayed"]), (&json!(id), &json!(true)));
        }
        let report = self.check();
        assert_eq!(report["consistent"], true, "{report}");
        assert_eq!(report["orders"], self.acknowledged.len(), "an order that was refused exists");
    }
}

/// Writes until the filesystem is full. Returns the file.
fn fill(root: &Path) -> PathBuf {
    let path = root.join("filler");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

pub(crate) fn a_full_disk_is_reported_and_recovers_without_a_loss() {
    let mut disk = SmallDisk::start();
    for round in 0..3 {
        for _ in 0..20 {
            assert_eq!(disk.order()["ok"], true);
        }
        let filler = fill(&disk.root);
        // Space that the log already has may be enough for some orders.
        let refused = (0..2000).find(|_| disk.order()["ok"] == false);
        assert!(refused.is_some(), "round {round}: 2000 orders fit on a full disk");
        let response = disk.order();
        assert_eq!(refusal(&response), error("overloaded", ""));
        let message = "the database's disk is full: the request was not executed; try again later";
        assert_eq!(response["error"]["message"], message);
        disk.server.on_shop().ok(json!({"command": "view_products"}));
        fs::remove_file(filler).unwrap();
        disk.assert_recovered();
    }
}

pub(crate) fn failing_writes_are_reported_and_recover_without_a_loss() {
    let mut disk = SmallDisk::start();
    for _ in 0..3 {
        for _ in 0..20 {
            assert_eq!(disk.order()["ok"], true);
        }
        disk.limit_files("0");
        for _ in 0..20 {
            assert_eq!(refusal(&disk.order()), error("internal", ""));
        }
        disk.server.on_shop().ok(json!({"command": "view_products"}));
        disk.limit_files("unlimited");
        disk.assert_recovered();
    }
}
