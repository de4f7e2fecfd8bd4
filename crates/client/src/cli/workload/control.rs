//! The workload under control of the driver: commands on stdin, events on stdout.

use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::NAME;
use crate::cli::workload::{stop_at_signals, summary};
use crate::workload;
use crate::workload::{Command, Settings};
use model::messages::workload::{Event, GO};
use program_main::{json_line, warning};

pub(super) async fn run(settings: Settings, csv: Box<dyn Write + Send>) -> anyhow::Result<()> {
    let (sender, commands) = unbounded_channel();
    stop_at_signals(sender.clone())?;
    // A dedicated thread: with the runtime's stdin, its shutdown would wait for the next line.
    thread::Builder::new().name("stdin".to_owned()).spawn(move || read_commands(&sender))?;
    let mut cpu_before = cpu_time()?;
    workload::run(settings, csv, commands, |event| {
        match event {
            Event::Ready => cpu_before = cpu_time()?,
            Event::Done { .. } => json_line(&cpu_since(cpu_before)?)?,
            _ => {}
        }
        summary::backlog(event).iter().for_each(|backlog| warning(NAME, backlog));
        json_line(event)
    })
    .await?;
    Ok(())
}

/// Returns user and system time of the process.
fn cpu_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(microseconds.unsigned_abs()))
}

fn cpu_since(before: Duration) -> io::Result<Event> {
    let used = cpu_time()?.saturating_sub(before);
    let threads = tokio::runtime::Handle::current().metrics().num_workers();
    Ok(Event::Cpu {
        used_ms: u64::try_from(used.as_millis()).unwrap_or(u64::MAX),
        threads: u32::try_from(threads).unwrap_or(u32::MAX),
    })
}

fn read_commands(commands: &UnboundedSender<Command>) {
    for line in io::stdin().lock().lines() {
        match line.as_deref().map(str::trim) {
            // Commands are no longer received: the program is about to exit.
            Ok(GO) if commands.send(Command::Go).is_err() => return,
            Ok(GO | "") => {}
            Ok(other) => {
                warning(NAME, format_args!("line '{other}' on stdin: expected '{GO}' or end of file"));
            }
            Err(_) => break,
        }
    }
    let _ = commands.send(Command::Stop);
}
