//! Variables over the file.

use super::*;

#[test]
fn the_environment_wins_over_the_file() {
    let text = development(
        "[server]\nlisten = ['127.0.0.1:1']\nthreads = 3\n[[rule]]\nname = 'a'\npath = '/a'\n",
    );
    let config = config(
        &text,
        &[
            ("MENSHEN_SERVER__LISTEN", "127.0.0.1:80, unix:/run/m.sock"),
            ("MENSHEN_SERVER__MAX_HEADER_BYTES", "4096"),
            ("MENSHEN_LIMITS__ENABLED", "false"),
            ("MENSHEN_USERS__FIRST_INTEGER", "1000"),
            (
                "MENSHEN_IDENTITY__HEADERS",
                "X-User-Id=sub, X-User-Roles=roles",
            ),
            ("MENSHEN_RULE__0__ACCESS", "deny"),
            ("MENSHEN_RULE__1__NAME", "b"),
            ("MENSHEN_RULE__1__PATH", "/b"),
            ("MENSHEN_RULE__1__METHODS", "GET,POST"),
            ("MENSHEN_RULE__1__METHODS__1", "PUT"),
            ("MENSHEN_RULE__1__METHODS__2", "PATCH"),
            ("MENSHEN_WECHAT__APP__0__APP_ID", "wx1"),
            ("MENSHEN_WECHAT__APP__0__SECRET", "a,b"),
            ("MENSHEN_TOKENS__ALGORITHM", "HS256"),
            ("MENSHEN_CONFIG", "elsewhere.toml"),
            ("MENSHEN_SERVICE_HOST", "10.0.0.1"),
            ("menshen_mode", "nonsense"),
            ("OTHER", "nonsense"),
        ],
    );
    assert_eq!(config.server.listen, ["127.0.0.1:80", "unix:/run/m.sock"]);
    assert_eq!(config.server.threads, 3);
    assert_eq!(config.server.max_header_bytes, ByteSize::kib(4));
    assert!(!config.limits.enabled);
    assert_eq!(config.users.first_integer, Some(1000));
    let headers: Vec<_> = config
        .identity
        .headers
        .iter()
        .map(|(name, claim)| (name.as_str(), claim.as_str()))
        .collect();
    assert_eq!(headers, [("X-User-Id", "sub"), ("X-User-Roles", "roles")]);
    assert_eq!(
        (config.rule[0].name.as_str(), config.rule[0].access),
        ("a", Access::Deny)
    );
    assert_eq!(config.rule[1].methods, ["GET", "PUT", "PATCH"]);
    assert_eq!(
        config.wechat.apps()[0]
            .secret
            .as_ref()
            .map(|secret| secret.expose().as_str()),
        Some("a,b")
    );
    assert_eq!(config.tokens.algorithm, Algorithm::Hs256);
}

#[test]
fn ten_entries_from_the_environment_keep_their_order() {
    let names: Vec<_> = (0..12)
        .map(|n| {
            (
                format!("MENSHEN_SERVER__ALLOW_HEADERS__{n}"),
                format!("h_{n}"),
            )
        })
        .collect();
    let environment: Vec<_> = names
        .iter()
        .rev()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let config = config(&development(""), &environment);
    assert_eq!(
        config.server.allow_headers,
        (0..12).map(|n| format!("h_{n}")).collect::<Vec<_>>()
    );
}

#[test]
fn a_wrong_variable_is_told_by_name() {
    for (name, value, message) in [
        (
            "MENSHEN_SERVER__LISTEN__2",
            "x",
            "is entry 2, and only 0 are written: they count from 0 without a gap",
        ),
        (
            "MENSHEN_SERVER__THREADS",
            "many",
            "server.threads: \"many\" is not a whole number of 0 or above",
        ),
        (
            "MENSHEN_SERVER__THREADS",
            "",
            "server.threads: \"\" is not a whole number of 0 or above",
        ),
        (
            "MENSHEN_SERVER__HEADER_TIMEOUT",
            "10 parsecs",
            "server.header_timeout: \"10 parsecs\" is not a duration: write a whole number and ms, s, m, h or d",
        ),
        (
            "MENSHEN_SERVER",
            "x",
            "names a section: add `__` and a key of it",
        ),
        (
            "MENSHEN_RULE",
            "x",
            "names a list of tables: add `__0__` and a key",
        ),
        ("MENSHEN_RULE__0__NAME", "a", "rule[0].path: is missing"),
        (
            "MENSHEN_RULE__0__PTH",
            "a",
            "names no key; did you mean MENSHEN_RULE__0__PATH?",
        ),
        (
            "MENSHEN_RULE__A__PATH",
            "a",
            "names no key; did you mean MENSHEN_RULE__0__PATH?",
        ),
        (
            "MENSHEN_MODE__X",
            "a",
            "names no key; did you mean MENSHEN_MODE?",
        ),
        (
            "MENSHEN_IDENTITY__HEADERS",
            "X-User-Id",
            "must be name=value pairs with commas between them",
        ),
        (
            "MENSHEN_IDENTITY__HEADERS__X_USER_ID",
            "sub",
            "goes too deep: write all pairs in one variable, as name=value,name=value",
        ),
        (
            "MENSHEN_",
            "a",
            "names no key; write MENSHEN_SECTION__KEY, with two `_` between them",
        ),
    ] {
        assert_eq!(
            problems(&development(""), &[(name, value)]),
            [format!("environment {name}: {message}")],
            "{name}={value}"
        );
    }
}
