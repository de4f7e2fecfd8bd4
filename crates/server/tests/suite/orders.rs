//! place_order, submit_rating, view_order_history, view_order: in particular, no unit is sold twice or lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Server, error, order};

fn stock(server: &Server, product_id: i64) -> i64 {
    let page = server.on_shop().ok(json!({"command": "view_products", "category": "Things", "page_size": 100}));
    let products = page["products"].as_array().unwrap();
    products.iter().find(|product| product["product_id"] == product_id).unwrap()["stock"].as_i64().unwrap()
}

#[test]
fn an_order_reduces_the_stock_and_is_in_the_history() {
    let server = Server::start(&["--catalogue", "none"]);
    let (ann, bob) = (server.customer("ann"), server.customer("bob"));
    let (one, two) = (server.product(10), server.product(5));
    let mut shop = server.on_shop();
    let items = json!([{"product_id": two, "quantity": 1}, {"product_id": one, "quantity": 3}]);
    let placed = shop.ok(json!({"command": "place_order", "token": ann, "items": items}));
    assert_eq!((&placed["total_cents"], &placed["replayed"]), (&json!(1000), &json!(false)));
    shop.ok(order(&ann, one, 2));
    assert_eq!((stock(&server, one), stock(&server, two)), (5, 4));
    let history = shop.ok(json!({"command": "view_order_history", "token": ann}));
    assert_eq!(history["total"], 2);
    let (newest, oldest) = (&history["orders"][0], &history["orders"][1]);
    assert_eq!((&newest["total_cents"], &oldest["order_id"]), (&json!(500), &placed["order_id"]));
    let item = |id: i64, quantity: i64| json!({"product_id": id, "name": "Thing", "quantity": quantity, "price_cents": 250, "stars": null});
    assert_eq!(oldest["items"], json!([item(one, 3), item(two, 1)]));
    assert!(oldest["placed_at_ms"].as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(shop.ok(json!({"command": "view_order_history", "token": bob}))["total"], 0);
    let one = |token: &str, order_id: i64| json!({"command": "view_order", "token": token, "order_id": order_id});
    assert_eq!(shop.ok(one(&ann, 1))["order"], *history["orders"].as_array().unwrap().last().unwrap());
    for request in [one(&bob, 1), one(&ann, 99)] {
        assert_eq!(shop.refusal(request), error("not_found", "order_id"));
    }
    let second = shop.ok(json!({"command": "view_order_history", "token": ann, "page": 2, "page_size": 1}));
    assert_eq!(second["orders"], json!([oldest]));
    let report = server.check();
    assert_eq!((&report["units_sold"], &report["units_ordered"], &report["orders"]), (&json!(6), &json!(6), &json!(2)));
}

#[test]
fn an_order_is_placed_completely_or_not_at_all() {
    let server = Server::start(&["--catalogue", "none"]);
    let (ann, one, two) = (server.customer("ann"), server.product(10), server.product(5));
    let mut shop = server.on_shop();
    let mut rejected = |second: Value| {
        let items = json!([{"product_id": one, "quantity": 3}, second]);
        shop.refusal(json!({"command": "place_order", "token": ann, "items": items}))
    };
    assert_eq!(rejected(json!({"product_id": two, "quantity": 6})), error("out_of_stock", "items[1].quantity"));
    assert_eq!(rejected(json!({"product_id": 999, "quantity": 1})), error("not_found", "items[1].product_id"));
    assert_eq!((stock(&server, one), stock(&server, two)), (10, 5));
    let report = server.check();
    assert_eq!((&report["orders"], &report["units_sold"]), (&json!(0), &json!(0)));
}

#[test]
fn a_repeated_order_with_the_same_key_is_the_same_order() {
    let server = Server::start(&["--catalogue", "none"]);
    let (ann, bob, product) = (server.customer("ann"), server.customer("bob"), server.product(10));
    let other = server.product(10);
    let keyed = |token: &str, quantity: i64| {
        json!({"command": "place_order", "token": token, "idempotency_key": "cart-1",
               "items": [{"product_id": product, "quantity": quantity}, {"product_id": other, "quantity": 1}]})
    };
    // Rejected orders do not use up their key.
    assert_eq!(server.on_shop().refusal(keyed(&ann, 11)).0, "out_of_stock");
    let first = server.on_shop().ok(keyed(&ann, 2));
    let mut swapped = keyed(&ann, 2);
    swapped["items"].as_array_mut().unwrap().reverse();
    let repeated = server.on_shop().ok(swapped);
    assert_eq!((&repeated["order_id"], &repeated["total_cents"]), (&first["order_id"], &first["total_cents"]));
    assert_eq!((&first["replayed"], &repeated["replayed"]), (&json!(false), &json!(true)));
    let conflict = error("idempotency_conflict", "idempotency_key");
    assert_eq!(server.on_shop().refusal(keyed(&ann, 3)), conflict);
    let bobs = server.on_shop().ok(keyed(&bob, 2));
    assert_ne!(bobs["order_id"], first["order_id"]);
    assert_eq!(stock(&server, product), 6);
}

#[test]
fn concurrent_orders_with_the_same_key_place_one_order() {
    let server = Server::start(&["--catalogue", "none"]);
    let (ann, product) = (server.customer("ann"), server.product(100));
    let mut request = order(&ann, product, 1);
    request["idempotency_key"] = json!("cart-1");
    let fresh = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let placed = server.on_shop().ok(request.clone());
                fresh.fetch_add(u64::from(placed["replayed"] == false), Ordering::Relaxed);
            });
        }
    });
    assert_eq!((fresh.into_inner(), stock(&server, product)), (1, 99));
}

#[test]
fn an_ordered_product_is_rated_once_by_its_buyer() {
    let server = Server::start(&["--catalogue", "none"]);
    let (ann, bob) = (server.customer("ann"), server.customer("bob"));
    let (one, two) = (server.product(10), server.product(10));
    let mut shop = server.on_shop();
    let placed = shop.ok(order(&ann, one, 1))["order_id"].clone();
    let rate = |token: &str, order: &Value, product: i64, stars: i64| json!({"command": "submit_rating", "token": token, "order_id": order, "product_id": product, "stars": stars});
    assert_eq!(shop.refusal(rate(&bob, &placed, one, 5)), error("not_found", "order_id"));
    assert_eq!(shop.refusal(rate(&ann, &json!(999), one, 5)), error("not_found", "order_id"));
    assert_eq!(shop.refusal(rate(&ann, &placed, two, 5)), error("not_found", "product_id"));
    assert_eq!(shop.ok(rate(&ann, &placed, one, 5)), json!({}));
    assert_eq!(shop.refusal(rate(&ann, &placed, one, 1)), error("already_rated", ""));
    let second = shop.ok(order(&ann, one, 1))["order_id"].clone();
    shop.ok(rate(&ann, &second, one, 2));
    let page = shop.ok(json!({"command": "view_products", "page_size": 1}));
    let product = &page["products"][0];
    assert_eq!((&product["rating_average"], &product["rating_count"]), (&json!(3.5), &json!(2)));
    let history = shop.ok(json!({"command": "view_order_history", "token": ann}));
    assert_eq!(history["orders"][0]["items"][0]["stars"], 2);
}

#[test]
fn concurrent_orders_sell_exactly_the_stock() {
    let (customers, orders, scarce_stock) = (32, 50, 1000);
    let server = Server::start(&["--catalogue", "none", "--log", "warn"]);
    let (scarce, plenty) = (server.product(scarce_stock), server.product(100_000));
    let (placed, rejected) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for customer in 0..customers {
            let (server, placed, rejected) = (&server, &placed, &rejected);
            scope.spawn(move || {
                let token = server.customer(&format!("customer-{customer}"));
                let mut shop = server.on_shop();
                for _ in 0..orders {
                    let items = json!([{"product_id": plenty, "quantity": 2}, {"product_id": scarce, "quantity": 1}]);
                    let response = shop.call(json!({"command": "place_order", "token": token, "items": items}));
                    match response["error"]["code"].as_str() {
                        None => placed.fetch_add(1, Ordering::Relaxed),
                        Some("out_of_stock") => rejected.fetch_add(1, Ordering::Relaxed),
                        Some(other) => panic!("{other}"),
                    };
                }
            });
        }
    });
    assert_eq!((placed.into_inner(), rejected.into_inner()), (1000, 600));
    assert_eq!((stock(&server, scarce), stock(&server, plenty)), (0, 98_000));
    let report = server.check();
    assert_eq!(report["orders"], 1000);
    assert_eq!((&report["units_sold"], &report["units_ordered"]), (&json!(3000), &json!(3000)));
    assert_eq!(report["consistent"], true);
}
