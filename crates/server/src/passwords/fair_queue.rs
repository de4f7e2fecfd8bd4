//! Bounded queue that serves client addresses in turn: many requests of one address delay those of others by at most
//! one each.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Queue of jobs by address.
pub(super) struct FairQueue<J> {
    capacity: usize,
    state: Mutex<State<J>>,
    changed: Condvar,
}

struct State<J> {
    /// Waiting jobs, oldest first; no empty lists.
    by_address: HashMap<IpAddr, VecDeque<J>>,
    /// Addresses with waiting jobs, the next one first.
    turns: VecDeque<IpAddr>,
    jobs: usize,
    closed: bool,
}

impl<J> FairQueue<J> {
    /// Returns an empty queue for `capacity` jobs.
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { by_address: HashMap::new(), turns: VecDeque::new(), jobs: 0, closed: false };
        Self { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Adds a job. If the queue is full, returns the job that does not fit: the newest one of the address with the most.
    pub(super) fn push(&self, address: IpAddr, job: J) -> Option<J> {
        let mut state = self.lock();
        let displaced = if state.jobs >= self.capacity || state.closed {
            let own = state.by_address.get(&address).map_or(0, VecDeque::len);
            let most = state.by_address.iter().max_by_key(|(_, jobs)| jobs.len());
            match most.map(|(address, jobs)| (*address, jobs.len())) {
                Some((fullest, jobs)) if jobs > own + 1 && !state.closed => state.remove(fullest, VecDeque::pop_back),
                _ => return Some(job),
            }
        } else {
            None
        };
        state.add(address, job);
        self.changed.notify_one();
        displaced
    }

    /// Waits for a job and removes it. Returns `None` once the queue is closed and empty.
    pub(super) fn pop(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if let Some(address) = state.turns.front().copied() {
                let job = state.remove(address, VecDeque::pop_front);
                if state.by_address.contains_key(&address) {
                    state.turns.rotate_left(1);
                }
                return job;
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the number of waiting jobs.
    pub(super) fn len(&self) -> usize {
        self.lock().jobs
    }

    /// Accepts no more jobs. Those that wait are still served.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> fmt::Debug for FairQueue<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FairQueue").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl<J> State<J> {
    fn add(&mut self, address: IpAddr, job: J) {
        let jobs = self.by_address.entry(address).or_default();
        if jobs.is_empty() {
            self.turns.push_back(address);
        }
        jobs.push_back(job);
        self.jobs += 1;
    }

    /// Removes the job of `address` that `take` chooses.
    fn remove(&mut self, address: IpAddr, take: impl FnOnce(&mut VecDeque<J>) -> Option<J>) -> Option<J> {
        let jobs = self.by_address.get_mut(&address)?;
        let job = take(jobs)?;
        self.jobs -= 1;
        if jobs.is_empty() {
            self.by_address.remove(&address);
            self.turns.retain(|turn| *turn != address);
        }
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn addresses_take_turns_and_each_is_served_in_order() {
        let queue = FairQueue::new(10);
        for (last, job) in [(1, "1a"), (1, "1b"), (1, "1c"), (2, "2a"), (3, "3a"), (2, "2b")] {
            assert_eq!(queue.push(address(last), job), None);
        }
        queue.close();
        assert_eq!(queue.push(address(4), "late"), Some("late"));
        let served: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(served, ["1a", "2a", "3a", "1b", "2b", "1c"]);
    }

    #[test]
    fn a_full_queue_displaces_the_newest_job_of_the_address_with_the_most() {
        let queue = FairQueue::new(4);
        for job in 0..4 {
            assert_eq!(queue.push(address(1), job), None);
        }
        assert_eq!(queue.push(address(1), 4), Some(4), "the address with the most gets no more");
        assert_eq!(queue.push(address(2), 20), Some(3));
        assert_eq!(queue.push(address(2), 21), Some(2));
        assert_eq!(queue.push(address(2), 22), Some(22), "both have as many");
        assert_eq!(
            queue.push(address(3), 30),
            Some(if queue.lock().by_address[&address(1)].len() == 1 { 1 } else { 21 })
        );
        queue.close();
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 4);
    }

    #[test]
    fn a_thread_that_waits_gets_the_next_job() {
        let queue = FairQueue::new(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| (queue.pop(), queue.pop()));
            queue.push(address(1), "job");
            while !queue.lock().turns.is_empty() {
                std::thread::yield_now();
            }
            queue.close();
            assert_eq!(waiting.join().unwrap(), (Some("job"), None));
        });
    }
}
