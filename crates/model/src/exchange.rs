//! The exchange: a request and its response, as the server's TCP statistics describe it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A row of the server's trace: the TCP statistics of one response. A value that the kernel does not report is `None`
/// and an empty field in the CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRow {
    /// Number of the exchange, as the response carries it.
    pub exchange_id: u64,
    /// Smoothed round-trip time of the connection, microseconds.
    pub tcp_rtt_us: Option<u64>,
    /// Retransmission timeout of the connection, microseconds.
    pub tcp_rto_us: Option<u64>,
    /// Segments retransmitted since the connection's previous row.
    pub retransmits: Option<u32>,
}

impl TraceRow {
    /// The CSV's first line, without its end.
    pub const HEADER: &str = "exchange_id,tcp_rtt_us,tcp_rto_us,retransmits";
}

impl fmt::Display for TraceRow {
    /// Writes the row as a line of CSV, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Field<T>(Option<T>);
        impl<T: fmt::Display> fmt::Display for Field<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
            }
        }
        let Self { exchange_id, tcp_rtt_us, tcp_rto_us, retransmits } = self;
        write!(f, "{exchange_id},{},{},{}", Field(*tcp_rtt_us), Field(*tcp_rto_us), Field(*retransmits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_value_is_an_empty_field() {
        let row = TraceRow { exchange_id: 7, tcp_rtt_us: Some(90), tcp_rto_us: None, retransmits: Some(0) };
        assert_eq!(row.to_string(), "7,90,,0");
        assert_eq!(TraceRow::HEADER.split(',').count(), row.to_string().split(',').count());
    }
}
