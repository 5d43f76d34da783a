//! Secrets: where they come from, which are refused, and that none is shown.

use super::*;

#[test]
fn weak_signing_secrets_are_refused_and_never_shown() {
    for (secret, message) in [
        ("secret", "is shorter than 32 bytes"),
        (
            "0123456789012345678901234567890",
            "is shorter than 32 bytes",
        ),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "repeats itself"),
        ("changemechangemechangemechangeme", "repeats itself"),
        (
            "CHANGEME-0123456789abcdefghijklmnop",
            "is a published example",
        ),
        (
            "django-insecure-0x9f8w7e6r5t4y3u2i1o",
            "is a published example",
        ),
    ] {
        for (key, line) in [
            ("secret", format!("secret = '{secret}'")),
            (
                "previous_secrets[0]",
                format!("previous_secrets = ['{secret}']"),
            ),
        ] {
            let found = problems(
                &development(&format!("[tokens]\nalgorithm = 'HS256'\n{line}")),
                &[],
            );
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].starts_with(&format!("config.toml:4: tokens.{key}: {message}")),
                "{}",
                found[0]
            );
            assert!(
                !found[0].contains(secret) || secret == "secret",
                "{}",
                found[0]
            );
        }
    }
    let good = "f3b1c9d27e604a85bd1290c4e7a6f358";
    let config = config(
        &development(&format!("[tokens]\nalgorithm = 'HS256'\nsecret = '{good}'")),
        &[],
    );
    assert_eq!(config.tokens.secret.unwrap().expose(), good);
}

#[test]
fn a_secret_is_read_from_its_file_without_the_line_end() {
    let dir = ConfigDir::with(&development(
        "[wechat]\napp_id = 'wx1'\nsecret_file = 'wechat.secret'\n",
    ));
    for (content, read) in [
        ("s3", "s3"),
        ("s3\n", "s3"),
        ("s3\r\n", "s3"),
        ("s3\n\n", "s3\n"),
        (" s3 ", " s3 "),
    ] {
        dir.file("wechat.secret", content.as_bytes());
        let config = dir.load(&[]).unwrap().config;
        assert_eq!(config.wechat.secret.unwrap().expose(), read, "{content:?}");
        assert_eq!(config.wechat.secret_file, Some(dir.path("wechat.secret")));
    }
}

#[test]
fn a_file_can_be_named_in_the_environment_and_in_a_list() {
    let dir = ConfigDir::with(&development("[[wechat.app]]\napp_id = 'wx1'\n"));
    dir.file("app.secret", b"s3\n")
        .file("store.key", &[b'a'; 64]);
    let whole = dir.path("store.key");
    let environment = [
        ("MENSHEN_WECHAT__APP__0__SECRET_FILE", "app.secret"),
        (
            "MENSHEN_STORE__ENCRYPTION_KEY_FILE",
            whole.to_str().unwrap(),
        ),
    ];
    let config = dir.load(&environment).unwrap().config;
    assert_eq!(
        config.wechat.app[0]
            .secret
            .as_ref()
            .map(|secret| secret.expose().as_str()),
        Some("s3")
    );
    assert_eq!(config.store.key().unwrap().unwrap().expose(), &[0xaa; 32]);
}

#[test]
fn a_secret_file_that_cannot_be_used_is_told_without_its_content() {
    let dir = ConfigDir::with(&development(
        "[wechat]\napp_id = 'wx1'\nsecret_file = 'wechat.secret'\n",
    ));
    let told = |message: &str| {
        vec![format!(
            "config.toml:4: wechat.secret_file: wechat.secret: {message}"
        )]
    };
    assert_eq!(dir.load(&[]).unwrap_err(), told("there is no such file"));
    dir.file("wechat.secret", b"\n");
    assert_eq!(dir.load(&[]).unwrap_err(), told("is empty"));
    dir.file("wechat.secret", b"hunter2\xff");
    assert_eq!(dir.load(&[]).unwrap_err(), told("is not UTF-8 text"));
    dir.file("wechat.secret", &vec![b'x'; 70_000]);
    assert_eq!(
        dir.load(&[]).unwrap_err(),
        told("is longer than 65536 bytes: not a secret")
    );
    dir.file("wechat.secret", b"s3");
    assert_eq!(
        dir.load(&[("MENSHEN_WECHAT__SECRET", "s4")]).unwrap_err(),
        ["config.toml:4: wechat.secret_file: is given together with `secret`: keep one of them"]
    );
    fs::remove_file(dir.path("wechat.secret")).unwrap();
    fs::create_dir(dir.path("wechat.secret")).unwrap();
    assert_eq!(
        dir.load(&[]).unwrap_err(),
        told("cannot be read (is a directory)")
    );
}

#[test]
fn a_problem_with_a_secret_stands_where_its_file_is_named() {
    let dir = ConfigDir::with(&development(
        "[tokens]\nalgorithm = 'HS256'\n\nsecret_file = 's'\n",
    ));
    dir.file("s", b"hunter2");
    assert_eq!(
        dir.load(&[]).unwrap_err(),
        [
            "config.toml:5: tokens.secret: is shorter than 32 bytes: `openssl rand -base64 32` prints a good one"
        ]
    );
    let dir = ConfigDir::with(&development("[store]\nencryption_key_file = 'k'\n"));
    assert!(
        dir.load(&[]).is_ok(),
        "a key that is not there yet is made on first start"
    );
    dir.file("k", b"hunter2");
    assert!(
        dir.load(&[]).unwrap_err()[0]
            .starts_with("config.toml:3: store.encryption_key: is not 32 bytes")
    );
}

#[test]
fn a_key_is_hex_or_base64_of_32_bytes() {
    let key = |text: &str| {
        let store = StoreConfig {
            encryption_key: Some(SecretText::new(text.to_owned())),
            ..StoreConfig::default()
        };
        store.key().map(|key| *key.unwrap().expose())
    };
    assert_eq!(key(&"0f".repeat(32)), Ok([15; 32]));
    assert_eq!(key(&"0F".repeat(32)), Ok([15; 32]));
    assert_eq!(
        key("Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8="),
        Ok([15; 32])
    );
    assert_eq!(
        key("Dw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8\n"),
        Ok([15; 32])
    );
    assert_eq!(
        key(&"-_".repeat(21).chars().chain(['8']).collect::<String>()).map(|key| key[0]),
        Ok(0xfb)
    );
    for text in [
        "",
        "0f",
        &"0f".repeat(31),
        &"0g".repeat(32),
        &"+0".repeat(32),
        &"é".repeat(32),
        "Dw8P",
        &"A".repeat(44),
    ] {
        assert!(key(text).is_err(), "{text:?}");
    }
}

#[test]
fn no_secret_is_in_the_debug_form_or_the_serialised_form() {
    let text = "[store]\nencryption_key_file = 'k'\n[wechat]\napp_id = 'wx1'\nsecret = 'hunter2'\n";
    let config = config(text, &[]);
    for printed in [
        format!("{config:?}"),
        serde_json::to_string(&config).unwrap(),
    ] {
        assert!(
            !printed.contains("hunter2") && printed.contains("wx1"),
            "{printed}"
        );
    }
}

#[test]
fn a_mistake_in_toml_beside_a_secret_does_not_show_it() {
    for line in [
        "secret = hunter2",
        "secret = \"hunter2",
        "secret = 'hunter2",
        "secret = \"hunter2\\q\"",
        "secret = \"\"\"hunter2",
        "secret \"hunter2\"",
        "secret: hunter2",
        "secret = \"a\" hunter2",
        "secret = [hunter2",
        "secret = 'hunter2'\nsecret = 'hunter2'",
        "secret = 0xhunter2",
        "secret = true_hunter2",
    ] {
        let found = problems(&development(&format!("[wechat]\n{line}\n")), &[]);
        assert!(
            found.len() == 1 && !found[0].contains("unter2"),
            "{line}: {found:?}"
        );
        assert!(found[0].starts_with("config.toml:"), "{found:?}");
    }
}
