//! Encrypted connections: what is measured, and which servers are refused.
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::transport::{Endpoints, Exchange, ExchangeError, Timeouts, Transport};
use model::CertificateFingerprint;
use model::sample::{Outcome, Sample};
use model::settings::{ConnectionMode, TlsVersion};
use protocol::Request;
use protocol::response::{Categories, Products};
use server::config::Tls;
use tls::Identity;

use crate::common::{Shop, client, samples, succeed};

/// A timeout that must not expire, even on a slow host.
const AMPLE: Duration = Duration::from_secs(60);

/// Starts a shop with encrypted connections.
fn shop(version: TlsVersion) -> (Shop, CertificateFingerprint) {
    let identity = Arc::new(Identity::throwaway().unwrap());
    let fingerprint = identity.fingerprint();
    (Shop::start_with(1000, |config| config.tls = Some(Tls { version, identity })), fingerprint)
}

fn transport(shop: &Shop, encryption: Option<(TlsVersion, CertificateFingerprint)>, connect: Duration) -> Transport {
    let tls = encryption.map(|(version, fingerprint)| tls::client_config(version, fingerprint));
    let (accounts_port, shop_port) = (shop.accounts.port(), shop.shop.port());
    let endpoints = Endpoints { address: shop.shop.ip(), accounts_port, shop_port, tls };
    Transport::new(endpoints, ConnectionMode::Persistent, Timeouts { connect, request: AMPLE })
}

async fn categories(transport: &mut Transport) -> Exchange<Categories> {
    transport.exchange(&Request::all_categories(), Instant::now()).await
}

#[tokio::test]
async fn the_handshake_and_its_round_trips_are_measured_once_per_connection() {
    for (version, round_trips) in [(TlsVersion::V13, 1), (TlsVersion::V12, 2)] {
        let (shop, fingerprint) = shop(version);
        let mut transport = transport(&shop, Some((version, fingerprint)), AMPLE);
        let first = categories(&mut transport).await;
        assert_eq!((first.outcome(), first.measured.tls_round_trips), (Outcome::Ok, Some(round_trips)), "{version:?}");
        let measured = first.measured;
        let handshakes = measured.connect.unwrap() + measured.tls.unwrap();
        assert!(handshakes + measured.rtt.unwrap() <= measured.service, "{measured:?}");
        assert!(measured.server.unwrap() <= measured.first_byte.unwrap(), "{measured:?}");
        // 100 products need several TLS records.
        let browse = Request::ViewProducts { category: None, page: 1, page_size: 100 };
        let products: Exchange<Products> = transport.exchange(&browse, Instant::now()).await;
        assert_eq!((products.measured.connect, products.measured.tls), (None, None));
        assert!(products.result.unwrap().products.len() > 20);
    }
}

#[tokio::test]
async fn another_certificate_or_version_is_refused_with_the_reason() {
    let (shop, fingerprint) = shop(TlsVersion::V13);
    let other = Identity::throwaway().unwrap().fingerprint();
    for (encryption, expected) in
        [((TlsVersion::V13, other), other.to_string()), ((TlsVersion::V12, fingerprint), "ProtocolVersion".to_owned())]
    {
        let refused = categories(&mut transport(&shop, Some(encryption), AMPLE)).await;
        assert!(refused.measured.connect.is_some() && refused.measured.tls.is_none(), "{refused:?}");
        let Err(ExchangeError::Connect(error)) = refused.result else { panic!("{refused:?}") };
        assert!(error.to_string().contains(&expected), "{error}");
    }
    let clear = categories(&mut transport(&shop, None, AMPLE)).await;
    let Err(ExchangeError::Protocol(error)) = &clear.result else { panic!("{clear:?}") };
    assert!(error.contains("TLS"), "{error}");
}

#[tokio::test]
async fn tls_to_a_server_in_clear_text_and_a_silent_one_cannot_connect() {
    let fingerprint = Identity::throwaway().unwrap().fingerprint();
    let clear = Shop::start(10);
    let refused = categories(&mut transport(&clear, Some((TlsVersion::V13, fingerprint)), AMPLE)).await;
    let Err(ExchangeError::Connect(error)) = &refused.result else { panic!("{refused:?}") };
    assert!(error.to_string().contains("TLS handshake"), "{error}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, port) = (silent.local_addr().unwrap().ip(), silent.local_addr().unwrap().port());
    let tls = Some(tls::client_config(TlsVersion::V13, fingerprint));
    let endpoints = Endpoints { address, accounts_port: port, shop_port: port, tls };
    let timeouts = Timeouts { connect: Duration::from_millis(200), request: AMPLE };
    let result = categories(&mut Transport::new(endpoints, ConnectionMode::PerRequest, timeouts)).await;
    assert!(matches!(&result.result, Err(ExchangeError::Connect(error)) if error.to_string().contains("no handshake")));
    assert!(result.measured.connect.is_some());
}

#[test]
fn a_workload_records_the_handshake_of_each_connection() {
    let (shop, fingerprint) = shop(TlsVersion::V13);
    let directory = tempfile::tempdir().unwrap();
    for (mode, every) in [("per-request", true), ("persistent", false)] {
        let csv = directory.path().join(mode);
        let flags = ["--tls".to_owned(), format!("--tls-fingerprint={fingerprint}"), format!("--connection={mode}")];
        let load = ["workload", "--users=3", "--operations=60", "--think-time=0s", "--csv"];
        succeed(client(load).arg(&csv).args(shop.port_args()).args(flags));
        let rows = samples(&csv);
        assert!(rows.iter().all(|row| row.outcome == Outcome::Ok && row.connect_ms.is_some() == row.tls_ms.is_some()));
        let has_tls = |row: &&Sample| row.tls_ms.is_some_and(|time| time > 0.0) && row.tls_round_trips == Some(1);
        let encrypted = rows.iter().filter(has_tls).count();
        assert_eq!(encrypted, if every { rows.len() } else { 6 }, "{mode}");
    }
}

#[test]
fn version_and_fingerprint_are_needed_together() {
    for (flags, expected) in [
        (&["--tls"][..], "--tls needs --tls-fingerprint"),
        (&["--tls-fingerprint", &"00".repeat(32)], "--tls-fingerprint needs --tls"),
        (&["--tls", "--tls-fingerprint", "12"], "64 hexadecimal digits"),
        (&["--tls=1.1", "--tls-fingerprint", "12"], "1.2, 1.3"),
    ] {
        let output = client(["workload", "--csv=-"]).args(flags).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(if flags[0].ends_with("1.1") || flags.len() > 2 { 2 } else { 1 }),
            "{stderr}"
        );
        assert!(stderr.contains(expected), "{stderr}");
    }
}
