//! Where all randomness of a workload comes from: one number, and who asks for what.
//!
//! Every use has a stream of its own, so that a retry or a failure in one virtual user never changes what another one,
//! or the same one in the next turn, decides. Streams are ChaCha8 keyed by the seed; the mapping to numbers is our own,
//! so that no library update changes a workload.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// What a virtual user wants in one turn.
    Turn(u64),
    /// How long a virtual user thinks.
    Think,
    /// How back-off is spread.
    BackOff,
    /// Passwords.
    Password(u64),
    /// When operations of an open loop arrive; of the whole client, so that virtual users change nothing of it.
    Arrivals,
}

impl Purpose {
    fn key(self) -> (u32, u64) {
        match self {
            Purpose::Turn(turn) => (1, turn),
            Purpose::Think => (2, 0),
            Purpose::BackOff => (3, 0),
            Purpose::Password(turn) => (4, turn),
            Purpose::Arrivals => (5, 0),
        }
    }
}

/// A stream of random numbers.
#[derive(Debug)]
pub(super) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of virtual user `user` of the client `client` for `purpose`.
    pub(super) fn new(seed: u64, client: &str, user: u32, purpose: Purpose) -> Self {
        let (kind, index) = purpose.key();
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&hash(&[client]).to_le_bytes());
        key[16..20].copy_from_slice(&user.to_le_bytes());
        key[20..24].copy_from_slice(&kind.to_le_bytes());
        key[24..].copy_from_slice(&index.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0, 1), with 53 random bits.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform among 1 … `most`.
    pub(super) fn one_to(&mut self, most: u64) -> u64 {
        1 + index(self.unit(), most)
    }

    /// Uniform in [0.5, 1.5) times `mean`.
    pub(super) fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.5 + self.unit())
    }
}

/// Turns a number of [0, 1) into one of 0 … `count` − 1, all alike; 0 when there are none.
pub(super) fn index(unit: f64, count: u64) -> u64 {
    ((unit * count as f64) as u64).min(count.saturating_sub(1))
}

/// FNV-1a, 64 bits, over the parts with a separator (Fowler, Noll, Vo; draft-eastlake-fnv).
pub(super) fn hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_told_apart_by_every_part_of_its_key() {
        let first = |seed, client, user, purpose| Stream::new(seed, client, user, purpose).bits();
        let base = first(1, "a", 0, Purpose::Think);
        assert_eq!(base, first(1, "a", 0, Purpose::Think));
        for other in [
            first(2, "a", 0, Purpose::Think),
            first(1, "b", 0, Purpose::Think),
            first(1, "a", 1, Purpose::Think),
            first(1, "a", 0, Purpose::BackOff),
            first(1, "a", 0, Purpose::Turn(0)),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_first_numbers_stay_the_same_for_ever() {
        let mut stream = Stream::new(7, "client-1", 3, Purpose::Turn(2));
        let seen = [stream.bits(), stream.bits(), stream.bits()];
        assert_eq!(seen, PINNED);
    }

    const PINNED: [u64; 3] = [616_754_346_286_611_770, 2_879_878_934_776_074_544, 4_740_290_458_456_619_913];

    #[test]
    fn indices_cover_the_range_and_stay_in_it() {
        for (unit, count, expected) in [
            (0.0, 3, 0),
            (0.34, 3, 1),
            (0.999_999, 3, 2),
            (1.0 - f64::EPSILON / 2.0, 1 << 60, (1 << 60) - 128),
            (0.5, 0, 0),
        ] {
            assert_eq!(index(unit, count), expected, "{unit} of {count}");
        }
    }

    #[test]
    fn think_times_are_between_half_and_one_and_a_half_of_their_mean() {
        let mut stream = Stream::new(1, "", 0, Purpose::Think);
        let mean = Duration::from_millis(100);
        let times: Vec<Duration> = (0..10_000).map(|_| stream.around(mean)).collect();
        let seen_mean = times.iter().sum::<Duration>() / 10_000;
        assert!(times.iter().all(|time| (mean / 2..mean * 3 / 2).contains(time)));
        assert!((Duration::from_millis(99)..Duration::from_millis(101)).contains(&seen_mean), "{seen_mean:?}");
    }

    #[test]
    fn the_hash_is_fnv_1a_and_parts_do_not_run_together() {
        // "a" and the separator 0xff, manually from the definition.
        let a = (0xcbf2_9ce4_8422_2325_u64 ^ 0x61).wrapping_mul(0x0100_0000_01b3);
        assert_eq!(hash(&["a"]), (a ^ 0xff).wrapping_mul(0x0100_0000_01b3));
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }
}
