//! Bounds of requests, as the decoder enforces and `docs/protocol.md` documents them.

use std::ops::RangeInclusive;

/// Default TCP port of the accounts commands.
pub const ACCOUNTS_PORT: u16 = 5000;
/// Default TCP port of the shop commands.
pub const SHOP_PORT: u16 = 5001;
/// Default UDP port of the echo, if it is enabled.
pub const ECHO_PORT: u16 = 5002;

/// Maximum payload of a request on the accounts port, bytes. Two passwords of 1024 control characters, each escaped with
/// six bytes, have 12 KiB.
pub const ACCOUNTS_REQUEST_BYTES: usize = 16 * 1024;
/// Maximum payload of a request on the shop port, bytes. A description of 4000 characters, each escaped with twelve bytes,
/// and two names have 52 KiB.
pub const SHOP_REQUEST_BYTES: usize = 64 * 1024;

/// Length of a user name, characters; see [`is_username_char`].
pub const USERNAME_CHARS: RangeInclusive<usize> = 1..=64;
/// Length of a new password, bytes of UTF-8.
pub const PASSWORD_BYTES: RangeInclusive<usize> = 8..=1024;
/// Length of a product's or a category's name, characters.
pub const NAME_CHARS: RangeInclusive<usize> = 1..=200;
/// Length of a product's description, characters.
pub const DESCRIPTION_CHARS: RangeInclusive<usize> = 0..=4000;
/// Length of an idempotency key, characters.
pub const IDEMPOTENCY_KEY_CHARS: RangeInclusive<usize> = 1..=128;
/// Length of a token on the wire: 256 bits in hexadecimal.
pub const TOKEN_CHARS: RangeInclusive<usize> = 64..=64;
/// Price of one unit, cents.
pub const PRICE_CENTS: RangeInclusive<i64> = 0..=1_000_000_000;
/// Stock of a product when it is added, units.
pub const STOCK: RangeInclusive<i64> = 0..=1_000_000_000;
/// Units of one product in one order.
pub const QUANTITY: RangeInclusive<i64> = 1..=1_000_000;
/// Different products in one order.
pub const ORDER_ITEMS: RangeInclusive<usize> = 1..=100;
/// Stars of a rating.
pub const STARS: RangeInclusive<i64> = 1..=5;
/// Page number of a listing.
pub const PAGE: RangeInclusive<i64> = 1..=1_000_000;
/// Rows on a page of a listing.
pub const PAGE_SIZE: RangeInclusive<i64> = 1..=100;
/// Rows on a page if the request does not specify it.
pub const DEFAULT_PAGE_SIZE: u32 = 20;
/// Rows on a page of categories if the request does not specify it.
pub const DEFAULT_CATEGORIES_PAGE_SIZE: u32 = 100;
/// A row's identifier.
pub const ID: RangeInclusive<i64> = 1..=i64::MAX;

/// Returns whether a user name may contain this character: `A–Z a–z 0–9 _ . -`.
#[must_use]
pub fn is_username_char(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_.-".contains(character)
}
