//! The write-ahead log stays bounded, however fast orders arrive.

use std::fs;
use std::io::Write;
use std::thread;

use protocol::encode_frame;

use crate::support::{Server, order};

/// Connections that place orders.
const CLIENTS: usize = 4;
/// Batches of each connection.
const BATCHES: usize = 30;
/// Orders that are sent at once.
const BATCH: usize = 100;
/// Bytes that the log has at least without checkpoints: a page each of orders, items and products per transaction.
const MIN_UNBOUNDED_BYTES: usize = CLIENTS * BATCHES * BATCH * 3 * 4096;
/// Maximum size of the log: the writer itself empties it after the transaction that exceeds 16,384 pages. Each has 4096 bytes
/// and a header of 24 (https://www.sqlite.org/fileformat2.html#the_write_ahead_log).
const MAX_LOG_BYTES: u64 = 16_500 * (4096 + 24);

pub(crate) fn the_log_stays_bounded() {
    const { assert!(MIN_UNBOUNDED_BYTES as u64 > MAX_LOG_BYTES) };
    // One order per transaction; without syncs, which would take long on a slow disk.
    let server = Server::start(&[
        "--log",
        "warn",
        "--catalogue-stock",
        "100000000",
        "--max-batch",
        "1",
        "--durability",
        "normal",
    ]);
    let token = server.customer("ann");
    let largest = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| place_orders(&server, &token))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    });
    println!("largest log: {} KiB", largest >> 10);
    assert!(largest <= MAX_LOG_BYTES, "{largest} bytes");
    assert_eq!(server.check()["orders"], CLIENTS * BATCHES * BATCH);
}

/// Returns the largest size of the log after one of the batches, bytes.
fn place_orders(server: &Server, token: &str) -> u64 {
    let mut client = server.on_shop();
    let frames = encode_frame(order(token, 1, 1).to_string().as_bytes()).unwrap().repeat(BATCH);
    let log = server.database().with_extension("db-wal");
    let mut largest = 0;
    for _ in 0..BATCHES {
        client.stream.write_all(&frames).unwrap();
        for _ in 0..BATCH {
            assert!(client.receive_raw().starts_with(br#"{"ok":true"#));
        }
        largest = largest.max(fs::metadata(&log).unwrap().len());
    }
    largest
}
