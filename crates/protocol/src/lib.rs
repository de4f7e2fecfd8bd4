//! Messages and framing of the shop, as `docs/protocol.md` describes them.
//!
//! Pure: bytes and JSON come in, typed requests and responses go out, and the other way round. No sockets and no clock
//! here; the server and the client each have a small adapter.

pub mod echo;
mod fields;
pub mod frame;
pub mod limits;
pub mod request;
pub mod response;

/// Version, and fingerprint of everything that the programs in nodes are built from.
const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (build ", env!("TESTBED_BUILD"), ", ");

/// The programs' version: the release, the fingerprint of the sources of all programs that run in nodes, and cargo's
/// optimisation level (0 to 3, s or z).
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (build ",
    env!("TESTBED_BUILD"),
    ", opt-level ",
    env!("TESTBED_OPT_LEVEL"),
    ")"
);

/// Returns whether a program with this version was built from the same sources as this one. The optimisation level is
/// not compared: `cargo test` has an unoptimised driver and the images' optimised programs.
pub fn is_same_build(version: &str) -> bool {
    version.starts_with(BUILD)
}

pub use frame::{FrameDecoder, FrameTooLarge, MAX_FRAME_BYTES, encode_frame};
pub use request::{Port, Request};
pub use response::{ErrorBody, ErrorCode, Response};
