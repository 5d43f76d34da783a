//! What `policy::headers` promises.

mod config;

use std::mem::MaybeUninit;

use proptest::prelude::*;

use super::*;
use crate::{
    config::UpstreamConfig,
    policy::head::{self, Parsed},
};

fn compiled(
    allow: &[String],
    identity: &IdentityConfig,
    upstream: &UpstreamConfig,
) -> Result<HeaderPolicy, ConfigProblems> {
    let mut config = Config {
        identity: identity.clone(),
        upstream: upstream.clone(),
        ..Config::default()
    };
    config.server.allow_headers = allow.to_vec();
    HeaderPolicy::compile(&config)
}

fn policy() -> HeaderPolicy {
    compiled(&[], &IdentityConfig::default(), &UpstreamConfig::default()).expect("the defaults")
}

fn keeping() -> UpstreamConfig {
    UpstreamConfig {
        authorization: UpstreamAuthorization::Keep,
        ..UpstreamConfig::default()
    }
}

fn identity(names: &[&str], prefixes: &[&str]) -> IdentityConfig {
    IdentityConfig {
        headers: names
            .iter()
            .map(|&name| (name.to_owned(), "sub".to_owned()))
            .collect(),
        reserved_prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
        wechat_cloud_headers: false,
        ..IdentityConfig::default()
    }
}

/// Spellings that some server folds into the same variable.
fn spellings(name: &str) -> Vec<String> {
    let signs = [
        "-", "_", ".", "~", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|",
    ];
    let mut all: Vec<String> = signs.iter().map(|sign| name.replace('-', sign)).collect();
    all.push(name.replacen('-', "_", 1));
    all.extend(
        all.clone()
            .iter()
            .flat_map(|text| [text.to_ascii_lowercase(), text.to_ascii_uppercase()]),
    );
    all
}

#[test]
fn ordinary_headers_pass() {
    let policy = policy();
    let names = [
        "Host",
        "Accept",
        "Accept-Encoding",
        "User-Agent",
        "Cookie",
        "Content-Type",
        "Content-Length",
        "Transfer-Encoding",
        "Referer",
        "Origin",
        "Range",
        "If-None-Match",
        "Cache-Control",
        "X-Requested-With",
        "X-Custom",
        "traceparent",
        "tracestate",
        "Expect",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Protocol",
        "X-Csrf-Token",
        "X-Userland",
        "X-Authority",
        "Idempotency-Key",
        "X-User",
        "Via",
        "X-WXY",
        "Forwarding",
        "Proxying",
        "Tea",
        "x",
    ];
    for name in names {
        assert_eq!(policy.verdict(name), HeaderVerdict::Pass, "{name}");
        assert_eq!(
            policy.verdict(&name.to_ascii_uppercase()),
            HeaderVerdict::Pass,
            "{name}"
        );
    }
}

/// A common name is looked up; the verdict is the one that its letters get.
#[test]
fn a_common_name_gets_the_verdict_of_any_other() {
    let named = identity(&["X-Requested-With", "X-User-Id"], &["Sec-Ch-", "Acc"]);
    for (config, upstream) in [
        (IdentityConfig::default(), UpstreamConfig::default()),
        (named, keeping()),
    ] {
        let Ok(policy) = compiled(&[], &config, &upstream) else {
            continue;
        };
        for name in common::NAMES.split_ascii_whitespace() {
            assert!(policy.common.get(name).is_some(), "{name} shares its place");
            for spelling in [
                (*name).to_owned(),
                name.to_ascii_uppercase(),
                name.replacen('a', "A", 1),
            ] {
                assert_eq!(
                    policy.verdict(&spelling),
                    policy.plain_verdict(&spelling),
                    "{spelling}"
                );
            }
        }
        // What differs in one bit is another name, unless that is the case of a letter.
        for name in common::NAMES.split_ascii_whitespace() {
            for (at, byte) in name.bytes().enumerate() {
                for bit in 0..7 {
                    let mut other = name.as_bytes().to_vec();
                    other[at] = byte ^ 1 << bit;
                    let other = String::from_utf8(other).unwrap();
                    assert_eq!(
                        policy.common.get(&other).is_some(),
                        other.eq_ignore_ascii_case(name),
                        "{other:?}"
                    );
                }
            }
        }
        for other in [
            "host ",
            "hos",
            "hostt",
            "h-st",
            "user_agent",
            "cookies",
            "x_forwarded_for",
            "",
        ] {
            assert_eq!(policy.common.get(other), None, "{other:?}");
        }
    }
}

/// Names that clients may not send, with the reason.
const RESERVED_NAMES: &[(&str, DropReason, &[&str])] = {
    use DropReason::{Forwarding, HopByHop, Override, Reserved, ReservedPrefix, WechatCloud};
    &[
        // CVE-2025-64484, CVE-2015-0219, CVE-2026-33433, CVE-2026-39858, CVE-2026-54763,
        // CVE-2026-52845, section 1 row 17
        (
            "identity",
            Reserved,
            &[
                "X-User-Id",
                "X-User-Type",
                "X-Session-Id",
                "X-Client-Type",
                "X-Auth-State",
                "X-Auth-Assertion",
            ],
        ),
        // CVE-2026-30851: also where we set none.
        (
            "reserved",
            ReservedPrefix,
            &[
                "X-User-Role",
                "X-User-Phone",
                "X-Auth-Token",
                "X-Session-Key",
                "X-Client-Version",
                "X-User-",
            ],
        ),
        (
            "our own",
            ReservedPrefix,
            &["X-Menshen-Error", "X-Menshen-Anything"],
        ),
        // CVE-2024-45614, CVE-2026-45045, CVE-2024-45806, GHSA-93m4-mfpg-c3xf, CVE-2025-64101,
        // section 1 row 16
        (
            "forwarding",
            Forwarding,
            &[
                "X-Forwarded-For",
                "X-Forwarded-Host",
                "X-Forwarded-Proto",
                "X-Forwarded-User",
                "X-Forwarded-Uri",
                "X-Forwarded-Prefix",
                "Forwarded",
                "X-Real-IP",
                "X-Request-Id",
            ],
        ),
        // CVE-2026-40575, CVE-2023-27487, CVE-2025-29927, CVE-2016-5385, CVE-2025-61780
        (
            "override",
            Override,
            &[
                "X-Original-URL",
                "X-Original-URI",
                "X-Original-Method",
                "X-Rewrite-URL",
                "X-HTTP-Method",
                "X-HTTP-Method-Override",
                "X-Method-Override",
                "X-Envoy-Original-Path",
                "X-Middleware-Subrequest",
                "Proxy",
                "X-Sendfile-Type",
                "X-Accel-Mapping",
                "X-Host",
            ],
        ),
        // section 1 row 1
        (
            "hop by hop",
            HopByHop,
            &[
                "Keep-Alive",
                "Proxy-Connection",
                "Proxy-Authorization",
                "Proxy-Authenticate",
                "TE",
                "Trailer",
                "HTTP2-Settings",
            ],
        ),
        (
            "WeChat Cloud",
            WechatCloud,
            &["X-WX-OPENID", "X-WX-UNIONID", "X-WX-Source"],
        ),
    ]
};

#[test]
fn what_only_we_may_set_is_dropped_in_every_spelling() {
    let policy = policy();
    for (class, reason, names) in RESERVED_NAMES {
        for name in *names {
            for spelling in spellings(name) {
                assert_eq!(
                    policy.verdict(&spelling),
                    HeaderVerdict::Drop(*reason),
                    "{class}: {spelling}"
                );
            }
        }
    }
}

#[test]
fn an_address_of_a_client_is_dropped_whatever_a_cdn_calls_it() {
    let policy = policy();
    // Each CDN has a name of its own, and backends believe whichever they know.
    for name in [
        "X-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "CF-Connecting-IPv6",
        "EO-Connecting-IP",
        "EO-Client-IP",
        "DO-Connecting-IP",
        "Cdn-Src-Ip",
        "Ali-Cdn-Real-Ip",
        "Ali-Real-Client-IP",
        "X-Vercel-Forwarded-For",
        "Fastly-Client-IP",
        "Fly-Client-IP",
        "X-Cluster-Client-IP",
        "WL-Proxy-Client-IP",
        "Incap-Client-IP",
        "X-NF-Client-Connection-IP",
        "X-Azure-ClientIP",
        "X-Appengine-User-IP",
        "CloudFront-Viewer-Address",
        "X-Some-CDN-Of-Next-Year-Connecting-IP",
        "Client-IP",
        "Real-IP",
        "Src-IP",
        "Forwarded-For",
        "Connecting-IP",
        "Remote-Addr",
        "HTTP-Forwarded-For",
    ] {
        for spelling in spellings(name) {
            let expected = HeaderVerdict::Drop(DropReason::ClientAddress);
            assert_eq!(policy.verdict(&spelling), expected, "{spelling}");
        }
    }
}

#[test]
fn a_name_that_only_looks_like_a_client_address_passes() {
    let policy = policy();
    for name in [
        "X-Unreal-IP",
        "MyClient-IP",
        "X-Client2-IP",
        "IP",
        "X-IP",
        "Skip",
        "Referer",
        "X-Ship",
        "Forwarded-Form",
        "X-Src-Ips",
    ] {
        assert_eq!(policy.verdict(name), HeaderVerdict::Pass, "{name}");
    }
}

#[test]
fn no_list_lets_a_client_name_its_address() {
    for name in [
        "EO_Connecting_IP",
        "x.real.ip",
        "Cdn_Src_Ip",
        "X_Vercel_Forwarded_For",
        "X-Forwarded_For",
    ] {
        let problems = compiled(
            &[name.to_owned()],
            &IdentityConfig::default(),
            &UpstreamConfig::default(),
        )
        .expect_err(name);
        assert_eq!(problems[0].0, "server.allow_headers", "{name}");
    }
    let problems = compiled(
        &[],
        &identity(&["My-Client-IP"], &[]),
        &UpstreamConfig::default(),
    )
    .expect_err("a meaning");
    assert_eq!(problems[0].0, "identity.headers");
}

#[test]
fn other_names_with_signs_that_backends_fold_do_not_pass() {
    let policy = policy();
    // section 1 row 6; the empty name cannot arrive and passes nowhere.
    for name in [
        "Content_Length",
        "Transfer_Encoding",
        "content.type",
        "Host_",
        "X_Custom",
        "a~b",
        "ho%73t",
        "Cookie!",
        "Connection_",
        "_",
        "é",
        "",
    ] {
        assert_eq!(
            policy.verdict(name),
            HeaderVerdict::Drop(DropReason::OddName),
            "{name}"
        );
    }
    for name in ["Upgrade", "connection"] {
        assert_eq!(policy.verdict(name), HeaderVerdict::Handshake, "{name}");
    }
}

#[test]
fn an_odd_name_passes_only_as_it_was_allowed() {
    let policy = compiled(
        &["my_header".into()],
        &IdentityConfig::default(),
        &UpstreamConfig::default(),
    )
    .unwrap();
    assert_eq!(policy.verdict("my_header"), HeaderVerdict::Pass);
    assert_eq!(policy.verdict("My_Header"), HeaderVerdict::Pass);
    assert_eq!(
        policy.verdict("my.header"),
        HeaderVerdict::Drop(DropReason::OddName)
    );
    assert_eq!(
        policy.verdict("my_header2"),
        HeaderVerdict::Drop(DropReason::OddName)
    );
}

#[test]
fn the_credential_passes_only_to_a_backend_that_looks_at_it() {
    let keep = compiled(&[], &IdentityConfig::default(), &keeping()).unwrap();
    assert_eq!(keep.verdict("Authorization"), HeaderVerdict::Pass);
    assert_eq!(
        keep.verdict("Proxy-Authorization"),
        HeaderVerdict::Drop(DropReason::HopByHop)
    );
    for spelling in ["Authorization", "AUTHORIZATION", "authorization"] {
        assert_eq!(
            policy().verdict(spelling),
            HeaderVerdict::Drop(DropReason::Credential)
        );
    }
}

#[test]
fn wechat_cloud_headers_pass_where_the_config_says_so() {
    let cloud = IdentityConfig {
        wechat_cloud_headers: true,
        ..IdentityConfig::default()
    };
    assert_eq!(
        compiled(&[], &cloud, &UpstreamConfig::default())
            .unwrap()
            .verdict("X-WX-OPENID"),
        HeaderVerdict::Pass
    );
    let ours = IdentityConfig {
        wechat_cloud_headers: true,
        ..identity(&["X-WX-OPENID"], &[])
    };
    let policy = compiled(&[], &ours, &UpstreamConfig::default()).unwrap();
    assert_eq!(
        policy.verdict("x_wx_openid"),
        HeaderVerdict::Drop(DropReason::Reserved)
    );
}

#[test]
fn connection_names_only_what_a_client_may_remove() {
    // CVE-2024-45410, CVE-2026-29054, CVE-2025-48865, GHSA-w9mr-28mw-j8hg, CVE-2021-32813,
    // CVE-2026-26365
    let bytes =
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Custom, x-user-id,X-Forwarded-For , close\r\nconnection: X_User_Id, \
        content-length, Transfer-Encoding, HOST, X-Auth-State, , authorization, x-two\r\n\r\n";
    let mut slots = [const { MaybeUninit::uninit() }; 8];
    let Ok(Parsed::Complete(head)) = head::parse(bytes, &mut slots) else {
        panic!("a plain head")
    };
    assert_eq!(
        policy().nominated(&head).collect::<Vec<_>>(),
        ["X-Custom", "close", "x-two"]
    );
    for authorization in [UpstreamAuthorization::Remove, UpstreamAuthorization::Keep] {
        let mut config = Config::default();
        config.upstream.authorization = authorization;
        config.gate.token_header = Some("X-Two".to_owned());
        let policy = HeaderPolicy::compile(&config).unwrap();
        assert_eq!(
            policy.nominated(&head).collect::<Vec<_>>(),
            ["X-Custom", "close"]
        );
    }
}

#[test]
fn a_backend_cannot_pretend_to_be_us() {
    for name in [
        "X-Menshen-Error",
        "x-menshen-error",
        "X_Menshen_Error",
        "X-Menshen-Other",
    ] {
        assert!(!backend_may_send(name), "{name}");
    }
    assert!(
        backend_may_send("Content-Type") && backend_may_send("X-User-Id") && backend_may_send("")
    );
}

#[test]
fn built_in_names_are_folded_and_distinct() {
    let mut seen = HashSet::new();
    for name in names::BUILT_IN
        .map(|(name, _)| name)
        .into_iter()
        .chain(names::BUILT_IN_PREFIXES.map(|(name, _)| name))
    {
        assert_eq!(fold(name), name);
        assert!(seen.insert(name), "{name}");
    }
    assert!(STANDARD.iter().all(|name| fold(name) == *name));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 2 of the threat list: the identity is a function of the token alone, under every
    /// folding of names.
    #[test]
    fn a_name_that_folds_to_a_managed_one_never_passes(
        name in prop::sample::select(vec!["X-User-Id", "X-User-Type", "X-Session-Id", "X-Client-Type", "X-Auth-State", "X-Auth-Assertion", "Uid"]),
        signs in proptest::collection::vec(prop::sample::select(b"-_.~!#$%&'*+^`|".to_vec()), 20),
        upper in proptest::collection::vec(any::<bool>(), 20),
        allowed in "[a-z_.]{1,12}",
    ) {
        let mut config = IdentityConfig::default();
        config.headers.insert("Uid".to_owned(), "sub".to_owned());
        let sent: String = name.chars().zip(signs.iter().zip(&upper)).map(|(c, (&sign, &up))| match c {
            '-' => char::from(sign),
            c if up => c.to_ascii_uppercase(),
            c => c.to_ascii_lowercase(),
        }).collect();
        for allow in [vec![], vec![allowed.clone()], vec![sent.clone()]] {
            if let Ok(policy) = compiled(&allow, &config, &keeping()) {
                prop_assert_eq!(policy.verdict(&sent), HeaderVerdict::Drop(DropReason::Reserved));
            }
        }
    }

    /// Whatever passes is a name that no server folds into another one, unless the config names it.
    #[test]
    fn what_passes_is_plain(name in "\\PC{0,24}") {
        if policy().verdict(&name) == HeaderVerdict::Pass {
            prop_assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        }
    }
}

#[test]
fn a_gate_that_reports_lets_pass_what_could_not_be_taken_for_ours() {
    let policy = policy();
    for (name, passes) in [
        ("Cookie", true),
        ("Authorization", true),
        ("X-User-Role", true),
        ("X-Client-Version", true),
        ("X-Real-IP", true),
        ("EO-Connecting-IP", true),
        ("EO_Connecting_IP", false),
        ("X-Original-URL", true),
        ("X-WX-OPENID", true),
        ("app_version", true),
        ("X-User-Id", false),
        ("x_user_id", false),
        ("X.User.Id", false),
        ("X-Auth-State", false),
        ("X-Auth-Assertion", false),
        ("X-Menshen-Error", false),
        ("X-Menshen-Anything", false),
        ("X_User_Role", false),
        ("X_Real_IP", false),
        ("Content_Length", false),
        ("Transfer.Encoding", false),
        ("Host_", true),
        ("Keep-Alive", false),
        ("TE", false),
    ] {
        let strict = policy.verdict(name);
        let verdict = |everywhere| policy.report_only_verdict(name, strict, everywhere);
        assert_eq!(verdict(true) == HeaderVerdict::Pass, passes, "{name}");
        let leads_elsewhere = strict == HeaderVerdict::Drop(DropReason::Override);
        assert_eq!(
            verdict(false) == HeaderVerdict::Pass,
            passes && !leads_elsewhere,
            "{name}"
        );
    }
}

#[test]
fn a_header_that_proves_something_is_nobody_elses() {
    let upstream = UpstreamConfig {
        shared_secret_header: "Gate-Key".to_owned(),
        authorization: UpstreamAuthorization::Mint,
        ..UpstreamConfig::default()
    };
    let mut config = Config {
        upstream,
        ..Config::default()
    };
    config.mint.header = "Legacy-Token".to_owned();
    let policy = HeaderPolicy::compile(&config).unwrap();
    for name in ["Gate-Key", "Legacy-Token", "X-Auth-Assertion"] {
        for spelling in spellings(name) {
            assert_eq!(
                policy.verdict(&spelling),
                HeaderVerdict::Drop(DropReason::Reserved),
                "{spelling}"
            );
        }
    }
    assert_eq!(
        policy.verdict("Authorization"),
        HeaderVerdict::Drop(DropReason::Credential)
    );
    for name in ["Host", "Cookie", "X-User-Id", "gate-key", "X_Token", ""] {
        config.mint.header = name.to_owned();
        assert_eq!(
            HeaderPolicy::compile(&config).unwrap_err()[0].0,
            if name == "X-User-Id" {
                "identity.headers"
            } else {
                "mint.header"
            },
            "{name:?}"
        );
    }
    for name in ["authorization", "Authorization"] {
        config.mint.header = name.to_owned();
        assert!(HeaderPolicy::compile(&config).is_ok());
    }
}

#[test]
fn what_frames_routes_or_is_read_before_a_body_does_not_trail_it() {
    for name in [
        "Content-Length",
        "transfer-encoding",
        "Host",
        "Connection",
        "TE",
        "Trailer",
        "Keep-Alive",
        "Set-Cookie",
    ] {
        for spelling in spellings(name) {
            assert!(!backend_may_trail(&spelling), "{spelling}");
        }
    }
    for name in [
        "Authorization",
        "WWW-Authenticate",
        "Cache-Control",
        "Location",
        "Content-Type",
        "X-Menshen-Error",
        "Upgrade",
    ] {
        for spelling in spellings(name) {
            assert!(!backend_may_trail(&spelling), "{spelling}");
        }
    }
    for name in [
        "X-Checksum",
        "ETag",
        "Server-Timing",
        "Content-Digest",
        "Repr-Digest",
        "grpc-status",
        "Authentication-Info",
    ] {
        assert!(backend_may_trail(name), "{name}");
    }
}
