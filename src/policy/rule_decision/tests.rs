//! What `policy::rule_decision` promises.

use super::*;
use crate::{
    config::RuleConfig,
    policy::RuleSet,
    token::{AccessClaims, fixture},
    types::UserType,
};

/// Decides by a rule with this access.
fn by(
    access: Access,
    bad_token_is_anonymous: bool,
    types: &[&str],
    token: TokenState<'_>,
) -> RuleDecision {
    let config = RuleConfig {
        name: "r".to_owned(),
        path: "/**".to_owned(),
        methods: Vec::new(),
        access,
        user_types: types.iter().map(|&name| name.to_owned()).collect(),
        roles: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        bad_token_is_anonymous,
        token_header: None,
        token_cookie: None,
        token_in_query: false,
        idle_timeout: None,
        cors: false,
        allow_encoded: Vec::new(),
        report_only: None,
    };
    decide(RuleSet::compile(&[config]).unwrap().find("/", "GET"), token)
}

/// A token for a user of this kind.
fn caller(user_type: &str) -> VerifiedClaims {
    VerifiedClaims::Own(AccessClaims {
        user_type: UserType::parse(user_type).unwrap(),
        roles: Vec::new(),
        ..fixture::claims()
    })
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
        TokenState::Missing | TokenState::Malformed | TokenState::Valid(_) => {
            ErrorCode::TokenInvalid
        }
    }
}

#[test]
fn a_public_path_is_anonymous_whatever_the_token() {
    // CVE-2021-21378, CVE-2020-8595: an invalid token on an open path is never half-trusted.
    let user = caller("user");
    for token in BAD
        .into_iter()
        .chain([TokenState::Valid(&user), TokenState::Missing])
    {
        assert_eq!(
            by(Access::Public, false, &[], token),
            RuleDecision::Anonymous,
            "{token:?}"
        );
    }
}

#[test]
fn a_denied_path_is_nobodys() {
    let user = caller("user");
    for token in BAD
        .into_iter()
        .chain([TokenState::Valid(&user), TokenState::Missing])
    {
        assert_eq!(
            by(Access::Deny, false, &[], token),
            RuleDecision::Reject(ErrorCode::Forbidden),
            "{token:?}"
        );
    }
}

#[test]
fn an_unreadable_credential_is_refused_even_on_an_optional_path() {
    let user = caller("user");
    let good = TokenState::Valid(&user);
    for token in BAD {
        for access in [Access::Optional, Access::Required] {
            assert_eq!(
                by(access, false, &[], token),
                RuleDecision::Reject(code(token)),
                "{token:?}"
            );
        }
        assert_eq!(
            by(Access::Optional, true, &[], token),
            RuleDecision::Anonymous,
            "{token:?}"
        );
    }
    assert_eq!(
        by(Access::Optional, false, &[], TokenState::Missing),
        RuleDecision::Anonymous
    );
    assert_eq!(
        by(Access::Optional, false, &[], good),
        RuleDecision::Authenticated
    );
    assert_eq!(
        by(Access::Required, false, &[], TokenState::Missing),
        RuleDecision::Reject(ErrorCode::TokenMissing)
    );
    assert_eq!(
        by(Access::Required, false, &[], good),
        RuleDecision::Authenticated
    );
}

#[test]
fn a_fault_is_never_taken_for_a_bad_token() {
    // CVE-2022-29226, CVE-2026-54762: failed open when something was missing.
    for code in [
        ErrorCode::StoreUnavailable,
        ErrorCode::Internal,
        ErrorCode::UserDisabled,
    ] {
        assert_eq!(
            by(Access::Optional, true, &[], TokenState::Invalid(code)),
            RuleDecision::Reject(code),
            "{code:?}"
        );
    }
}

#[test]
fn a_user_of_another_kind_is_forbidden() {
    let (user, admin) = (caller("user"), caller("admin"));
    let by_kind = |kind| by(Access::Required, false, &["admin"], TokenState::Valid(kind));
    assert_eq!(by_kind(&user), RuleDecision::Reject(ErrorCode::Forbidden));
    assert_eq!(by_kind(&admin), RuleDecision::Authenticated);
    assert_eq!(
        by(Access::Required, false, &["admin"], TokenState::Missing),
        RuleDecision::Reject(ErrorCode::TokenMissing)
    );
}

#[test]
fn the_token_is_looked_at_only_where_it_matters() {
    for (access, expected) in [
        (Access::Public, false),
        (Access::Deny, false),
        (Access::Optional, true),
        (Access::Required, true),
    ] {
        let config: RuleConfig = serde_json::from_value(
            serde_json::json!({"name": "r", "path": "/**", "access": access}),
        )
        .unwrap();
        assert_eq!(
            RuleSet::compile(&[config])
                .unwrap()
                .find("/", "GET")
                .rule
                .needs_token(),
            expected,
            "{access:?}"
        );
    }
}
