//! Trace of one connection: responses without a row, and retransmissions since the last row.

use std::os::fd::AsFd;
use std::time::Duration;

use model::TraceRow;
use tcp_info::TcpInfo;

use crate::trace::Trace;

/// State of one connection for the trace; does nothing without a trace.
#[derive(Debug)]
pub(crate) struct ConnectionTrace<'a> {
    trace: Option<&'a Trace>,
    /// Exchanges whose responses were written and have no row yet.
    pending: Vec<u64>,
    /// Segments retransmitted up to the last row. Starts at 0, so that SYN-ACKs count in the first row.
    retransmits: u32,
}

impl<'a> ConnectionTrace<'a> {
    /// Returns the state of a connection that was just accepted.
    pub(crate) fn new(trace: Option<&'a Trace>) -> Self {
        Self { trace, pending: Vec::new(), retransmits: 0 }
    }

    /// Records that a response was created.
    pub(crate) fn responded(&mut self, exchange_id: u64) {
        if self.trace.is_some() {
            self.pending.push(exchange_id);
        }
    }

    /// Writes the rows of pending responses. Called when bytes arrive and when the connection ends: from then on nothing
    /// more can be learned about them.
    ///
    /// Retransmitted segments cannot be attributed to one of several responses: the first row has their number, the
    /// field of the others is empty.
    pub(crate) fn flush(&mut self, socket: &impl AsFd) {
        let Some(trace) = self.trace.filter(|_| !self.pending.is_empty()) else { return };
        let info = TcpInfo::of(socket).ok();
        let mut retransmits = info.and_then(|info| info.total_retransmits).map(|total| self.increase_to(total));
        for exchange_id in self.pending.drain(..) {
            trace.push(TraceRow {
                exchange_id,
                tcp_rtt_us: info.and_then(|info| info.rtt).map(microseconds),
                tcp_rto_us: info.and_then(|info| info.rto).map(microseconds),
                retransmits: retransmits.take(),
            });
        }
    }

    fn increase_to(&mut self, total: u32) -> u32 {
        total.wrapping_sub(std::mem::replace(&mut self.retransmits, total))
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
