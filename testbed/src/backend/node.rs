//! Nodes of an environment.

use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::backend::node_process::NodeProcess;
use crate::backend::{Backend, CommandOutput, NodeCommand};

/// A server or client with its own network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    /// Runs the shop; its link is shaped.
    Server,
    /// Client with this number, from 1.
    Client(u32),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Server => f.write_str("server"),
            Node::Client(number) => write!(f, "client-{number}"),
        }
    }
}

/// A node of a running environment. Stays valid when the node is recreated.
#[derive(Clone)]
pub(crate) struct NodeHandle {
    backend: Rc<dyn Backend>,
    node: Node,
}

impl NodeHandle {
    /// Returns the server's node; `None` for an external server.
    pub(crate) fn server(backend: &Rc<dyn Backend>) -> Option<Self> {
        backend.has_server().then(|| Self { backend: Rc::clone(backend), node: Node::Server })
    }

    /// Returns the directory in the node that programs may write to, as a path in the node.
    pub(crate) fn work_dir(&self) -> String {
        self.backend.work_dir(self.node)
    }

    /// Runs a command until it ends, with any exit code.
    ///
    /// # Errors
    /// When the command cannot be run.
    pub(crate) async fn exec(&self, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        self.backend.exec(self.node, command).await
    }

    /// Runs a command that must exit with 0.
    ///
    /// # Errors
    /// When it cannot be run or fails.
    pub(crate) async fn run(&self, command: &NodeCommand) -> anyhow::Result<CommandOutput> {
        self.exec(command).await?.success(command)
    }

    /// Starts a command; its stderr is appended to the file `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn spawn(&self, command: &NodeCommand, log: &Path) -> anyhow::Result<NodeProcess> {
        self.backend.spawn(self.node, command, log).await
    }

    /// Returns the content of a file in the node.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn get_file(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.backend.get_file(self.node, path).await
    }

    /// Returns the CPU time that the node's processes have used so far.
    ///
    /// # Errors
    /// When it is unknown.
    pub(crate) async fn cpu_time(&self) -> anyhow::Result<Duration> {
        self.backend.cpu_time(self.node).await
    }

    /// Replaces the node by a new one with the same name.
    ///
    /// # Errors
    /// When it cannot be recreated.
    pub(crate) async fn recreate(&self) -> anyhow::Result<()> {
        self.backend.recreate(self.node).await
    }
}
