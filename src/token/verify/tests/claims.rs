//! Which claims a token must have, and what they may say.

use super::*;
use crate::error::ErrorCode;

#[test]
fn every_claim_is_required() {
    let world = World::new(Algorithm::EdDsa);
    let names: Vec<String> = payload().as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 13);
    for name in names {
        let refused = world.with_payload(&changed(&name, None));
        let expected = if name == "token_use" {
            TokenError::Kind
        } else {
            TokenError::Claims
        };
        assert_eq!(refused, Err(expected), "{name}");
        let null = world.with_payload(&changed(&name, Some(Value::Null)));
        assert_eq!(null, Err(TokenError::Malformed), "{name}");
    }
}

#[test]
fn a_claim_of_the_wrong_form_is_refused() {
    let world = World::new(Algorithm::EdDsa);
    for (name, value) in [
        ("sub", json!("")),
        ("sub", json!(" ")),
        ("sub", json!("a b")),
        ("sub", json!("a\r\nX-User-Id: 1")),
        ("sub", json!("a\u{0}")),
        ("sub", json!("x".repeat(65))),
        ("sub", json!(42)),
        ("sub", json!(["42"])),
        ("sid", json!("")),
        ("sid", json!("00000000000000000000000000000ABC")),
        ("sid", json!("abc")),
        ("jti", json!("")),
        ("jti", json!(1)),
        ("user_type", json!("")),
        ("user_type", json!("a,b")),
        ("client_type", json!("")),
        ("client_type", json!("Web")),
        ("client_type", json!({"web": null})),
        ("roles", json!("admin")),
        ("roles", json!([1])),
        ("roles", json!([null])),
        ("ep", json!(-1)),
        ("ep", json!("3")),
        ("ep", json!(3.0)),
        ("gep", json!(1e3)),
        ("gep", json!(-1)),
    ] {
        assert!(
            world
                .with_payload(&changed(name, Some(value.clone())))
                .is_err(),
            "{name}: {value}"
        );
    }
}

#[test]
fn numbers_that_are_no_time_are_refused() {
    let world = World::new(Algorithm::EdDsa);
    for name in ["exp", "iat", "nbf"] {
        for number in [
            "1e308",
            "1e400",
            "-1",
            "1800000900.0",
            "1.8e9",
            "18446744073709551616",
            "18446744073709551615",
            "9007199254740993",
            "\"1800000900\"",
            "null",
            "[]",
            "NaN",
            "01",
            "+1",
            "0x7f",
        ] {
            let payload = changed(name, Some(json!("@"))).replace("\"@\"", number);
            assert!(world.with_payload(&payload).is_err(), "{name}: {number}");
        }
    }
}

#[test]
fn time_counts_with_the_leeway_and_no_more() {
    let world = World::new(Algorithm::EdDsa);
    let token = world.token();
    let at = |millis| {
        world
            .verifier
            .verify(&token, Timestamp::from_millis(millis))
            .map(drop)
    };
    let (start, end) = (NOW.as_millis(), NOW.as_millis() + 900_000);
    assert_eq!(at(end + 29_999), Ok(()));
    assert_eq!(at(end + 30_000), Err(TokenError::Expired));
    assert_eq!(at(u64::MAX), Err(TokenError::Expired));
    assert_eq!(at(start - 30_000), Ok(()));
    assert_eq!(at(start - 30_001), Err(TokenError::TooEarly));
    assert_eq!(at(0), Err(TokenError::TooEarly));
    assert_eq!(TokenError::Expired.code(), ErrorCode::TokenExpired);
    assert_eq!(TokenError::TooEarly.code(), ErrorCode::TokenInvalid);
}

#[test]
fn not_before_is_honoured() {
    let world = World::new(Algorithm::EdDsa);
    let from = |secs: u64| {
        world
            .with_payload(&changed("nbf", Some(json!(secs))))
            .map(drop)
    };
    assert_eq!(from(NOW.as_secs()), Ok(()));
    assert_eq!(from(NOW.as_secs() + 30), Ok(()));
    assert_eq!(from(NOW.as_secs() + 31), Err(TokenError::TooEarly));
    assert_eq!(from(1 << 53), Err(TokenError::TooEarly));
    assert_eq!(
        from((1 << 53) + 1),
        Err(TokenError::Claims),
        "more than every reader takes for the same number"
    );
}

#[test]
fn no_token_lives_longer_than_revocations_are_remembered() {
    let world = World::new(Algorithm::EdDsa);
    let life = |secs: u64| {
        world
            .with_payload(&changed("exp", Some(json!(NOW.as_secs() + secs))))
            .map(drop)
    };
    assert_eq!(
        world.max_lifetime(),
        86_400,
        "a day at least, whatever tokens get now"
    );
    assert_eq!(life(world.max_lifetime()), Ok(()));
    assert_eq!(life(world.max_lifetime() + 1), Err(TokenError::Claims));
    assert_eq!(life((1 << 53) - NOW.as_secs()), Err(TokenError::Claims));
}

#[test]
fn a_name_twice_is_refused_whoever_would_win() {
    let world = World::new(Algorithm::EdDsa);
    let good = payload().to_string();
    let names: Vec<String> = payload().as_object().unwrap().keys().cloned().collect();
    for name in names {
        let value = payload()[&name].to_string();
        for again in [
            format!("{},\"{name}\":{value}}}", &good[..good.len() - 1]),
            // The same name in another spelling.
            format!(
                "{},\"\\u{:04x}{}\":{value}}}",
                &good[..good.len() - 1],
                name.as_bytes()[0],
                &name[1..]
            ),
        ] {
            assert_eq!(
                world.with_payload(&again),
                Err(TokenError::Malformed),
                "{again}"
            );
        }
    }
    let unknown = format!("{},\"x\":1,\"x\":1}}", &good[..good.len() - 1]);
    assert_eq!(world.with_payload(&unknown), Err(TokenError::Malformed));
    for name in ["alg", "kid", "typ"] {
        let header = world.header();
        let text = header.to_string();
        let again = format!("{},\"{name}\":{}}}", &text[..text.len() - 1], header[name]);
        assert_eq!(
            world.verify(&world.signed(&again, &good)),
            Err(TokenError::Header),
            "{again}"
        );
    }
}

/// Found by fuzzing: what is passed over was not looked at, so two readers could see two texts in
/// it.
#[test]
fn a_payload_that_is_not_utf8_is_refused_also_where_nobody_reads_it() {
    let world = World::new(Algorithm::EdDsa);
    let good = payload().to_string();
    for (name, value) in [
        (&b"x"[..], &b"\xff"[..]),
        (b"\xc0\xae", b"a"),
        (b"x", b"\xed\xa0\x80"),
        (b"x", b"\xe4\xbd"),
    ] {
        let member = [b",\"", name, b"\":{\"y\":\"", value, b"\"}}"].concat();
        let whole = [&good.as_bytes()[..good.len() - 1], &member].concat();
        assert_eq!(
            world.with_payload(&whole),
            Err(TokenError::Malformed),
            "{}",
            whole.escape_ascii()
        );
    }
    assert!(
        world
            .with_payload(&format!(
                "{},\"x\":{{\"y\":\"\u{4f60}\"}}}}",
                &good[..good.len() - 1]
            ))
            .is_ok()
    );
}

#[test]
fn a_claim_that_a_newer_version_writes_does_not_harm() {
    let world = World::new(Algorithm::EdDsa);
    let new = changed("tenant", Some(json!({"deep": [1, {"a": null}]})));
    assert_eq!(world.with_payload(&new), Ok(fixture::claims()));
}
