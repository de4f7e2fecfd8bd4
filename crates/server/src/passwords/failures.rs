//! Delays after failed logins, by account and by address.
//!
//! Without them a client could guess thousands of passwords. Failures of one client must not lock out others: a block of
//! an account does not apply to addresses from which a login to it has succeeded.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// First delay; each further failure doubles it.
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// Maximum delay.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Time without a failure after which failures are forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// Failures of an address per permitted failure of an account: several users may share an address.
const ADDRESS_FACTOR: u32 = 4;

/// Maximum number of accounts and addresses with remembered failures, and of remembered successes.
const MAX_ENTRIES: usize = 65_536;

/// Failed logins of all clients.
#[derive(Debug)]
pub(crate) struct LoginFailures {
    /// Failures of an account without a delay; `None` for no delays.
    permitted: Option<NonZeroU32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: HashMap<Key, Failures>,
    /// Accounts, with addresses from which a login has succeeded.
    successes: HashSet<(String, IpAddr)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Account(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl LoginFailures {
    /// Returns a memory without failures. `permitted` failures of an account, and four times as many of an address, have
    /// no delay.
    pub(crate) fn new(permitted: Option<NonZeroU32>) -> Self {
        Self { permitted, state: Mutex::default() }
    }

    /// Returns how long the client must wait before it may log in; zero if it may now.
    pub(crate) fn delay(&self, account: &str, address: IpAddr, now: Instant) -> Duration {
        let Some(permitted) = self.permitted else { return Duration::ZERO };
        let state = self.lock();
        let remaining = |key: &Key, permitted: u32| {
            let failures = state.failures.get(key);
            failures.map_or(Duration::ZERO, |failures| failures.remaining_delay(permitted, now))
        };
        let of_address = remaining(&Key::Address(address), permitted.get().saturating_mul(ADDRESS_FACTOR));
        if state.successes.contains(&(account.to_owned(), address)) {
            return of_address;
        }
        of_address.max(remaining(&Key::Account(account.to_owned()), permitted.get()))
    }

    /// Counts a failed login.
    pub(crate) fn failed(&self, account: &str, address: IpAddr, now: Instant) {
        if self.permitted.is_none() {
            return;
        }
        let mut state = self.lock();
        for key in [Key::Account(account.to_owned()), Key::Address(address)] {
            state.count(key, now);
        }
    }

    /// Forgets the account's failures.
    pub(crate) fn succeeded(&self, account: &str, address: IpAddr) {
        if self.permitted.is_none() {
            return;
        }
        let mut state = self.lock();
        state.failures.remove(&Key::Account(account.to_owned()));
        if state.successes.len() >= MAX_ENTRIES {
            state.successes.clear();
        }
        state.successes.insert((account.to_owned(), address));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self, key: Key, now: Instant) {
        if self.failures.len() >= MAX_ENTRIES && !self.failures.contains_key(&key) {
            self.failures.retain(|_, failures| !failures.is_forgotten(now));
            if self.failures.len() >= MAX_ENTRIES {
                // The counters of addresses with failures still delay them.
                return;
            }
        }
        let failures = self.failures.entry(key).or_insert(Failures { count: 0, last: now });
        let count = if failures.is_forgotten(now) { 0 } else { failures.count };
        *failures = Failures { count: count.saturating_add(1), last: now };
    }
}

impl Failures {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= MEMORY
    }

    fn remaining_delay(&self, permitted: u32, now: Instant) -> Duration {
        // The exponent beyond which the delay is at its maximum.
        let surplus = self.count.saturating_sub(permitted).min(16);
        if surplus == 0 || self.is_forgotten(now) {
            return Duration::ZERO;
        }
        let delay = (FIRST_DELAY * 2_u32.pow(surplus - 1)).min(MAX_DELAY);
        (self.last + delay).saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn delays_of_an_account_double_up_to_a_minute_and_are_forgotten() {
        let (failures, start) = (LoginFailures::new(NonZeroU32::new(3)), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..12 {
            failures.failed("ann", HOME, start);
            delays.push(failures.delay("ann", AWAY, start).as_secs());
        }
        assert_eq!(delays, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(failures.delay("ann", AWAY, start + seconds(59)), seconds(1));
        assert_eq!(failures.delay("ann", AWAY, start + seconds(60)), Duration::ZERO);
        failures.failed("ann", HOME, start + MEMORY);
        assert_eq!(failures.delay("ann", AWAY, start + MEMORY), Duration::ZERO, "earlier failures still count");
        assert_eq!(failures.delay("bob", AWAY, start), Duration::ZERO);
    }

    #[test]
    fn an_address_is_delayed_for_all_accounts_after_four_times_as_many_failures() {
        let (failures, now) = (LoginFailures::new(NonZeroU32::new(3)), Instant::now());
        for account in 0..13 {
            assert_eq!(failures.delay("ann", HOME, now), Duration::ZERO);
            failures.failed(&account.to_string(), HOME, now);
        }
        assert_eq!(failures.delay("ann", HOME, now), seconds(1));
        assert_eq!(failures.delay("ann", AWAY, now), Duration::ZERO);
        failures.succeeded("ann", HOME);
        assert_eq!(failures.delay("ann", HOME, now), seconds(1), "a success does not clear the address");
    }

    #[test]
    fn failures_elsewhere_do_not_lock_out_an_address_with_a_success() {
        let (failures, now) = (LoginFailures::new(NonZeroU32::new(1)), Instant::now());
        failures.succeeded("ann", HOME);
        for _ in 0..4 {
            failures.failed("ann", AWAY, now);
        }
        assert_eq!((failures.delay("ann", HOME, now), failures.delay("ann", AWAY, now)), (Duration::ZERO, seconds(4)));
        failures.succeeded("ann", HOME);
        assert_eq!(failures.delay("ann", AWAY, now), Duration::ZERO, "a success forgets the account's failures");
    }

    #[test]
    fn without_a_limit_nothing_is_delayed_and_memory_is_bounded() {
        let (unlimited, now) = (LoginFailures::new(None), Instant::now());
        let limited = LoginFailures::new(NonZeroU32::new(1));
        for number in 0..=MAX_ENTRIES {
            unlimited.failed("ann", HOME, now);
            limited.failed(&number.to_string(), HOME, now);
            limited.succeeded(&format!("user{number}"), AWAY);
        }
        assert_eq!(unlimited.delay("ann", HOME, now), Duration::ZERO);
        assert!(unlimited.lock().failures.is_empty());
        let state = limited.lock();
        assert!(state.failures.len() <= MAX_ENTRIES && state.successes.len() <= MAX_ENTRIES);
    }
}
