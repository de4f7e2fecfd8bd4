//! Compares the decisions of a seed with a recording: a repeated run must have the same workload.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use model::settings::{ArrivalProcess, Workload};
use model::units::Count;
use protocol::response::Product;

use crate::workload::arrival_schedule::ArrivalSchedule;
use crate::workload::backoff::BackOff;
use crate::workload::iteration_plan::IterationPlan;
use crate::workload::seed::{Purpose, Stream};
use crate::workload::settings::tests::settings;
use crate::workload::settings::{Arrivals, Settings, Until};
use crate::workload::start_policy::ThinkTime;
use crate::workload::stop::Stop;

const SEED: u64 = 2026;
const CLIENTS: [&str; 2] = ["client-1", "client-2"];
const USERS: u32 = 3;

fn settings_of(client: &str) -> Settings {
    Settings {
        seed: SEED,
        workload: Workload { users: Count::new(USERS).unwrap(), ..settings().workload },
        until: Until { elapsed: Some(Duration::from_secs(60)), operations: None },
        client: client.to_owned(),
        account_scope: ["20260101-000000-abcd", "delay-50ms-r1", "1"].map(str::to_owned).to_vec(),
        ..settings()
    }
}

fn products() -> Vec<Product> {
    (1..=20)
        .map(|product_id| Product {
            product_id,
            name: String::new(),
            category: String::new(),
            description: String::new(),
            price_cents: 1,
            stock: if product_id % 5 == 0 { 0 } else { 50 },
            rating_average: None,
            rating_count: 0,
        })
        .collect()
}

#[test]
fn iterations_and_accounts_match_the_recording() {
    let products = products();
    let mut text = String::new();
    for client in CLIENTS {
        let settings = settings_of(client);
        for user in 0..USERS {
            for number in 0..8 {
                let plan = IterationPlan::new(SEED, client, user, number);
                let account = settings.account(user, number);
                let order: Vec<String> =
                    plan.order(&products).iter().map(|item| format!("{}x{}", item.quantity, item.product_id)).collect();
                let (page, stars) = (plan.page(1_000, 20), plan.stars);
                writeln!(
                    text,
                    "{client} user {user} iteration {number}: page {page}, order {}, {stars} stars, {} {}",
                    order.join("+"),
                    account.username,
                    account.password,
                )
                .unwrap();
            }
        }
    }
    test_support::assert_golden(golden("iterations.txt"), &text);
}

#[test]
fn think_times_and_back_off_match_the_recording() {
    let mut text = String::new();
    for client in CLIENTS {
        let settings = settings_of(client);
        for user in 0..USERS {
            let mut think =
                ThinkTime::new(user, Duration::from_millis(100), &settings, Instant::now(), Stop::default());
            let mut back_off = BackOff::new(Stream::new(SEED, client, user, Purpose::BackOff));
            for number in 0..8 {
                let pause = think.next_wait().as_nanos();
                back_off.failed();
                let wait = back_off.wait().as_nanos();
                writeln!(text, "{client} user {user} pause {number}: think {pause} ns, back off {wait} ns").unwrap();
            }
        }
    }
    test_support::assert_golden(golden("pauses.txt"), &text);
}

#[test]
fn arrivals_match_the_recording() {
    let mut text = String::new();
    for client in CLIENTS {
        let offset = Duration::from_micros(1250);
        for (name, process) in [("poisson", ArrivalProcess::Poisson), ("constant", ArrivalProcess::Constant)] {
            let arrivals = Arrivals { rate: "200/s".parse().unwrap(), process, offset };
            let mut schedule = ArrivalSchedule::new(arrivals, &settings_of(client));
            for number in 0..40 {
                let start = schedule.next().unwrap().as_nanos();
                writeln!(text, "{client} {name} {number}: {start} ns").unwrap();
            }
        }
    }
    test_support::assert_golden(golden("arrivals.txt"), &text);
}

fn golden(file: &str) -> String {
    format!("{}/src/workload/golden/{file}", env!("CARGO_MANIFEST_DIR"))
}
