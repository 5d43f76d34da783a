//! `[hooks]` and `[wechat.push]`: what a config must have for them.

use super::*;

const REST: &str = "[store]\nencryption_key_file = 'k'\n";
const APP: &str = "[wechat]\napp_id = 'wx1'\nsecret = '0123456789abcdef0123456789abcdef'\n";
const LONG: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C";

fn message(text: &str) -> Vec<String> {
    let found = problems(&format!("{REST}{text}"), &[]);
    assert!(
        !found.iter().any(|line| line.contains("hunter2")),
        "{found:?}"
    );
    found
        .into_iter()
        .map(|line| line.split_once(": ").expect("a place").1.to_owned())
        .collect()
}

#[test]
fn hooks_need_an_address_and_a_long_secret() {
    let hooks = |text: &str| message(&format!("{APP}[hooks]\n{text}"));
    let one = |text: &str, expected: &str| {
        let found = hooks(text);
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{text}: {found:?}"
        );
    };
    one(
        "secret = 'hunter2hunter2hunter2hunter2hunter2'",
        "hooks.url: is missing",
    );
    one("url = 'http://127.0.0.1/x'", "hooks.secret: is missing");
    one(
        "url = 'http://127.0.0.1/x'\nsecret = 'hunter2'",
        "hooks.secret: is shorter than 32 bytes",
    );
    let with = |url: &str| format!("url = '{url}'\nsecret = '{LONG}'");
    for url in [
        "127.0.0.1:3000",
        "ftp://x/",
        "unix:/run/x",
        "http://user@host/",
        "http://host/#x",
        "",
    ] {
        one(&with(url), "hooks.url: is not a URL");
    }
    one(&with("http://8.8.8.8/x"), "hooks.url: must be https");
    one(
        &format!("{}\ntimeout = '1m'", with("https://b.example/x")),
        "hooks.timeout: ",
    );
    one(
        &format!("{}\nattempts = 0", with("https://b.example/x")),
        "hooks.attempts: ",
    );
    one(
        &format!("{}\nevents = ['user.made']", with("https://b.example/x")),
        "hooks.events[0]: ",
    );
}

#[test]
fn where_the_backend_is_asked_for_integers_menshen_has_its_own() {
    let asked = |users: &str, hooks: &str| {
        message(&format!(
            "{APP}[users]\nids = 'integer'\n{users}\n[hooks]\nurl = 'http://127.0.0.1/x'\nsecret = '{LONG}'\n{hooks}"
        ))
    };
    let found = asked("", "");
    assert!(
        found.len() == 1 && found[0].starts_with("users.first_integer: is missing: "),
        "{found:?}"
    );
    for (users, hooks) in [
        ("first_integer = 1_000_000", ""),
        ("first_integer = 1", ""),
        ("", "created = 'tell'"),
        ("", "events = ['user.deleted']"),
    ] {
        let text = format!(
            "{REST}{APP}[users]\nids = 'integer'\n{users}\n[hooks]\nurl = 'http://127.0.0.1/x'\nsecret = '{LONG}'\n{hooks}\n"
        );
        assert_eq!(
            config(&text, &[]).users.first_generated_id(),
            Some(if users.contains("1_000") {
                1_000_000
            } else {
                1
            }),
            "{text}"
        );
    }
}

#[test]
fn hooks_may_be_plain_at_home() {
    for (url, warned) in [
        ("http://127.0.0.1:3000/x", 0),
        ("http://localhost/x", 0),
        ("http://10.1.2.3/x", 0),
        ("http://backend:3000/x", 0),
        ("https://b.example/x?key=1", 0),
        ("http://b.example/x", 1),
    ] {
        let text = format!("{REST}{APP}[hooks]\nurl = '{url}'\nsecret = '{LONG}'\n");
        assert_eq!(warnings(&text).len(), warned, "{url}");
    }
}

#[test]
fn a_push_needs_the_token_and_the_key_of_every_mini_program() {
    let push = |app: &str, push: &str| message(&format!("{APP}{app}\n[wechat.push]\n{push}"));
    assert_eq!(
        push("", "enabled = true"),
        [
            "wechat.push_token: is missing: the Token of the message push",
            "wechat.push_aes_key: is missing: the EncodingAESKey of the message push (safe mode), or `wechat.push.plain = true`",
        ]
    );
    for good in [
        "push_token = 'abc'\n[wechat.push]\nenabled = true\nplain = true".to_owned(),
        format!("push_token = 'abc'\npush_aes_key = '{KEY}'\n[wechat.push]\nenabled = true"),
    ] {
        assert!(
            config(&format!("{REST}{APP}{good}\n"), &[])
                .wechat
                .push
                .enabled,
            "{good}"
        );
    }
    assert_eq!(
        push(
            "push_token = 'hunter2!'\npush_aes_key = 'hunter2'",
            "enabled = true"
        ),
        [
            "wechat.push_token: is not 3 to 32 letters and digits, which WeChat's console requires",
            "wechat.push_aes_key: is not an EncodingAESKey: 43 letters and digits",
        ]
    );
    assert_eq!(push("", "max_age = '1s'").len(), 1);
    let second = format!(
        "push_token = 'abc'\npush_aes_key = '{KEY}'\n[[wechat.app]]\napp_id = 'wx2'\nsecret = 's4'"
    );
    assert_eq!(
        push(&second, "enabled = true").len(),
        2,
        "the second one has neither"
    );
}

#[test]
fn a_push_that_is_off_or_plain_is_warned_of() {
    let warned =
        |app: &str, push: &str| warnings(&format!("{REST}{APP}{app}\n[wechat.push]\n{push}\n"));
    assert!(warned("push_token = 'abc'", "")[0].contains("is not used"));
    assert!(
        warned("push_token = 'abc'", "enabled = true\nplain = true")[0]
            .contains("body is not signed")
    );
}
