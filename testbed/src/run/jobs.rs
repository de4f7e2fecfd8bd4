//! `--jobs`: the maximum number of cells in parallel.

use std::num::NonZeroU32;
use std::str::FromStr;

use crate::usage::bail_usage;

/// Environments that `auto` creates at most: each holds a server and all clients.
const MAX_AUTO_ENVIRONMENTS: u32 = 16;

/// Maximum number of cells in parallel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jobs {
    /// As many as keep the host idle.
    Auto,
    /// This many at most, while the host is idle.
    AtMost(NonZeroU32),
}

impl Default for Jobs {
    /// Returns 1: cells run sequentially.
    fn default() -> Self {
        Self::AtMost(NonZeroU32::MIN)
    }
}

impl FromStr for Jobs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse()
            .map(Self::AtMost)
            .map_err(|_| format!("invalid number of jobs '{text}': expected a number above 0, or auto"))
    }
}

impl Jobs {
    /// Returns the number of environments for this many cells; 1 if there is a `sequential_reason`.
    ///
    /// # Errors
    /// When the user requests parallel cells although there is a `sequential_reason`.
    pub(crate) fn environments(self, cells: usize, sequential_reason: Option<&str>) -> anyhow::Result<u32> {
        let useful = u32::try_from(cells).unwrap_or(u32::MAX).max(1);
        match (self, sequential_reason) {
            (Self::AtMost(number), Some(reason)) if number.get() > 1 => {
                bail_usage!("--jobs {number}: cells cannot run in parallel here: {reason}; omit --jobs")
            }
            (_, Some(_)) => Ok(1),
            (Self::AtMost(number), None) => Ok(number.get().min(useful)),
            (Self::Auto, None) => Ok(MAX_AUTO_ENVIRONMENTS.min(useful)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_a_number_above_0_or_auto() {
        assert_eq!("auto".parse(), Ok(Jobs::Auto));
        assert_eq!("1".parse(), Ok(Jobs::default()));
        for text in ["0", "-1", "many", ""] {
            assert!(text.parse::<Jobs>().unwrap_err().contains("auto"), "{text}");
        }
    }

    #[test]
    fn there_are_at_most_as_many_environments_as_cells_and_one_for_sequential_cells() {
        let environments = |text: &str, cells, reason| {
            text.parse::<Jobs>().unwrap().environments(cells, reason).map_err(|error| error.to_string())
        };
        assert_eq!(environments("4", 9, None), Ok(4));
        assert_eq!(environments("40", 9, None), Ok(9));
        assert_eq!(environments("auto", 9, None), Ok(9));
        assert_eq!(environments("auto", 100, None), Ok(16));
        assert_eq!(environments("auto", 9, Some("one link")), Ok(1));
        assert_eq!(environments("1", 9, Some("one link")), Ok(1));
        assert!(environments("2", 9, Some("one link")).unwrap_err().contains("one link"));
    }
}
