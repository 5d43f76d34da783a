//! What operators get wrong: each mistake in a command has a message that names it, and the admin
//! API refuses in JSON.

use serde_json::json;

use super::{
    administration::{PASSWORD, Said, id, live, live_reading, setup},
    backend::Backend,
    menshen::{self, Setup},
    wire,
};

#[test]
fn common_mistakes_are_explained() {
    let backend = Backend::start();
    let menshen = setup(&backend).start();
    let alice = menshen.login("alice");
    let says = |args: &[&str], input: &str, code: i32, words: &str| {
        live_reading(&menshen, args, input).failed(code, words);
    };
    for nobody in [
        "nobody",
        "name:nobody",
        "phone:+8613800138000",
        "openid:development/nobody",
    ] {
        says(
            &["users", "show", nobody],
            "",
            1,
            "menshen: there is no such user\n",
        );
    }
    says(
        &["users", "show", "phone:1380013800"],
        "",
        64,
        "must be a mobile number of mainland China",
    );
    says(
        &["users", "show", "openid:nobody"],
        "",
        64,
        "openid:APPID/OPENID",
    );
    says(&["users", "show", "a b"], "", 64, "must be a user's id");
    says(
        &["users", "set-password", id(&alice)],
        PASSWORD,
        1,
        "no name to sign in with",
    );
    says(
        &["users", "add", "root", "--admin"],
        "short",
        64,
        "12 to 256 bytes",
    );
    says(
        &["users", "add", "root", "--admin"],
        "",
        64,
        "12 to 256 bytes",
    );
    says(&["users", "add", "root"], PASSWORD, 64, "--admin");
    says(
        &["users", "add", "root", "--admin", "--type", "ops"],
        PASSWORD,
        64,
        "cannot be used with",
    );
    says(
        &["users", "add", "a b", "--admin"],
        PASSWORD,
        64,
        "must be 1 to 64 letters",
    );
    says(&["users", "promote", id(&alice)], "", 64, "--type");
    says(&["sessions", "revoke"], "", 64, "--everything");
    says(
        &["sessions", "revoke", "--user", "x", "--everything"],
        "",
        64,
        "cannot be used with",
    );
    assert_eq!(
        live(&menshen, &["users", "list"]).good().lines().count(),
        2,
        "nothing was made"
    );
}

#[test]
fn a_command_that_reaches_neither_process_nor_store_says_what_is_in_its_way() {
    let backend = Backend::start();
    let menshen = setup(&backend).start();
    let admin = menshen.admin.to_string();
    let other = tempfile::tempdir().expect("a directory");
    std::fs::copy(
        menshen.directory().join("config.toml"),
        other.path().join("config.toml"),
    )
    .expect("a copy");
    std::fs::write(
        other.path().join("admin.token"),
        "another-token-0123456789abcdef0123456789",
    )
    .expect("a token");
    let wrong = menshen::command(
        other.path(),
        &["users", "list"],
        &[("MENSHEN_ADMIN__LISTEN", &admin)],
    );
    Said::of(&wrong).failed(1, "does not accept this admin token");

    let backend = Backend::start();
    let without = Setup::before(backend.address).start();
    live(&without, &["users", "list"]).failed(1, "admin.token_file");
    live(&without, &["users", "list"]).failed(1, "another process");
    let memory = [("MENSHEN_STORE__URL", "memory:")];
    Said::of(&menshen::command(
        without.directory(),
        &["users", "list"],
        &memory,
    ))
    .failed(1, "a store in memory");
}

#[test]
fn the_admin_api_refuses_in_json_and_bounds_what_it_reads() {
    let backend = Backend::start();
    let menshen = setup(&backend).start();
    let token = std::fs::read_to_string(menshen.directory().join("admin.token")).expect("a token");
    let bearer = format!("Bearer {}", token.trim());
    let ask = |method: &str, path: &str, body: &str| {
        wire::ask(
            menshen.admin,
            method,
            path,
            &[("Authorization", &bearer)],
            body.as_bytes(),
        )
    };
    let long = format!("{{\"phone\":\"{}\"}}", "1".repeat(20_000));
    for (method, path, body, status) in [
        ("GET", "/admin/users/nobody", "", 404),
        ("DELETE", "/admin/users/nobody", "", 404),
        ("POST", "/admin/users/nobody/ban", "", 404),
        ("GET", "/admin/users/a%20b", "", 400),
        ("GET", "/admin/users?limit=many", "", 400),
        ("GET", "/admin/users?phone=1", "", 400),
        ("POST", "/admin/users/find", "", 400),
        ("POST", "/admin/users/find", "{}", 400),
        ("POST", "/admin/users/find", "{\"phone\":\"hunter2\"}", 400),
        ("POST", "/admin/users/find", &long, 413),
        (
            "POST",
            "/admin/users",
            "{\"username\":\"root\",\"password\":\"hunter2\",\"user_type\":\"admin\"}",
            400,
        ),
        (
            "POST",
            "/admin/users",
            "{\"username\":\"root\",\"password\":7,\"user_type\":\"admin\"}",
            400,
        ),
        (
            "POST",
            "/admin/sessions/revoke",
            "{\"user\":\"1\",\"session\":\"0\"}",
            400,
        ),
        (
            "POST",
            "/admin/sessions/revoke",
            "{\"session\":\"00000000000000000000000000000000\"}",
            400,
        ),
        (
            "POST",
            "/admin/sessions/revoke",
            "{\"user\":\"1\",\"session\":\"00000000000000000000000000000000\"}",
            404,
        ),
        (
            "POST",
            "/admin/sessions/revoke",
            "{\"everything\":false}",
            400,
        ),
        (
            "POST",
            "/admin/sessions/revoke",
            "{\"everything\":true,\"user\":\"1\"}",
            400,
        ),
    ] {
        let answer = ask(method, path, body);
        assert_eq!(answer.status, status, "{method} {path} {body:.80}");
        let error = answer.json()["error"]
            .as_str()
            .expect("an error")
            .to_owned();
        assert!(!error.is_empty() && !error.contains("hunter2"), "{error}");
    }
    assert!(!menshen.log().join("\n").contains("hunter2"));
    assert_eq!(
        ask("GET", "/admin/users", "").json(),
        json!({ "users": [] })
    );
}
