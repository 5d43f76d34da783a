//! Headers that are menshen's to set, or of one hop: no client's spelling of them reaches the
//! backend, and the address of a client is what menshen knows.

use super::{
    backend::Backend,
    gate::RULES,
    menshen::Setup,
    wire::{self, Client},
};

#[test]
fn no_spelling_of_a_managed_header_gets_through_on_any_route() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).with(RULES).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let spellings = [
        "X-User-Id",
        "x-user-id",
        "X_User_Id",
        "X-User_Id",
        "X.User.Id",
        "X~User~Id",
        "x_user-id",
        "X!User!Id",
        "X'User'Id",
        "X*User*Id",
        "X+User+Id",
        "X^User^Id",
        "X`User`Id",
        "X|User|Id",
        "X#User#Id",
        "X$User$Id",
        "X%User%Id",
        "X&User&Id",
        "X-User-Role",
        "X-User-Anything",
        "X_User_Roles",
        "X-Auth-State",
        "X_Auth_State",
        "X-Auth-Assertion",
        "X-Session-Id",
        "X-Client-Type",
        "X-Menshen-Error",
        "X-Menshen-Anything",
        "X-WX-OPENID",
        "X_WX_OPENID",
        "X-Forwarded-User",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "Forwarded",
        "X-Real-IP",
        "X_Forwarded_For",
        "Content_Length",
        "Transfer_Encoding",
        "Proxy",
    ];
    for (route, authorization) in [
        ("/health", None),
        ("/feed/x", None),
        ("/feed/x", Some(&token)),
        ("/x", Some(&token)),
    ] {
        for spelling in spellings {
            for connection in [None, Some(spelling)] {
                let mut headers = vec![(spelling, "forged-1"), (spelling, "forged-2")];
                headers.extend(authorization.map(|token| ("Authorization", token.as_str())));
                headers.extend(connection.map(|name| ("Connection", name)));
                let before = backend.received().len();
                let answer = wire::ask(menshen.http, "GET", route, &headers, b"");
                if answer.status == 400 {
                    assert_eq!(backend.received().len(), before, "{route} {spelling}");
                    continue;
                }
                assert_eq!(answer.status, 200, "{route} {spelling} {connection:?}");
                let seen = backend.last();
                assert!(
                    !seen.head.contains("forged"),
                    "{route} {spelling} {connection:?}: {}",
                    seen.head
                );
                let ids = seen.folded("x-user-id");
                assert_eq!(
                    ids.len(),
                    usize::from(authorization.is_some()),
                    "{route} {spelling} {connection:?}"
                );
            }
        }
    }
    assert!(menshen.metric("menshen_headers_stripped_total") > 100.0);
}

#[test]
fn hop_by_hop_headers_and_trailers_end_here() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let token = menshen.token("alice");
    let mut client = Client::connect(menshen.http);
    client.send(format!(
        "POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
         TE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nTrailer: X-User-Id\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;ext=1\r\nabc\r\n0\r\nX-User-Id: forged\r\n\r\n"
    ));
    let answer = client.receive().expect("an answer");
    assert_eq!(answer.status, 200);
    let seen = backend.last();
    assert_eq!(seen.body, b"abc");
    for name in [
        "x-hop",
        "keep-alive",
        "upgrade",
        "proxy-connection",
        "trailer",
    ] {
        assert!(seen.folded(name).is_empty(), "{name} in {}", seen.head);
    }
    // The client takes trailers, and so does menshen on its own connection (RFC 9110 section
    // 10.1.4).
    assert_eq!(
        (seen.folded("te"), seen.folded("connection")),
        (vec!["trailers".to_owned()], vec!["TE".to_owned()])
    );
    assert!(!seen.head.contains("forged"));
}

#[test]
fn connection_names_the_same_headers_on_both_ways() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with("[[rule]]\nname = \"open\"\npath = \"/**\"\naccess = \"public\"")
        .start();
    let headers = [
        (
            "Connection",
            "keep-alive, X-Hop, content-length, content-type, cookie, x-forwarded-for, host",
        ),
        ("Content-Type", "text/plain"),
        ("Cookie", "a=b"),
        ("X-Hop", "1"),
    ];
    for (method, body) in [("GET", &b""[..]), ("POST", b"12345")] {
        let mut client = Client::connect(menshen.http);
        for _ in 0..2 {
            client.send(wire::request(method, "/x", &headers, body));
            let answer = client.receive().expect("an answer");
            assert_eq!(
                (answer.status, answer.header("Connection")),
                (200, Some("keep-alive")),
                "{method}"
            );
            let received = backend.last();
            assert_eq!(received.body, body, "{method}");
            assert_eq!(received.folded("Content-Type"), ["text/plain"], "{method}");
            assert_eq!(received.folded("Cookie"), ["a=b"], "{method}");
            assert_eq!(received.folded("X-Hop"), [""; 0], "{method}");
            assert_eq!(
                received.folded("X-Forwarded-For"),
                ["127.0.0.1"],
                "{method}"
            );
            assert_eq!(received.folded("Transfer-Encoding"), [""; 0], "{method}");
        }
    }
}

#[test]
fn forwarded_addresses_count_only_from_trusted_hops() {
    let backend = Backend::start();
    for (trusted, expected) in [
        ("[]", "127.0.0.1"),
        ("[\"127.0.0.0/8\"]", "203.0.113.7"),
        ("[\"10.0.0.0/8\"]", "127.0.0.1"),
    ] {
        let section = format!("[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = {trusted}");
        let menshen = Setup::before(backend.address).with(&section).start();
        let token = format!("Bearer {}", menshen.token("alice"));
        let headers = [
            ("Authorization", token.as_str()),
            ("X-Forwarded-For", "evil, 203.0.113.7"),
            ("X-Forwarded-Proto", "https"),
        ];
        assert_eq!(menshen.get("/x", &headers).status, 200);
        assert_eq!(
            backend.last().folded("x-forwarded-for"),
            [expected],
            "{trusted}"
        );
        assert_eq!(backend.last().folded("x-real-ip"), [expected], "{trusted}");
    }
}

#[test]
fn the_address_of_a_client_is_said_by_menshen_alone() {
    let backend = Backend::start();
    let rules = "[[rule]]\nname = \"open\"\npath = \"/public/**\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address).with(rules).start();
    let token = format!("Bearer {}", menshen.token("alice"));
    let names = [
        "X-Real-IP",
        "x_real_ip",
        "EO-Connecting-IP",
        "EO-Client-IP",
        "Cdn-Src-Ip",
        "DO-Connecting-IP",
        "X-Vercel-Forwarded-For",
        "CF-Connecting-IP",
        "True-Client-IP",
        "Ali-Cdn-Real-Ip",
        "Cdn_Src_Ip",
        "X-New-Cdn-Client-IP",
        "CloudFront-Viewer-Address",
    ];
    for path in ["/public/x", "/orders"] {
        for (method, body) in [("GET", &b""[..]), ("POST", b"12345")] {
            let mut headers: Vec<_> = names.iter().map(|name| (*name, "6.6.6.6")).collect();
            headers.push(("Authorization", &token));
            assert_eq!(
                wire::ask(menshen.http, method, path, &headers, body).status,
                200,
                "{method} {path}"
            );
            let seen = backend.last();
            assert!(
                seen.headers().iter().all(|(_, value)| value != "6.6.6.6"),
                "{method} {path}: {:?}",
                seen.headers()
            );
            assert_eq!(seen.folded("x-real-ip"), ["127.0.0.1"], "{method} {path}");
            assert_eq!(
                seen.folded("x-forwarded-for"),
                ["127.0.0.1"],
                "{method} {path}"
            );
        }
    }
}
