//! Usage errors: they exit with code 2, as clap's errors do.

/// Invalid value of the command line, a scenario or a previous run, anywhere in an error's chain.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct UsageError(anyhow::Error);

/// Marks `error` as a usage error.
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    UsageError(error.into()).into()
}

/// Returns a usage error with this text.
macro_rules! bail_usage {
    ($($text:tt)*) => { return Err($crate::usage::usage(anyhow::anyhow!($($text)*))) };
}
pub(crate) use bail_usage;

/// Returns whether `error` is a usage error.
pub(crate) fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<UsageError>())
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_usage_error_keeps_its_text_and_is_found_below_other_causes() {
        let inner = anyhow!("expected 1 to 1000").context("invalid clients '0'");
        let error = Err::<(), _>(usage(inner)).context("scenario 'a'").unwrap_err();
        assert_eq!(format!("{error:#}"), "scenario 'a': invalid clients '0': expected 1 to 1000");
        assert!(is_usage(&error) && !is_usage(&anyhow!("disk full")));
    }
}
