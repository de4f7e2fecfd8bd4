//! What can cast doubt on a cell: the only place that knows the words, the marks and the remedies.

use crate::cell::{CellInfo, Verdict};

/// One reason not to trust a cell's numbers, or not all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// Measured, but the condition was not confirmed.
    Unverified,
    /// A node failed in it.
    Failed,
    /// The run was stopped in it.
    Interrupted,
    /// The host was too busy.
    Overloaded,
    /// Slow operations were slow in the server.
    Stalled,
}

impl Doubt {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Unverified, Self::Failed, Self::Interrupted, Self::Overloaded, Self::Stalled];

    /// Whether it applies to a cell.
    #[must_use]
    pub fn applies(self, cell: &CellInfo) -> bool {
        match self {
            Self::Unverified => cell.verdict == Verdict::Unverified,
            Self::Failed => cell.verdict == Verdict::Failed,
            Self::Interrupted => cell.verdict == Verdict::Interrupted,
            Self::Overloaded => cell.overloaded,
            Self::Stalled => cell.stalled,
        }
    }

    /// In a word or two (`not verified`).
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Overloaded => "overloaded",
            Self::Stalled => "server stalled",
        }
    }

    /// The mark behind a value in the table.
    pub(crate) fn mark(self) -> char {
        match self {
            Self::Unverified => '!',
            Self::Failed => '×',
            Self::Interrupted => '/',
            Self::Overloaded => '~',
            Self::Stalled => '^',
        }
    }

    /// What it means and what to do about it, for the table's notes.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Unverified => "the condition was not confirmed in every cell (see 'problems' in cells.csv).",
            Self::Failed => "the server or a client failed in a cell; see 'problems' in cells.csv, and logs/.",
            Self::Interrupted => "the run was interrupted in a cell; resume the run to measure it.",
            Self::Overloaded => {
                "values may reflect the host's CPU load, not the link; use fewer clients or a longer think time."
            }
            Self::Stalled => {
                "slow operations were slow in the server, not on the link; see 'server_stall' in cells.csv."
            }
        }
    }
}
