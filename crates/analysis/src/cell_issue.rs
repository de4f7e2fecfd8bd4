//! Issues that make a cell's numbers unreliable: their labels, marks and advice.

use crate::cell::{CellInfo, Verdict};

/// A reason not to trust all numbers of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CellIssue {
    /// The condition was not confirmed.
    Unverified,
    /// A node failed during the cell.
    Failed,
    /// The run was stopped during the cell.
    Interrupted,
    /// The host's CPU load was too high.
    Overloaded,
    /// Slow operations were slow in the server.
    ServerStalled,
}

impl CellInfo {
    /// Returns whether the cell is verified, its host was not overloaded and its server did not stall.
    #[must_use]
    pub fn is_reliable(&self) -> bool {
        CellIssue::of(self).next().is_none()
    }
}

impl CellIssue {
    /// All issues, in the order in which they are shown.
    pub(crate) const ALL: [Self; 5] =
        [Self::Unverified, Self::Failed, Self::Interrupted, Self::Overloaded, Self::ServerStalled];

    /// Returns the issues of `cell`.
    pub(crate) fn of(cell: &CellInfo) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|issue| issue.applies_to(cell))
    }

    /// Returns whether `cell` has this issue.
    fn applies_to(self, cell: &CellInfo) -> bool {
        match self {
            Self::Unverified => cell.verdict == Verdict::Unverified,
            Self::Failed => cell.verdict == Verdict::Failed,
            Self::Interrupted => cell.verdict == Verdict::Interrupted,
            Self::Overloaded => cell.overloaded,
            Self::ServerStalled => cell.stalled,
        }
    }

    /// Returns the issue in one or two words (`unverified`).
    #[must_use]
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Overloaded => "overloaded",
            Self::ServerStalled => "server stalled",
        }
    }

    /// Returns the mark that follows a value in the table.
    pub(crate) fn mark(self) -> char {
        match self {
            Self::Unverified => '!',
            Self::Failed => '×',
            Self::Interrupted => '/',
            Self::Overloaded => '~',
            Self::ServerStalled => '^',
        }
    }

    /// Returns the meaning of the issue and the advice, for the notes of the table.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Unverified => "the condition was not confirmed in every cell (see 'problems' in cells.csv)",
            Self::Failed => "the server or a client failed in a cell (see 'problems' in cells.csv, and logs/)",
            Self::Interrupted => "the run was stopped in a cell; resume the run to measure it",
            Self::Overloaded => {
                "values may reflect the host's CPU load, not the link; use fewer clients or longer think times"
            }
            Self::ServerStalled => {
                "slow operations were slow in the server, not on the link (see 'server_stall' in cells.csv)"
            }
        }
    }
}
