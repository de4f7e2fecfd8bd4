//! Messages and framing of the shop, as `docs/protocol.md` describes them.
//!
//! Pure: converts between bytes and typed requests and responses, without sockets or clock. Server and client each have
//! a small adapter.

pub mod echo;
mod error;
mod fields;
pub mod frame;
#[cfg(test)]
mod fuzz;
pub mod limits;
pub mod request;
pub mod response;
#[cfg(test)]
mod schema;
mod value;

/// Version of the protocol. It grows when a client that follows `docs/protocol.md` of an older version could fail.
pub const PROTOCOL_VERSION: u32 = 1;

pub use error::{ErrorBody, ErrorCode};
pub use frame::{FrameDecoder, MAX_FRAME_BYTES, encode_frame};
pub use request::{Port, Request};
pub use response::Response;

/// Start of [`VERSION`], up to the optimisation level.
const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), " (build ", env!("TESTBED_BUILD"), ", ");

/// Version of the programs: release, fingerprint of the sources of all programs that run in nodes, and cargo's
/// optimisation level (0 to 3, s or z).
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (build ",
    env!("TESTBED_BUILD"),
    ", opt-level ",
    env!("TESTBED_OPT_LEVEL"),
    ")"
);

/// Returns whether a program with this version was built from the same sources as this one, at any optimisation level:
/// `cargo test` combines an unoptimised driver with the optimised programs of the images.
pub fn is_same_build(version: &str) -> bool {
    version.starts_with(BUILD)
}
