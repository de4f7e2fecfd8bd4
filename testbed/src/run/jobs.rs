//! `--jobs`: how many cells may be measured beside each other.

use std::num::NonZeroU32;
use std::str::FromStr;

use crate::usage::bail_usage;

/// The most labs that `auto` makes; each holds a server and all clients.
const MAX_AUTOMATIC: u32 = 16;

/// How many cells may be measured beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jobs {
    /// As many as the host stays quiet with.
    Auto,
    /// So many at most, as long as the host stays quiet.
    AtMost(NonZeroU32),
}

impl Default for Jobs {
    /// One after the other.
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
        text.parse().map(Self::AtMost).map_err(|_| format!("'{text}': a number from 1 on, or auto"))
    }
}

impl Jobs {
    /// How many labs a run of so many cells gets; `why_one` says why there can be but one, if so.
    ///
    /// # Errors
    /// When more are asked for than there can be.
    pub(crate) fn environments(self, cells: usize, sequential_reason: Option<&str>) -> anyhow::Result<u32> {
        let useful = u32::try_from(cells).unwrap_or(u32::MAX).max(1);
        match (self, sequential_reason) {
            (Self::AtMost(number), Some(why)) if number.get() > 1 => {
                bail_usage!("--jobs {number}: cells cannot run in parallel here: {why}; omit --jobs")
            }
            (_, Some(_)) => Ok(1),
            (Self::AtMost(number), None) => Ok(number.get().min(useful)),
            (Self::Auto, None) => Ok(MAX_AUTOMATIC.min(useful)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_a_number_or_auto() {
        assert_eq!("auto".parse(), Ok(Jobs::Auto));
        assert_eq!("1".parse(), Ok(Jobs::default()));
        for text in ["0", "-1", "many", ""] {
            assert!(text.parse::<Jobs>().unwrap_err().contains("auto"), "{text}");
        }
    }

    #[test]
    fn there_are_no_more_labs_than_cells_and_one_where_there_can_be_but_one() {
        let environments =
            |text: &str, cells, why| text.parse::<Jobs>().unwrap().environments(cells, why).map_err(|e| e.to_string());
        assert_eq!(environments("4", 9, None), Ok(4));
        assert_eq!(environments("40", 9, None), Ok(9));
        assert_eq!(environments("auto", 9, None), Ok(9));
        assert_eq!(environments("auto", 100, None), Ok(16));
        assert_eq!(environments("auto", 9, Some("one link")), Ok(1));
        assert_eq!(environments("1", 9, Some("one link")), Ok(1));
        assert!(environments("2", 9, Some("one link")).unwrap_err().contains("one link"));
    }
}
