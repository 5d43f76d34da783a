//! What `dialect` promises of the config.

mod problems;

use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::{
    config::{Config, DialectConfig, DialectKind},
    error::ErrorCode,
    types::Timestamp,
};

const BUILTIN: [DialectKind; 4] = [
    DialectKind::Simplejwt,
    DialectKind::Nest,
    DialectKind::SuccessData,
    DialectKind::CodeData,
];

/// A config with these dialects, which may decrypt phones.
fn config(dialects: Vec<DialectConfig>) -> Config {
    let mut config = Config {
        dialect: dialects,
        ..Config::default()
    };
    config.wechat.legacy_decrypt = true;
    config
}

fn custom(toml: &str) -> DialectConfig {
    #[derive(serde::Deserialize)]
    struct File {
        dialect: Vec<DialectConfig>,
    }
    toml_edit::de::from_str::<File>(toml)
        .unwrap()
        .dialect
        .remove(0)
}

/// One right dialect, with more lines before its first route.
fn with(lines: &str) -> String {
    format!(
        "[[dialect]]\nkind = 'custom'\nprefix = '/api'\n{lines}\n[[dialect.route]]\nmethod = 'POST'\npath = '/in'\naction = 'wechat_login'\n\
         inputs = {{ code = 'body.code' }}\n[[dialect.error]]\nbody = '{{}}'\n"
    )
}

#[test]
fn every_builtin_dialect_compiles_and_has_the_routes_of_its_document() {
    for (kind, routes, ttl) in [
        (
            DialectKind::Simplejwt,
            &["/api/login/", "/api/token/refresh/", "/api/admin/login/"][..],
            None,
        ),
        (
            DialectKind::Nest,
            &[
                "/api/v1/auth/wx-login",
                "/api/v1/auth/wechat-login",
                "/api/v1/auth/refresh",
                "/api/v1/auth/logout",
            ],
            Some(7 * 86_400),
        ),
        (
            DialectKind::SuccessData,
            &["/api/login", "/api/decrypt-phone"],
            None,
        ),
        (
            DialectKind::CodeData,
            &["/sendsms", "/login", "/wechatlogin"],
            Some(3600),
        ),
    ] {
        let dialects = Dialects::compile(&config(vec![DialectConfig::for_kind(kind)])).unwrap();
        let answered = dialects.local_routes();
        let paths: Vec<_> = answered
            .routes
            .iter()
            .map(|(method, path)| (method.as_str(), path.as_str()))
            .collect();
        assert_eq!(
            paths,
            routes
                .iter()
                .map(|path| ("POST", *path))
                .collect::<Vec<_>>()
        );
        let dialect = dialects.iter().next().unwrap();
        assert_eq!(
            dialect.token_profile.access_ttl,
            ttl.map(Duration::from_secs),
            "{kind:?}"
        );
        assert_eq!(dialect.bare_token, kind == DialectKind::CodeData);
    }
}

#[test]
fn what_the_config_says_is_laid_over_a_builtin_dialect() {
    let mut own = DialectConfig::for_kind(DialectKind::Simplejwt);
    own.prefix = Some("/v2".to_owned());
    own.openid = Some(true);
    own.claims.insert("tenant".to_owned(), "shop".to_owned());
    own.messages.insert("forbidden".to_owned(), "no".to_owned());
    let dialects = Dialects::compile(&config(vec![own])).unwrap();
    let dialect = dialects.iter().next().unwrap();
    assert_eq!(dialect.routes[0].path, "/v2/login/");
    assert!(dialect.token_profile.user_format.openid && dialect.token_profile.names_openid);
    let claims: Vec<_> = dialect
        .token_profile
        .claims
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(claims, ["tenant", "token_type", "user_id"]);
}

#[test]
fn a_builtin_dialect_can_be_written_as_a_custom_one() {
    for kind in BUILTIN {
        let written = custom(source(kind).unwrap());
        assert_eq!(written.kind, DialectKind::Custom);
        assert!(
            Dialects::compile(&config(vec![written])).is_ok(),
            "{kind:?}"
        );
    }
}

#[test]
fn refusals_speak_the_dialect_of_the_longest_prefix() {
    let mut root = DialectConfig::for_kind(DialectKind::CodeData);
    root.prefix = Some(String::new());
    let mut under_auth = DialectConfig::for_kind(DialectKind::SuccessData);
    under_auth.prefix = Some("/api".to_owned());
    let dialects = Dialects::compile(&config(vec![
        root,
        under_auth,
        DialectConfig::for_kind(DialectKind::Nest),
    ]))
    .unwrap();
    for (path, prefix) in [
        ("/", Some("")),
        ("/orders", Some("")),
        ("/apis", Some("")),
        ("/api", Some("/api")),
        ("/api/x", Some("/api")),
        ("/api/v1", Some("/api/v1")),
        ("/api/v1/x", Some("/api/v1")),
        ("/auth/me", None),
        ("/auth", None),
        ("/authors", Some("")),
    ] {
        assert_eq!(
            dialects
                .for_path(path)
                .map(|dialect| dialect.prefix.as_str()),
            prefix,
            "{path}"
        );
    }
    assert!(Dialects::default().for_path("/x").is_none());
}

#[test]
fn a_session_that_is_renewed_needs_its_keys_for_longer() {
    let tokens = Config::default().tokens;
    let lifetimes = |kinds: &[DialectKind]| {
        let all = kinds
            .iter()
            .map(|kind| DialectConfig::for_kind(*kind))
            .collect();
        Dialects::compile(&config(all)).unwrap().lifetimes(&tokens)
    };
    assert_eq!(lifetimes(&[]), Lifetimes::from_config(&tokens));
    let nest = lifetimes(&[DialectKind::Nest, DialectKind::CodeData]);
    assert_eq!(nest.max_access_ttl, Duration::from_hours(7 * 24));
    assert_eq!(nest.renewable_for, tokens.idle_ttl.get());
    let simplejwt = lifetimes(&[DialectKind::Simplejwt]);
    assert_eq!(simplejwt, Lifetimes::from_config(&tokens));
}

fn rejection(code: ErrorCode) -> DialectRejection<'static> {
    DialectRejection {
        code,
        subcode: None,
        status: StatusCode::UNAUTHORIZED,
        detail: "English",
        retry_after: Some(1),
        errcode: Some((40029, "invalid code")),
        fields: Vec::new(),
        request_id: "r-1",
        now: Timestamp::from_secs(1_729_080_000),
    }
}

#[test]
fn a_refusal_takes_the_first_shape_that_fits_and_the_finest_message() {
    let text = with("language = 'zh'\nmessages = { wechat_refused = 'no {wechat.errcode}', wechat_code_invalid = 'never' }")
        .replace(
            "[[dialect.error]]",
            "[[dialect.route.error]]\ncodes = ['wechat_refused']\nstatus = 418\nheaders = { X-Why = '{code}' }\n\
         body = '{ \"s\": \"{status}\", \"m\": \"{message}\", \"r\": \"{retry_after.seconds}\" }'\n\
         [[dialect.error]]\ncodes = ['wechat_code_invalid']\nbody = '{ \"only\": \"{message}\" }'\n[[dialect.error]]",
        );
    let dialects = Dialects::compile(&config(vec![custom(
        &text.replace("body = '{}'", "body = '\"{message}\"'"),
    )]))
    .unwrap();
    let dialect = dialects.iter().next().unwrap();
    let say = |route, rejection: &DialectRejection<'_>| {
        let shaped = dialect.render_error(route, rejection);
        (
            shaped.status.as_u16(),
            String::from_utf8(shaped.body).unwrap(),
            shaped.headers.len(),
        )
    };
    let code = rejection(ErrorCode::WechatCodeInvalid);
    let refused = DialectRejection {
        subcode: Some("wechat_refused"),
        ..code.clone()
    };
    let (status, body, headers) = say(Some(0), &refused);
    assert_eq!(
        (status, body.as_str(), headers),
        (418, r#"{"s":418,"m":"no 40029","r":"1 second"}"#, 1)
    );
    assert_eq!(
        say(None, &refused).1,
        r#"{"only":"no 40029"}"#,
        "a route's shape is for the route"
    );
    assert_eq!(say(Some(0), &code).1, r#"{"only":"never"}"#);
    assert_eq!(
        say(Some(7), &rejection(ErrorCode::TokenMissing)),
        (401, "\"请先登录\"".to_owned(), 0)
    );
}

#[test]
fn what_a_field_was_is_listed_in_the_order_of_its_template() {
    let text = with("").replace(
        "body = '{}'",
        "item = '{ \"z\": \"{field.name}\", \"v?\": \"{field.value}\", \"a\": \"{field.message}: {field.value}\" }'\n\
         body = '{ \"e\": \"{errors}\", \"by\": \"{errors.by_field}\" }'",
    );
    let dialects = Dialects::compile(&config(vec![custom(&text)])).unwrap();
    let field = |name: &str, message: &str, value| InvalidField {
        name: name.to_owned(),
        message: message.to_owned(),
        value,
    };
    let fields = vec![
        field("z", "1", Some(json!("\"}]"))),
        field("a", "2", Some(json!({ "b": [1] }))),
        field("z", "3", Some(Value::Null)),
        field("b", "4", None),
    ];
    let shaped = dialects.iter().next().unwrap().render_error(
        None,
        &DialectRejection {
            fields,
            ..rejection(ErrorCode::ValidationFailed)
        },
    );
    assert_eq!(
        String::from_utf8(shaped.body).unwrap(),
        concat!(
            r#"{"e":[{"z":"z","v":"\"}]","a":"1: \"}]"},{"z":"a","v":{"b":[1]},"a":"2: {\"b\":[1]}"},"#,
            r#"{"z":"z","v":null,"a":"3: null"},{"z":"b","a":"4: "}],"by":{"z":["1","3"],"a":["2"],"b":["4"]}}"#
        )
    );
}
