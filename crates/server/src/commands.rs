//! What each command does: one function per command, in the order of the protocol's table.
//!
//! They check tokens, wait for the store and the password crew by way of their errand, and know nothing of connections.

pub(crate) mod accounts;
pub(crate) mod orders;
pub(crate) mod products;
