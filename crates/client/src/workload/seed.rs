//! Random numbers of a workload, all derived from one seed.
//!
//! Every purpose has a separate stream: a retry or a failure of one virtual user never changes the decisions of another
//! one, or of its own next iteration. Streams are ChaCha8, keyed by the seed. The mapping to numbers is implemented
//! here, so a library update cannot change a workload.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Purpose of a stream of random numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Decisions of a virtual user in the iteration of this number.
    Iteration(u64),
    /// Think times.
    Think,
    /// Jitter of the back-off.
    BackOff,
    /// Password for the iteration of this number.
    Password(u64),
    /// Arrivals of an open loop. One stream per client: arrivals do not depend on the number of virtual users.
    Arrivals,
}

impl Purpose {
    fn key(self) -> (u32, u64) {
        match self {
            Purpose::Iteration(iteration) => (1, iteration),
            Purpose::Think => (2, 0),
            Purpose::BackOff => (3, 0),
            Purpose::Password(iteration) => (4, iteration),
            Purpose::Arrivals => (5, 0),
        }
    }
}

/// A stream of random numbers.
#[derive(Debug)]
pub(super) struct Stream(ChaCha8Rng);

impl Stream {
    /// Creates the stream of virtual user `user` of the client `client` for `purpose`.
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

    /// Returns 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Returns a uniform number in [0, 1), with 53 random bits.
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a uniform integer in 1 … `max`.
    pub(super) fn one_to(&mut self, max: u64) -> u64 {
        1 + index(self.unit(), max)
    }

    /// Returns a uniform duration in [0.5, 1.5) times `mean`.
    pub(super) fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(0.5 + self.unit())
    }
}

/// Maps a number in [0, 1) to an index in 0 … `count` − 1; 0 if `count` is 0.
pub(super) fn index(unit: f64, count: u64) -> u64 {
    ((unit * count as f64) as u64).min(count.saturating_sub(1))
}

/// Returns the 64-bit FNV-1a hash of the parts, each followed by a separator (Fowler, Noll, Vo; draft-eastlake-fnv).
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
    fn every_part_of_the_key_selects_another_stream() {
        let first = |seed, client, user, purpose| Stream::new(seed, client, user, purpose).bits();
        let base = first(1, "a", 0, Purpose::Think);
        assert_eq!(base, first(1, "a", 0, Purpose::Think));
        for other in [
            first(2, "a", 0, Purpose::Think),
            first(1, "b", 0, Purpose::Think),
            first(1, "a", 1, Purpose::Think),
            first(1, "a", 0, Purpose::BackOff),
            first(1, "a", 0, Purpose::Iteration(0)),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn the_first_numbers_never_change() {
        let mut stream = Stream::new(7, "client-1", 3, Purpose::Iteration(2));
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
    fn the_hash_is_fnv_1a_and_separates_the_parts() {
        // "a" and the separator 0xff, computed from the definition.
        let a = (0xcbf2_9ce4_8422_2325_u64 ^ 0x61).wrapping_mul(0x0100_0000_01b3);
        assert_eq!(hash(&["a"]), (a ^ 0xff).wrapping_mul(0x0100_0000_01b3));
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }
}
