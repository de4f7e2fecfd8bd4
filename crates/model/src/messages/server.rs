//! Messages that the server prints on stdout.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::CertificateFingerprint;

/// Event that `shop-server serve` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ServerEvent {
    /// The server accepts connections.
    Ready {
        /// Version of the shop's protocol.
        protocol: u32,
        /// Address of the account service.
        accounts: SocketAddr,
        /// Address of the shop service.
        shop: SocketAddr,
        /// Address of the UDP echo service, if it runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        echo: Option<SocketAddr>,
        /// Address of the metrics, if they are served.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metrics: Option<SocketAddr>,
        /// Fingerprint of the certificate, if the connections are encrypted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls_fingerprint: Option<CertificateFingerprint>,
    },
}

/// Result of `shop-server check`: counts of a database, and whether they are consistent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyReport {
    /// Different products.
    pub products: i64,
    /// Units ever added to the stock.
    pub units_added: i64,
    /// Units left in stock.
    pub units_in_stock: i64,
    /// Units that left the stock: `units_added - units_in_stock`.
    pub units_sold: i64,
    /// Units in all orders.
    pub units_ordered: i64,
    /// Stored orders.
    pub orders: i64,
    /// Accounts.
    pub users: i64,
    /// Whether each product's sold units equal its ordered units, no stock is negative, and every order's total is the
    /// sum of its items.
    pub consistent: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_a_line_of_json() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let ready = ServerEvent::Ready {
            protocol: 1,
            accounts: address(5000),
            shop: address(5001),
            echo: None,
            metrics: None,
            tls_fingerprint: None,
        };
        let line = r#"{"event":"ready","protocol":1,"accounts":"127.0.0.1:5000","shop":"127.0.0.1:5001"}"#;
        assert_eq!(serde_json::to_string(&ready).unwrap(), line);
        assert_eq!(serde_json::from_str::<ServerEvent>(line).unwrap(), ready);
    }
}
