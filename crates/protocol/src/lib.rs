//! Messages and framing of the shop, as `docs/protocol.md` describes them.
//!
//! Pure: bytes and JSON come in, typed requests and responses go out, and the other way round. No sockets and no clock
//! here; the server and the client each have their own thin adapter.

pub mod echo;
pub mod fields;
pub mod frame;
pub mod limits;
pub mod request;
pub mod response;

/// The programs' version, with a fingerprint of the sources of all programs that run in nodes: two builds with the same
/// text here are the same programs.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (sources ", env!("TESTBED_SOURCES"), ")");

pub use frame::{FrameDecoder, FrameTooLarge, MAX_FRAME_BYTES, encode_frame};
pub use request::{Port, Request};
pub use response::{ErrorBody, ErrorCode, Response};
