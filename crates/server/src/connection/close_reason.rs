//! Reasons why connections end, with the errors that clients get.

use std::fmt;
use std::io;

use protocol::{ErrorBody, ErrorCode};

/// Reason why a connection ends.
pub(super) enum CloseReason {
    /// The client closed it.
    Client,
    /// No bytes arrived within the timeout.
    Idle,
    /// The server stops.
    Shutdown,
    /// The server rejects the client with this error.
    Rejected(ErrorBody),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => formatter.write_str("closed by the client"),
            Self::Idle => formatter.write_str("idle timeout"),
            Self::Shutdown => formatter.write_str("server shutdown"),
            Self::Rejected(error) => error.fmt(formatter),
        }
    }
}

/// Returns the error of a client whose request is incomplete `limit` after its first byte.
pub(super) fn request_timeout(limit: impl fmt::Display) -> ErrorBody {
    ErrorBody::new(ErrorCode::RequestTimeout, format!("request incomplete {limit} after its first byte"))
}

/// Returns the error of a client whose request gets no memory in time.
pub(super) fn no_memory() -> ErrorBody {
    ErrorBody::new(ErrorCode::Overloaded, "the requests of other connections take all memory; try again later")
}

/// Returns the error of a client whose request has not arrived completely at the shutdown.
pub(super) fn incomplete_at_shutdown() -> ErrorBody {
    let message = "the server is stopping; the incomplete request was not executed";
    ErrorBody::new(ErrorCode::ShuttingDown, message)
}

/// Returns the error of a client that accepts no bytes.
pub(super) fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client does not read its responses")
}

/// Returns the error of a client whose unread responses exceed the budget.
pub(super) fn unread_responses() -> io::Error {
    io::Error::new(
        io::ErrorKind::OutOfMemory,
        "the client does not read its responses, and --buffer-budget-mib is used up",
    )
}
