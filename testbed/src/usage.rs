//! Errors in what the user gave, which exit with 2 like those that clap finds.

/// A value of the command line, a scenario or an earlier run that cannot be used. It may stand anywhere in an error's
/// chain.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct UsageError(anyhow::Error);

/// Marks `error` as one of usage.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    UsageError(error.into()).into()
}

/// Returns a usage error with this text.
macro_rules! bail_usage {
    ($($text:tt)*) => { return Err($crate::usage::usage(anyhow::anyhow!($($text)*))) };
}
pub(crate) use bail_usage;

/// Whether `error` was caused by what the user gave.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<UsageError>())
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_usage_error_keeps_its_text_and_is_found_below_other_causes() {
        let inner = anyhow!("expected 1 to 1000").context("clients is 0");
        let error = Err::<(), _>(usage(inner)).context("scenario 'a'").unwrap_err();
        assert_eq!(format!("{error:#}"), "scenario 'a': clients is 0: expected 1 to 1000");
        assert!(is_usage(&error) && !is_usage(&anyhow!("a full disk")));
    }
}
