//! Following one connection: which of its responses have no row yet, and how much was sent again before them.

use std::os::fd::AsFd;
use std::time::Duration;

use model::TraceRow;
use tcp_info::TcpInfo;

use crate::trace::Trace;

/// What the trace needs to know of a connection; does nothing without a trace.
#[derive(Debug)]
pub(crate) struct ConnectionTrace<'a> {
    trace: Option<&'a Trace>,
    /// Exchanges whose responses were written, and of which nothing was heard since.
    unsettled: Vec<u64>,
    /// Segments sent again up to the last row. None at first, so that the SYN-ACKs' count for the first row.
    retransmits: u32,
}

impl<'a> ConnectionTrace<'a> {
    /// A connection that was just accepted.
    pub(crate) fn new(trace: Option<&'a Trace>) -> Self {
        Self { trace, unsettled: Vec::new(), retransmits: 0 }
    }

    /// A response was made.
    pub(crate) fn answered(&mut self, exchange_id: u64) {
        if self.trace.is_some() {
            self.unsettled.push(exchange_id);
        }
    }

    /// The client has sent something, or the connection is over: what there is to know of the responses is known.
    ///
    /// When several were answered together, the segments cannot be attributed to one of them: their number goes to the
    /// first, and the others' field stays empty.
    pub(crate) fn flush(&mut self, socket: &impl AsFd) {
        let Some(trace) = self.trace.filter(|_| !self.unsettled.is_empty()) else { return };
        let info = TcpInfo::of(socket).ok();
        let mut retransmits = info.and_then(|info| info.total_retransmits).map(|total| self.grown_to(total));
        for exchange_id in self.unsettled.drain(..) {
            trace.push(TraceRow {
                exchange_id,
                tcp_rtt_us: info.and_then(|info| info.rtt).map(microseconds),
                tcp_rto_us: info.and_then(|info| info.rto).map(microseconds),
                retransmits: retransmits.take(),
            });
        }
    }

    fn grown_to(&mut self, total: u32) -> u32 {
        total.wrapping_sub(std::mem::replace(&mut self.retransmits, total))
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
