//! What `policy::credential` promises.

use std::mem::MaybeUninit;

use super::*;
use crate::{
    config::CorsConfig,
    policy::head::{self, Parsed},
};

const BARE: TokenLocations<'_> = TokenLocations {
    bare: true,
    header: None,
    cookie: None,
    query: false,
    forward_auth: false,
};
const COOKIE: TokenLocations<'_> = TokenLocations {
    bare: false,
    header: None,
    cookie: Some("token"),
    query: false,
    forward_auth: false,
};
const QUERY: TokenLocations<'_> = TokenLocations {
    bare: false,
    header: None,
    cookie: None,
    query: true,
    forward_auth: false,
};
const BOTH: TokenLocations<'_> = TokenLocations {
    bare: false,
    header: None,
    cookie: Some("token"),
    query: true,
    forward_auth: false,
};
const HEADER: TokenLocations<'_> = TokenLocations {
    bare: false,
    header: Some("_token"),
    cookie: None,
    query: false,
    forward_auth: false,
};
const ALL: TokenLocations<'_> = TokenLocations {
    header: Some("_token"),
    ..BOTH
};
/// A page of this site says so.
const SAME: &str = "Sec-Fetch-Site: same-origin";

fn in_header(lines: &[&str]) -> Result<String, RejectReason> {
    read_in(lines, TokenLocations::default())
}

fn read_in(lines: &[&str], places: TokenLocations<'_>) -> Result<String, RejectReason> {
    request("GET /", lines, places, None)
}

fn request(
    line: &str,
    lines: &[&str],
    places: TokenLocations<'_>,
    cors: Option<&Cors>,
) -> Result<String, RejectReason> {
    with_head(line, lines, |head| {
        super::read(head, places, cors).map(|credential| match credential {
            Credential::None => "none".to_owned(),
            Credential::Bearer(token) => format!("bearer {token}"),
            Credential::Malformed => "malformed".to_owned(),
        })
    })
}

fn with_head<T>(line: &str, lines: &[&str], look: impl FnOnce(&Head<'_>) -> T) -> T {
    let bytes = format!(
        "{line} HTTP/1.1\r\nHost: shop.example\r\n{}\r\n\r\n",
        lines.join("\r\n")
    );
    let bytes = bytes.replace("\r\n\r\n\r\n", "\r\n\r\n");
    let mut slots = [const { MaybeUninit::uninit() }; 8];
    let Ok(Parsed::Complete(head)) = head::parse(bytes.as_bytes(), &mut slots) else {
        panic!("a plain head")
    };
    look(&head)
}

#[test]
fn a_bearer_token_is_read() {
    assert_eq!(in_header(&[]).unwrap(), "none");
    assert_eq!(
        in_header(&["X-Authorization: Bearer a", "Authorization_: Bearer a"]).unwrap(),
        "none"
    );
    for line in [
        "Authorization: Bearer a.b.c",
        "authorization: bearer a.b.c",
        "AUTHORIZATION:BEARER   a.b.c  ",
    ] {
        assert_eq!(in_header(&[line]).unwrap(), "bearer a.b.c", "{line}");
    }
    assert_eq!(
        in_header(&["Authorization: Bearer aA0-._~+/=="]).unwrap(),
        "bearer aA0-._~+/=="
    );
}

#[test]
fn a_token_is_made_of_the_signs_of_a_b64token() {
    for byte in 0..=u8::MAX {
        let plain = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        // Alone, and among so many that they are compared at once.
        for around in [0, 1, 15, 16, 17, 40] {
            let token = [vec![b'a'; around], vec![byte], vec![b'Z'; around]].concat();
            assert_eq!(
                b64token(&token).is_some(),
                plain,
                "{byte:#x} among {around}"
            );
        }
    }
}

#[test]
fn a_token_may_stand_alone_where_that_is_said() {
    let alone = |value: &str| read_in(&[&format!("Authorization: {value}")], BARE).unwrap();
    assert_eq!(alone("a.b.c"), "bearer a.b.c");
    assert_eq!(alone("Bearer a.b.c"), "bearer a.b.c");
    assert_eq!(
        alone("bearer"),
        "bearer bearer",
        "no token, which is found out when it is looked at"
    );
    assert_eq!([alone(""), alone("  ")], ["none", "none"]);
    for value in [
        "Basic YTpi",
        "a.b.c d",
        "Token a.b.c",
        "a,b",
        "=",
        "Bearer a b",
    ] {
        assert_eq!(alone(value), "malformed", "{value:?}");
    }
    assert!(read_in(&["Authorization: a.b.c", "Authorization: a.b.c"], BARE).is_err());
}

#[test]
fn an_empty_credential_is_none_wherever_it_stands() {
    for empty in ["Authorization:", "Authorization: ", "authorization:\t "] {
        for places in [TokenLocations::default(), BARE, COOKIE, QUERY, BOTH] {
            assert_eq!(
                read_in(&[empty], places).unwrap(),
                "none",
                "{empty:?} {places:?}"
            );
        }
        assert_eq!(
            read_in(&[empty, "Cookie: token=a.b.c"], COOKIE).unwrap(),
            "bearer a.b.c",
            "{empty:?}"
        );
        assert_eq!(
            request("GET /ws?access_token=a.b.c", &[empty], QUERY, None).unwrap(),
            "bearer a.b.c",
            "{empty:?}"
        );
    }
    assert_eq!(
        request("GET /ws?access_token=", &[], QUERY, None).unwrap(),
        "none"
    );
    assert_eq!(
        request("GET /ws?access_token=&x=1", &["Cookie: token="], BOTH, None).unwrap(),
        "none"
    );
    // What a template makes of nothing is something.
    for value in ["Bearer", "Bearer ", "bearer\t"] {
        assert_eq!(
            in_header(&[&format!("Authorization: {value}")]).unwrap(),
            "malformed",
            "{value:?}"
        );
    }
    for value in ["undefined", "null"] {
        assert_eq!(
            in_header(&[&format!("Authorization: Bearer {value}")]).unwrap(),
            format!("bearer {value}")
        );
    }
}

#[test]
fn what_is_no_bearer_token_is_malformed() {
    let values = [
        "Bearer",
        "Bearer ",
        "Bearer=",
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
        assert_eq!(
            in_header(&[&format!("Authorization: {value}")]).unwrap(),
            "malformed",
            "{value:?}"
        );
    }
}

#[test]
fn several_credentials_are_refused() {
    // CVE-2020-25017, CVE-2026-26308
    for lines in [
        ["Authorization: Bearer a", "Authorization: Bearer b"],
        ["Authorization: Bearer a", "authorization: Bearer a"],
        ["Authorization: Basic a", "AUTHORIZATION: Bearer a"],
        ["Authorization:", "Authorization: Bearer a"],
        ["Authorization:", "Authorization:"],
        ["_token: a", "_token: a"],
        ["_token:", "_TOKEN: a"],
    ] {
        let refusal = read_in(&lines, HEADER).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.close),
            (ErrorCode::RequestMalformed, true),
            "{lines:?}"
        );
    }
}

#[test]
fn a_credential_does_not_print() {
    assert_eq!(
        format!("{:?}", Credential::Bearer("hunter2")),
        "Bearer(***)"
    );
}

#[test]
fn a_cookie_counts_where_it_is_named() {
    for (lines, read) in [
        (&["Cookie: token=a.b.c"][..], "bearer a.b.c"),
        (
            &["Cookie: theme=dark; token=a.b.c; lang=zh"],
            "bearer a.b.c",
        ),
        (&["Cookie: theme=dark;token=a.b.c"], "bearer a.b.c"),
        (
            &["Cookie: theme=dark", "cookie: token=a.b.c"],
            "bearer a.b.c",
        ),
        (&["Cookie: token="], "none"),
        (
            &["Cookie: Token=a; xtoken=b; token =c; tokens=d; theme=token=e"],
            "none",
        ),
        (&["Cookie: token=\"a.b.c\""], "malformed"),
        (&["Cookie: token=a%2Eb"], "malformed"),
        (&["Cookie: token=a b"], "malformed"),
        (&["Cookie: token=Bearer a"], "malformed"),
        (
            &["Authorization: Bearer a.b.c", "Cookie: theme=dark"],
            "bearer a.b.c",
        ),
    ] {
        assert_eq!(read_in(lines, COOKIE).unwrap(), read, "{lines:?}");
    }
    assert_eq!(in_header(&["Cookie: token=a.b.c"]).unwrap(), "none");
}

#[test]
fn the_query_counts_where_it_may_and_as_it_stands() {
    for (target, read) in [
        ("GET /ws?access_token=a.b.c", "bearer a.b.c"),
        ("GET /ws?x=1&access_token=a.b.c&y", "bearer a.b.c"),
        ("GET /ws?access_token=", "none"),
        ("GET /ws?access_token=a%2Eb", "malformed"),
        ("GET /ws?access_token=Bearer%20a", "malformed"),
        ("GET /ws?access_token", "none"),
        ("GET /ws?access%5Ftoken=a", "none"),
        ("GET /ws?Access_Token=a&xaccess_token=b&token=c", "none"),
        ("GET /ws", "none"),
        ("GET /access_token=a", "none"),
    ] {
        assert_eq!(request(target, &[], QUERY, None).unwrap(), read, "{target}");
    }
    assert_eq!(
        request(
            "GET /ws?access_token=a",
            &[],
            TokenLocations::default(),
            None
        )
        .unwrap(),
        "none"
    );
}

#[test]
fn a_header_counts_where_it_is_named() {
    for (lines, read) in [
        (&["_token: a.b.c"][..], "bearer a.b.c"),
        (&["_TOKEN: a.b.c"], "bearer a.b.c"),
        (&["_token: Bearer a.b.c"], "bearer a.b.c"),
        (&["_token: Basic a.b.c"], "malformed"),
        (&["_token: a b"], "malformed"),
        (&["_token:"], "none"),
        // What a backend that folds names takes for it is another name.
        (
            &["-token: a", "token: b", "_tokens: c", "x_token: d"],
            "none",
        ),
        (&["Authorization: Bearer a.b.c"], "bearer a.b.c"),
        (&["Authorization: a.b.c"], "malformed"),
        (&["Authorization: Bearer a.b.c", "_token:"], "bearer a.b.c"),
        (&["Authorization:", "_token: a.b.c"], "bearer a.b.c"),
    ] {
        assert_eq!(read_in(lines, HEADER).unwrap(), read, "{lines:?}");
        assert_eq!(read_in(lines, ALL).unwrap(), read, "{lines:?}");
    }
    assert_eq!(in_header(&["_token: a.b.c"]).unwrap(), "none");
}

#[test]
fn several_credentials_are_refused_wherever_they_stand() {
    for (line, lines) in [
        ("GET /", &["Authorization: Bearer a", "Cookie: token=a"][..]),
        ("GET /", &["Authorization: Basic a", "Cookie: token=a"]),
        ("GET /", &["Cookie: token=a; token=a"]),
        ("GET /", &["Cookie: token=a", "Cookie: token=b"]),
        ("GET /?access_token=a", &["Cookie: token=a"]),
        ("GET /?access_token=a", &["Authorization: Bearer a"]),
        ("GET /", &["Authorization: Bearer a", "_token: a"]),
        ("GET /", &["Authorization: Basic a", "_token: a"]),
        ("GET /", &["_token: a", "Cookie: token=a"]),
        ("GET /?access_token=a", &["_token: a"]),
        ("GET /?access_token=a&access_token=a", &[]),
        ("GET /?access_token=a&access_token=", &[]),
    ] {
        let refusal = request(line, lines, ALL, None).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.close),
            (ErrorCode::RequestMalformed, false),
            "{line} {lines:?}"
        );
    }
}

#[test]
fn a_page_of_another_site_cannot_act_with_a_cookie() {
    let upgrade = "Upgrade: websocket";
    let ours = "Origin: https://shop.example";
    for (line, lines, counts) in [
        // What only reads may come from anywhere, or no link to a page would work.
        ("GET /", &["Sec-Fetch-Site: cross-site"][..], true),
        ("HEAD /", &["Sec-Fetch-Site: cross-site"], true),
        // A link has no `Origin`; whoever has one is a page that reads, or a handshake that a proxy
        // hides.
        ("GET /", &["Origin: https://evil.example"], false),
        (
            "GET /",
            &["Origin: https://evil.example", "Sec-Fetch-Site: cross-site"],
            false,
        ),
        ("GET /", &[ours], true),
        ("POST /", &[SAME], true),
        ("POST /", &["Sec-Fetch-Site: none"], true),
        ("POST /", &["Sec-Fetch-Site: same-site"], false),
        ("POST /", &["Sec-Fetch-Site: cross-site"], false),
        ("POST /", &["Sec-Fetch-Site: cross-site", ours], false),
        ("POST /", &[SAME, "Sec-Fetch-Site: cross-site"], false),
        ("POST /", &["Sec-Fetch-Site:"], false),
        ("POST /", &[], true),
        ("POST /", &[ours], true),
        ("POST /", &["Origin: https://SHOP.example"], true),
        ("POST /", &["Origin: http://shop.example"], true),
        ("POST /", &["Origin: https://evil.example"], false),
        ("POST /", &["Origin: https://shop.example.evil"], false),
        ("POST /", &["Origin: https://shop.example:8443"], false),
        ("POST /", &["Origin: null"], false),
        ("POST /", &["Origin:"], false),
        ("POST /", &[ours, "Origin: https://evil.example"], false),
        ("PUT /", &["Origin: https://evil.example"], false),
        ("PATCH /", &["Origin: https://evil.example"], false),
        ("DELETE /", &["Sec-Fetch-Site: cross-site"], false),
        ("GET /ws", &[upgrade, ours], true),
        ("GET /ws", &[upgrade, "Origin: https://evil.example"], false),
        ("GET /ws", &[upgrade, "Sec-Fetch-Site: cross-site"], false),
        (
            "GET /ws",
            &["Sec-WebSocket-Version: 13", "Sec-Fetch-Site: cross-site"],
            false,
        ),
        (
            "GET /ws",
            &[
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-Fetch-Site: cross-site",
            ],
            false,
        ),
        (
            "GET /ws",
            &["Sec-WebSocket-Protocol: a", "Sec-Fetch-Site: cross-site"],
            false,
        ),
        ("GET /ws", &["Sec-WebSocket-Version: 13", SAME], true),
    ] {
        let read = request(line, &[&["Cookie: token=a"], lines].concat(), BOTH, None);
        assert_eq!(read.is_ok(), counts, "{line} {lines:?}");
        assert!(read.is_ok_and(|read| read == "bearer a") || !counts);
        // A header is sent by whoever has the token, and by nobody else.
        assert!(
            request(
                line,
                &[&["Authorization: Bearer a"], lines].concat(),
                BOTH,
                None
            )
            .is_ok(),
            "{line} {lines:?}"
        );
    }
}

#[test]
fn a_proxy_that_asks_has_to_show_which_page_it_is() {
    const ASKED: TokenLocations<'_> = TokenLocations {
        forward_auth: true,
        ..COOKIE
    };
    for (line, lines, counts) in [
        ("GET /", &[][..], true),
        ("POST /", &[], false),
        ("GET /", &["Sec-WebSocket-Version: 13"], false),
        ("POST /", &[SAME], true),
        ("POST /", &["Origin: https://shop.example"], true),
        ("POST /", &["Origin: https://evil.example"], false),
    ] {
        let read = request(line, &[&["Cookie: token=a"], lines].concat(), ASKED, None);
        assert_eq!(read.is_ok(), counts, "{line} {lines:?}");
    }
}

#[test]
fn a_page_that_is_listed_with_credentials_may_use_a_cookie() {
    let cors = |allow_credentials, origin: &str| {
        let allowed_origins = vec![origin.to_owned()];
        Cors::compile(
            &CorsConfig {
                allowed_origins,
                allow_credentials,
                ..CorsConfig::default()
            },
            &[],
        )
    };
    let lines = [
        "Cookie: token=a",
        "Origin: https://admin.example",
        "Sec-Fetch-Site: cross-site",
    ];
    for (cors, counts) in [
        (cors(true, "https://admin.example"), true),
        (cors(false, "https://admin.example"), false),
        (cors(true, "https://other.example"), false),
        (cors(true, "*"), false),
        (None, false),
    ] {
        assert_eq!(
            request("POST /", &lines, COOKIE, cors.as_ref()).is_ok(),
            counts,
            "{cors:?}"
        );
    }
}

#[test]
fn the_cookie_of_a_token_is_taken_out_and_no_other() {
    let names = [Box::from("token"), Box::from("other")];
    for (lines, left) in [
        (&["Cookie: token=a"][..], Some("")),
        (&["Cookie: a=1; token=x; b=2"], Some("a=1; b=2")),
        (&["Cookie: a=1;token=;b=2"], Some("a=1; b=2")),
        (&["Cookie: a=1", "Cookie: token=x; other=y"], Some("a=1")),
        (&["Cookie: a=1; Token=2; tokens=3; a=token=4"], None),
        (&[], None),
    ] {
        let taken = with_head("GET /", lines, |head| without_cookies(head, &names));
        assert_eq!(taken.as_deref(), left.map(str::as_bytes), "{lines:?}");
        assert_eq!(
            with_head("GET /", lines, |head| without_cookies(head, &[])),
            None
        );
    }
}

#[test]
fn the_token_is_taken_out_of_a_query_and_nothing_else() {
    for (target, left) in [
        ("/ws?access_token=a", Some("/ws")),
        ("/ws?x=1&access_token=a&y=2", Some("/ws?x=1&y=2")),
        ("/ws?access_token=a&", Some("/ws?")),
        ("/ws?access_token", None),
        ("/ws?x=1?access_token=a", None),
        ("/ws", None),
    ] {
        assert_eq!(without_parameter(target).as_deref(), left, "{target}");
    }
}
