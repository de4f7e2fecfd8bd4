//! Result of a command, and the reasons why one fails.

use protocol::{ErrorBody, ErrorCode};

/// Result of a command.
pub(crate) type CommandResult<T> = Result<T, CommandError>;

/// Reason why a request failed.
#[derive(Debug, Clone)]
pub(crate) enum CommandError {
    /// The request is invalid or not permitted.
    Refused(ErrorBody),
    /// Another program held the database's write lock beyond the timeout.
    Locked,
    /// Nothing can be written to the database at present, for this reason.
    Unwritable(&'static str),
    /// The grace period of a shutdown ended before the request was started.
    ShuttingDown,
    /// The server failed. The reason is logged and not sent to the client.
    Broken(String),
}

impl CommandError {
    /// Returns an error of the client without a single field as its cause.
    pub(crate) fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused(ErrorBody::new(code, message))
    }

    /// Returns an error of the client caused by the field at `path`.
    pub(crate) fn in_field(code: ErrorCode, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused(ErrorBody::in_field(code, path, message))
    }

    /// Returns the error for a panic with this payload.
    pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Broken(format!("panic: {}", text.unwrap_or_else(|| "without a message".to_owned())))
    }

    /// Converts the error for the client; logs errors of the server.
    pub(crate) fn into_error_body(self, operation: &str) -> ErrorBody {
        match self {
            CommandError::Refused(error) => error,
            CommandError::Locked => {
                tracing::warn!(operation, "database locked by another program");
                ErrorBody::new(ErrorCode::Overloaded, "database locked by another program; try again later")
            }
            CommandError::Unwritable(reason) => {
                tracing::error!(operation, reason, "request not executed");
                ErrorBody::new(
                    ErrorCode::Overloaded,
                    format!("{reason}: the request was not executed; try again later"),
                )
            }
            CommandError::ShuttingDown => {
                ErrorBody::new(ErrorCode::ShuttingDown, "the server is stopping; the request was not executed")
            }
            CommandError::Broken(reason) => {
                tracing::error!(operation, reason, "request failed");
                ErrorBody::new(ErrorCode::Internal, "the server failed; its log contains the reason")
            }
        }
    }
}

impl From<rusqlite::Error> for CommandError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull, ReadOnly};
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => CommandError::Locked,
            Some(DiskFull) => CommandError::Unwritable("the database's disk is full"),
            Some(ReadOnly) => CommandError::Unwritable("the database is read-only"),
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
