//! What `policy::decision` promises.

use std::mem::MaybeUninit;

use super::*;
use crate::{
    config::RuleConfig,
    policy::{RuleSet, head, head::Parsed},
    token::{AccessClaims, fixture},
    types::UserType,
};

fn read(lines: &[&str]) -> Result<String, Refusal> {
    read_where(lines, false)
}

fn read_where(lines: &[&str], bare: bool) -> Result<String, Refusal> {
    let bytes = format!("{}\r\n\r\n", [&["GET / HTTP/1.1", "Host: a"], lines].concat().join("\r\n"));
    let mut slots = [const { MaybeUninit::uninit() }; 8];
    let Ok(Parsed::Complete { head, .. }) = head::parse(bytes.as_bytes(), &mut slots) else { panic!("a plain head") };
    credential(&head, bare).map(|credential| match credential {
        Credential::None => "none".to_owned(),
        Credential::Bearer(token) => format!("bearer {token}"),
        Credential::Malformed => "malformed".to_owned(),
    })
}

#[test]
fn a_bearer_token_is_read() {
    assert_eq!(read(&[]).unwrap(), "none");
    assert_eq!(read(&["X-Authorization: Bearer a", "Authorization_: Bearer a"]).unwrap(), "none");
    for line in ["Authorization: Bearer a.b.c", "authorization: bearer a.b.c", "AUTHORIZATION:BEARER   a.b.c  "] {
        assert_eq!(read(&[line]).unwrap(), "bearer a.b.c", "{line}");
    }
    assert_eq!(read(&["Authorization: Bearer aA0-._~+/=="]).unwrap(), "bearer aA0-._~+/==");
}

#[test]
fn a_token_may_stand_alone_where_that_is_said() {
    let alone = |value: &str| read_where(&[&format!("Authorization: {value}")], true).unwrap();
    assert_eq!(alone("a.b.c"), "bearer a.b.c");
    assert_eq!(alone("Bearer a.b.c"), "bearer a.b.c");
    assert_eq!(alone("bearer"), "bearer bearer", "no token, which is found out when it is looked at");
    for value in ["", "Basic YTpi", "a.b.c d", "Token a.b.c", "a,b", "=", "Bearer a b"] {
        assert_eq!(alone(value), "malformed", "{value:?}");
    }
    assert!(read_where(&["Authorization: a.b.c", "Authorization: a.b.c"], true).is_err());
}

#[test]
fn what_is_no_bearer_token_is_malformed() {
    let values = [
        "",
        "Bearer",
        "Bearer ",
        "Bearer =",
        "Bearer ==",
        "Bearer a b",
        "Bearer a,b",
        "Bearer a, Bearer b",
        "Bearer a=b",
        "Bearer a;b",
        "Bearer \"a\"",
        "Bearer\ta",
        "Bearera",
        "Bearer\u{a0}a",
        "Basic dXNlcjpwYXNz",
        "a.b.c",
        "Token a",
        "DPoP a",
        "Bearer é",
        "Bearer a\\",
        "Bearer: a",
        "Bearer a\tb",
        "éééé a",
    ];
    for value in values {
        assert_eq!(read(&[&format!("Authorization: {value}")]).unwrap(), "malformed", "{value:?}");
    }
}

#[test]
fn several_credentials_are_refused() {
    // CVE-2020-25017, CVE-2026-26308, section 1 row 28
    for lines in [
        ["Authorization: Bearer a", "Authorization: Bearer b"],
        ["Authorization: Bearer a", "authorization: Bearer a"],
        ["Authorization: Basic a", "AUTHORIZATION: Bearer a"],
        ["Authorization:", "Authorization: Bearer a"],
    ] {
        assert_eq!(read(&lines).unwrap_err().code, ErrorCode::RequestMalformed, "{lines:?}");
    }
}

#[test]
fn a_credential_does_not_print() {
    assert_eq!(format!("{:?}", Credential::Bearer("hunter2")), "Bearer(***)");
}

/// Decides by a rule with this access.
fn by(access: Access, bad_token_is_anonymous: bool, types: &[&str], token: TokenState<'_>) -> Decision {
    let config = RuleConfig {
        name: "r".to_owned(),
        path: "/**".to_owned(),
        methods: Vec::new(),
        access,
        user_types: types.iter().map(|&name| name.to_owned()).collect(),
        roles: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        bad_token_is_anonymous,
        idle_timeout: None,
        cors: false,
        report_only: None,
    };
    decide(RuleSet::compile(&[config]).unwrap().find("/", "GET"), token)
}

/// A token for a user of this kind.
fn caller(user_type: &str) -> Verified {
    Verified::Own(AccessClaims { user_type: UserType::parse(user_type).unwrap(), roles: Vec::new(), ..fixture::claims() })
}

const BAD: [TokenState<'_>; 4] = [
    TokenState::Malformed,
    TokenState::Invalid(ErrorCode::TokenInvalid),
    TokenState::Invalid(ErrorCode::TokenExpired),
    TokenState::Invalid(ErrorCode::TokenRevoked),
];

fn code(token: TokenState<'_>) -> ErrorCode {
    match token {
        TokenState::Invalid(code) => code,
        TokenState::Missing | TokenState::Malformed | TokenState::Valid(_) => ErrorCode::TokenInvalid,
    }
}

#[test]
fn a_public_path_is_anonymous_whatever_the_token() {
    // CVE-2021-21378, CVE-2020-8595: an invalid token on an open path is never half-trusted.
    let user = caller("user");
    for token in BAD.into_iter().chain([TokenState::Valid(&user), TokenState::Missing]) {
        assert_eq!(by(Access::Public, false, &[], token), Decision::Anonymous, "{token:?}");
    }
}

#[test]
fn a_denied_path_is_nobodys() {
    let user = caller("user");
    for token in BAD.into_iter().chain([TokenState::Valid(&user), TokenState::Missing]) {
        assert_eq!(by(Access::Deny, false, &[], token), Decision::Refuse(ErrorCode::Forbidden), "{token:?}");
    }
}

#[test]
fn an_unreadable_credential_is_refused_even_on_an_optional_path() {
    let user = caller("user");
    let good = TokenState::Valid(&user);
    for token in BAD {
        for access in [Access::Optional, Access::Required] {
            assert_eq!(by(access, false, &[], token), Decision::Refuse(code(token)), "{token:?}");
        }
        assert_eq!(by(Access::Optional, true, &[], token), Decision::Anonymous, "{token:?}");
    }
    assert_eq!(by(Access::Optional, false, &[], TokenState::Missing), Decision::Anonymous);
    assert_eq!(by(Access::Optional, false, &[], good), Decision::Authenticated);
    assert_eq!(by(Access::Required, false, &[], TokenState::Missing), Decision::Refuse(ErrorCode::TokenMissing));
    assert_eq!(by(Access::Required, false, &[], good), Decision::Authenticated);
}

#[test]
fn a_fault_is_never_taken_for_a_bad_token() {
    // CVE-2022-29226, CVE-2026-54762: failed open when something was missing.
    for code in [ErrorCode::StoreUnavailable, ErrorCode::Internal, ErrorCode::UserDisabled] {
        assert_eq!(by(Access::Optional, true, &[], TokenState::Invalid(code)), Decision::Refuse(code), "{code:?}");
    }
}

#[test]
fn a_user_of_another_kind_is_forbidden() {
    let (user, admin) = (caller("user"), caller("admin"));
    let by_kind = |kind| by(Access::Required, false, &["admin"], TokenState::Valid(kind));
    assert_eq!(by_kind(&user), Decision::Refuse(ErrorCode::Forbidden));
    assert_eq!(by_kind(&admin), Decision::Authenticated);
    assert_eq!(by(Access::Required, false, &["admin"], TokenState::Missing), Decision::Refuse(ErrorCode::TokenMissing));
}

#[test]
fn the_token_is_looked_at_only_where_it_matters() {
    for (access, expected) in
        [(Access::Public, false), (Access::Deny, false), (Access::Optional, true), (Access::Required, true)]
    {
        let config: RuleConfig =
            serde_json::from_value(serde_json::json!({"name": "r", "path": "/**", "access": access})).unwrap();
        assert_eq!(needs_token(RuleSet::compile(&[config]).unwrap().find("/", "GET")), expected, "{access:?}");
    }
}
