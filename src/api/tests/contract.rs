//! Routes, methods and the documents printed from them.

use std::{collections::BTreeSet, fs};

use axum::http::Method;
use serde_json::Value;

use super::world::{Ask, World};
use crate::api::{errors_markdown, openapi_json};

/// Every route with the methods that it takes.
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
    ("/auth/me", &["GET", "HEAD", "PATCH", "DELETE"]),
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
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
            let answer = world.send(Ask::new(Method::from_bytes(method.as_bytes()).unwrap(), path)).await;
            if takes.contains(&method) {
                assert_ne!(answer.status, 405, "{method} {path}");
                continue;
            }
            assert_eq!(answer.says(), (405, "method_not_allowed"), "{method} {path}");
            let allow: BTreeSet<_> = answer.header("allow").split(',').map(str::trim).collect();
            assert_eq!(allow, takes.iter().copied().collect(), "{method} {path}");
            refused += 1;
        }
    }
    assert_eq!(refused, 16 * 9 - 25);
}

#[tokio::test]
async fn what_is_no_route_is_not_found() {
    let world = World::new().await;
    for path in
        ["/", "/auth", "/auth/", "/auth/me/", "/auth/ME", "/auth/wechat", "/auth/sessions/", "/auth/sessions/a/b", "/me"]
    {
        assert_eq!(world.send(Ask::get(path)).await.says(), (404, "not_found"), "{path}");
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
        assert_eq!((head.status.as_u16(), head.body), (200, Value::Null), "{path}");
    }
    let head = world.send(Ask::new(Method::HEAD, "/auth/me")).await;
    assert_eq!((head.says(), &head.body), ((401, "token_missing"), &Value::Null));
}

#[tokio::test]
async fn the_prefix_is_the_operators() {
    let world = World::with(|config| config.auth.prefix = "/api/v1/login".to_owned()).await;
    assert_eq!(world.send(Ask::get("/api/v1/login/jwks.json")).await.says(), (200, ""));
    assert_eq!(world.send(Ask::get("/auth/jwks.json")).await.says(), (404, "not_found"));
}

#[test]
fn the_contract_names_every_route_and_nothing_else() {
    let document: Value = serde_json::from_str(&openapi_json("/auth")).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operation_ids = BTreeSet::new();
    let mut operations = 0;
    for (path, takes) in ROUTES {
        let item = document["paths"][path].as_object().unwrap_or_else(|| panic!("{path}"));
        let documented: BTreeSet<_> = item.keys().map(|method| method.to_uppercase()).collect();
        let expected = takes.iter().filter(|method| **method != "HEAD").map(|method| (*method).to_owned()).collect();
        assert_eq!(documented, expected, "{path}");
        for operation in item.values() {
            operation_ids.insert(operation["operationId"].as_str().unwrap());
            operations += 1;
            assert!(operation["responses"]["500"]["content"]["application/problem+json"].is_object(), "{path}");
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
    let document: Value = serde_json::from_str(&openapi_json("/auth")).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
}

/// Writes the documents anew when `MENSHEN_BLESS` is set.
#[test]
fn the_printed_documents_are_fresh() {
    for (path, printed) in [("docs/openapi.json", openapi_json("/auth")), ("docs/errors.md", errors_markdown())] {
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
