//! State of the writer thread: its connection, the transaction's changes of products, and tokens that it has looked up.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use crate::command_error::CommandResult;
use crate::store::product_cache::{ProductCache, ProductChange, ProductRow};
use crate::store::users;
use crate::store::users::Session;
use crate::token::TokenHash;

/// Maximum number of tokens kept; beyond it all are looked up again.
const MAX_SESSIONS: usize = 100_000;

/// State of the writer thread. Jobs use it within a transaction.
///
/// A job that is refused must not have changed anything: it checks first and writes afterwards.
pub(crate) struct WriteState {
    connection: Connection,
    products: Arc<ProductCache>,
    /// Changes of products by the open transaction. They are written once per product, and published after the commit.
    changes: HashMap<i64, ProductChange>,
    /// Products added by the open transaction.
    added: Vec<ProductRow>,
    /// Valid tokens that were looked up, with their expiry. Only the writer invalidates tokens.
    sessions: HashMap<TokenHash, (Session, i64)>,
    /// SQLite's counter of commits by other connections (`PRAGMA data_version`).
    data_version: i64,
}

impl WriteState {
    /// Reads all products into `products`.
    pub(super) fn new(connection: Connection, products: Arc<ProductCache>) -> CommandResult<Self> {
        let mut state = Self {
            connection,
            products,
            changes: HashMap::new(),
            added: Vec::new(),
            sessions: HashMap::new(),
            data_version: 0,
        };
        state.refresh()?;
        Ok(state)
    }

    /// Returns the connection, for statements of the open transaction.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Starts a transaction.
    pub(super) fn begin(&mut self) -> CommandResult<()> {
        self.execute("BEGIN IMMEDIATE")?;
        self.refresh()
    }

    /// Forgets what was read before, if another program has changed the database since.
    fn refresh(&mut self) -> CommandResult<()> {
        let version = self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if version != self.data_version {
            self.products.load(&self.connection)?;
            self.sessions.clear();
            self.data_version = version;
        }
        Ok(())
    }

    /// Commits the transaction and publishes its changes of products.
    pub(super) fn commit(&mut self) -> CommandResult<()> {
        let sql = "UPDATE products SET stock = stock - ?2, rating_sum = rating_sum + ?3,
                   rating_count = rating_count + ?4 WHERE id = ?1";
        let mut update = self.connection.prepare_cached(sql)?;
        for (id, change) in &self.changes {
            update.execute((id, change.sold, change.rating_sum, change.rating_count))?;
        }
        drop(update);
        self.execute("COMMIT")?;
        let published = self.products.publish(&self.changes, std::mem::take(&mut self.added));
        self.changes.clear();
        if let Err(error) = published {
            // The commit stands. The next transaction reads all products again.
            tracing::error!(?error, "cannot publish the changes of a transaction");
            self.data_version = 0;
        }
        Ok(())
    }

    /// Undoes the transaction.
    pub(super) fn roll_back(&mut self) {
        // Fails if SQLite has already rolled back; in both cases no transaction is open.
        let _ = self.execute("ROLLBACK");
        self.changes.clear();
        self.added.clear();
        self.sessions.clear();
    }

    /// Returns a measure of everything that the open transaction has changed so far.
    pub(super) fn change_count(&self) -> (u64, i64, usize) {
        let sold = self.changes.values().map(|change| change.sold + change.rating_count).sum();
        (self.connection.total_changes(), sold, self.added.len())
    }

    /// Returns the owner of `token`.
    pub(crate) fn session(&mut self, token: TokenHash, now_ms: i64) -> CommandResult<Session> {
        if let Some((session, expires_at_ms)) = self.sessions.get(&token)
            && *expires_at_ms > now_ms
        {
            return Ok(*session);
        }
        let (session, expires_at_ms) = users::session(&self.connection, token, now_ms)?;
        if self.sessions.len() >= MAX_SESSIONS {
            self.sessions.clear();
        }
        self.sessions.insert(token, (session, expires_at_ms));
        Ok(session)
    }

    /// Forgets all tokens that were looked up, because some are invalidated.
    pub(crate) fn forget_sessions(&mut self) {
        self.sessions.clear();
    }

    /// Returns price and stock of a product within the transaction, or `None` if it does not exist.
    pub(crate) fn price_and_stock(&self, product_id: i64) -> Option<(i64, i64)> {
        let sold = self.changes.get(&product_id).map_or(0, |change| change.sold);
        self.products.read().get(product_id).map(|product| (product.price_cents, product.stock - sold))
    }

    /// Returns the name of a product.
    pub(crate) fn product_name(&self, product_id: i64) -> Option<String> {
        self.products.read().get(product_id).map(|product| product.name.clone())
    }

    /// Changes a product at the end of the transaction.
    pub(crate) fn change_product(&mut self, product_id: i64, change: ProductChange) {
        let total = self.changes.entry(product_id).or_default();
        total.sold += change.sold;
        total.rating_sum += change.rating_sum;
        total.rating_count += change.rating_count;
    }

    /// Records a product that was inserted.
    pub(crate) fn added_product(&mut self, product: ProductRow) {
        self.added.push(product);
    }

    /// Returns whether a transaction is open.
    pub(super) fn is_in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    pub(super) fn execute(&self, sql: &'static str) -> CommandResult<()> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}
