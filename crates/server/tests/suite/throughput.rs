//! Throughput. Ignored, because it is a measurement. Run it alone and in release mode:
//! `cargo test --release -p server throughput -- --ignored --nocapture`.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use protocol::encode_frame;
use serde_json::{Value, json};

use crate::support::{Client, Server, order};

const CONNECTIONS: usize = 16;
const DURATION: Duration = Duration::from_secs(4);

#[test]
#[ignore = "measurement"]
fn throughput() {
    for durability in ["full", "normal"] {
        let server = Server::start(&["--log", "warn", "--durability", durability, "--catalogue-stock", "1000000"]);
        let token = server.customer("ann");
        report(&format!("orders, {durability}, 1 connection"), 1, 1, &server, |_| order(&token, 1, 1));
        for pipelined in [1, 8] {
            let name = format!("orders, {durability}, {CONNECTIONS} connections, {pipelined} in flight each");
            let request = |index: usize| order(&token, 1 + index as i64, 1);
            report(&name, CONNECTIONS, pipelined, &server, request);
        }
        assert_eq!(server.check()["consistent"], true);
    }
    let server = Server::start(&["--log", "warn"]);
    for pipelined in [1, 8] {
        let browse = |_| json!({"command": "view_products"});
        report(&format!("browse 20, {pipelined} in flight each"), CONNECTIONS, pipelined, &server, browse);
        let categories = |_| json!({"command": "view_categories"});
        report(&format!("categories, {pipelined} in flight each"), CONNECTIONS, pipelined, &server, categories);
    }
}

fn report(name: &str, connections: usize, pipelined: usize, server: &Server, request: impl Fn(usize) -> Value) {
    let responses = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for index in 0..connections {
            let frame = encode_frame(request(index).to_string().as_bytes()).unwrap().repeat(pipelined);
            let (responses, shop) = (&responses, server.shop);
            scope.spawn(move || {
                let mut client = Client::connect(shop);
                while start.elapsed() < DURATION {
                    client.stream.write_all(&frame).unwrap();
                    for _ in 0..pipelined {
                        assert!(client.receive_raw().starts_with(br#"{"ok":true"#));
                    }
                    responses.fetch_add(pipelined as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let per_second = responses.into_inner() as f64 / start.elapsed().as_secs_f64();
    println!("{name}: {per_second:.0} per second");
}
