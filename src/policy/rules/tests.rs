//! What `policy::rules` promises.

use proptest::prelude::*;

use super::*;
use crate::{
    config::EncodedDelimiter,
    policy::AllowedDelimiters,
    token::{AccessClaims, CustomClaims, VerifiedClaims, fixture},
    types::UserType,
};

fn rule(name: &str, path: &str, access: Access) -> RuleConfig {
    RuleConfig {
        name: name.to_owned(),
        path: path.to_owned(),
        methods: Vec::new(),
        access,
        user_types: Vec::new(),
        roles: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        bad_token_is_anonymous: false,
        token_header: None,
        token_cookie: None,
        token_in_query: false,
        idle_timeout: None,
        cors: false,
        allow_encoded: Vec::new(),
        report_only: None,
    }
}

/// A token for a user of this kind, with these roles.
fn caller(user_type: &str, roles: &[&str]) -> VerifiedClaims {
    let (user_type, roles) = (
        UserType::parse(user_type).unwrap(),
        roles.iter().map(|&role| role.to_owned()).collect(),
    );
    VerifiedClaims::Own(AccessClaims {
        user_type,
        roles,
        ..fixture::claims()
    })
}

fn for_methods(methods: &[&str], rule: RuleConfig) -> RuleConfig {
    RuleConfig {
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        ..rule
    }
}

fn for_types(types: &[&str], rule: RuleConfig) -> RuleConfig {
    RuleConfig {
        user_types: types.iter().map(|&name| name.to_owned()).collect(),
        ..rule
    }
}

fn example() -> RuleSet {
    RuleSet::compile(&[
        for_methods(&["GET"], rule("health", "/health", Access::Public)),
        for_types(
            &["admin"],
            rule("back-office", "/admin/**", Access::Required),
        ),
        rule("private", "/public/private/**", Access::Required),
        rule("public", "/public/**", Access::Public),
        rule("posts", "/users/*/posts", Access::Optional),
        rule("internal", "/internal", Access::Deny),
        for_methods(&["DELETE"], rule("no-delete", "/**", Access::Deny)),
    ])
    .expect("valid rules")
}

#[test]
fn the_first_match_decides_and_the_rest_needs_a_token() {
    let rules = example();
    let table = [
        ("GET", "/health", "health"),
        ("HEAD", "/health", "default"),
        ("POST", "/health", "default"),
        ("GET", "/public/a", "public"),
        ("DELETE", "/public/a", "public"),
        ("GET", "/public/private", "private"),
        ("GET", "/public/private/x", "private"),
        ("GET", "/publicx", "default"),
        ("GET", "/users/7/posts", "posts"),
        ("GET", "/users/7", "default"),
        ("GET", "/admin", "back-office"),
        ("DELETE", "/admin/x", "back-office"),
        ("DELETE", "/orders", "no-delete"),
        ("GET", "/orders", "default"),
        ("GET", "/", "default"),
        ("PURGE", "/orders", "default"),
    ];
    for (method, path, expected) in table {
        assert_eq!(
            &*rules.find(path, method).rule.name,
            expected,
            "{method} {path}"
        );
    }
    assert_eq!(rules.find("/orders", "GET").rule.access, Access::Required);
}

#[test]
fn case_encoding_and_a_trailing_slash_never_open_a_path() {
    // CVE-2026-27587, CVE-2026-27588, CVE-2021-39155, CVE-2026-48794
    let rules = example();
    for path in [
        "/Health",
        "/HEALTH",
        "/health/",
        "/Public/a",
        "/PUBLIC",
        "/users/7/Posts",
        "/users/7/posts/",
    ] {
        assert_eq!(&*rules.find(path, "GET").rule.name, "default", "{path}");
    }
}

#[test]
fn case_encoding_and_a_trailing_slash_do_not_dodge_a_stricter_rule() {
    // NestJS and Express ignore case and a trailing slash.
    let rules = example();
    let table = [
        ("/Admin", "back-office"),
        ("/ADMIN/users", "back-office"),
        ("/admin/", "back-office"),
        ("/public/Private/x", "private"),
        ("/Internal", "internal"),
        ("/internal/", "internal"),
        // Routers trim names, of whatever shows nothing.
        ("/%20admin/users", "back-office"),
        ("/admin%C2%A0/users", "back-office"),
        ("/public/%E2%80%8BPrivate%E3%80%80/x", "private"),
        ("/%EF%BB%BFinternal.", "internal"),
    ];
    for (path, expected) in table {
        assert_eq!(&*rules.find(path, "GET").rule.name, expected, "{path}");
    }
    let rules = RuleSet::compile(&[rule("closed", "/u@x/**", Access::Deny)]).unwrap();
    assert_eq!(&*rules.find("/u%40x/a", "GET").rule.name, "closed");
    assert_eq!(&*rules.find("/U%40X", "GET").rule.name, "closed");
}

#[test]
fn a_lenient_reading_never_weakens_a_rule() {
    let rules = RuleSet::compile(&[
        rule("open", "/a/x", Access::Public),
        rule("closed", "/A/**", Access::Deny),
        for_types(&["admin"], rule("admins", "/b/**", Access::Required)),
        for_types(&["staff"], rule("staff", "/B/**", Access::Required)),
    ])
    .unwrap();
    let table = [
        ("/A/x", "closed"),
        ("/a/x", "open"),
        // One lenient backend takes it for the open `/a/x`, another for the closed `/A/X`; nobody
        // has to write it so.
        ("/a/X", "closed"),
        ("/b/x", "admins"),
        ("/B/x", "staff"),
    ];
    for (path, expected) in table {
        assert_eq!(&*rules.find(path, "GET").rule.name, expected, "{path}");
    }
}

#[test]
fn a_lenient_reading_dodges_no_condition() {
    let rules = RuleSet::compile(&[
        for_types(&["admin"], rule("admins", "/admin/**", Access::Required)),
        rule("login", "/office/", Access::Public),
        for_types(&["admin"], rule("office", "/office", Access::Required)),
        for_types(&["user", "admin"], rule("rest", "/**", Access::Required)),
    ])
    .unwrap();
    // Neither of two rules with conditions asks for more than the other, so both are asked.
    for path in ["/Admin/users", "/%61dmin/users", "/OFFICE"] {
        let matched = rules.find(path, "GET");
        assert!(
            matched.allows(&caller("admin", &[])) && !matched.allows(&caller("user", &[])),
            "{path}"
        );
    }
    assert!(rules.find("/orders", "GET").allows(&caller("user", &[])));
}

#[test]
fn of_several_lenient_readings_the_strictest_counts() {
    let rules = RuleSet::compile(&[
        rule("login", "/admin/", Access::Public),
        for_types(&["admin"], rule("admins", "/admin", Access::Required)),
        rule("rest", "/**", Access::Public),
    ])
    .unwrap();
    assert_eq!(&*rules.find("/ADMIN", "GET").rule.name, "admins");
    assert_eq!(&*rules.find("/admin/", "GET").rule.name, "login");
}

#[test]
fn a_user_passes_with_a_right_type_and_one_right_role() {
    let config = RuleConfig {
        roles: vec!["ops".into(), "cs".into()],
        ..for_types(&["admin"], rule("a", "/a", Access::Required))
    };
    let rules = RuleSet::compile(&[config]).unwrap();
    let (rule, default) = (rules.find("/a", "GET"), rules.find("/b", "GET"));
    for (user_type, names, expected) in [
        ("admin", &["cs"][..], true),
        ("admin", &["x", "ops"], true),
        ("admin", &[], false),
        ("admin", &["OPS"], false),
        ("admin", &["op"], false),
        ("user", &["ops"], false),
        ("Admin", &["ops"], false),
    ] {
        assert_eq!(
            rule.allows(&caller(user_type, names)),
            expected,
            "{user_type} {names:?}"
        );
        assert!(default.allows(&caller(user_type, names)));
    }
}

#[test]
fn a_user_passes_with_one_right_value_of_each_claim_that_is_asked_for() {
    let asked = |claims: &[(&str, &[&str])]| {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let claims = claims
            .iter()
            .map(|(name, values)| ((*name).to_owned(), owned(values)))
            .collect();
        RuleSet::compile(&[RuleConfig {
            claims,
            ..rule("a", "/a", Access::Required)
        }])
    };
    let rules = asked(&[("tenant", &["shop", "7"]), ("beta", &["true"])]).unwrap();
    let with = |claims: &[(&str, serde_json::Value)]| {
        let claims = claims.iter().map(|(name, value)| (*name, value.clone()));
        VerifiedClaims::Own(AccessClaims {
            custom_claims: CustomClaims::of(claims),
            ..fixture::claims()
        })
    };
    let is_in = |value: serde_json::Value| {
        rules
            .find("/a", "GET")
            .allows(&with(&[("tenant", value), ("beta", true.into())]))
    };
    for value in [
        serde_json::json!("shop"),
        serde_json::json!(7),
        serde_json::json!(["x", "shop"]),
    ] {
        assert!(is_in(value.clone()), "{value}");
    }
    for value in [
        serde_json::json!("Shop"),
        serde_json::json!("shop "),
        serde_json::json!("shop,7"),
        serde_json::json!(7.0),
        serde_json::json!([["shop"]]),
        serde_json::json!({ "shop": true }),
        serde_json::json!(null),
        serde_json::json!([]),
    ] {
        assert!(!is_in(value.clone()), "{value}");
    }
    assert!(
        !rules
            .find("/a", "GET")
            .allows(&with(&[("tenant", "shop".into())])),
        "both are asked for"
    );
    assert!(rules.find("/b", "GET").allows(&with(&[])));
    for claims in [
        &[("roles", &["x"][..])][..],
        &[("sub", &["1"])],
        &[("", &["1"])],
        &[("tenant", &[])],
    ] {
        assert_eq!(
            asked(claims).unwrap_err()[0].0,
            "rule[0].claims",
            "{claims:?}"
        );
    }
    let open = RuleConfig {
        claims: [("a".to_owned(), vec!["b".to_owned()])].into(),
        ..rule("a", "/a", Access::Optional)
    };
    assert_eq!(
        RuleSet::compile(&[open]).unwrap_err()[0].0,
        "rule[0].claims"
    );
}

#[test]
fn everything_wrong_is_told_at_once() {
    let bad = [
        rule("", "/a", Access::Public),
        rule("a b", "/a", Access::Public),
        rule("default", "/a", Access::Public),
        rule("twice", "/a", Access::Public),
        rule("twice", "/b", Access::Public),
        rule("no-slash", "a", Access::Public),
        rule("dots", "/a/../b", Access::Public),
        for_methods(&["get"], rule("case", "/a", Access::Public)),
        for_methods(&["GET", "TRACE"], rule("trace", "/a", Access::Public)),
        for_types(&["a b"], rule("type", "/a", Access::Required)),
        for_types(&["admin"], rule("open-to-some", "/a", Access::Public)),
        RuleConfig {
            roles: vec!["a,b".into()],
            ..rule("role", "/a", Access::Required)
        },
        RuleConfig {
            roles: vec!["a".into()],
            ..rule("role2", "/a", Access::Optional)
        },
        RuleConfig {
            bad_token_is_anonymous: true,
            ..rule("bad", "/a", Access::Required)
        },
    ];
    let problems = RuleSet::compile(&bad).unwrap_err();
    let found: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
    let expected = [
        "rule[0].name",
        "rule[1].name",
        "rule[2].name",
        "rule[4].name",
        "rule[5].path",
        "rule[6].path",
        "rule[7].methods",
        "rule[8].methods",
        "rule[9].user_types",
        "rule[10].user_types",
        "rule[11].roles",
        "rule[12].roles",
        "rule[13].bad_token_is_anonymous",
    ];
    assert_eq!(found, expected);
}

#[test]
fn all_rules_are_listed_with_the_default_last() {
    let rules = example();
    let names: Vec<_> = rules
        .rules()
        .map(|rule| (rule.index, rule.name.to_string()))
        .collect();
    assert_eq!(names.len(), 8);
    assert_eq!(names[7], (7, "default".to_owned()));
    assert!(
        names
            .iter()
            .enumerate()
            .all(|(place, (index, _))| place == *index)
    );
}

fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "A",
        "b",
        "a@",
        "a%40",
        "A%40",
        "%E4%BD%A0",
        "%e4%bd%a0",
    ])
}

fn rule_list() -> impl Strategy<Value = Vec<(String, Access, bool)>> {
    let pattern = proptest::collection::vec(
        prop::sample::select(vec!["a", "b", "a@", "*", "%E4%BD%A0"]),
        0..3,
    );
    let access = prop::sample::select(vec![
        Access::Public,
        Access::Optional,
        Access::Required,
        Access::Deny,
    ]);
    let one = (pattern, any::<bool>(), access, any::<bool>()).prop_map(
        |(segments, below, access, typed)| {
            let path = format!("/{}", segments.join("/"));
            let path = if below {
                format!("{}/**", path.trim_end_matches('/'))
            } else {
                path
            };
            (path, access, typed && access == Access::Required)
        },
    );
    proptest::collection::vec(one, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever spelling of a path a client picks, it gets no more than the plain spelling that a
    /// lenient backend makes of it.
    #[test]
    fn no_spelling_of_a_path_asks_for_less(
        rules in rule_list(),
        segments in proptest::collection::vec(segment(), 0..4),
        slash in any::<bool>(),
    ) {
        let configs: Vec<_> = rules.into_iter().enumerate().map(|(index, (path, access, typed))| {
            let config = rule(&format!("r{index}"), &path, access);
            if typed { for_types(&["admin"], config) } else { config }
        }).collect();
        let rules = RuleSet::compile(&configs).unwrap();
        let plain = format!("/{}", segments.join("/"));
        let sent = if slash && plain != "/" { format!("{plain}/") } else { plain.clone() };
        let canonical = plain.replace("%40", "@").to_ascii_lowercase().replace("%e4%bd%a0", "%E4%BD%A0");
        prop_assert!(rules.find(&sent, "GET").rule.strictness() >= rules.find(&canonical, "GET").rule.strictness());
    }
}

#[test]
fn encoded_delimiters_are_allowed_by_the_rule_that_decides() {
    use EncodedDelimiter::{Percent, Slash};
    let allowing = |allowed: &[EncodedDelimiter], rule: RuleConfig| RuleConfig {
        allow_encoded: allowed.to_vec(),
        ..rule
    };
    let rules = RuleSet::compile(&[
        rule("closed", "/files/closed/**", Access::Deny),
        allowing(
            &[Slash, Percent],
            for_types(&["admin"], rule("files", "/files/**", Access::Required)),
        ),
        allowing(
            &[Percent],
            for_types(&["editor"], rule("Files", "/Files/**", Access::Required)),
        ),
        rule("public", "/public/**", Access::Public),
    ])
    .expect("valid rules");
    let allowed = |path: &str| rules.find(path, "GET").allowed_delimiters();
    assert_eq!(
        allowed("/files/a%2Fb"),
        AllowedDelimiters::new(&[Slash, Percent])
    );
    // Two rules are asked, so both have to allow it.
    assert_eq!(allowed("/Files/a%2Fb"), AllowedDelimiters::new(&[Percent]));
    assert!(
        allowed("/public/a%2Fb").is_empty()
            && allowed("/a%2Fb").is_empty()
            && allowed("/FILES/closed/a").is_empty()
    );

    let sent = rules.find("/files/a%2Fb", "GET");
    for (decoded, same) in [
        ("/files/a/b", true),
        ("/files/a b", true),
        ("/files/closed/b", false),
        ("/files/CLOSED/b", false),
        ("/files/closed./b", false),
        ("/Files/a/b", false),
        ("/public/b", false),
        ("/b", false),
    ] {
        assert_eq!(
            rules.find_decoded(decoded, "GET").is_same(&sent),
            same,
            "{decoded}"
        );
    }
}

#[test]
fn encoded_delimiters_that_could_not_pass_are_a_mistake() {
    for (path, allowed, access) in [
        ("/a", EncodedDelimiter::Slash, Access::Public),
        ("/a/*", EncodedDelimiter::Slash, Access::Public),
        ("/a/**", EncodedDelimiter::Slash, Access::Deny),
        ("/a/**", EncodedDelimiter::Percent, Access::Deny),
    ] {
        let config = RuleConfig {
            allow_encoded: vec![allowed],
            ..rule("a", path, access)
        };
        let problems = RuleSet::compile(&[config]).expect_err("a mistake");
        assert_eq!(
            problems
                .iter()
                .map(|(key, _)| key.as_str())
                .collect::<Vec<_>>(),
            ["rule[0].allow_encoded"],
            "{path}"
        );
    }
}
