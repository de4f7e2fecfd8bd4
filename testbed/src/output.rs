//! Prints results on stdout, everything else on stderr and in the driver's log. No other module prints.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use console::Term;
use indicatif::ProgressBar;

/// Amount of output on stderr. Results on stdout and the log are always complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors, and prompts that wait for input.
    Quiet,
    /// Also the steps of the driver.
    #[default]
    Normal,
    /// Also details, which are otherwise only in the log.
    Verbose,
}

static VERBOSITY: OnceLock<Verbosity> = OnceLock::new();

/// Progress bar on the terminal: other lines are printed above it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Indentation of the rest of a wrapped line, columns.
const WRAP_INDENT: usize = 4;

/// Sets how much is printed, once for the process.
pub(crate) fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.get_or_init(|| verbosity);
}

/// Returns how much is printed.
pub(crate) fn verbosity() -> Verbosity {
    VERBOSITY.get().copied().unwrap_or_default()
}

/// Sets the progress bar that lines are printed above, or removes it.
pub(crate) fn set_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}

/// Prints and logs a step of the driver.
pub(crate) fn print_status(text: &str) {
    print_status_coloured(text, text);
}

/// Prints `coloured` and logs `text`; otherwise like [`print_status`].
pub(crate) fn print_status_coloured(text: &str, coloured: &str) {
    tracing::info!("{text}");
    if verbosity() >= Verbosity::Normal {
        print(coloured);
    }
}

/// Prints and logs a prompt that waits for input, also with [`Verbosity::Quiet`].
pub(crate) fn prompt(text: &str) {
    tracing::info!("{text}");
    print(text);
}

/// Prints and logs an error.
pub(crate) fn print_error(text: &str) {
    tracing::error!("{text}");
    print(text);
}

/// Prints and logs an error with its causes.
pub(crate) fn failure(error: &anyhow::Error) {
    print_error(&format!("testbed: {error:#}"));
}

/// Prints a result on stdout. A closed pipe (`testbed report … | head`) is ignored.
pub(crate) fn result(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Returns the terminal's width in columns; `None` if it is not a terminal.
pub(crate) fn width(terminal: &Term) -> Option<usize> {
    terminal.size_checked().map(|(_, columns)| usize::from(columns))
}

/// Prints on stderr, above the progress bar. A closed terminal is ignored.
pub(crate) fn print(text: &str) {
    let columns = std::io::stderr().is_terminal().then(|| width(&Term::stderr())).flatten();
    let text = columns.map_or_else(|| text.to_owned(), |columns| wrap(text, columns));
    let write = || drop(writeln!(std::io::stderr(), "{text}"));
    match &*BAR.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Wraps lines at spaces to at most `columns`; a longer word is not split. Colours have no width.
pub(crate) fn wrap(text: &str, columns: usize) -> String {
    let wrapped = text.lines().map(|line| {
        let indent = line.len() - line.trim_start().len();
        let mut lines = " ".repeat(indent);
        let mut used = indent;
        for (index, word) in line.trim_start().split(' ').enumerate() {
            let word_width = console::measure_text_width(word);
            if index > 0 && used + 1 + word_width > columns {
                lines.push_str(&format!("\n{}", " ".repeat(indent + WRAP_INDENT)));
                used = indent + WRAP_INDENT;
            } else if index > 0 {
                lines.push(' ');
                used += 1;
            }
            lines.push_str(word);
            used += word_width;
        }
        lines
    });
    wrapped.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_at_spaces_and_indented_and_colours_have_no_width() {
        assert_eq!(wrap("one two three", 13), "one two three");
        assert_eq!(wrap("one two three", 9), "one two\n    three");
        assert_eq!(wrap("  a b\nlong-word c", 6), "  a b\nlong-word\n    c");
        let green = "\u{1b}[32mverified\u{1b}[0m";
        assert_eq!(wrap(&format!("one {green}"), 12), format!("one {green}"));
        assert_eq!(wrap("a  ± 5", 40), "a  ± 5", "inner spaces are kept");
    }
}
