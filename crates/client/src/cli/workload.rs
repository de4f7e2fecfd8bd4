//! `shop-client workload`: its options, the sources of commands and the destinations of events.

mod control;
mod fd_limit;
mod progress;
mod summary;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use model::settings::{ArrivalProcess, Configured, Flags};
use model::units::PositiveDuration;
use program_main::{conflict, note};

use crate::workload;
use crate::workload::thread_scheduling;
use crate::workload::{Credentials, Load, Settings, Until, WorkloadConfig};

/// Duration of the measurement window without `--duration` and `--operations`.
const DEFAULT_DURATION: Duration = Duration::from_secs(30);

/// Virtual users of a closed loop per thread.
const USERS_PER_THREAD: usize = 256;
/// Maximum arrival rate of one thread, per second. At 1000/s with a connection per request, while compilers ran, the p99
/// start lateness was 0.3 ms on one thread and 0.13 ms on two.
const MAX_ARRIVALS_ON_ONE_THREAD: f64 = 500.0;
/// Arrivals per second of each further thread.
const ARRIVALS_PER_THREAD: f64 = 5000.0;

/// Options of `workload`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: Configured<WorkloadConfig>,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let Configured { settings: config, flags } = args.config;
    check(&config, &flags).map_err(conflict)?;
    let settings = resolve(&config)?;
    fd_limit::raise_limit(settings.users(), settings.workload.connection)?;
    let csv = open(&config.csv)?;
    let runtime = runtime(&settings)?;
    let done = if config.control {
        runtime.block_on(control::run(settings, csv))
    } else {
        note(format_args!("seed {}", settings.seed));
        runtime.block_on(progress::run(settings, csv, &config.csv))
    };
    // Otherwise a blocked read of stdin would delay the exit.
    runtime.shutdown_background();
    done
}

/// Returns an error for flags that conflict.
fn check(config: &WorkloadConfig, flags: &Flags<WorkloadConfig>) -> Result<(), String> {
    config.workload.check(1)?;
    config.workload.check_flags(|flag| flags.has(flag))?;
    let is_constant = config.workload.arrival_rate.is_some() && config.workload.arrivals == ArrivalProcess::Constant;
    if !is_constant && flags.has("arrival_offset") {
        return Err(
            "--arrival-offset requires --arrival-rate and --arrivals constant: other arrivals have no offset; \
                    omit it"
                .to_owned(),
        );
    }
    if config.control && config.csv == Path::new("-") {
        return Err("--control and --csv -: both would write to stdout; give --csv a file".to_owned());
    }
    match (&config.admin_username, &config.admin_password_file) {
        (None, Some(_)) => Err("--admin-password-file requires --admin-username".to_owned()),
        _ => Ok(()),
    }
}

/// Looks up the address, draws a seed if none is given, and reads the password.
fn resolve(config: &WorkloadConfig) -> anyhow::Result<Settings> {
    let is_endless = config.duration.is_none() && config.operations.is_none();
    let elapsed = config.duration.map(PositiveDuration::as_duration);
    Ok(Settings {
        endpoints: config.shop.resolve()?,
        workload: config.workload.clone(),
        warm_up: config.warm_up.as_duration(),
        until: Until {
            elapsed: if is_endless { Some(DEFAULT_DURATION) } else { elapsed },
            operations: config.operations,
        },
        arrival_offset: config.arrival_offset.as_duration(),
        prepare_timeout: config.prepare_timeout.as_duration(),
        seed: config.seed.map_or_else(getrandom::u64, Ok).context("no randomness for a seed; give --seed")?,
        client: config.client.clone(),
        account_scope: config.account_scope.clone(),
        admin: admin(config)?,
    })
}

fn admin(config: &WorkloadConfig) -> anyhow::Result<Option<Credentials>> {
    let Some(username) = config.admin_username.clone() else { return Ok(None) };
    let password = match &config.admin_password_file {
        Some(path) => fs::read_to_string(path)
            .with_context(|| format!("admin password file '{}'", path.display()))?
            .trim_end_matches(['\r', '\n'])
            .to_owned(),
        None => std::env::var("SHOP_ADMIN_PASSWORD").with_context(|| {
            format!("--admin-username {username}: set SHOP_ADMIN_PASSWORD or give --admin-password-file")
        })?,
    };
    Ok(Some(Credentials { username, password }))
}

fn open(path: &Path) -> anyhow::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file = File::create(path).with_context(|| format!("cannot create the CSV '{}'", path.display()))?;
    Ok(Box::new(file))
}

/// Creates the runtime. The number of threads depends on the number of virtual users, or on the rate of an open loop,
/// whose virtual users mostly wait. A small workload has one thread, because several clients share the host's CPUs.
fn runtime(settings: &Settings) -> io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (threads, set_scheduling): (usize, fn()) = match settings.load() {
        Load::Closed { .. } => ((settings.users().get() as usize).div_ceil(USERS_PER_THREAD), || {}),
        Load::Open(arrivals) => (threads_for(arrivals.rate.per_second()), request_realtime),
    };
    if threads.min(processors) <= 1 {
        set_scheduling();
        return tokio::runtime::Builder::new_current_thread().enable_all().build();
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads.min(processors)).on_thread_start(set_scheduling).enable_all().build()
}

fn threads_for(per_second: f64) -> usize {
    if per_second <= MAX_ARRIVALS_ON_ONE_THREAD { 1 } else { 1 + (per_second / ARRIVALS_PER_THREAD).ceil() as usize }
}

/// Requests real-time scheduling. The result is ignored: the workload requests it again and reports it.
fn request_realtime() {
    let _ = thread_scheduling::request_realtime();
}

/// Stops the workload at the first SIGTERM or SIGINT.
fn stop_at_signals(commands: tokio::sync::mpsc::UnboundedSender<workload::Command>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Fails only if the workload has ended.
        let _ = commands.send(workload::Command::Stop);
    });
    Ok(())
}
