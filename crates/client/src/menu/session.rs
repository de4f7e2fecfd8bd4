//! A menu session: its user, its transport, and the row for each operation.

use std::io::{self, Write};
use std::time::Instant;

use program_main::warning;
use protocol::{ErrorCode, Request};
use serde::de::DeserializeOwned;
use tokio::runtime::{Builder, Runtime};

use crate::NAME;
use crate::menu::{MenuError, MenuSettings, show};
use crate::transport::{Exchange, ExchangeError, Transport};
use crate::workload::recorder::{Recorder, Row, RowSender, microseconds_since};

/// The logged-in user.
pub(super) struct User {
    pub(super) name: String,
    pub(super) token: String,
    pub(super) admin: bool,
}

/// One session, which may have several users sequentially.
pub(super) struct Session {
    runtime: Runtime,
    transport: Transport,
    recorder: Recorder,
    /// `None` after a write error.
    rows: Option<RowSender>,
    epoch: Instant,
    /// Number of operations so far.
    sequence: u64,
    user: Option<User>,
    nonce: u64,
}

impl Session {
    pub(super) fn start(settings: &MenuSettings, csv: Box<dyn Write + Send>) -> Result<Self, MenuError> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(MenuError::Start)?;
        let nonce = getrandom::u64().map_err(|error| MenuError::Start(io::Error::other(error)))?;
        // Distinguishes sessions that share a CSV.
        let name = format!("menu-{nonce:016x}");
        let start = if settings.csv_has_header { Recorder::append } else { Recorder::start };
        let recorder = start(csv, name).map_err(MenuError::Csv)?;
        let rows = Some(recorder.sender());
        let transport = Transport::new(settings.endpoints.clone(), settings.connection, settings.timeouts);
        Ok(Self { runtime, transport, recorder, rows, epoch: Instant::now(), sequence: 0, user: None, nonce })
    }

    pub(super) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    pub(super) fn set_user(&mut self, user: Option<User>) {
        self.user = user;
    }

    /// Returns the user's token.
    pub(super) fn token(&self) -> Option<String> {
        self.user.as_ref().map(|user| user.token.clone())
    }

    /// Returns whether rows can still be written.
    pub(super) fn is_recording(&self) -> bool {
        self.rows.is_some()
    }

    /// Returns an idempotency key that no other order has.
    pub(super) fn order_key(&self) -> String {
        format!("{:016x}-menu-{}", self.nonce, self.sequence)
    }

    /// Performs an operation, shows its timing and any error, and records it.
    pub(super) fn exchange<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, ExchangeError> {
        let intended = Instant::now();
        let exchange: Exchange<T> = self.runtime.block_on(self.transport.exchange(request, intended));
        if let Err(error) = &exchange.result {
            show::line(&format!("✗ {error}"));
        }
        show::line(&show::timing(request.command(), &exchange.measured));
        self.record(request.command(), intended, &exchange);
        if matches!(&exchange.result, Err(ExchangeError::Refused(body)) if body.code == ErrorCode::InvalidToken) {
            show::line("Please log in again.");
            self.user = None;
        }
        exchange.result
    }

    fn record<T>(&mut self, operation: &'static str, intended: Instant, exchange: &Exchange<T>) {
        let row = Row {
            user: 0,
            sequence: self.sequence,
            operation,
            start_us: microseconds_since(self.epoch, intended),
            measured: exchange.measured.clone(),
            outcome: exchange.outcome(),
        };
        self.sequence += 1;
        let Some(rows) = &self.rows else { return };
        if self.runtime.block_on(rows.send(row)).is_err() {
            warning(NAME, "cannot write to the CSV; the session ends");
            self.rows = None;
        }
    }

    /// Closes the CSV and returns the number of operations.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        self.rows = None;
        self.recorder.finish()?;
        Ok(self.sequence)
    }
}
