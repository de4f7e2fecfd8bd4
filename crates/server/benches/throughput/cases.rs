//! The cases: load, reference and goal of each.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use crate::load::{Background, Load, Mode, Request, Summary};
use crate::sqlite::RawSqlite;
use crate::support::{PASSWORD, Server};
use crate::target::{Echo, Process};

/// Orders per second that are placed while reads are measured.
const BACKGROUND_ORDERS_PER_SECOND: u32 = 1000;

/// Products of the demonstration catalogue.
pub(crate) const PRODUCTS: u64 = 60;

/// Users that place orders, in turn.
pub(crate) const CUSTOMERS: u64 = 16;

/// Products of the large catalogue.
const LARGE_CATALOGUE: usize = 100_000;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) goal: Goal,
    connections: usize,
    mode: Mode,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `view_products` against the echo.
    Browse,
    /// The same, while orders are placed at the shop.
    BrowseDuringOrders,
    /// The same, with a large catalogue.
    BrowseLargeCatalogue,
    /// `place_order` against raw SQLite.
    Orders,
    /// `place_order` while clients log in, against the same shop without logins.
    OrdersDuringLogins,
    /// `view_products` while hostile clients attack, against the same shop without them.
    BrowseDuringAttack,
}

#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// Throughput of the shop, as a fraction of the reference's.
    ThroughputAtLeast(f64),
    /// Median latency of the shop, as a multiple of the reference's.
    LatencyAtMost(f64),
    /// p99 of the latency, as a multiple of the reference's.
    P99AtMost(f64),
}

/// What the shop is compared with.
enum Reference {
    Echo(Echo, Load),
    Sqlite(RawSqlite),
    /// The shop itself without the background load.
    Quiet,
}

/// Medians over the rounds.
pub(crate) struct Outcome {
    pub(crate) reference: Summary,
    pub(crate) shop: Summary,
    pub(crate) ratio: f64,
    pub(crate) min_ratio: f64,
    pub(crate) max_ratio: f64,
}

pub(crate) const CASES: [Case; 9] = [
    Case {
        name: "browse",
        description: "`view_products`, 256 connections",
        goal: Goal::ThroughputAtLeast(0.80),
        connections: 256,
        mode: Mode::Persistent { in_flight: 1 },
        kind: Kind::Browse,
    },
    Case {
        name: "pipelined",
        description: "`view_products`, 16 connections, 16 in flight each",
        goal: Goal::ThroughputAtLeast(0.50),
        connections: 16,
        mode: Mode::Persistent { in_flight: 16 },
        kind: Kind::Browse,
    },
    Case {
        name: "browse-and-orders",
        description: "`view_products`, 256 connections, 1000 orders/s in addition",
        goal: Goal::ThroughputAtLeast(0.60),
        connections: 256,
        mode: Mode::Persistent { in_flight: 1 },
        kind: Kind::BrowseDuringOrders,
    },
    Case {
        name: "latency",
        description: "`view_products`, 1 connection: median latency",
        goal: Goal::LatencyAtMost(2.0),
        connections: 1,
        mode: Mode::Persistent { in_flight: 1 },
        kind: Kind::Browse,
    },
    Case {
        name: "per-request",
        description: "`view_products`, 32 in flight, a connection each",
        goal: Goal::ThroughputAtLeast(0.95),
        connections: 32,
        mode: Mode::PerRequest,
        kind: Kind::Browse,
    },
    Case {
        name: "orders",
        description: "`place_order`, 2 items, 256 connections, durability full",
        goal: Goal::ThroughputAtLeast(0.65),
        connections: 256,
        mode: Mode::Persistent { in_flight: 1 },
        kind: Kind::Orders,
    },
    Case {
        name: "logins",
        description: "`place_order`, 500/s, 8 clients log in without pause: p99",
        goal: Goal::P99AtMost(2.0),
        connections: 8,
        mode: Mode::Rate { per_second: 500 },
        kind: Kind::OrdersDuringLogins,
    },
    Case {
        name: "attack",
        description: "`view_products`, 500/s, 600 hostile connections held and 200/s opened: p99",
        goal: Goal::P99AtMost(2.0),
        connections: 8,
        mode: Mode::Rate { per_second: 500 },
        kind: Kind::BrowseDuringAttack,
    },
    Case {
        name: "catalogue",
        description: "`view_products`, 256 connections, 100,000 products",
        goal: Goal::ThroughputAtLeast(0.60),
        connections: 256,
        mode: Mode::Persistent { in_flight: 1 },
        kind: Kind::BrowseLargeCatalogue,
    },
];

impl Goal {
    pub(crate) fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::ThroughputAtLeast(min) => ratio >= min,
            Self::LatencyAtMost(max) | Self::P99AtMost(max) => ratio <= max,
        }
    }

    fn ratio(self, shop: &Summary, reference: &Summary) -> f64 {
        match self {
            Self::ThroughputAtLeast(_) => shop.per_second / reference.per_second,
            Self::LatencyAtMost(_) => shop.latency_us.unwrap()[0] / reference.latency_us.unwrap()[0],
            Self::P99AtMost(_) => shop.latency_us.unwrap()[1] / reference.latency_us.unwrap()[1],
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThroughputAtLeast(min) => write!(formatter, "≥ {min:.2}"),
            Self::LatencyAtMost(max) | Self::P99AtMost(max) => write!(formatter, "≤ {max:.0}"),
        }
    }
}

impl Case {
    /// Measures reference and shop in turn, once per round.
    pub(crate) fn measure(&self, rounds: usize, duration: Duration) -> Outcome {
        let server = start_shop(self.kind);
        let shop = Process::new(server.pid());
        let requests = requests(self.kind, &server, self.connections);
        let load = Load { address: server.shop, mode: self.mode, requests };
        let background = background(self.kind, &server);
        let mut reference = match self.kind {
            Kind::Orders => Reference::Sqlite(RawSqlite::open(&server)),
            Kind::OrdersDuringLogins | Kind::BrowseDuringAttack => Reference::Quiet,
            _ => {
                let echo = Echo::start(load.response_bytes());
                let load = Load { address: echo.address, ..load.clone() };
                Reference::Echo(echo, load)
            }
        };
        let mut rounds: Vec<(f64, Summary, Summary)> = (0..rounds)
            .map(|_| {
                let reference = match &mut reference {
                    Reference::Echo(echo, load) => load.run(&echo.process, duration),
                    Reference::Sqlite(sqlite) => sqlite.measure(duration),
                    Reference::Quiet => load.run(&shop, duration),
                };
                let shop = load.run_with(background.as_ref(), &shop, duration);
                eprintln!("  {:.0}/s and {:.0}/s", reference.per_second, shop.per_second);
                (self.goal.ratio(&shop, &reference), reference, shop)
            })
            .collect();
        rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (min_ratio, max_ratio) = (rounds[0].0, rounds[rounds.len() - 1].0);
        let (ratio, reference, shop) = rounds.swap_remove(rounds.len() / 2);
        assert_eq!(server.check()["consistent"], true);
        Outcome { reference, shop, ratio, min_ratio, max_ratio }
    }
}

/// Returns the load that runs in addition while the shop is measured.
fn background(kind: Kind, server: &Server) -> Option<Background> {
    let load = match kind {
        Kind::BrowseDuringAttack => return Some(Background::Attack(server.shop)),
        Kind::BrowseDuringOrders => Load {
            address: server.shop,
            mode: Mode::Rate { per_second: BACKGROUND_ORDERS_PER_SECOND },
            requests: order_requests(server, 4),
        },
        Kind::OrdersDuringLogins => {
            server.customer("ann");
            let login = json!({"command": "login", "username": "ann", "password": PASSWORD});
            Load {
                address: server.accounts,
                mode: Mode::Persistent { in_flight: 1 },
                requests: vec![Request::fixed(&login); 8],
            }
        }
        _ => return None,
    };
    Some(Background::Load(load))
}

fn start_shop(kind: Kind) -> Server {
    let mut settings = vec!["--log", "warn", "--durability", "full", "--catalogue-stock", "1000000000"];
    if kind == Kind::OrdersDuringLogins {
        settings.extend(["--password-memory-kib", "19456", "--password-iterations", "2"]);
    }
    let server = Server::start(&settings);
    if kind != Kind::BrowseLargeCatalogue {
        return server;
    }
    let (directory, database) = (server.directory(), server.database());
    drop(server);
    enlarge_catalogue(&database).unwrap();
    Server::start_in(directory, &settings)
}

/// Copies the products of a stopped shop until it has [`LARGE_CATALOGUE`] of them.
fn enlarge_catalogue(database: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(database)?;
    let columns = "category_id, name, description, price_cents, added, stock";
    let sql = format!(
        "WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies LIMIT ?1)
         INSERT INTO products ({columns}) SELECT {columns} FROM copies, products LIMIT ?2 - (SELECT count(*) FROM products)"
    );
    connection.execute(&sql, (LARGE_CATALOGUE, LARGE_CATALOGUE))?;
    connection.execute_batch(
        "UPDATE categories SET products = (SELECT count(*) FROM products WHERE category_id = categories.id)",
    )
}

fn requests(kind: Kind, server: &Server, connections: usize) -> Vec<Request> {
    match kind {
        Kind::Orders | Kind::OrdersDuringLogins => order_requests(server, connections),
        Kind::Browse | Kind::BrowseDuringOrders | Kind::BrowseDuringAttack => {
            vec![Request::fixed(&json!({"command": "view_products"})); connections]
        }
        Kind::BrowseLargeCatalogue => {
            let page = |index| json!({"command": "view_products", "page": 1 + index * 19});
            (0..connections).map(|index| Request::fixed(&page(index))).collect()
        }
    }
}

/// Returns a request per connection.
fn order_requests(server: &Server, connections: usize) -> Vec<Request> {
    let token = |index| server.customer(&format!("customer-{connections}-{index}"));
    let tokens: Vec<String> = (0..CUSTOMERS).map(token).collect();
    tokens.iter().cycle().zip(0..connections as u64).map(|(token, index)| Request::order(token, index)).collect()
}
