//! Commands to run in nodes, and their output.

use std::fmt;
use std::path::Path;

use crate::program::Program;

/// A command to run in a node.
#[derive(Debug, Clone)]
pub(crate) struct NodeCommand {
    /// Program to run.
    pub(crate) executable: Executable,
    /// Arguments, without the program's name.
    pub(crate) arguments: Vec<String>,
    /// Environment variables in addition to the node's.
    pub(crate) environment: Vec<(String, String)>,
}

/// Executable of a [`NodeCommand`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Executable {
    /// A program of the testbed.
    Program(Program),
    /// A program installed in the node, by its name.
    Installed(&'static str),
}

impl NodeCommand {
    /// Returns a command that runs a program of the testbed.
    pub(crate) fn program<S: Into<String>>(program: Program, arguments: impl IntoIterator<Item = S>) -> Self {
        Self::new(Executable::Program(program), arguments)
    }

    /// Returns a command that runs a program installed in the node.
    pub(crate) fn installed<S: Into<String>>(name: &'static str, arguments: impl IntoIterator<Item = S>) -> Self {
        Self::new(Executable::Installed(name), arguments)
    }

    fn new<S: Into<String>>(executable: Executable, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { executable, arguments, environment: Vec::new() }
    }

    /// Adds an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}

impl Executable {
    /// Returns the name by which a node with its own file system finds it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Executable::Program(program) => program.name(),
            Executable::Installed(name) => name,
        }
    }
}

impl fmt::Display for NodeCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.executable.name())?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// Output of a command that has ended.
#[derive(Debug, Clone)]
pub(crate) struct CommandOutput {
    /// Exit code; 128 + signal if a signal ended it.
    pub(crate) code: i64,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl CommandOutput {
    /// Returns the output if the command succeeded.
    ///
    /// # Errors
    /// Names the command, its exit code and the last lines of its output.
    pub(crate) fn success(self, command: &NodeCommand) -> anyhow::Result<Self> {
        if self.code == 0 {
            return Ok(self);
        }
        let printed = if self.stderr.trim().is_empty() { self.stdout.trim() } else { self.stderr.trim() };
        anyhow::bail!("`{command}` ended with exit code {}: {}", self.code, last_lines(printed, 5))
    }
}

/// Returns the last `count` lines of a text, in one line.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

/// Returns the end of a program's log, for an error message about the program.
pub(crate) fn log_tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    format!("its log ends with: {}", last_lines(&text, 3))
}
