//! What `policy::framing` promises of upgrades.

use super::*;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const V13: &str = "Sec-WebSocket-Version: 13";

#[test]
fn a_websocket_handshake_is_whole_or_refused() {
    let get =
        |headers: &[&str]| request("GET /ws HTTP/1.1", headers).map(|framing| framing.websocket);
    let (up, ws) = ("Connection: Upgrade", "Upgrade: websocket");
    assert_eq!(get(&[up, ws, KEY, V13]), Ok(true));
    assert_eq!(
        get(&[
            "Connection: keep-alive, upgrade",
            "upgrade: WebSocket",
            KEY,
            V13
        ]),
        Ok(true)
    );
    assert_eq!(get(&["Connection: keep-alive", up, ws, KEY, V13]), Ok(true));
    // No body in so many words.
    assert_eq!(get(&[up, ws, KEY, V13, "Content-Length: 0"]), Ok(true));
    // CVE-2026-2833, CVE-2025-64763
    let table: &[(&str, &[&str])] = &[
        ("no Connection", &[ws, KEY, V13]),
        (
            "Connection names something else",
            &["Connection: upgraded", ws, KEY, V13],
        ),
        ("no key", &[up, ws, V13]),
        ("empty key", &[up, ws, "Sec-WebSocket-Key:", V13]),
        ("short key", &[up, ws, "Sec-WebSocket-Key: AAAA", V13]),
        (
            "bad key",
            &[up, ws, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZ!==", V13],
        ),
        ("body", &[up, ws, KEY, V13, "Content-Length: 5"]),
        ("two versions", &[up, ws, KEY, V13, V13]),
        (
            "neither body nor version",
            &[up, ws, KEY, "Content-Length: 5"],
        ),
        ("chunked", &[up, ws, KEY, V13, "Transfer-Encoding: chunked"]),
        ("two protocols", &[up, "Upgrade: websocket, h2c", KEY, V13]),
        (
            "two protocols, other order",
            &[up, "Upgrade: h2c, websocket", KEY, V13],
        ),
        ("two lines", &[up, ws, ws, KEY, V13]),
    ];
    for (name, headers) in table {
        let refusal = get(headers).expect_err(name);
        assert_eq!(
            (refusal.code, refusal.close),
            (ErrorCode::RequestMalformed, true),
            "{name}"
        );
    }
    assert!(
        request("POST /ws HTTP/1.1", &[up, ws, KEY, V13]).is_err(),
        "not GET"
    );
    assert!(
        request("GET /ws HTTP/1.0", &[up, ws, KEY, V13]).is_err(),
        "not HTTP/1.1"
    );
}

#[test]
fn a_websocket_of_another_version_is_told_which_is_spoken() {
    let get =
        |line: &str, headers: &[&str]| request(line, headers).map(|framing| framing.websocket);
    let (up, ws) = ("Connection: Upgrade", "Upgrade: websocket");
    for version in ["", "8", "0", "013", "13, 8", "8, 13", "13.0", "x", "1 3"] {
        let sent = format!("Sec-WebSocket-Version: {version}");
        let refusal = get("GET /ws HTTP/1.1", &[up, ws, KEY, &sent]).expect_err(version);
        assert_eq!(
            (refusal.code, refusal.close),
            (ErrorCode::WebsocketVersionUnsupported, true),
            "{version:?}"
        );
    }
    // Drafts had neither version nor key.
    for sent in [
        &[up, ws][..],
        &[up, ws, KEY],
        &[up, ws, "Content-Length: 0"],
    ] {
        let refusal = get("GET /ws HTTP/1.1", sent).expect_err("another version");
        assert_eq!(
            (refusal.code, refusal.close),
            (ErrorCode::WebsocketVersionUnsupported, true),
            "{sent:?}"
        );
    }
    // What is no handshake in any version is only wrong.
    for (line, sent) in [
        (
            "POST /ws HTTP/1.1",
            &[up, ws, KEY, "Sec-WebSocket-Version: 8"][..],
        ),
        (
            "GET /ws HTTP/1.0",
            &[up, ws, KEY, "Sec-WebSocket-Version: 8"],
        ),
        ("GET /ws HTTP/1.1", &[ws, KEY, "Sec-WebSocket-Version: 8"]),
    ] {
        assert_eq!(
            get(line, sent).map_err(|refusal| refusal.code),
            Err(ErrorCode::RequestMalformed),
            "{line}"
        );
    }
}

#[test]
fn other_upgrades_have_no_effect() {
    // section 1 row 14
    for upgrade in ["h2c", "TLS/1.0", "foo", "websocketx", ""] {
        let framing = post(&[
            "Connection: Upgrade, HTTP2-Settings",
            &format!("Upgrade: {upgrade}"),
            "Content-Length: 5",
        ]);
        assert_eq!(
            framing.map(|framing| (framing.websocket, framing.body)),
            Ok((false, BodyLength::Length(5))),
            "{upgrade}"
        );
    }
}

#[test]
fn nothing_follows_a_handshake_before_its_answer() {
    // CVE-2026-2833
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{KEY}\r\n{V13}\r\n\r\n"
    );
    assert!(read(handshake.as_bytes()).unwrap().websocket);
    let followed = format!("{handshake}GET /admin HTTP/1.1\r\n\r\n");
    assert!(read(followed.as_bytes()).is_err_and(|reason| reason.close));
    assert!(read(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").is_ok());
}
