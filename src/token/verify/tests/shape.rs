//! The parts of a token, their one spelling and their size.

use super::*;
use crate::token::jws::MAX_TOKEN_LEN;

#[test]
fn header_and_payload_are_objects() {
    let world = World::new(Algorithm::EdDsa);
    let (header, good) = (world.header().to_string(), payload().to_string());
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    for text in [
        "",
        "null",
        "1",
        "\"a\"",
        "[]",
        "{}x",
        "{} {}",
        "{",
        "\u{feff}{}",
        &deep,
    ] {
        assert_eq!(
            world.verify(&world.signed(&header, text)),
            Err(TokenError::Malformed),
            "{text:?}"
        );
        assert!(
            world.verify(&world.signed(text, &good)).is_err(),
            "{text:?}"
        );
    }
    let listed = json!([world.stored.algorithm, world.stored.kid, "at+jwt"]).to_string();
    assert_eq!(
        world.verify(&world.signed(&listed, &good)),
        Err(TokenError::Header)
    );
    // What means nothing is passed over without recursion, so its depth costs no stack.
    let nested = changed("x", Some(json!("@"))).replace("\"@\"", &deep);
    assert!(world.with_payload(&nested).is_ok());
    let nested = changed("roles", Some(json!("@"))).replace("\"@\"", &deep);
    assert_eq!(world.with_payload(&nested), Err(TokenError::Malformed));
    let many = format!(
        "{{{}}}",
        (0..200)
            .map(|n| format!("\"{n}\":0"))
            .collect::<Vec<_>>()
            .join(",")
    );
    assert_eq!(world.with_payload(&many), Err(TokenError::Malformed));
}

#[test]
fn a_token_has_three_parts_and_one_spelling() {
    for algorithm in ALL {
        let world = World::new(algorithm);
        let good = world.token();
        let parts: Vec<&str> = good.split('.').collect();
        let [header, payload, signature] = parts[..] else {
            panic!("three parts")
        };
        let mut bad = vec![
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            header.to_owned(),
            format!("{header}.{payload}"),
            format!("{header}..{signature}"),
            format!(".{payload}.{signature}"),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.{signature}"),
            format!("{header}.{payload}.{payload}.{signature}.{signature}"),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good} "),
            format!("{header}.\n{payload}.{signature}"),
            format!("{header}=.{payload}.{signature}"),
            format!("{header}.{payload}=.{signature}"),
            format!("{good}="),
            format!("{good}=="),
            format!("Bearer {good}"),
            good.to_uppercase(),
            good.repeat(2),
        ];
        if good.contains(['-', '_']) {
            bad.push(good.replace('-', "+").replace('_', "/"));
        }
        for text in bad {
            assert!(world.verify(&text).is_err(), "{text:?}");
        }
        assert!(world.verify(&good).is_ok());
    }
}

#[test]
fn trailing_bits_of_base64_do_not_make_a_second_text() {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for algorithm in ALL {
        let world = World::new(algorithm);
        let good = world.token();
        let mut tried = 0;
        for (at, _) in good
            .char_indices()
            .filter(|&(at, _)| good[at + 1..].starts_with('.') || at + 1 == good.len())
        {
            for &sign in SIGNS {
                let mut text = good.clone().into_bytes();
                if text[at] == sign {
                    continue;
                }
                text[at] = sign;
                tried += 1;
                assert!(
                    world.verify(std::str::from_utf8(&text).unwrap()).is_err(),
                    "{algorithm:?} at {at}"
                );
            }
        }
        assert_eq!(tried, 3 * 63);
    }
}

#[test]
fn size_is_limited_before_anything_is_read() {
    let world = World::new(Algorithm::EdDsa);
    for text in [
        ".".repeat(MAX_TOKEN_LEN + 1),
        "a".repeat(200_000),
        format!("{}.{}.", "a".repeat(5000), "b".repeat(5000)),
    ] {
        assert_eq!(world.verify(&text), Err(TokenError::TooLong));
    }
    assert_eq!(
        world.verify(&".".repeat(MAX_TOKEN_LEN)),
        Err(TokenError::Malformed)
    );
    let long = changed("jti", Some(json!("x".repeat(5000))));
    assert!(
        world.with_payload(&long).is_ok(),
        "a long token within the limit"
    );
}
