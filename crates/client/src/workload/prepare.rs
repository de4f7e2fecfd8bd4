//! Registers the virtual users' accounts before the measurement window.

use std::sync::Arc;
use std::time::Instant;

use model::settings::ConnectionMode;
use protocol::response::Registered;
use protocol::{ErrorCode, Request};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::transport::{ExchangeError, Transport};
use crate::workload::WorkloadError;
use crate::workload::backoff::BackOff;
use crate::workload::seed::{Purpose, Stream};
use crate::workload::settings::{Credentials, Settings};

/// Maximum number of accounts registered concurrently.
const MAX_CONCURRENT: u32 = 8;

/// Registers the account of every virtual user.
pub(super) async fn accounts(settings: &Arc<Settings>) -> Result<(), WorkloadError> {
    let mut workers = JoinSet::new();
    for first in 0..MAX_CONCURRENT.min(settings.users().get()) {
        workers.spawn(register_every(Arc::clone(settings), first, Instant::now() + settings.prepare_timeout));
    }
    while let Some(ended) = workers.join_next().await {
        ended.unwrap_or_else(|error| Err(WorkloadError::Task(error.to_string())))?;
    }
    Ok(())
}

/// Registers the accounts of the virtual users `first`, `first` + [`MAX_CONCURRENT`] and so on.
async fn register_every(settings: Arc<Settings>, first: u32, deadline: Instant) -> Result<(), WorkloadError> {
    let mut transport = Transport::new(settings.endpoints.clone(), ConnectionMode::Persistent, settings.timeouts());
    let jitter = Stream::new(settings.seed, &settings.client, first, Purpose::BackOff);
    let mut back_off = BackOff::new(jitter);
    for user in (first..settings.users().get()).step_by(MAX_CONCURRENT as usize) {
        let account = settings.account(user, 0);
        register(&mut transport, &account, &mut back_off, deadline).await?;
    }
    Ok(())
}

async fn register(
    transport: &mut Transport,
    account: &Credentials,
    back_off: &mut BackOff,
    deadline: Instant,
) -> Result<(), WorkloadError> {
    let Credentials { username, password } = account.clone();
    let request = Request::Register { username, password };
    let mut last = "no response yet".to_owned();
    loop {
        let remaining = deadline.saturating_duration_since(Instant::now());
        let timed_out = |last: String| WorkloadError::Prepare { username: account.username.clone(), last };
        let Ok(exchange) = timeout(remaining, transport.exchange::<Registered>(&request, Instant::now())).await else {
            return Err(timed_out(last));
        };
        match exchange.result {
            Ok(_) => break,
            Err(ExchangeError::Refused(body)) if body.code == ErrorCode::UsernameTaken => break,
            Err(error) => last = error.to_string(),
        }
        back_off.failed();
        let wait = back_off.wait();
        if wait >= deadline.saturating_duration_since(Instant::now()) {
            return Err(timed_out(last));
        }
        tokio::time::sleep(wait).await;
    }
    back_off.reset();
    Ok(())
}
