//! TCP statistics of one exchange (request and response), from the server's trace.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Row of the server's trace, written after each response. A value that the kernel does not report is `None`, and an
/// empty field in the CSV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRow {
    /// Number of the exchange, which the response also contains.
    pub exchange_id: u64,
    /// Smoothed round-trip time of the connection, microseconds.
    pub tcp_rtt_us: Option<u64>,
    /// Retransmission timeout of the connection, microseconds.
    pub tcp_rto_us: Option<u64>,
    /// Segments retransmitted since the connection's previous row.
    pub retransmits: Option<u32>,
}

impl TraceRow {
    /// Header of the CSV, without the line end.
    pub const HEADER: &str = "exchange_id,tcp_rtt_us,tcp_rto_us,retransmits";
}

impl fmt::Display for TraceRow {
    /// Writes the row as a line of CSV, without the line end.
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
