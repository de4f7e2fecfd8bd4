//! Check of a database for damage: missing tables and indexes, and pages that SQLite cannot use.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use crate::error::ServerError;
use crate::store::schema::{expected_schema, read_schema};

/// Checks the database.
///
/// # Errors
/// It is damaged, or cannot be read.
pub(crate) fn check(path: &Path, connection: &Connection) -> Result<(), ServerError> {
    let failed = |cause| ServerError::database(path, "check for damage", cause);
    let found = find(connection).map_err(failed)?;
    found.map_or(Ok(()), |damage| Err(ServerError::Damaged { path: path.to_owned(), damage }))
}

fn find(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: BTreeSet<_> = read_schema(connection)?.into_iter().collect();
    for expected in expected_schema()? {
        if !found.contains(&expected) {
            let (kind, name, _) = expected;
            return Ok(Some(format!("{kind} '{name}' is missing or differs")));
        }
    }
    // Reads every page, but not the order of indexes: about a second per gigabyte.
    let result: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok((result != "ok").then(|| result.trim_start_matches("*** in database main ***").trim().replace('\n', " ")))
}
