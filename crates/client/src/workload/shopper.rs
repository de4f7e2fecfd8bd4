//! One virtual shopper: pausing, trying operations one after the other, and recording each.
//!
//! This is a closed loop: the next operation is intended when the pause after the last one is over, so the intended
//! start is read from the clock then, and the lateness of the runtime's timers is part of the pause and not of the
//! latency. What the shopper asks for is in `turn`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use shop_protocol::Request;
use shop_protocol::response::{ErrorCode, Product};

use super::backoff::BackOff;
use super::recorder::{Row, RowSender};
use super::seed::{Purpose, Stream};
use super::settings::{Credentials, Settings};
use super::stop::Stop;
use super::tally::Tally;
use crate::sample::Outcome;
use crate::wire::{Answer, Failure, Wire};

/// The workload ends; no more operations.
#[derive(Debug)]
pub(super) struct Ended;

/// What all shoppers of a process share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) stop: Stop,
    pub(super) tally: Arc<Tally>,
    pub(super) rows: RowSender,
    /// The cell's start.
    pub(super) epoch: Instant,
    /// Random, so that keys of orders are new also when a seed is used again on the same shop.
    pub(super) nonce: u64,
}

/// A shopper and what it knows.
pub(super) struct Shopper {
    pub(super) user: u32,
    pub(super) shared: Shared,
    wire: Wire,
    think: Stream,
    back_off: BackOff,
    /// Operations tried so far.
    sequence: u64,
    /// Operations it may try in all.
    most: Option<u64>,
    /// Whose account it uses.
    pub(super) account: Credentials,
    /// Whether the account is known to be there.
    pub(super) registered: bool,
    /// From login to logout.
    pub(super) token: Option<String>,
    /// From the first time that the stock ran out.
    pub(super) admin_token: Option<String>,
    /// Products in all categories, as far as known.
    pub(super) products: u64,
    /// The page of products that was seen last.
    pub(super) page: Vec<Product>,
}

impl Shopper {
    pub(super) fn new(user: u32, shared: Shared) -> Self {
        let settings = &shared.settings;
        let stream = |purpose| Stream::new(settings.seed, &settings.labels.client, user, purpose);
        Self {
            user,
            wire: Wire::new(settings.endpoints, settings.connection, settings.timeouts),
            think: stream(Purpose::Think),
            back_off: BackOff::new(stream(Purpose::BackOff)),
            sequence: 0,
            most: settings.until.share(user, settings.users),
            account: settings.account(user, 0),
            registered: false,
            token: None,
            admin_token: None,
            products: 0,
            page: Vec::new(),
            shared,
        }
    }

    /// Shops until the workload ends.
    pub(super) async fn run(mut self) {
        let Ok(()) = self.arrive().await else { return };
        for turn in 0.. {
            if self.turn(turn).await.is_err() {
                return;
            }
        }
    }

    /// Shoppers arrive spread over one mean pause, not all in the same instant.
    async fn arrive(&mut self) -> Result<(), Ended> {
        let offset = self.shared.settings.think_time.mul_f64(self.think.unit());
        self.sleep(offset).await
    }

    /// Tries one operation and records it, after a pause (except the first).
    pub(super) async fn attempt<T: DeserializeOwned>(
        &mut self,
        request: &Request,
    ) -> Result<Result<T, Failure>, Ended> {
        if self.most.is_some_and(|most| self.sequence >= most) {
            return Err(Ended);
        }
        if self.sequence > 0 {
            self.pause().await?;
        }
        if self.shared.stop.is_draining() {
            return Err(Ended);
        }
        let intended = Instant::now();
        let answer = tokio::select! {
            answer = self.wire.exchange(request, intended) => answer,
            () = self.shared.stop.cut() => {
                self.shared.tally.cut_off();
                return Err(Ended);
            }
        };
        self.record(request.command(), intended, &answer).await?;
        self.note(&answer);
        Ok(answer.result)
    }

    async fn pause(&mut self) -> Result<(), Ended> {
        let think = self.think.around(self.shared.settings.think_time);
        let back_off = self.back_off.wait();
        self.sleep(think.max(back_off)).await
    }

    async fn sleep(&self, time: Duration) -> Result<(), Ended> {
        if time.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.shared.stop.draining() => Err(Ended),
        }
    }

    async fn record<T>(&mut self, operation: &'static str, intended: Instant, answer: &Answer<T>) -> Result<(), Ended> {
        let outcome = answer.outcome();
        let row = Row {
            user: self.user,
            sequence: self.sequence,
            operation,
            start: intended.saturating_duration_since(self.shared.epoch),
            measured: answer.measured.clone(),
            outcome,
        };
        self.sequence += 1;
        self.shared.rows.send(row).await.map_err(|_| Ended)?;
        self.shared.tally.ended(outcome);
        Ok(())
    }

    /// Learns from an answer: whether to back off.
    fn note<T>(&mut self, answer: &Answer<T>) {
        match &answer.result {
            Err(Failure::Refused(body)) if !is_passing(body.code) => self.back_off.reset(),
            Ok(_) => self.back_off.reset(),
            Err(_) => self.back_off.failed(),
        }
    }
}

/// Whether a refusal is the shop's own trouble, so that the same request may do later.
fn is_passing(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Overloaded | ErrorCode::ShuttingDown | ErrorCode::Internal | ErrorCode::RequestTimeout)
}

/// Whether it is unknown if the shop did what was asked.
pub(super) fn is_in_doubt(failure: &Failure) -> bool {
    matches!(failure.outcome(), Outcome::Timeout | Outcome::Reset)
}
