//! Messages and framing of the shop, as `docs/protocol.md` describes them.
//!
//! Pure: bytes and JSON come in, typed requests and responses go out, and the other way round. No sockets and no clock
//! here; the server and the client each have their own thin adapter.

pub mod fields;
pub mod frame;
pub mod limits;
pub mod request;
pub mod response;

pub use frame::{FrameDecoder, FrameTooLarge, MAX_FRAME_BYTES, encode_frame};
pub use request::{Port, Request};
pub use response::{ErrorBody, ErrorCode, Response};
