//! What each command does: one function per command, in the order of the protocol's table.
//!
//! They check tokens, wait for the store and the password group by way of their request context, and know nothing of
//! connections.

pub(crate) mod accounts;
pub(crate) mod orders;
pub(crate) mod products;
