//! The workload by itself: starts at once, a line of progress on a terminal, a summary at the end.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use tokio::sync::mpsc::unbounded_channel;

use super::stop_at_signals;
use crate::control::Event;
use crate::output;
use crate::workload::{self, Command, Settings};

pub(super) async fn run(settings: Settings, csv: Box<dyn Write + Send>, path: &Path) -> anyhow::Result<()> {
    let (sender, commands) = unbounded_channel();
    stop_at_signals(sender.clone())?;
    sender.send(Command::Go)?;
    let mut start = Instant::now();
    workload::run(settings, csv, commands, |event| {
        match event {
            Event::Ready => start = Instant::now(),
            Event::Progress { operations, errors } => output::status(&running(start, *operations, *errors)),
            Event::Done { operations, errors, cut_off, .. } => {
                output::clear_status();
                output::note(&ended(start, (*operations, *errors, *cut_off), path));
            }
        }
        Ok(())
    })
    .await?;
    Ok(())
}

fn running(start: Instant, operations: u64, errors: u64) -> String {
    let seconds = start.elapsed().as_secs_f64();
    let rate = operations as f64 / seconds.max(1e-3);
    format!("{seconds:.0} s · {operations} operations · {rate:.0}/s · {errors} errors")
}

fn ended(start: Instant, (operations, errors, cut_off): (u64, u64, u64), path: &Path) -> String {
    let cut_off = if cut_off > 0 { format!(" · {cut_off} cut off at the end") } else { String::new() };
    let place = if path == Path::new("-") { "stdout".to_owned() } else { path.display().to_string() };
    format!("{}{cut_off} · rows in {place}", running(start, operations, errors))
}
