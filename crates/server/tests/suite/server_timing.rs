//! Components of the server time: queue, database, and the rest. `src/passwords.rs` and `src/store.rs` test which time
//! belongs to which component: there a test can block the threads.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{PASSWORD, Server, order};

/// Returns `server_us`, `queue_us` and `database_us` of a response, after checking that the total is not exceeded.
fn times(response: &Value) -> (u64, u64, u64) {
    let field = |name: &str| response[name].as_u64().unwrap_or_else(|| panic!("no {name}: {response}"));
    let (server, queue, database) = (field("server_us"), field("queue_us"), field("database_us"));
    assert!(queue + database <= server, "{response}");
    (server, queue, database)
}

fn login(username: &str) -> Value {
    json!({"command": "login", "username": username, "password": PASSWORD})
}

#[test]
fn components_never_exceed_the_total_and_exchange_ids_are_unique() {
    let server = Server::start(&["--log", "warn"]);
    let token = server.customer("ann");
    let requests = [
        json!({"command": "view_categories"}),
        json!({"command": "view_products", "page_size": 100}),
        json!({"command": "view_products", "category": "None such"}),
        order(&token, 1, 1),
        order(&token, 1, 1_000_000),
        order("0000000000000000000000000000000000000000000000000000000000000000", 1, 1),
        json!({"command": "view_order_history", "token": token}),
        json!({"command": "login"}),
    ];
    let responses: Vec<Value> = std::thread::scope(|scope| {
        let customers: Vec<_> = (0..8)
            .map(|shift| {
                let (requests, mut client) = (&requests, server.on_shop());
                scope.spawn(move || {
                    let iterations = requests.iter().cycle().skip(shift).take(200);
                    iterations.map(|request| client.call(request.clone())).collect::<Vec<_>>()
                })
            })
            .collect();
        customers.into_iter().flat_map(|customer| customer.join().unwrap()).collect()
    });
    let exchange_ids: HashSet<u64> =
        responses.iter().map(|response| response["exchange_id"].as_u64().unwrap()).collect();
    assert_eq!(exchange_ids.len(), 8 * 200);
    for response in responses {
        times(&response);
    }
}

#[test]
fn requests_that_do_not_reach_the_database_have_no_database_time() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    for request in [json!({"command": "none_such"}), json!({"command": "view_products", "page": 0}), login("ann")] {
        let response = shop.call(request);
        let (_, queue, database) = times(&response);
        assert_eq!((&response["ok"], queue, database), (&json!(false), 0, 0), "{response}");
    }
    for request in [json!({"command": "view_categories"}), json!({"command": "view_products"})] {
        let response = shop.call(request);
        let (_, queue, database) = times(&response);
        assert_eq!((&response["ok"], queue, database), (&json!(true), 0, 0), "{response}");
    }
    let token = server.customer("ann");
    let history = shop.call(json!({"command": "view_order_history", "token": token}));
    for response in [history, server.on_accounts().call(login("ann"))] {
        assert!(times(&response).2 > 0, "{response}");
    }
}
