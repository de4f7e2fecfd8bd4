//! The workload under a driver: commands on stdin, events on stdout.

use std::io::{self, BufRead, Write};
use std::thread;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{stop_at_signals, summary};
use crate::control::GO;
use crate::output;
use crate::workload::{self, Command, Settings};

pub(super) async fn run(settings: Settings, csv: Box<dyn Write + Send>) -> anyhow::Result<()> {
    let (sender, commands) = unbounded_channel();
    stop_at_signals(sender.clone())?;
    // A thread of our own: the runtime's stdin would hold up its end until the next line.
    thread::Builder::new().name("stdin".to_owned()).spawn(move || read_commands(&sender))?;
    workload::run(settings, csv, commands, |event| {
        summary::backlog(event).iter().for_each(|backlog| output::note(&format!("shop-client: {backlog}")));
        output::json_line(event)
    })
    .await?;
    Ok(())
}

fn read_commands(commands: &UnboundedSender<Command>) {
    for line in io::stdin().lock().lines() {
        match line.as_deref().map(str::trim) {
            // Nobody listens any more: the program is about to end.
            Ok(GO) if commands.send(Command::Go).is_err() => return,
            Ok(GO | "") => {}
            Ok(other) => output::note(&format!("shop-client: line '{other}' on stdin: expected '{GO}' or its end")),
            Err(_) => break,
        }
    }
    let _ = commands.send(Command::Stop);
}
