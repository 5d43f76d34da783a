//! The console of the real process: where it is, and what it leaves alone. Its pages have tests in
//! `src/console/tests`, and in a browser in `tests/console`.

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{Answer, Client},
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Asks the admin listener by this name.
fn get(menshen: &Menshen, host: &str, path: &str, headers: &str) -> Answer {
    let mut client = Client::connect(menshen.admin);
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"
    ));
    client.receive().expect("an answer")
}

#[test]
fn there_is_a_console_where_there_is_a_token() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let host = menshen.admin.to_string();
    assert_eq!(get(&menshen, &host, "/console", "").status, 404);

    let admin = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n");
    let menshen = Setup::before(backend.address).with(&admin).start();
    let host = menshen.admin.to_string();
    let page = get(&menshen, &host, "/console", "");
    assert_eq!(page.status, 401);
    assert!(String::from_utf8_lossy(&page.body).contains("name=\"token\""));
    assert_eq!(page.header("X-Frame-Options"), Some("DENY"));
    // Its own errors have its headers too.
    let missing = get(&menshen, &host, "/console/nothing", "");
    assert_eq!(
        (missing.status, missing.header("X-Frame-Options")),
        (401, Some("DENY"))
    );
    // Clients of the gate do not reach it.
    assert_eq!(menshen.get("/console", &[]).status, 401);
    assert_eq!(menshen.get("/console", &[]).error(), Some("token_missing"));
}

#[test]
fn scrapers_and_commands_keep_their_names_where_the_console_answers_to_none() {
    let backend = Backend::start();
    let admin = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n");
    let menshen = Setup::before(backend.address).with(&admin).start();
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let name = "menshen.shop.svc:9090";
    assert_eq!(get(&menshen, name, "/metrics", "").status, 200);
    assert_eq!(get(&menshen, name, "/readyz", "").status, 200);
    let keys = get(&menshen, name, "/admin/keys", &bearer);
    assert_eq!(keys.status, 200);
    for path in ["/console", "/console/style.css", "/console/nothing"] {
        assert_eq!(get(&menshen, name, path, "").status, 421, "{path}");
    }
    // The token of the admin API is none of a page.
    let host = menshen.admin.to_string();
    let page = get(&menshen, &host, "/console", &bearer);
    assert_eq!(page.status, 401);
}
