//! view_categories, view_products, add_product.

use serde_json::{Value, json};

use crate::support::{Server, error};

#[test]
fn the_demo_catalogue_has_categories_and_pages() {
    let server = Server::start(&["--catalogue-stock", "7"]);
    let mut shop = server.on_shop();
    let categories = shop.ok(json!({"command": "view_categories"}));
    let names: Vec<&str> = categories["categories"]
        .as_array()
        .unwrap()
        .iter()
        .map(|category| category["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Books", "Electronics", "Garden", "Kitchen", "Music", "Outdoors"]);
    let page = shop.ok(json!({"command": "view_products"}));
    assert_eq!((&page["page"], &page["page_size"], &page["total"]), (&json!(1), &json!(20), &json!(60)));
    let bytes = page.to_string().len();
    assert!((5000..8000).contains(&bytes), "a page of 20 has {bytes} bytes");
    let product = &page["products"][0];
    assert_eq!(
        (&product["stock"], &product["rating_average"], &product["rating_count"]),
        (&json!(7), &Value::Null, &json!(0))
    );
}

#[test]
fn pages_list_every_product_once_in_order() {
    let server = Server::start(&[]);
    let mut shop = server.on_shop();
    let mut ids = Vec::new();
    for page in 1..=8 {
        let page = shop.ok(json!({"command": "view_products", "page": page, "page_size": 9}));
        ids.extend(page["products"].as_array().unwrap().iter().map(|product| product["product_id"].as_i64().unwrap()));
    }
    assert_eq!(ids, (1..=60).collect::<Vec<_>>());
    let music = shop.ok(json!({"command": "view_products", "category": "Music", "page": 2, "page_size": 6}));
    assert_eq!((music["total"].clone(), music["products"].as_array().unwrap().len()), (json!(10), 4));
    assert!(music["products"].as_array().unwrap().iter().all(|product| product["category"] == "Music"));
    let unknown = json!({"command": "view_products", "category": "Boats"});
    assert_eq!(shop.refusal(unknown), error("not_found", "category"));
}

#[test]
fn only_administrators_add_products() {
    let server = Server::start(&["--catalogue", "none"]);
    let mut shop = server.on_shop();
    assert_eq!(shop.ok(json!({"command": "view_products"}))["total"], 0);
    let add = |token: &str| {
        json!({"command": "add_product", "token": token, "name": "Dinghy", "category": "Boats",
               "description": "It floats.", "price_cents": 99_900, "stock": 3})
    };
    assert_eq!(shop.refusal(add(&server.customer("ann"))), error("forbidden", ""));
    assert_eq!(shop.refusal(add(&"0".repeat(64))), error("invalid_token", "token"));
    let id = shop.ok(add(&server.admin()))["product_id"].clone();
    let categories = shop.ok(json!({"command": "view_categories"}));
    let expected = json!({"categories": [{"name": "Boats", "products": 1}], "page": 1, "page_size": 100, "total": 1});
    assert_eq!(categories, expected);
    let page = shop.ok(json!({"command": "view_products", "category": "Boats"}));
    assert_eq!(
        page["products"],
        json!([{"product_id": id, "name": "Dinghy", "category": "Boats", "description": "It floats.",
                "price_cents": 99_900, "stock": 3, "rating_average": null, "rating_count": 0}])
    );
    let found = shop.ok(json!({"command": "view_product", "product_id": id}));
    assert_eq!(found["product"], page["products"][0]);
    let unknown = shop.refusal(json!({"command": "view_product", "product_id": 999_999}));
    assert_eq!(unknown, error("not_found", "product_id"));
}

#[test]
fn a_page_larger_than_a_frame_is_rejected_and_a_smaller_one_is_not() {
    let server = Server::start(&["--catalogue", "none"]);
    let admin = server.admin();
    let mut shop = server.on_shop();
    for _ in 0..80 {
        // Four bytes each in UTF-8.
        let description = "🛶".repeat(4000);
        shop.ok(json!({"command": "add_product", "token": admin, "name": "Canoe", "category": "Boats",
                       "description": description, "price_cents": 1, "stock": 1}));
    }
    let page = |size: u32| json!({"command": "view_products", "page_size": size});
    assert_eq!(shop.refusal(page(80)), error("invalid_field", "page_size"));
    assert_eq!(shop.ok(page(40))["products"].as_array().unwrap().len(), 40);
}

#[test]
fn actions_of_administrators_are_logged_with_who_and_what() {
    let server = Server::start(&["--log", "info", "--log-format", "json"]);
    let (customer, product) = (server.customer("ann"), server.product(3));
    let forbidden = json!({"command": "add_product", "token": customer, "name": "x", "category": "x", "price_cents": 1,
                           "stock": 1});
    assert_eq!(server.on_shop().refusal(forbidden).0, "forbidden");
    let log = server.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{log}"));
    let added = line("administrator added a product");
    assert_eq!((&added["user_id"], &added["product_id"]), (&json!(1), &json!(product)));
    assert_eq!((&added["name"], &added["stock"], &added["address"]), (&json!("Thing"), &json!(3), &json!("127.0.0.1")));
    assert_eq!(line("refused to add a product: not an administrator")["user_id"], 2);
    assert!(!log.contains(&customer), "the log has a token");
}
