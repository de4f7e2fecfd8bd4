//! The server as a library, with sockets, settings and shutdown as arguments.

use server::config::{Admin, Catalogue, Config};
use server::secret::Secret;
use server::{Listeners, run};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, check};

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_runs_inside_another_program_until_its_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::new(directory.path().join("shop.db"));
    config.admin = Admin { username: "boss".into(), password: Some(Secret::new("password-1")) };
    config.catalogue = Catalogue::Demo { stock: 5 };
    let listener = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let listeners = Listeners { accounts: listener().await, shop: listener().await, metrics: None };
    let address = listeners.shop.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(run(listeners, config, shutdown.clone()));
    let total = tokio::task::spawn_blocking(move || {
        Client::connect(address).ok(serde_json::json!({"command": "view_products"}))["total"].clone()
    });
    assert_eq!(total.await.unwrap(), 60);
    shutdown.cancel();
    server.await.unwrap().unwrap();
    let report = check(&directory.path().join("shop.db"));
    assert_eq!((&report["units_in_stock"], &report["users"]), (&serde_json::json!(300), &serde_json::json!(1)));
}
