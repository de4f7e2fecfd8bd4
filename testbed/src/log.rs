//! The driver's log, `logs/driver.log` in the results directory: every step with its time in UTC.
//!
//! The driver's events of level INFO and above are also printed on stderr (`output`), its DEBUG events with `-v` only.
//! Warnings of libraries are only in the log.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::output;
use crate::output::Verbosity;

/// Name of the file below `logs/`.
const FILE: &str = "driver.log";

/// Destination of log lines: memory until the run has a directory.
enum Destination {
    Memory(Vec<u8>),
    File(File),
}

static DESTINATION: Mutex<Destination> = Mutex::new(Destination::Memory(Vec::new()));

struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *DESTINATION.lock().unwrap_or_else(PoisonError::into_inner) {
            Destination::Memory(buffer) => buffer.write(bytes),
            Destination::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints details on stderr.
struct DetailWriter;

impl Write for DetailWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        output::print(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging for the process: details go to stderr with [`Verbosity::Verbose`], all events to memory until
/// [`write_to`].
///
/// # Errors
/// Logging has already been started.
pub(crate) fn start(verbosity: Verbosity) -> anyhow::Result<()> {
    // Libraries log warnings only: at DEBUG, bollard logs every byte of a command's output.
    let levels = Targets::new().with_default(LevelFilter::WARN).with_target("testbed", LevelFilter::DEBUG);
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(|| LogWriter);
    let is_detail = |event: &Metadata<'_>| *event.level() == Level::DEBUG && event.target().starts_with("testbed");
    let details = (verbosity == Verbosity::Verbose).then(|| {
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_level(false);
        layer.without_time().with_writer(|| DetailWriter).with_filter(filter_fn(is_detail))
    });
    let started = tracing_subscriber::registry().with(log.with_filter(levels)).with(details).try_init();
    started.context("starting the log")
}

/// Appends the log so far, and all later lines, to `driver.log` in `directory`.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_to(directory: &Path) -> anyhow::Result<()> {
    let path = directory.join(FILE);
    let what = || format!("writing {}", path.display());
    let mut file = File::options().create(true).append(true).open(&path).with_context(what)?;
    let mut destination = DESTINATION.lock().unwrap_or_else(PoisonError::into_inner);
    if let Destination::Memory(buffer) = &*destination {
        file.write_all(buffer).with_context(what)?;
    }
    *destination = Destination::File(file);
    Ok(())
}
