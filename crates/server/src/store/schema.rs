//! Opening of the database: creation and migration of its tables, and settings of connections.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::error::ServerError;
use crate::grace_period::GracePeriod;
use crate::store::{damage, database_file};
use model::settings::Durability;

/// Migrations: step `n` changes a database of version `n` to `n + 1` (SQLite's `user_version`). Steps are only appended,
/// never changed.
const MIGRATIONS: [&str; 1] = [VERSION_1];

/// Marker of a shop's database: "SHOP" in ASCII (SQLite's `application_id`).
const APPLICATION_ID: i64 = 0x5348_4f50;

/// Wait for another program's lock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between attempts to get a lock.
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Size to which an emptied log is cut, bytes.
const MAX_LOG_BYTES: i64 = 64 * 1024 * 1024;

/// Prepared statements that a connection caches; more than the store uses.
const CACHED_STATEMENTS: usize = 64;

/// Schema of version 1. `products.added` counts all units ever added: `added - stock` must equal the units ordered.
const VERSION_1: &str = "
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    admin INTEGER NOT NULL CHECK (admin IN (0, 1)),
    created_at_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_user ON tokens (user_id);
CREATE INDEX tokens_by_expiry ON tokens (expires_at_ms);
CREATE TABLE categories (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    products INTEGER NOT NULL CHECK (products >= 0)
) STRICT;
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    category_id INTEGER NOT NULL REFERENCES categories (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
    added INTEGER NOT NULL CHECK (added >= 0),
    stock INTEGER NOT NULL CHECK (stock >= 0 AND stock <= added),
    rating_sum INTEGER NOT NULL DEFAULT 0,
    rating_count INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX products_by_category ON products (category_id, id);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    user_id INTEGER NOT NULL REFERENCES users (id),
    placed_at_ms INTEGER NOT NULL,
    total_cents INTEGER NOT NULL CHECK (total_cents >= 0),
    idempotency_key TEXT
) STRICT;
CREATE INDEX orders_by_user ON orders (user_id, id);
CREATE UNIQUE INDEX orders_by_key ON orders (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE order_items (
    order_id INTEGER NOT NULL REFERENCES orders (id),
    product_id INTEGER NOT NULL REFERENCES products (id),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price_cents INTEGER NOT NULL CHECK (price_cents >= 0),
    stars INTEGER CHECK (stars BETWEEN 1 AND 5),
    PRIMARY KEY (order_id, product_id)
) STRICT, WITHOUT ROWID;
";

/// Opens the database for its only writer; creates it if absent, migrates it if old.
pub(crate) fn open_for_writing(
    path: &Path,
    durability: Durability,
    grace: &GracePeriod,
) -> Result<Connection, ServerError> {
    if !database_file::exists(path)? {
        database_file::create(path, |draft| {
            let mut connection = open(draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            migrate(&mut connection).map_err(|source| ServerError::database(path, "tables", source))
        })?;
    }
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check_version(path, &connection)?;
    set_up_writer(&mut connection, durability, grace)
        .map_err(|source| ServerError::database(path, "settings", source))?;
    migrate(&mut connection).map_err(|source| ServerError::database(path, "tables", source))?;
    damage::check(path, &connection)?;
    Ok(connection)
}

/// Opens an existing database for checkpoints, in addition to its writer.
pub(crate) fn open_for_checkpoints(path: &Path) -> Result<Connection, ServerError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Returns the schema of a new database: type, name and definition of each table and index.
pub(crate) fn expected_schema() -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection)?;
    read_schema(&connection)
}

/// Returns the schema of a database, in the same form.
pub(crate) fn read_schema(connection: &Connection) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    // SQLite creates other tables for its own use, such as sqlite_stat1.
    let sql = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    rows.collect()
}

/// Opens an existing database read-only.
pub(crate) fn open_for_reading(path: &Path) -> Result<Connection, ServerError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    if check_version(path, &connection)? == 0 {
        return Err(ServerError::ForeignDatabase { path: path.to_owned() });
    }
    Ok(connection)
}

fn open(path: &Path, access: OpenFlags) -> Result<Connection, ServerError> {
    let opened = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let connection = opened.map_err(|source| ServerError::database(path, "open", source))?;
    connection.busy_timeout(LOCK_TIMEOUT).map_err(|source| ServerError::database(path, "settings", source))?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(connection)
}

/// Returns the schema version: 0 for an empty file. Fails for other programs' databases and for newer versions.
fn check_version(path: &Path, connection: &Connection) -> Result<i64, ServerError> {
    let number = |sql| {
        let value = connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        value.map_err(|source| ServerError::database(path, "read", source))
    };
    let (found, known) = (number("PRAGMA user_version")?, MIGRATIONS.len() as i64);
    let is_shop = number("PRAGMA application_id")? == APPLICATION_ID;
    if !is_shop && (found != 0 || number("SELECT count(*) FROM sqlite_schema")? != 0) {
        return Err(ServerError::ForeignDatabase { path: path.to_owned() });
    }
    if found > known {
        return Err(ServerError::NewerSchema { path: path.to_owned(), found, known });
    }
    Ok(found)
}

fn set_up_writer(connection: &mut Connection, durability: Durability, grace: &GracePeriod) -> rusqlite::Result<()> {
    let grace = grace.clone();
    // A lock must not delay a shutdown beyond its grace period.
    let wait = move |attempts: i32| {
        let waited = LOCK_POLL_INTERVAL * attempts.unsigned_abs();
        let continues = waited < LOCK_TIMEOUT && !grace.has_ended();
        if continues {
            std::thread::sleep(LOCK_POLL_INTERVAL);
        }
        continues
    };
    connection.busy_handler(Some(wait))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "journal_size_limit", MAX_LOG_BYTES)?;
    let synchronous = match durability {
        // SQLite syncs its log at every commit.
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "foreign_keys", true)
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    // The version is read inside the transaction: two servers that start simultaneously must not both migrate.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for (version, step) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database_in(directory: &tempfile::TempDir) -> std::path::PathBuf {
        directory.path().join("shop.db")
    }

    #[test]
    fn an_existing_database_is_opened_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let connection =
                open_for_writing(&database_in(&directory), Durability::Full, &GracePeriod::default()).unwrap();
            connection.execute("INSERT INTO categories (name, products) VALUES (hex(randomblob(4)), 0)", []).unwrap();
        }
        let reader = open_for_reading(&database_in(&directory)).unwrap();
        let rows: i64 = reader.query_row("SELECT count(*) FROM categories", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2);
    }

    #[test]
    fn a_newer_schema_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open_for_writing(&database_in(&directory), Durability::Full, &GracePeriod::default()).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let error = open_for_writing(&database_in(&directory), Durability::Full, &GracePeriod::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("version 99") && error.contains("at most 1"), "{error}");
    }

    #[test]
    fn another_programs_database_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        Connection::open(database_in(&directory)).unwrap().execute_batch("CREATE TABLE notes (text)").unwrap();
        for opened in [
            open_for_writing(&database_in(&directory), Durability::Full, &GracePeriod::default()),
            open_for_reading(&database_in(&directory)),
        ] {
            assert!(matches!(opened, Err(ServerError::ForeignDatabase { .. })));
        }
    }

    #[test]
    fn only_the_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        open_for_writing(&database_in(&directory), Durability::Full, &GracePeriod::default()).unwrap();
        assert_eq!(database_in(&directory).metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_durability_is_set_in_sqlite() {
        for (durability, expected) in [(Durability::Full, 2), (Durability::Normal, 1)] {
            let directory = tempfile::tempdir().unwrap();
            let connection = open_for_writing(&database_in(&directory), durability, &GracePeriod::default()).unwrap();
            let synchronous: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap();
            assert_eq!(synchronous, expected);
        }
    }
}
