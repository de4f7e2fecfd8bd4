//! The workload without a driver: starts immediately, shows progress on a terminal, prints a summary at the end.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use program_main::note;
use tokio::sync::mpsc::unbounded_channel;

use crate::cli::workload::{stop_at_signals, summary};
use crate::output;
use crate::workload;
use crate::workload::{Command, Settings};
use model::messages::workload::Event;

pub(super) async fn run(settings: Settings, csv: Box<dyn Write + Send>, path: &Path) -> anyhow::Result<()> {
    let (sender, commands) = unbounded_channel();
    stop_at_signals(sender.clone())?;
    sender.send(Command::Go)?;
    let mut start = Instant::now();
    workload::run(settings, csv, commands, |event| {
        match event {
            Event::Ready => start = Instant::now(),
            Event::Progress { operations, errors } => {
                output::status(&summary::running(start.elapsed(), *operations, *errors));
            }
            // Only for the driver.
            Event::Cpu { .. } => {}
            Event::Done { .. } => {
                output::clear_status();
                let destination = if path == Path::new("-") { "stdout".to_owned() } else { path.display().to_string() };
                let totals = summary::totals(start.elapsed(), event);
                totals.iter().for_each(|totals| note(format_args!("{totals} · rows in {destination}")));
                summary::backlog(event).iter().for_each(note);
            }
        }
        Ok(())
    })
    .await?;
    Ok(())
}
