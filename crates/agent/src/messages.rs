//! What driver, hub and agents say to each other: one JSON object a line. Pure.
//!
//! The driver writes [`ToAgent`] to the hub's stdin and reads, after one [`Listening`], [`FromAgent`] from its stdout.
//! An agent's connection to the hub starts with its [`Hello`]; then [`Request`]s go one way and [`Event`]s the other.
//! Empty lines mean nothing: the hub sends them to agents as a sign of life.
//!
//! Every request that awaits an answer gets one, or an [`Event::Lost`] of its agent comes after it: that ends
//! everything that was started there.

mod base64_text;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::token::Token;

/// Longest line, in bytes without its end, that any of them accepts.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Maximum number of bytes in one event. Base64 takes a third more, so that the line stays short enough.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// Where the hub listens: the first line it prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Address and port, as bound.
    pub listening: SocketAddr,
}

/// A line from the driver to the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToAgent {
    /// The agent's number.
    pub to: u32,
    /// What it should do.
    pub request: Request,
}

/// A line from the hub to the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromAgent {
    /// The agent's number.
    pub from: u32,
    /// What happened there.
    pub event: Event,
}

/// The first line of an agent's connection to the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's number. A second agent with the same number takes the first one's place.
    pub agent_id: u32,
    /// The host it runs on.
    pub host: String,
    /// Its [`protocol::VERSION`].
    pub version: String,
    /// Verification that it belongs to this run.
    pub token: Token,
}

/// What an agent is asked to do. The driver chooses the ids; one must not be used twice in a connection of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Starts a program, in the agent's directory and a process group of its own. Answered by [`Event::Exited`] in the
    /// end, or [`Event::Failed`].
    Start {
        /// The id for everything about this program.
        id: u64,
        /// Its path, or its name to be looked for in `PATH`.
        program: String,
        /// Its arguments, without its name.
        arguments: Vec<String>,
        /// Variables, name and value, on top of the agent's own environment.
        environment: Vec<(String, String)>,
        /// Whether [`Request::Input`] will come; else its stdin is empty.
        has_stdin: bool,
    },
    /// Writes a line to a program's stdin. Ignored when the program is gone or has no stdin. A program that lets more
    /// than 8 MiB wait is killed, and its stderr says so.
    Input {
        /// The program.
        id: u64,
        /// The line, without its end.
        text: String,
    },
    /// Closes a program's stdin when all lines are written.
    CloseInput {
        /// The program.
        id: u64,
    },
    /// Kills a program and everything in its process group.
    Kill {
        /// The program.
        id: u64,
    },
    /// Asks for a file. Answered by [`Event::File`]s or [`Event::Failed`].
    GetFile {
        /// The id for the answers.
        id: u64,
        /// Its path, from the agent's directory on if relative.
        path: String,
    },
    /// Kills all programs and empties the agent's directory. Answered by [`Event::Done`], which comes after the
    /// programs' [`Event::Exited`], or by [`Event::Failed`]. Until then nothing can be started.
    Reset {
        /// The id for the answer.
        id: u64,
    },
}

/// What happened at an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The agent is connected, without programs and with an empty directory. The hub says this.
    Connected {
        /// The host it runs on.
        host: String,
        /// Its [`protocol::VERSION`].
        version: String,
    },
    /// The agent's connection ended, and with it all its programs. The hub says this.
    Lost,
    /// A program wrote to its stdout.
    Stdout {
        /// The program.
        id: u64,
        /// The next at most [`MAX_CHUNK_BYTES`] of the stream, cut anywhere.
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
    },
    /// A program wrote to its stderr.
    Stderr {
        /// The program.
        id: u64,
        /// The next at most [`MAX_CHUNK_BYTES`] of the stream, cut anywhere.
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
    },
    /// A program ended, after everything that it wrote; what was left of its process group was killed.
    Exited {
        /// The program.
        id: u64,
        /// Its exit code, 128 + signal when a signal ended it.
        code: i64,
    },
    /// What was asked for can't be had.
    Failed {
        /// The request.
        id: u64,
        /// The reason, for people.
        why: String,
    },
    /// A part of a file, in the file's order.
    File {
        /// The request.
        id: u64,
        /// At most [`MAX_CHUNK_BYTES`] of it.
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
        /// Whether the file ends here.
        last: bool,
    },
    /// A reset is complete.
    Done {
        /// The request.
        id: u64,
    },
}

impl Request {
    /// The program's or request's id.
    pub fn id(&self) -> u64 {
        match self {
            Self::Start { id, .. }
            | Self::Input { id, .. }
            | Self::CloseInput { id }
            | Self::Kill { id }
            | Self::GetFile { id, .. }
            | Self::Reset { id } => *id,
        }
    }

    /// Whether an event tells, sooner or later, how it went.
    pub fn awaits_answer(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::GetFile { .. } | Self::Reset { .. })
    }
}

impl Event {
    /// The program's or request's id; `None` for what is about the agent itself.
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::Connected { .. } | Self::Lost => None,
            Self::Stdout { id, .. }
            | Self::Stderr { id, .. }
            | Self::Exited { id, .. }
            | Self::Failed { id, .. }
            | Self::File { id, .. }
            | Self::Done { id } => Some(*id),
        }
    }

    /// Whether nothing more comes under its id.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Exited { .. } | Self::Failed { .. } | Self::Done { .. } | Self::Lost => true,
            Self::File { last, .. } => *last,
            Self::Connected { .. } | Self::Stdout { .. } | Self::Stderr { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests;
