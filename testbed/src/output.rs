//! The only place that prints: results on stdout, everything else on stderr and in the driver's log.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use console::Term;
use indicatif::ProgressBar;

/// How much is printed on stderr. Results on stdout and the log are always complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors, and prompts that wait for an answer.
    Quiet,
    /// Also what the driver does.
    #[default]
    Normal,
    /// Also the details that otherwise only the log has.
    Verbose,
}

static VERBOSITY: OnceLock<Verbosity> = OnceLock::new();

/// The progress bar on the terminal: other lines go above it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Columns by which the rest of a wrapped line is indented.
const INDENT: usize = 4;

/// Sets how much is printed, once for the process.
pub(crate) fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.get_or_init(|| verbosity);
}

/// How much is printed.
pub(crate) fn verbosity() -> Verbosity {
    VERBOSITY.get().copied().unwrap_or_default()
}

/// Makes room for a progress bar, or for none.
pub(crate) fn set_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Prints and logs what the driver does.
pub(crate) fn say(text: &str) {
    say_coloured(text, text);
}

/// Like [`say`]; a terminal shows `coloured`, the log keeps `text`.
pub(crate) fn say_coloured(text: &str, coloured: &str) {
    tracing::info!("{text}");
    if verbosity() >= Verbosity::Normal {
        print(coloured);
    }
}

/// Prints and logs what waits for an answer, however quiet the driver is.
pub(crate) fn prompt(text: &str) {
    tracing::info!("{text}");
    print(text);
}

/// Prints and logs something that went wrong.
pub(crate) fn complain(text: &str) {
    tracing::error!("{text}");
    print(text);
}

/// Prints and logs an error with its causes.
pub(crate) fn failure(error: &anyhow::Error) {
    complain(&format!("testbed: {error:#}"));
}

/// Prints a result on stdout. A closed pipe (`testbed report … | head`) is no error.
pub(crate) fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The terminal's width in columns; `None` when it is not a terminal.
pub(crate) fn width(terminal: &Term) -> Option<usize> {
    terminal.size_checked().map(|(_, columns)| usize::from(columns))
}

/// Prints on stderr, above the progress bar. A terminal that has closed is no reason to stop.
pub(crate) fn print(text: &str) {
    let fitted = std::io::stderr().is_terminal().then(|| width(&Term::stderr())).flatten();
    let text = fitted.map_or_else(|| text.to_owned(), |columns| wrap(text, columns));
    let write = || drop(writeln!(std::io::stderr(), "{text}"));
    match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Breaks lines at spaces so that none is wider than `columns`; a longer word stays whole. Colours take no room.
pub(crate) fn wrap(text: &str, columns: usize) -> String {
    let wrapped = text.lines().map(|line| {
        let own = line.len() - line.trim_start().len();
        let mut lines = " ".repeat(own);
        let mut used = own;
        for (index, word) in line.trim_start().split(' ').enumerate() {
            let size = console::measure_text_width(word);
            if index > 0 && used + 1 + size > columns {
                lines.push_str(&format!("\n{}", " ".repeat(own + INDENT)));
                used = own + INDENT;
            } else if index > 0 {
                lines.push(' ');
                used += 1;
            }
            lines.push_str(word);
            used += size;
        }
        lines
    });
    wrapped.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_at_spaces_and_indented_and_colours_take_no_room() {
        assert_eq!(wrap("one two three", 13), "one two three");
        assert_eq!(wrap("one two three", 9), "one two\n    three");
        assert_eq!(wrap("  a b\nlong-word c", 6), "  a b\nlong-word\n    c");
        let green = "\u{1b}[32mproved\u{1b}[0m";
        assert_eq!(wrap(&format!("one {green}"), 10), format!("one {green}"));
        assert_eq!(wrap("a  ± 5", 40), "a  ± 5", "inner spaces are kept");
    }
}
