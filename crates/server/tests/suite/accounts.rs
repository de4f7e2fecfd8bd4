//! register, login, logout, change_password, and the lifetime of tokens.

use serde_json::json;

use crate::support::{PASSWORD, Server, error, eventually};

#[test]
fn a_user_registers_logs_in_and_out() {
    let server = Server::start(&[]);
    let mut accounts = server.on_accounts();
    let mut shop = server.on_shop();
    let registered = accounts.ok(json!({"command": "register", "username": "ann", "password": PASSWORD}));
    assert!(registered["user_id"].as_i64().unwrap() > 0);
    let login = accounts.ok(json!({"command": "login", "username": "ann", "password": PASSWORD}));
    assert_eq!((&login["admin"], &login["expires_in_seconds"]), (&json!(false), &json!(86_400)));
    let token = login["token"].as_str().unwrap();
    let history = json!({"command": "view_order_history", "token": token});
    assert_eq!(shop.ok(history.clone())["total"], 0);
    assert_eq!(accounts.ok(json!({"command": "logout", "token": token})), json!({}));
    assert_eq!(shop.refusal(history), error("invalid_token", "token"));
    assert_eq!(accounts.refusal(json!({"command": "logout", "token": token})), error("invalid_token", "token"));
}

#[test]
fn the_database_holds_no_token_and_no_password() {
    let server = Server::start(&[]);
    let token = server.customer("ann");
    let mut bytes = std::fs::read(server.database()).unwrap();
    bytes.extend(std::fs::read(server.database().with_extension("db-wal")).unwrap());
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("ann") && holds("$argon2id$v=19$m=8,t=1,p=1$"));
    assert!(!holds(&token) && !holds(PASSWORD));
}

#[test]
fn a_user_name_is_unique() {
    let server = Server::start(&[]);
    server.customer("ann");
    let repeated = json!({"command": "register", "username": "ann", "password": "password-2"});
    assert_eq!(server.on_accounts().refusal(repeated), error("username_taken", "username"));
    server.token("ann", PASSWORD);
}

#[test]
fn unknown_user_and_wrong_password_get_the_same_error() {
    let server = Server::start(&[]);
    server.customer("ann");
    let mut accounts = server.on_accounts();
    let mut attempt = |username: &str| {
        let login = json!({"command": "login", "username": username, "password": "password-2"});
        accounts.call(login)["error"].clone()
    };
    let (known, unknown) = (attempt("ann"), attempt("bob"));
    assert_eq!(known, unknown);
    assert_eq!(known["code"], "wrong_credentials");
}

#[test]
fn a_change_of_the_password_invalidates_all_other_tokens() {
    let server = Server::start(&[]);
    let (other, own) = (server.customer("ann"), server.token("ann", PASSWORD));
    let bobs = server.customer("bob");
    let mut accounts = server.on_accounts();
    let mut change = |current: &str, new: &str| {
        accounts.call(json!({"command": "change_password", "token": own, "current_password": current,
                             "new_password": new}))
    };
    assert_eq!(change("password-9", "password-2")["error"]["code"], "wrong_credentials");
    assert_eq!(change(PASSWORD, "short")["error"]["field"], "new_password");
    assert_eq!(change(PASSWORD, "password-2")["ok"], true);
    let mut shop = server.on_shop();
    let mut history = |token: &str| shop.call(json!({"command": "view_order_history", "token": token}))["ok"].clone();
    assert_eq!((history(&own), history(&other), history(&bobs)), (json!(true), json!(false), json!(true)));
    server.token("ann", "password-2");
    let old = json!({"command": "login", "username": "ann", "password": PASSWORD});
    assert_eq!(server.on_accounts().refusal(old), error("wrong_credentials", ""));
}

#[test]
fn a_token_expires() {
    let server = Server::start(&["--token-lifetime", "1s"]);
    let token = server.customer("ann");
    let mut shop = server.on_shop();
    eventually("the token expires", || {
        let response = shop.call(json!({"command": "view_order_history", "token": token}));
        response["error"]["code"] == "invalid_token"
    });
}

#[test]
fn tokens_survive_a_restart() {
    let server = Server::start(&[]);
    let token = server.customer("ann");
    let directory = server.directory();
    drop(server);
    let server = Server::start_in(directory, &[]);
    assert_eq!(server.on_shop().ok(json!({"command": "view_order_history", "token": token}))["total"], 0);
}
