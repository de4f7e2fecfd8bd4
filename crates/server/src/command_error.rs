//! Why one request was not carried out: the client's fault, or ours.

use protocol::{ErrorBody, ErrorCode};

/// What a request came to.
pub(crate) type CommandResult<T> = Result<T, CommandError>;

/// Why a request was not carried out.
#[derive(Debug, Clone)]
pub(crate) enum CommandError {
    /// The shop says no, with reasons.
    Refused(ErrorBody),
    /// Another program holds the database's write lock for too long.
    Locked,
    /// The shop failed; the reason is for the log alone.
    Broken(String),
}

impl CommandError {
    /// A refusal that no single field is to blame for.
    pub(crate) fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused(ErrorBody::new(code, message))
    }

    /// A refusal because of the field at `path`.
    pub(crate) fn in_field(code: ErrorCode, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused(ErrorBody::in_field(code, path, message))
    }

    /// From what a panic left behind.
    pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Broken(format!("panic: {}", text.unwrap_or_else(|| "of unknown kind".to_owned())))
    }

    /// What the client is told. Reasons of our own go to the log and nowhere else.
    pub(crate) fn into_error_body(self, operation: &str) -> ErrorBody {
        match self {
            CommandError::Refused(error) => error,
            CommandError::Locked => {
                tracing::warn!(operation, "another program has locked the database");
                ErrorBody::new(ErrorCode::Overloaded, "the database is locked by another program; try again later")
            }
            CommandError::Broken(reason) => {
                tracing::error!(operation, reason, "request failed");
                ErrorBody::new(ErrorCode::Internal, "the server failed; its log says why")
            }
        }
    }
}

impl From<rusqlite::Error> for CommandError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => CommandError::Locked,
            _ => CommandError::Broken(format!("SQLite: {error}")),
        }
    }
}

#[cfg(test)]
impl CommandError {
    /// Returns whether the client is to try again later.
    pub(crate) fn is_overloaded(&self) -> bool {
        matches!(self, CommandError::Refused(error) if error.code == ErrorCode::Overloaded)
    }
}
