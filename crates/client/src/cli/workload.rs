//! `shop-client workload`: its options, and where commands come from and events go to.

mod control;
mod fd_limit;
mod load;
mod progress;
mod summary;

use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;

use load::LoadArgs;

use crate::cli::duration;
use crate::cli::shop::ShopArgs;
use crate::output;
use crate::transport::ConnectionMode;
use crate::workload;
use crate::workload::thread_scheduling;
use crate::workload::{Accounts, Credentials, Labels, Load, Settings, Until};

/// Default duration.
const DEFAULT_DURATION: Duration = Duration::from_secs(30);

/// Virtual users of a closed loop that one thread is enough for.
const USERS_PER_THREAD: usize = 256;
/// Arrivals a second that one thread is enough for. With more, too many come while it is busy with others: measured at
/// 1000/s with a connection per request while compilers ran, p99 lateness was 0.3 ms on one thread and 0.13 ms on
/// two.
const ARRIVALS_ON_ONE_THREAD: f64 = 500.0;
/// Arrivals a second for each thread that is added.
const ARRIVALS_PER_THREAD: f64 = 5000.0;

/// Options of `workload`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    shop: ShopArgs,
    /// Virtual users in this process.
    #[arg(long, value_name = "N", default_value = "1")]
    users: NonZeroU32,
    /// Warm-up before the measurement window; its rows have the phase warm_up and a negative start_us
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration::parse)]
    warm_up: Duration,
    /// Measurement window (30s without --operations); operations in flight at its end may take 15 s more
    #[arg(long, value_name = "TIME", value_parser = duration::parse_positive)]
    duration: Option<Duration>,
    /// Stop after N measured operations (closed loop: divided evenly among the virtual users)
    #[arg(long, value_name = "N")]
    operations: Option<u64>,
    #[command(flatten)]
    load: LoadArgs,
    /// When connections are made.
    #[arg(long, value_enum, default_value = "per-request")]
    connection: ConnectionMode,
    /// fresh: register a new account per iteration (measured); prepared: one per user, created before the measurement
    /// window
    #[arg(long, value_enum, default_value = "fresh")]
    accounts: AccountsArg,
    /// Timeout of preparing all accounts
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration::parse_positive)]
    prepare_timeout: Duration,
    /// Seed of all decisions: names, products, quantities, stars, think times, arrivals [default: random]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Products on a page of view_products.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    page_size: u32,
    /// CSV file of the rows; '-' is stdout; an existing file is replaced
    #[arg(long, value_name = "FILE")]
    csv: PathBuf,
    /// Administrator account, to add products when the stock runs out (without it such orders are refused)
    #[arg(long, value_name = "NAME")]
    admin_username: Option<String>,
    /// File with the administrator's password; or set SHOP_ADMIN_PASSWORD.
    #[arg(long, value_name = "FILE", requires = "admin_username")]
    admin_password_file: Option<PathBuf>,
    /// For the driver: print events as JSON lines, wait for 'go' on stdin
    #[arg(long)]
    control: bool,
    #[command(flatten)]
    labels: LabelArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum AccountsArg {
    Fresh,
    Prepared,
}

/// Columns that are the same in every row.
#[derive(clap::Args)]
#[command(next_help_heading = "Columns of every row")]
struct LabelArgs {
    /// Column run_id.
    #[arg(long, value_name = "TEXT", default_value = "")]
    run_id: String,
    /// Column cell.
    #[arg(long, value_name = "TEXT", default_value = "")]
    cell: String,
    /// Column condition.
    #[arg(long, value_name = "TEXT", default_value = "")]
    condition: String,
    /// Column value.
    #[arg(long, value_name = "TEXT", default_value = "")]
    value: String,
    /// Column repetition.
    #[arg(long, value_name = "N")]
    repetition: Option<u32>,
    /// Column client. With the same seed, each client decides differently.
    #[arg(long, value_name = "TEXT", default_value = "")]
    client: String,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    let to_stdout = args.csv == Path::new("-");
    anyhow::ensure!(
        !(args.control && to_stdout),
        "--control and --csv -: both would write to stdout; give --csv a file"
    );
    let settings = settings(&args)?;
    fd_limit::make_room(settings.users, settings.connection)?;
    let csv = open(&args.csv)?;
    let runtime = runtime(&settings)?;
    let done = if args.control {
        runtime.block_on(control::run(settings, csv))
    } else {
        output::note(&format!("seed {}", settings.seed));
        runtime.block_on(progress::run(settings, csv, &args.csv))
    };
    // A blocked read of stdin must not keep the program.
    runtime.shutdown_background();
    done
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let labels = &args.labels;
    let is_endless = args.duration.is_none() && args.operations.is_none();
    Ok(Settings {
        endpoints: args.shop.endpoints()?,
        connection: args.connection,
        timeouts: args.shop.timeouts(),
        users: args.users,
        until: Until {
            elapsed: if is_endless { Some(DEFAULT_DURATION) } else { args.duration },
            operations: args.operations,
        },
        warm_up: args.warm_up,
        load: args.load.load()?,
        seed: args.seed.map_or_else(getrandom::u64, Ok).context("no randomness for a seed; give --seed")?,
        page_size: args.page_size,
        accounts: match args.accounts {
            AccountsArg::Fresh => Accounts::Fresh,
            AccountsArg::Prepared => Accounts::Prepared { within: args.prepare_timeout },
        },
        admin: admin(args)?,
        labels: Labels {
            run_id: labels.run_id.clone(),
            cell: labels.cell.clone(),
            condition: labels.condition.clone(),
            value: labels.value.clone(),
            repetition: labels.repetition,
            client: labels.client.clone(),
        },
    })
}

fn admin(args: &Args) -> anyhow::Result<Option<Credentials>> {
    let Some(username) = args.admin_username.clone() else { return Ok(None) };
    let password = match &args.admin_password_file {
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

/// One thread for a few virtual users, so that eight such processes do not fight for the processors; more for
/// thousands. In an open loop virtual users mostly wait, and it is the rate that counts.
fn runtime(settings: &Settings) -> io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (threads, ask): (usize, fn()) = match settings.load {
        Load::Closed { .. } => ((settings.users.get() as usize).div_ceil(USERS_PER_THREAD), || {}),
        Load::Open(arrivals) => (threads_for(arrivals.rate.per_second()), request_realtime),
    };
    if threads.min(processors) <= 1 {
        ask();
        return tokio::runtime::Builder::new_current_thread().enable_all().build();
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads.min(processors)).on_thread_start(ask).enable_all().build()
}

fn threads_for(per_second: f64) -> usize {
    if per_second <= ARRIVALS_ON_ONE_THREAD { 1 } else { 1 + (per_second / ARRIVALS_PER_THREAD).ceil() as usize }
}

/// What came of it is told at the end by the workload, which asks, too.
fn request_realtime() {
    let _ = thread_scheduling::ask();
}

/// Tells the workload to stop at SIGTERM and SIGINT; ends when one came.
fn stop_at_signals(commands: tokio::sync::mpsc::UnboundedSender<workload::Command>) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Kept until here also when nothing listens any more.
        let _ = commands.send(workload::Command::Stop);
    });
    Ok(())
}
