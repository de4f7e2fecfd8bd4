//! Log lines of operations: each at the level debug, and slow ones as warnings.

use protocol::ErrorCode;

use crate::connection::Peer;
use crate::response_frame::WrittenResponse;

/// Logs an operation; `slow_us` is the server time from which it is slow, µs.
pub(super) fn log(operation: &'static str, response: WrittenResponse, peer: Peer, slow_us: u64) {
    let WrittenResponse { error, timing } = response;
    // The level is part of an event's static description.
    macro_rules! event {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                target: "server::operation",
                operation,
                outcome = error.map_or("ok", ErrorCode::name),
                server_us = timing.server_us,
                queue_us = timing.queue_us,
                database_us = timing.database_us,
                exchange_id = timing.exchange_id,
                peer = %peer.address,
                port = peer.port.name(),
                $message
            )
        };
    }
    if timing.server_us >= slow_us {
        event!(warn, "slow operation");
    } else {
        event!(debug, "operation");
    }
}
