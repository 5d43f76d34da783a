//! What `policy::headers` promises of its config.

use super::*;

#[test]
fn nothing_that_matters_can_be_allowed() {
    let names = [
        "X_User_Id",
        "x.user.id",
        "X_User_Role",
        "Content_Length",
        "content.type",
        "Transfer_Encoding",
        "Host_",
        "X_Forwarded_For",
        "Connection",
        "X_WX_OPENID",
        "Author_ization",
        "Authorization",
        "authorization",
        "user_agent",
        "Te",
        "X-Real_IP",
        "a b",
        "",
        "a:b",
        "é",
        "X_Menshen_Error",
        "X_Original_URL",
    ];
    let mut objections = 0;
    for name in names {
        let result = compiled(
            &[name.to_owned()],
            &IdentityConfig::default(),
            &UpstreamConfig::default(),
        );
        // Folded, these two are names that mean nothing.
        let harmless = ["Host_", "Author_ization"].contains(&name);
        assert_eq!(result.is_ok(), harmless, "{name:?}");
        objections +=
            usize::from(result.is_err_and(|problems| problems[0].0 == "server.allow_headers"));
    }
    assert_eq!(objections, names.len() - 2);
}

#[test]
fn an_identity_header_has_a_name_of_its_own() {
    let names = [
        "",
        "X User",
        "X_User",
        "X:User",
        "X-Üser",
        "-X",
        "1x",
        "Host",
        "content-length",
        "Authorization",
        "Cookie",
        "Connection",
        "TE",
        "X-Forwarded-User",
        "X-Real-IP",
        "Forwarded",
        "X-Original-URL",
        "X-Auth-State",
        "x-auth-assertion",
        "X-Menshen-Error",
        "X-Request-Id",
        "Set-Cookie",
    ];
    for name in names {
        let problems =
            compiled(&[], &identity(&[name], &[]), &UpstreamConfig::default()).expect_err(name);
        assert_eq!(
            (problems.len(), &*problems[0].0),
            (1, "identity.headers"),
            "{name}"
        );
    }
    assert!(
        compiled(
            &[],
            &identity(&["X-User-Id", "x-user-id"], &[]),
            &UpstreamConfig::default()
        )
        .is_err()
    );
    for name in ["Remote-User", "X-Menshen-User", "uid", "X-Uid2"] {
        let policy =
            compiled(&[], &identity(&[name], &[]), &UpstreamConfig::default()).expect(name);
        assert_eq!(
            policy.verdict(&name.to_ascii_uppercase()),
            HeaderVerdict::Drop(DropReason::Reserved),
            "{name}"
        );
    }
}

#[test]
fn a_reserved_prefix_leaves_what_every_request_needs() {
    for prefix in ["", "X_User", "C", "co", "h", "Authorization", "a", "X "] {
        assert!(
            compiled(&[], &identity(&[], &[prefix]), &UpstreamConfig::default()).is_err(),
            "{prefix:?}"
        );
    }
    let policy = compiled(
        &[],
        &identity(&[], &["Tenant-", "7-", "Zz", "Q-9-"]),
        &UpstreamConfig::default(),
    )
    .unwrap();
    for name in ["zz", "Zz1", "ZZ-top", "q-9-", "Q_9_x"] {
        assert_eq!(
            policy.verdict(name),
            HeaderVerdict::Drop(DropReason::ReservedPrefix),
            "{name}"
        );
    }
    assert_eq!(policy.verdict("z"), HeaderVerdict::Pass);
    assert_eq!(
        policy.verdict("tenant_id"),
        HeaderVerdict::Drop(DropReason::ReservedPrefix)
    );
    assert_eq!(
        policy.verdict("7-x"),
        HeaderVerdict::Drop(DropReason::ReservedPrefix)
    );
    assert_eq!(policy.verdict("8-x"), HeaderVerdict::Pass);
    // Ours stay ours, whatever the list says.
    assert_eq!(
        policy.verdict("X_Menshen_Error"),
        HeaderVerdict::Drop(DropReason::Reserved)
    );
}

#[test]
fn a_token_header_has_one_spelling() {
    let with = |of_gate: &str, of_rule: &str| {
        let mut config: Config = toml_edit::de::from_str(
            "[[rule]]\nname = 'a'\npath = '/a'\naccess = 'required'\ntoken_header = 'x'",
        )
        .unwrap();
        config.gate.token_header = Some(of_gate.to_owned());
        config.rule[0].token_header = Some(of_rule.to_owned());
        HeaderPolicy::compile(&config)
    };
    for same in ["X-Token", "x-token"] {
        let policy = with("X-Token", same).expect(same);
        for (name, reason) in [
            ("X-TOKEN", DropReason::Credential),
            ("X_Token", DropReason::OddName),
            ("x.token", DropReason::OddName),
        ] {
            assert_eq!(policy.verdict(name), HeaderVerdict::Drop(reason), "{name}");
        }
    }
    let odd = with("X_Token", "X_Token").unwrap();
    assert_eq!(
        [odd.verdict("x_token"), odd.verdict("X-Token")],
        [DropReason::Credential, DropReason::OddName].map(HeaderVerdict::Drop)
    );
    let problems = with("X-Token", "X_Token").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].0, "rule[0].token_header");
    assert!(problems[0].1.contains("\"X-Token\""), "{problems:?}");
    let problems = with("_token", "x_user_token").unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].1.contains("\"X-User-\""), "{problems:?}");
}
