//! One virtual user: performs operations sequentially and records each. `start_policy` determines their starts,
//! `iteration` their requests.

use std::sync::Arc;
use std::time::Instant;

use program_main::warning;
use protocol::response::Product;
use protocol::{ErrorCode, Request};
use serde::de::DeserializeOwned;

use crate::NAME;
use crate::transport::{Exchange, ExchangeError, Transport};
use crate::workload::operation_counts::OperationCounts;
use crate::workload::recorder::{Row, RowSender, microseconds_since};
use crate::workload::settings::{Credentials, Settings};
use crate::workload::start_policy::StartPolicy;
use crate::workload::stop::{Stop, WorkloadEnded};
use model::sample::Outcome;

/// Data that all virtual users of a process share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) stop: Stop,
    pub(super) counts: Arc<OperationCounts>,
    pub(super) rows: RowSender,
    /// Start of the measurement window.
    pub(super) measured_from: Instant,
    /// Random part of idempotency keys: they are new even if a seed is used again on the same shop.
    pub(super) nonce: u64,
}

/// State of one virtual user.
pub(super) struct VirtualUser {
    pub(super) user: u32,
    pub(super) shared: Shared,
    transport: Transport,
    policy: StartPolicy,
    /// Number of operations so far.
    sequence: u64,
    /// Current account.
    pub(super) account: Credentials,
    /// Whether the account is known to be registered.
    pub(super) registered: bool,
    /// Token of the session, from login to logout.
    pub(super) token: Option<String>,
    /// Token of the administrator, after a product was out of stock.
    pub(super) admin_token: Option<String>,
    /// Number of products in all categories, by the last response.
    pub(super) products: u64,
    /// Products on the page of the last response.
    pub(super) page: Vec<Product>,
}

impl VirtualUser {
    pub(super) fn new(user: u32, policy: StartPolicy, shared: Shared) -> Self {
        let settings = &shared.settings;
        Self {
            user,
            transport: Transport::new(settings.endpoints.clone(), settings.workload.connection, settings.timeouts()),
            policy,
            sequence: 0,
            account: settings.account(user, 0),
            registered: false,
            token: None,
            admin_token: None,
            products: 0,
            page: Vec::new(),
            shared,
        }
    }

    /// Performs iterations until the workload ends.
    pub(super) async fn run(mut self) {
        for iteration in 0.. {
            if self.iterate(iteration).await.is_err() {
                return;
            }
        }
    }

    /// Performs one operation when it is due, and records it.
    pub(super) async fn attempt<T: DeserializeOwned>(
        &mut self,
        request: &Request,
    ) -> Result<Result<T, ExchangeError>, WorkloadEnded> {
        let intended = self.policy.next().await?;
        let exchange = tokio::select! {
            exchange = self.transport.exchange(request, intended) => exchange,
            () = self.shared.stop.cancelled() => {
                self.shared.counts.unfinished(1);
                return Err(WorkloadEnded);
            }
        };
        self.record(request.command(), intended, &exchange).await?;
        self.print_error(request.command(), &exchange);
        self.update_back_off(&exchange);
        Ok(exchange.result)
    }

    async fn record<T>(
        &mut self,
        operation: &'static str,
        intended: Instant,
        exchange: &Exchange<T>,
    ) -> Result<(), WorkloadEnded> {
        let outcome = exchange.outcome();
        let row = Row {
            user: self.user,
            sequence: self.sequence,
            operation,
            start_us: microseconds_since(self.shared.measured_from, intended),
            measured: exchange.measured.clone(),
            outcome,
        };
        self.sequence += 1;
        let phase = row.phase();
        self.shared.rows.send(row).await.map_err(|_| WorkloadEnded)?;
        self.shared.counts.ended(outcome, phase);
        Ok(())
    }

    /// Prints on stderr why an operation failed; the sample contains only the outcome.
    fn print_error<T>(&self, operation: &str, exchange: &Exchange<T>) {
        let Err(error) = &exchange.result else { return };
        if !matches!(error, ExchangeError::Refused(_)) && self.shared.counts.may_print_error() {
            // `record` has already counted the operation.
            let (user, sequence) = (self.user, self.sequence - 1);
            warning(NAME, format_args!("virtual user {user}, operation {sequence} ({operation}): {error}"));
        }
    }

    fn update_back_off<T>(&mut self, exchange: &Exchange<T>) {
        match &exchange.result {
            Err(ExchangeError::Refused(body)) if !is_temporary(body.code) => self.policy.succeeded(),
            Ok(_) => self.policy.succeeded(),
            Err(_) => self.policy.failed(),
        }
    }
}

/// Returns whether a refusal is due to the shop's state, so that the same request may succeed later.
fn is_temporary(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Overloaded | ErrorCode::ShuttingDown | ErrorCode::Internal | ErrorCode::RequestTimeout)
}

/// Returns whether it is unknown if the shop executed the request.
pub(super) fn is_in_doubt(error: &ExchangeError) -> bool {
    matches!(error.outcome(), Outcome::Timeout | Outcome::Reset)
}
