//! A damaged database is refused at the start and by `check`, with the file's name and what is wrong.

use std::fs;
use std::path::Path;

use rusqlite::Connection;

use crate::support::{Server, program};

/// Bytes of a page of SQLite.
const PAGE: usize = 4096;

/// Returns what server and `check` print about a copy of a shop's database after `damage`.
fn messages(damage: impl Fn(&Path)) -> [String; 2] {
    let server = Server::start(&[]);
    server.customer("ann");
    let original = server.database();
    let directory = server.directory();
    drop(server);
    // Moves the log into the database file.
    Connection::open(&original).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let damaged = directory.path().join("damaged.db");
    fs::copy(original, &damaged).unwrap();
    damage(&damaged);
    [&["--accounts-listen", "127.0.0.1:0", "--shop-listen", "127.0.0.1:0"][..], &["check"]].map(|arguments| {
        let output = program().args(arguments).arg("--database").arg(&damaged).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    })
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_database_is_refused() {
    let dropped = messages(|path| Connection::open(path).unwrap().execute_batch("DROP TABLE order_items").unwrap());
    let zeroed = messages(|path| {
        change(path, |bytes| {
            let start = bytes.len() - 2 * PAGE;
            bytes[start..].fill(0);
        });
    });
    let truncated = messages(|path| change(path, |bytes| bytes.truncate(bytes.len() - 2 * PAGE)));
    let overwritten = messages(|path| change(path, |bytes| bytes[..100].fill(b'x')));
    for (messages, damage) in [
        (dropped, "table 'order_items' is missing"),
        (zeroed, "page"),
        (truncated, "malformed"),
        (overwritten, "file is not a database"),
    ] {
        for message in messages {
            assert!(message.contains("damaged.db' is damaged: ") && message.contains(damage), "{message}");
            assert_eq!(message.matches(damage).count(), 1, "{message}");
            assert!(message.trim_end().ends_with("restore it from a backup"), "{message}");
        }
    }
}
