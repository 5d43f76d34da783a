//! Routes, methods and the documents printed from them.

use std::{collections::BTreeSet, fs};

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{Ask, World};
use crate::{
    api::{errors_markdown, openapi_json, routes},
    auth::{Password, profile},
    provider::wechat::LoginCode,
    types::{Phone, SmsCode, Username},
};

/// Every route with its methods.
const ROUTES: [(&str, &[&str]); 16] = [
    ("/auth/wechat/login", &["POST"]),
    ("/auth/wechat/push", &["GET", "HEAD", "POST"]),
    ("/auth/password/login", &["POST"]),
    ("/auth/sms/send", &["POST"]),
    ("/auth/sms/login", &["POST"]),
    ("/auth/phone", &["DELETE"]),
    ("/auth/phone/sms", &["POST"]),
    ("/auth/phone/wechat", &["POST"]),
    ("/auth/me/export", &["GET", "HEAD"]),
    ("/auth/refresh", &["POST"]),
    ("/auth/logout", &["POST"]),
    ("/auth/me", &["GET", "HEAD", "POST", "PATCH", "DELETE"]),
    ("/auth/sessions", &["GET", "HEAD"]),
    ("/auth/sessions/{sid}", &["DELETE"]),
    ("/auth/jwks.json", &["GET", "HEAD"]),
    ("/auth/openapi.json", &["GET", "HEAD"]),
];

#[tokio::test]
async fn a_method_that_a_route_does_not_take_is_a_405_with_those_it_does() {
    let world = World::with(|config| config.limits.enabled = false).await;
    let mut refused = 0;
    for (path, takes) in ROUTES {
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW",
        ] {
            let answer = world
                .send(Ask::new(
                    Method::from_bytes(method.as_bytes()).unwrap(),
                    path,
                ))
                .await;
            if takes.contains(&method) {
                assert_ne!(answer.status, 405, "{method} {path}");
                continue;
            }
            assert_eq!(
                answer.says(),
                (405, "method_not_allowed"),
                "{method} {path}"
            );
            let allow: BTreeSet<_> = answer.header("allow").split(',').map(str::trim).collect();
            assert_eq!(allow, takes.iter().copied().collect(), "{method} {path}");
            // The gate responds the same to a method that reaches no router.
            let of_gate = routes::methods(path.strip_prefix("/auth").unwrap());
            assert_eq!(
                of_gate.map(|of_gate| of_gate.iter().copied().collect()),
                Some(allow),
                "{path}"
            );
            refused += 1;
        }
    }
    assert_eq!(refused, 16 * 9 - 26);
}

#[tokio::test]
async fn what_is_no_route_is_not_found() {
    let world = World::new().await;
    for path in [
        "/",
        "/auth",
        "/auth/",
        "/auth/me/",
        "/auth/ME",
        "/auth/wechat",
        "/auth/sessions/",
        "/auth/sessions/a/b",
        "/me",
    ] {
        assert_eq!(
            world.send(Ask::get(path)).await.says(),
            (404, "not_found"),
            "{path}"
        );
        assert_eq!(
            path.strip_prefix("/auth").and_then(routes::methods),
            None,
            "{path}"
        );
    }
}

#[tokio::test]
async fn keys_and_contract_are_public_and_cacheable() {
    let world = World::new().await;
    for path in ["/auth/jwks.json", "/auth/openapi.json"] {
        let answer = world.send(Ask::get(path)).await;
        assert_eq!(answer.says(), (200, ""));
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        let head = world.send(Ask::new(Method::HEAD, path)).await;
        assert_eq!(
            (head.status.as_u16(), head.body),
            (200, Value::Null),
            "{path}"
        );
    }
    let head = world.send(Ask::new(Method::HEAD, "/auth/me")).await;
    assert_eq!(
        (head.says(), &head.body),
        ((401, "token_missing"), &Value::Null)
    );
}

#[tokio::test]
async fn the_prefix_is_the_operators() {
    let world = World::with(|config| config.auth.prefix = "/api/v1/login".to_owned()).await;
    assert_eq!(
        world.send(Ask::get("/api/v1/login/jwks.json")).await.says(),
        (200, "")
    );
    assert_eq!(
        world.send(Ask::get("/auth/jwks.json")).await.says(),
        (404, "not_found")
    );
}

#[test]
fn the_contract_names_every_route_and_nothing_else() {
    let document: Value = serde_json::from_str(&openapi_json("/auth", &["86".to_owned()])).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operation_ids = BTreeSet::new();
    let mut operations = 0;
    for (path, takes) in ROUTES {
        let item = document["paths"][path]
            .as_object()
            .unwrap_or_else(|| panic!("{path}"));
        let documented: BTreeSet<_> = item.keys().map(|method| method.to_uppercase()).collect();
        let expected = takes
            .iter()
            .filter(|method| **method != "HEAD")
            .map(|method| (*method).to_owned())
            .collect();
        assert_eq!(documented, expected, "{path}");
        for operation in item.values() {
            operation_ids.insert(operation["operationId"].as_str().unwrap());
            operations += 1;
            assert!(
                operation["responses"]["500"]["content"]["application/problem+json"].is_object(),
                "{path}"
            );
        }
    }
    assert_eq!(document["paths"].as_object().unwrap().len(), ROUTES.len());
    assert_eq!(operation_ids.len(), operations);
}

#[test]
fn every_reference_of_the_contract_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|inner| references(inner, found));
            }
            Value::Array(items) => items.iter().for_each(|inner| references(inner, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document: Value = serde_json::from_str(&openapi_json("/auth", &["86".to_owned()])).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in found {
        assert!(
            document
                .pointer(reference.trim_start_matches('#'))
                .is_some(),
            "{reference}"
        );
    }
}

/// The contract of an API that accepts phones of these countries.
fn contract(countries: &[&str]) -> Value {
    let countries: Vec<_> = countries.iter().map(|code| (*code).to_owned()).collect();
    serde_json::from_str(&openapi_json("/auth", &countries)).unwrap()
}

/// Whether a text matches the pattern of a field in the contract.
fn has_form(document: &Value, schema: &str, field: &str, text: &str) -> bool {
    let at = document
        .pointer(&format!("/components/schemas/{schema}/properties/{field}"))
        .unwrap();
    let pattern = regex::Regex::new(
        at["pattern"]
            .as_str()
            .unwrap_or_else(|| panic!("no pattern of {field}")),
    )
    .unwrap();
    let length = text.chars().count() as u64;
    let bounds =
        at["minLength"].as_u64().unwrap_or(0)..=at["maxLength"].as_u64().unwrap_or(u64::MAX);
    pattern.is_match(text) && bounds.contains(&length)
}

#[test]
fn a_birthday_of_the_contract_is_a_day_that_is_taken_and_the_other_way_round() {
    let document = contract(&["86"]);
    let mut days = 0;
    for year in [
        1899, 1900, 1904, 1999, 2000, 2001, 2023, 2024, 2100, 2400, 9996, 9999,
    ] {
        for month in 0..=13 {
            for day in 0..=32 {
                let text = format!("{year:04}-{month:02}-{day:02}");
                let is_taken = profile::birthday(&text).is_ok();
                assert_eq!(
                    has_form(&document, "MePatch", "birthday", &text),
                    is_taken,
                    "{text}"
                );
                days += u32::from(is_taken);
            }
        }
    }
    assert_eq!(
        days,
        11 * 365 + 5,
        "with the leap days of 1904, 2000, 2024, 2400 and 9996"
    );
    for text in [
        "",
        "2000-1-01",
        "2000-01-01T00:00:00Z",
        " 2000-01-01",
        "2000-01-01\n",
        "２０００-01-01",
    ] {
        assert!(
            !has_form(&document, "MePatch", "birthday", text),
            "{text:?}"
        );
    }
}

/// Texts for every field, some of them valid for one.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "0",
    "\0",
    "a\nb",
    "字",
    "\u{85}",
    "12345",
    "1234567",
    "１２３４５６",
    "13800138000",
    "-13800138000",
    "23800138000",
    "+8613800138000",
    "+852123",
    "+4912345678",
    "https://",
    "https://a",
    "http://tmp/a.jpg",
    "https://a b",
    "https://u:p@a/",
    "https://1.2.3.4.5",
    "https://a.999",
    "https://-a",
    "https://xn--a",
    "ftp://a",
    "http://a:99999",
    "wxfile://a",
    "a/b",
    "管理员",
];

/// The plain form is accepted; where the API is lenient, other forms are too.
#[test]
fn what_has_the_form_of_the_contract_is_taken() {
    let document = contract(&["86", "852", "1"]);
    let countries = ["86", "852", "1"].map(str::to_owned);
    for (schema, field, texts) in [
        (
            "SmsSendBody",
            "phone",
            &["13800138000", "19912345678", "+85212345678", "+12025550123"][..],
        ),
        ("SmsLoginBody", "code", &["000000", "123456"]),
        ("FreshProofBody", "sms_code", &["123456"]),
        ("WechatLoginBody", "code", &["0a1B2c", "!", "~"]),
        (
            "PasswordLoginBody",
            "username",
            &["root", "Root@Example.com", "a"],
        ),
        ("PasswordLoginBody", "password", &["x", " ", "密码密码"]),
        ("MePatch", "nickname", &["小明", "Ann", "a b", "7"]),
        (
            "MePatch",
            "avatar_url",
            &[
                "https://thirdwx.qlogo.cn/mmopen/vi_32/a/132",
                "http://163.com",
                "https://a-b.example:8443/?x#y",
            ],
        ),
        ("MePatch", "bio", &["", "line\r\n\tline 字"]),
    ] {
        for text in texts {
            assert!(
                has_form(&document, schema, field, text),
                "{schema}.{field}: {text:?}"
            );
        }
    }
    let taken = |schema: &str, field: &str, text: &str| match (schema, field) {
        (_, "phone") => Phone::parse(text, &countries).is_ok(),
        ("SmsLoginBody", _) => SmsCode::parse(text).is_ok(),
        ("WechatLoginBody", _) => LoginCode::parse(text).is_ok(),
        (_, "username") => Username::parse(text).is_ok(),
        (_, "password") => Password::parse(text).is_ok(),
        (_, "nickname") => profile::nickname(text).is_ok(),
        (_, "avatar_url") => profile::avatar_url(text).is_ok(),
        (_, "bio") => profile::bio(text).is_ok(),
        _ => unreachable!("{schema}.{field}"),
    };
    let long = "密".repeat(256);
    let mut refused = 0;
    for (schema, field) in [
        ("SmsSendBody", "phone"),
        ("SmsLoginBody", "code"),
        ("WechatLoginBody", "code"),
        ("PasswordLoginBody", "username"),
        ("PasswordLoginBody", "password"),
        ("MePatch", "nickname"),
        ("MePatch", "avatar_url"),
        ("MePatch", "bio"),
    ] {
        for text in TEXTS.iter().copied().chain([&*long]) {
            let is_taken = taken(schema, field, text);
            refused += u32::from(!is_taken);
            assert!(
                is_taken || !has_form(&document, schema, field, text),
                "{schema}.{field} allows {text:?}, which is refused"
            );
        }
    }
    assert!(refused > 80, "{refused}");
}

#[test]
fn the_contract_has_the_phones_of_the_countries_that_are_served() {
    for (countries, phone, has) in [
        (&["86"][..], "13800138000", true),
        (&["86"], "+85212345678", false),
        (&["86", "852"], "+85212345678", true),
        (&["852"], "13800138000", false),
    ] {
        for schema in ["SmsSendBody", "SmsLoginBody", "PhoneSmsBody"] {
            assert_eq!(
                has_form(&contract(countries), schema, "phone", phone),
                has,
                "{countries:?} {phone}"
            );
        }
    }
}

#[test]
fn no_body_of_the_contract_is_null_and_what_goes_together_says_so() {
    let document = contract(&["86"]);
    let mut bodies = 0;
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let Some(content) = operation["requestBody"]["content"]["application/json"].as_object()
            else {
                continue;
            };
            assert!(content["schema"]["$ref"].is_string(), "{content:?}");
            let may_be_absent = ["logout", "erase_me", "unbind_phone"]
                .contains(&operation["operationId"].as_str().unwrap());
            assert_eq!(operation["requestBody"]["required"], !may_be_absent);
            bodies += 1;
        }
    }
    assert_eq!(bodies, 12);
    let either = &document["components"]["schemas"]["PhoneWechatBody"]["oneOf"];
    assert_eq!(
        (&either[0]["required"], &either[1]["required"]),
        (&json!(["code"]), &json!(["encrypted_data", "iv"]))
    );
    let pairs = &document["components"]["schemas"]["WechatLoginBody"]["allOf"];
    for (n, pair) in [["raw_data", "signature"], ["encrypted_data", "iv"]]
        .iter()
        .enumerate()
    {
        assert_eq!(pairs[n]["oneOf"][0]["required"], json!(pair));
    }
    let sid =
        &document["paths"]["/auth/sessions/{sid}"]["delete"]["parameters"][0]["schema"]["pattern"];
    assert_eq!(sid, "^[0-9a-f]{32}$");
}

/// Writes the documents again when `MENSHEN_BLESS` is set.
#[test]
fn the_printed_documents_are_fresh() {
    for (path, printed) in [
        (
            "docs/openapi.json",
            openapi_json("/auth", &["86".to_owned()]),
        ),
        ("docs/errors.md", errors_markdown()),
    ] {
        if std::env::var_os("MENSHEN_BLESS").is_some() {
            fs::write(path, &printed).unwrap();
        }
        assert_eq!(
            fs::read_to_string(path).unwrap_or_default(),
            printed,
            "{path} is stale: run MENSHEN_BLESS=1 cargo test fresh"
        );
    }
}
