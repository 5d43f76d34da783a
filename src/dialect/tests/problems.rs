//! What the check of a config says of dialects.

use super::*;

/// The problems of one dialect, each as `key: message`.
fn problems(dialects: Vec<DialectConfig>) -> Vec<String> {
    let found = Dialects::compile(&config(dialects))
        .err()
        .unwrap_or_default();
    found
        .into_iter()
        .map(|(key, message)| format!("{key}: {message}"))
        .collect()
}

/// That a dialect has exactly these problems, each as far as it is written here.
fn check(toml: &str, says: &[&str]) {
    let found = problems(vec![custom(toml)]);
    assert_eq!(found.len(), says.len(), "{toml}: {found:?}");
    for (found, says) in found.iter().zip(says) {
        assert!(found.starts_with(says), "{toml}: {found}");
    }
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    for (toml, says) in [
        (with(""), &[][..]),
        (
            with("access_ttl = '8d'"),
            &["dialect[0].access_ttl: 8d is longer than a revocation is remembered: 7d at most"],
        ),
        (
            with("access_ttl = '999ms'"),
            &["dialect[0].access_ttl: 999ms is less than a second: no user could stay signed in"],
        ),
        (
            with("claims = { sub = 'x', tenant = '{user.ide}' }"),
            &[
                "dialect[0].claims.sub: is a claim of menshen's own, which no dialect changes",
                "dialect[0].claims.tenant: has `{user.ide}`, which is no placeholder; did you mean `{user.id}`?",
            ],
        ),
        (
            with("refresh_claims = { jti = 'x' }"),
            &[
                "dialect[0].refresh_claims.jti: is a claim of menshen's own, which no dialect changes",
            ],
        ),
        (
            with("messages = { token_mising = 'x' }"),
            &[
                "dialect[0].messages.token_mising: \"token_mising\" is not an error code; did you mean `token_missing`?",
            ],
        ),
        (
            with("").replace("prefix = '/api'", "prefix = '/api/'"),
            &[
                "dialect[0].prefix: \"/api/\" is not a plain path: write it like /api/v1, of letters, digits, -, _ and ., or leave it empty",
            ],
        ),
    ] {
        check(&toml, says);
    }
}

#[test]
fn what_is_wrong_with_a_route_is_said_where_it_stands() {
    let route = |more: &str| {
        with("").replace(
            "action = 'wechat_login'",
            &format!("action = 'wechat_login'\n{more}"),
        )
    };
    for (toml, says) in [
        (route("profile = 'keep'"), &[][..]),
        (
            with("").replace("'/in'", "'/../in'"),
            &[
                "dialect[0].route[0].path: \"/../in\" is not a plain path: write it like /auth/login, of letters, digits, -, _ and .",
            ],
        ),
        (
            with("").replace("'POST'", "'post'"),
            &["dialect[0].route[0].method: \"post\" is none of GET, POST, PUT, PATCH, DELETE"],
        ),
        (
            with("").replace("{ code = 'body.code' }", "{ cod = 'body.code' }"),
            &[
                "dialect[0].route[0].inputs.cod: is not an input of this action; did you mean `code`?",
                "dialect[0].route[0].inputs: does not have `code`, which this action needs",
            ],
        ),
        (
            with("").replace("'body.code'", "'cookie.code'"),
            &[
                "dialect[0].route[0].inputs.code: \"cookie.code\" is not a location of an input: write body.field, header.Name or query.name",
            ],
        ),
        (
            route("body = '{\"a\": \"{phone.masked}\"}'"),
            &["dialect[0].route[0].body: has `{phone.masked}`, which is not to be had here; "],
        ),
        (
            route("body = '{\"a\": }'"),
            &[
                "dialect[0].route[0].body: is not JSON: expected value in line 1, column 7 of the template",
            ],
        ),
        (
            route("status = 404"),
            &["dialect[0].route[0].status: 404 is not a status from 200 to 299"],
        ),
        (
            route("status = 204\nbody = '{}'"),
            &["dialect[0].route[0].body: cannot go with this `status`, which has no body"],
        ),
        (
            route("headers = { Content-Length = '1' }"),
            &["dialect[0].route[0].headers.Content-Length: is menshen's to set"],
        ),
        (
            route("headers = { 'a b' = '1' }"),
            &["dialect[0].route[0].headers.a b: is not the name of a header field"],
        ),
        (
            route("headers = { X-A = 'a', x-a = 'b' }"),
            &["dialect[0].route[0].headers.x-a: is given twice, in another case"],
        ),
        (
            route("headers = { X-A = \"a\\r\\nX-B: b\" }"),
            &[
                "dialect[0].route[0].headers.X-A: has a control character, which no header field can have",
            ],
        ),
        (
            route("headers = { Cache-Control = 'public' }"),
            &["dialect[0].route[0].headers.Cache-Control: is menshen's to set"],
        ),
        (
            route("body = '{\"{user.id}\": 1}'"),
            &[
                "dialect[0].route[0].body: has a placeholder in the name of the member `{user.id}`: only values have placeholders",
            ],
        ),
        (
            with("").replace("'POST'", "'GET'"),
            &["dialect[0].route[0].inputs: are in the body, and a GET has none"],
        ),
        (
            route("rotate = false"),
            &["dialect[0].route[0].rotate: is for `refresh` only"],
        ),
    ] {
        check(&toml, says);
    }
}

#[test]
fn what_is_wrong_with_a_shape_is_said_where_it_stands() {
    let shape = |more: &str| with("").replace("body = '{}'", more);
    for (toml, says) in [
        (shape("status = 200\nbody = '{}'"), &[][..]),
        (
            shape("body = '{}'\n[[dialect.error]]\ncodes = ['internal']\nbody = '{}'"),
            &[
                "dialect[0].error[1]: is never reached: one before it, without `codes`, fits everything",
            ],
        ),
        (
            shape("headers = { X-E = '{errors}' }\nbody = '{}'"),
            &["dialect[0].error[0].headers.X-E: has `{errors}`, which is not to be had here; "],
        ),
        (
            shape("codes = ['nope']\nbody = '{}'"),
            &[
                "dialect[0]: has no [[dialect.error]] without `codes`: some rejections would have no format",
                "dialect[0].error[0].codes[0]: \"nope\" is not an error code; docs/errors.md has them all",
            ],
        ),
        (
            shape("status = 99\nbody = '{}'"),
            &["dialect[0].error[0].status: 99 is not a status from 200 to 599"],
        ),
        (
            shape("status = 204\nbody = '{}'"),
            &["dialect[0].error[0].status: has no body, and a rejection has one"],
        ),
        (
            shape("body = '{ \"e\": \"{errors}\" }'"),
            &["dialect[0].error[0].body: has `{errors}`, but there is no `item` for one of them"],
        ),
        (
            "[[dialect]]\nkind = 'custom'".to_owned(),
            &[
                "dialect[0]: has no [[dialect.route]]: it would answer nothing",
                "dialect[0]: has no [[dialect.error]] without `codes`: some rejections would have no format",
            ],
        ),
    ] {
        check(&toml, says);
    }
}

#[test]
fn tokens_do_not_outlive_a_session_that_is_not_used() {
    let mut config = config(vec![DialectConfig::for_kind(DialectKind::Nest)]);
    config.tokens.idle_ttl = crate::config::HumanDuration::days(1);
    let found = Dialects::compile(&config).unwrap_err();
    assert_eq!(
        found[0].1,
        "7d is longer than `tokens.idle_ttl`, which is 1d"
    );
}

#[test]
fn what_a_header_asks_for_is_made_too() {
    let text = with("openid = true").replace(
        "inputs =",
        "headers = { X-Refresh = '{refresh_jwt}', X-Openid = '{user.openid}' }\ninputs =",
    );
    let dialects = Dialects::compile(&config(vec![custom(&text)])).unwrap();
    let token_profile = &dialects.iter().next().unwrap().token_profile;
    assert!(
        token_profile.wraps_refresh_token && token_profile.names_openid && !token_profile.renews
    );
}

#[test]
fn an_access_token_is_looked_for_in_its_own_header_without_being_asked() {
    let text = with("").replace("'wechat_login'", "'logout'").replace(
        "{ code = 'body.code' }",
        "{ access_token = 'header.Authorization' }",
    );
    assert_eq!(
        problems(vec![custom(&text)]),
        ["dialect[0].route[0].inputs.access_token: is looked for there anyway: leave it out"]
    );
}

#[test]
fn a_check_is_of_an_input_that_there_is() {
    let text = with("").replace(
        "[[dialect.error]]",
        "[[dialect.route.check]]\ninput = 'phone'\npattern = '('\nmessage = 'x'\n[[dialect.error]]",
    );
    let found = problems(vec![custom(&text)]);
    assert_eq!(
        found,
        [
            "dialect[0].route[0].check[0].input: \"phone\" is not an input of this route",
            "dialect[0].route[0].check[0].pattern: is not a regular expression: error: unclosed group",
        ]
    );
}

#[test]
fn dialects_do_not_stand_in_each_other_s_way() {
    let of = |kind, prefix: &str| DialectConfig {
        prefix: Some(prefix.to_owned()),
        ..DialectConfig::for_kind(kind)
    };
    for (dialects, says) in [
        (
            vec![of(DialectKind::Nest, "")],
            &[
                "dialect[0].prefix: POST /auth/wx-login is under `auth.prefix`, where the auth API is: change one of the two prefixes",
                "dialect[0].prefix: POST /auth/wechat-login is under",
                "dialect[0].prefix: POST /auth/refresh is under",
                "dialect[0].prefix: POST /auth/logout is under",
            ][..],
        ),
        (
            vec![of(DialectKind::Nest, "/a"), of(DialectKind::Simplejwt, "/a")],
            &["dialect[1].prefix: \"/a\" is the prefix of another dialect"],
        ),
        (
            vec![
                of(DialectKind::SuccessData, "/api"),
                custom(&with("").replace("'/api'", "''").replace("'/in'", "'/api/login'")),
            ],
            &["dialect[1].route[0].path: POST /api/login is answered by another route already"],
        ),
        (
            // A route that is wrong itself does not shift the numbers of those behind it.
            vec![
                DialectConfig { prefix: Some("bad".to_owned()), ..DialectConfig::for_kind(DialectKind::Nest) },
                custom(&with("").replace(
                    "[[dialect.error]]",
                    "[[dialect.route]]\nmethod = 'X'\npath = '/a'\naction = 'logout'\n[[dialect.route]]\n\
                    method = 'POST'\npath = '/in'\naction = 'logout'\n[[dialect.error]]",
                )),
            ],
            &[
                "dialect[0].prefix: \"bad\" is not a plain path",
                "dialect[1].route[1].method: \"X\" is none of",
                "dialect[1].route[2].path: POST /api/in is answered by another route already",
            ],
        ),
        (
            vec![DialectConfig { route: custom(&with("")).route, ..DialectConfig::for_kind(DialectKind::Nest) }],
            &["dialect[0].route: is for `kind = \"custom\"` only: `menshen dialect nest` prints nest as one"],
        ),
    ] {
        let found = problems(dialects);
        assert_eq!(found.len(), says.len(), "{found:?}");
        for (found, says) in found.iter().zip(says) {
            assert!(found.starts_with(says), "{found}");
        }
    }
}

#[test]
fn the_old_phone_button_is_to_be_allowed_first() {
    let config = Config {
        dialect: vec![DialectConfig::for_kind(DialectKind::SuccessData)],
        ..Config::default()
    };
    let found = Dialects::compile(&config).unwrap_err();
    assert_eq!(
        found[0].1,
        "decrypts phone numbers: set `legacy_decrypt = true` in [wechat]"
    );
}
