//! Messages between driver, hub and agents: one JSON object per line. Pure.
//!
//! The driver writes [`ToAgent`] to the hub's stdin, and reads one [`Listening`] and then [`FromAgent`] from its
//! stdout. An agent's connection to the hub starts with its [`Hello`]; then the hub sends [`Request`]s and the agent
//! [`Event`]s. The hub sends empty lines as heartbeats.
//!
//! Every request that awaits a response gets one, or is followed by [`Event::Lost`] of its agent: then all programs
//! started there have been killed.

mod base64_text;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::token::Token;

/// Maximum length of a line, in bytes without its end.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Maximum number of raw bytes in one event. Base64 adds a third, so its line stays below [`MAX_LINE_BYTES`].
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// First line that the hub prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Bound address and port.
    pub listening: SocketAddr,
}

/// Line from the driver to the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToAgent {
    /// Number of the agent.
    pub to: u32,
    /// Request to the agent.
    pub request: Request,
}

/// Line from the hub to the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromAgent {
    /// Number of the agent.
    pub from: u32,
    /// Event of the agent.
    pub event: Event,
}

/// First line of an agent's connection to the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Number of the agent. A later agent with the same number replaces an earlier one.
    pub agent_id: u32,
    /// Host on which the agent runs.
    pub host: String,
    /// [`protocol::VERSION`] of the agent.
    pub version: String,
    /// Secret that shows that the agent belongs to this run.
    pub token: Token,
}

/// Request to an agent. The driver chooses the ids; each is used once per connection of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Starts a program in the agent's directory and its own process group. Response: [`Event::Exited`] when it ends,
    /// or [`Event::Failed`].
    Start {
        /// Id of all requests and events of this program.
        id: u64,
        /// Path of the program, or its name in `PATH`.
        program: String,
        /// Arguments, without the program's name.
        arguments: Vec<String>,
        /// Environment variables (name, value) in addition to the agent's own.
        environment: Vec<(String, String)>,
        /// Whether [`Request::Input`] will follow; otherwise stdin is empty.
        has_stdin: bool,
    },
    /// Writes a line to a program's stdin. Ignored if the program has ended or has no stdin. A program with more than
    /// 8 MiB of unread lines is killed, and the last event of its stderr states this.
    Input {
        /// Id of the program.
        id: u64,
        /// Line, without its end.
        text: String,
    },
    /// Closes a program's stdin after all queued lines.
    CloseInput {
        /// Id of the program.
        id: u64,
    },
    /// Kills a program's process group.
    Kill {
        /// Id of the program.
        id: u64,
    },
    /// Requests a file. Response: [`Event::File`]s or [`Event::Failed`].
    GetFile {
        /// Id of the response's events.
        id: u64,
        /// Path; a relative one starts at the agent's directory.
        path: String,
    },
    /// Kills all programs and empties the agent's directory. Response: [`Event::Done`], after [`Event::Exited`] of all
    /// programs, or [`Event::Failed`]. Until then no program can be started.
    Reset {
        /// Id of the response.
        id: u64,
    },
}

/// Event of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The agent has connected, without programs and with an empty directory. Sent by the hub.
    Connected {
        /// Host on which the agent runs.
        host: String,
        /// [`protocol::VERSION`] of the agent.
        version: String,
    },
    /// The agent's connection has ended, and all its programs are killed. Sent by the hub.
    Lost,
    /// A program wrote to its stdout.
    Stdout {
        /// Id of the program.
        id: u64,
        /// Next bytes of the stream, at most [`MAX_CHUNK_BYTES`], in base64.
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
    },
    /// A program wrote to its stderr.
    Stderr {
        /// Id of the program.
        id: u64,
        /// Next bytes of the stream, at most [`MAX_CHUNK_BYTES`], in base64.
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
    },
    /// A program has exited, all its output was sent, and the rest of its process group was killed.
    Exited {
        /// Id of the program.
        id: u64,
        /// Exit code; 128 + signal if a signal ended the program.
        code: i64,
    },
    /// A request failed.
    Failed {
        /// Id of the request.
        id: u64,
        /// Reason, as text for people.
        reason: String,
    },
    /// Next chunk of a file.
    File {
        /// Id of the request.
        id: u64,
        /// At most [`MAX_CHUNK_BYTES`], in base64.
        #[serde(with = "base64_text")]
        bytes: Vec<u8>,
        /// Whether the file ends after this chunk.
        last: bool,
    },
    /// A reset is complete.
    Done {
        /// Id of the request.
        id: u64,
    },
}

impl Request {
    /// Returns the id of the program or request.
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

    /// Returns whether a final event follows.
    pub fn awaits_response(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::GetFile { .. } | Self::Reset { .. })
    }
}

impl Event {
    /// Returns the id of the program or request; `None` for events of the agent itself.
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

    /// Returns whether no further event with its id follows.
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
