//! The reference of orders: SQLite alone, with the shop's tables and settings, 100 orders per transaction.

use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use tempfile::TempDir;

use crate::cases::{CUSTOMERS, PRODUCTS};
use crate::load::Summary;
use crate::support::Server;

/// Orders per transaction.
const BATCH: u64 = 100;

/// Id of the first registered user: 1 is the administrator.
const FIRST_CUSTOMER: u64 = 2;

/// Copy of a shop's new database.
pub(crate) struct RawSqlite {
    connection: Connection,
    orders: u64,
    _directory: TempDir,
}

impl RawSqlite {
    pub(crate) fn open(server: &Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copy.db");
        let shop = Connection::open(server.database()).unwrap();
        shop.execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.pragma_update(None, "synchronous", "full").unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        Self { connection, orders: 0, _directory: directory }
    }

    pub(crate) fn measure(&mut self, duration: Duration) -> Summary {
        let (start, before) = (Instant::now(), self.orders);
        while start.elapsed() < duration {
            self.commit_batch().unwrap();
        }
        let per_second = (self.orders - before) as f64 / start.elapsed().as_secs_f64();
        Summary { per_second, cpu_us: None, latency_us: None }
    }

    fn commit_batch(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for _ in 0..BATCH {
            let sql =
                "INSERT INTO orders (user_id, placed_at_ms, total_cents, idempotency_key) VALUES (?1, ?2, 500, ?3)";
            let user = FIRST_CUSTOMER + self.orders % CUSTOMERS;
            let key = format!("{:016}", self.orders);
            let order = transaction.prepare_cached(sql)?.insert((user, self.orders, key))?;
            for product in [1 + self.orders % PRODUCTS, 1 + (self.orders + 1) % PRODUCTS] {
                let sql =
                    "INSERT INTO order_items (order_id, product_id, quantity, price_cents) VALUES (?1, ?2, 1, 250)";
                transaction.prepare_cached(sql)?.execute((order, product))?;
                let sql = "UPDATE products SET stock = stock - 1 WHERE id = ?1";
                transaction.prepare_cached(sql)?.execute([product])?;
            }
            self.orders += 1;
        }
        transaction.commit()
    }
}
