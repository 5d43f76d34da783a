//! What one client may take: logins in a minute, bytes and seconds of a body, and the methods that
//! a route has.

use std::{
    io::BufRead,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Answer, Client},
};

const LOGIN: &str = "/auth/wechat/login";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const BEHIND_PROXY: &str =
    "[server]\nlisten = [\"127.0.0.1:0\"]\ntrusted_proxies = [\"127.0.0.0/8\"]";

fn login_from(menshen: &Menshen, client: &str) -> Answer {
    menshen.post(
        LOGIN,
        &[("X-Forwarded-For", client)],
        &json!({ "code": "alice" }),
    )
}

fn assert_limited(answer: &Answer, most: u64) {
    assert_eq!((answer.status, answer.error()), (429, Some("rate_limited")));
    assert_eq!(
        answer.header("Content-Type"),
        Some("application/problem+json")
    );
    assert_eq!(
        (&answer.json()["code"], &answer.json()["status"]),
        (&json!("rate_limited"), &json!(429))
    );
    let wait: u64 = answer
        .header("Retry-After")
        .expect("how long")
        .parse()
        .expect("seconds");
    assert!((1..=most).contains(&wait), "{wait}");
}

#[test]
fn a_class_signs_in_at_once_from_one_address_and_a_flood_does_not() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address)
        .with(BEHIND_PROXY)
        .with("[limits]")
        .start();
    let begun = Instant::now();
    let mut admitted = 0;
    let refused = loop {
        let answer = login_from(&menshen, "203.0.113.7");
        if answer.status != 200 {
            break answer;
        }
        admitted += 1;
        // One more fits every two seconds, on a machine that is slow enough for it to count.
        assert!(
            admitted <= 60 + begun.elapsed().as_secs().div_ceil(2) + 1,
            "{admitted}"
        );
    };
    assert!(admitted >= 60, "{admitted}");
    assert_limited(&refused, 2);
    assert_eq!(
        login_from(&menshen, "203.0.113.8").status,
        200,
        "another address is another client"
    );
    assert_eq!(login_from(&menshen, "2001:db8::1").status, 200);
    assert!(menshen.metric("menshen_rate_limited_total{limit=\"login_per_ip\"}") >= 1.0);
    // What is not a login has its own count, and what is not menshen's has none.
    assert_eq!(
        wire::ask(
            menshen.http,
            "GET",
            "/auth/jwks.json",
            &[("X-Forwarded-For", "203.0.113.7")],
            b""
        )
        .status,
        200
    );
    menshen.wait_for_log("\"error\":\"rate_limited\"");
}

#[test]
fn an_ipv6_subscriber_is_one_client_and_a_made_up_address_is_none() {
    let backend = Backend::start();
    let limits = "[limits]\nlogin_per_ip = \"3/1h\"";
    let menshen = Setup::before(backend.address)
        .with(BEHIND_PROXY)
        .with(limits)
        .start();
    let status = |client: &str| login_from(&menshen, client).status;
    let one_subscriber = [
        "2001:db8::1",
        "2001:db8::2",
        "2001:DB8:0:0:ffff::3",
        "2001:db8::4",
        "2001:db8:0:0:1::5",
    ];
    assert_eq!(one_subscriber.map(status), [200, 200, 200, 429, 429]);
    assert_eq!(["2001:db8:0:1::1", "2001:db9::1"].map(status), [200, 200]);
    // However an IPv4 address is written, and whoever is named before it.
    assert_eq!(
        [
            "192.0.2.9",
            "::ffff:192.0.2.9",
            "198.51.100.1, 192.0.2.9",
            "192.0.2.9"
        ]
        .map(status),
        [200, 200, 200, 429]
    );

    // Nobody is believed by default, so the peer is the client whatever it says.
    let alone = Setup::before(backend.address).with(limits).start();
    let status = |client: &str| login_from(&alone, client).status;
    assert_eq!(
        ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"].map(status),
        [200, 200, 200, 429]
    );
}

#[test]
fn each_limit_counts_its_own_routes() {
    let backend = Backend::start();
    let limits = "[limits]\nlogin_per_ip = \"10/1h\"\nrefresh_per_session = \"2/1h\"\napi_per_ip = \"6/1h\"\naccount_per_user = \"1/1h\"";
    let menshen = Setup::before(backend.address).with(limits).start();
    let session = menshen.login("alice");
    let auth = format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    );
    let as_alice = [("Authorization", auth.as_str()), JSON];
    let refresh = || {
        menshen.post(
            "/auth/refresh",
            &[],
            &json!({ "refresh_token": session["refresh_token"] }),
        )
    };
    assert_eq!(
        [refresh(), refresh()].map(|answer| answer.status),
        [200, 200]
    );
    assert_limited(&refresh(), 1800);

    let rename = || {
        wire::ask(
            menshen.http,
            "PATCH",
            "/auth/me",
            &as_alice,
            br#"{"nickname":"A"}"#,
        )
    };
    assert_eq!(rename().status, 200);
    assert_limited(&rename(), 3600);

    let calls: Vec<_> = (0..7).map(|_| menshen.get("/auth/me", &as_alice)).collect();
    let admitted = calls
        .iter()
        .take_while(|answer| answer.status == 200)
        .count();
    assert_eq!(admitted, 4, "two of six went to the changes");
    assert_limited(&calls[admitted], 600);
    for path in ["/auth/jwks.json", "/auth/openapi.json", "/auth/sessions"] {
        assert_limited(&menshen.get(path, &as_alice), 600);
    }
    // The gate has no limit of its own: the user goes on working.
    assert!((0..20).all(|_| menshen.get("/x", &as_alice).status == 200));
    for (limit, count) in [
        ("refresh_per_session", 1.0),
        ("account_per_user", 1.0),
        ("api_per_ip", 6.0),
    ] {
        let counted = menshen.metric(&format!("menshen_rate_limited_total{{limit=\"{limit}\"}}"));
        assert!((counted - count).abs() < 0.1, "{limit}: {counted}");
    }
}

#[test]
fn a_route_has_its_methods_and_a_wrong_path_is_not_found() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    for (method, path, status, allowed) in [
        ("GET", LOGIN, 405, "POST"),
        ("PUT", LOGIN, 405, "POST"),
        ("DELETE", LOGIN, 405, "POST"),
        ("OPTIONS", LOGIN, 405, "POST"),
        ("HEAD", LOGIN, 405, "POST"),
        ("GET", "/auth/refresh", 405, "POST"),
        ("GET", "/auth/logout", 405, "POST"),
        ("PUT", "/auth/me", 405, "DELETE,GET,HEAD,PATCH,POST"),
        ("POST", "/auth/sessions", 405, "GET,HEAD"),
        (
            "GET",
            "/auth/sessions/0123456789abcdef0123456789abcdef",
            405,
            "DELETE",
        ),
        ("POST", "/auth/jwks.json", 405, "GET,HEAD"),
        ("DELETE", "/auth/openapi.json", 405, "GET,HEAD"),
        ("GET", "/auth", 404, ""),
        ("GET", "/auth/", 404, ""),
        ("POST", "/auth/wechat", 404, ""),
        ("POST", "/auth/wechat/login/", 404, ""),
        ("POST", "/auth/Wechat/login", 404, ""),
        ("GET", "/auth/sms/send", 405, "POST"),
        ("GET", "/auth/phone", 405, "DELETE"),
        ("POST", "/auth/sms", 404, ""),
        ("POST", "/auth/sms/sent", 404, ""),
        ("OPTIONS", "/auth/nothing", 404, ""),
    ] {
        let answer = wire::ask(menshen.http, method, path, &[], b"");
        let code = if status == 405 {
            "method_not_allowed"
        } else {
            "not_found"
        };
        assert_eq!(
            (answer.status, answer.error()),
            (status, Some(code)),
            "{method} {path}"
        );
        let mut allow: Vec<_> = answer
            .header("Allow")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {path}");
        assert_eq!(
            answer.header("Cache-Control"),
            Some("no-store"),
            "{method} {path}"
        );
        if method != "HEAD" {
            assert_eq!(
                answer.json()["request_id"].as_str(),
                answer.header("X-Request-Id"),
                "{method} {path}"
            );
        }
    }
    assert!(
        backend.received().is_empty(),
        "nothing under the prefix reaches the backend"
    );
}

#[test]
fn head_is_get_without_its_body() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let mut client = Client::connect(menshen.http);
    for path in ["/auth/jwks.json", "/auth/openapi.json", "/auth/nothing"] {
        client.send(wire::request("GET", path, &[], b""));
        let whole = client.receive().expect("an answer");
        client.send(wire::request("HEAD", path, &[], b""));
        let head = client.receive_to("HEAD").expect("an answer");
        assert_eq!(head.status, whole.status, "{path}");
        assert_eq!(
            head.header("Content-Type"),
            whole.header("Content-Type"),
            "{path}"
        );
        if whole.status == 200 {
            assert_eq!(
                head.header("Content-Length"),
                Some(whole.body.len().to_string().as_str()),
                "{path}"
            );
        }
    }
    client.send(wire::request("GET", "/auth/jwks.json", &[], b""));
    assert_eq!(
        client
            .receive()
            .expect("no byte of a body stood in the way")
            .status,
        200
    );
}

#[test]
fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let body = json!({ "code": "alice" }).to_string();
    let head = |length: usize| {
        format!(
            "POST {LOGIN} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut client = Client::connect(menshen.http);
    client.send(head(body.len()));
    let mut interim = [String::new(), String::new()];
    for line in &mut interim {
        client.stream().read_line(line).expect("a line");
    }
    assert!(
        interim[0].starts_with("HTTP/1.1 100 ") && interim[1] == "\r\n",
        "{interim:?}"
    );
    client.send(&body);
    assert_eq!(client.receive().expect("an answer").status, 200);
    // Nor need it wait: a client may lose its patience and send.
    let mut hasty = Client::connect(menshen.http);
    hasty.send([head(body.len()).as_bytes(), body.as_bytes()].concat());
    assert_eq!(hasty.receive().expect("an answer").status, 200);
    // Who wants to send too much is not told to go on.
    let mut client = Client::connect(menshen.http);
    client.send(head(17 * 1024));
    let mut line = String::new();
    client.stream().read_line(&mut line).expect("a line");
    assert!(line.starts_with("HTTP/1.1 413 "), "{line}");
}

/// One login, its body in chunks of so many bytes.
fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out =
        format!("POST {LOGIN} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            .into_bytes();
    for part in body.chunks(size) {
        out.extend(format!("{:x}\r\n", part.len()).bytes());
        out.extend(part);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n\r\n");
    out
}

#[test]
fn a_login_in_chunks_is_a_login() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let body = json!({ "code": "alice", "nickname": "Alice", "client_type": "app" }).to_string();
    let mut client = Client::connect(menshen.http);
    for size in [1, 7, 1000] {
        client.send(chunked(body.as_bytes(), size));
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, &answer.json()["user"]["nickname"]),
            (200, &json!("Alice")),
            "{size}"
        );
    }
}

#[test]
fn a_body_over_16_kib_is_too_large_in_either_framing() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    let of = |length: usize| {
        let frame = json!({ "code": "alice", "padding": "" }).to_string().len();
        json!({ "code": "alice", "padding": "x".repeat(length - frame) })
            .to_string()
            .into_bytes()
    };
    for (length, status) in [
        (16 * 1024, 200),
        (16 * 1024 + 1, 413),
        (17 * 1024, 413),
        (1024 * 1024, 413),
    ] {
        let body = of(length);
        assert_eq!(body.len(), length);
        for (framing, bytes) in [
            ("length", wire::request("POST", LOGIN, &[JSON], &body)),
            ("chunked", chunked(&body, 5000)),
        ] {
            let mut client = Client::connect(menshen.http);
            client.send(bytes);
            let answer = client
                .receive()
                .unwrap_or_else(|| panic!("no answer to {length} {framing}"));
            let code = (status == 413).then_some("body_too_large");
            assert_eq!(
                (answer.status, answer.error()),
                (status, code),
                "{length} {framing}"
            );
            if status == 413 {
                assert!(
                    client.ended(),
                    "where the next request begins is in doubt: {length} {framing}"
                );
            }
        }
    }
}

#[test]
fn a_body_that_dribbles_is_cut_at_its_time() {
    let backend = Backend::start();
    let section = "[server]\nlisten = [\"127.0.0.1:0\"]\nbody_timeout = \"400ms\"";
    let menshen = Setup::before(backend.address).with(section).start();
    let heads = ["Content-Length: 1000", "Transfer-Encoding: chunked"];
    for framing in heads {
        let begun = Instant::now();
        let mut client = Client::connect(menshen.http);
        client.send(format!("POST {LOGIN} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"));
        let mut dribbling = client
            .stream()
            .get_ref()
            .try_clone()
            .expect("a second handle");
        // A byte now and then: each is in time, the whole never is.
        let feeding = std::thread::spawn(move || {
            use std::io::Write;
            let byte: &[u8] = if framing.starts_with('C') {
                b" "
            } else {
                b"1\r\n \r\n"
            };
            while dribbling.write_all(byte).is_ok() && begun.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let answer = client.receive().expect("an answer");
        let took = begun.elapsed();
        assert_eq!(
            (answer.status, answer.error()),
            (400, Some("request_malformed")),
            "{framing}"
        );
        assert!(
            (Duration::from_millis(400)..Duration::from_secs(5)).contains(&took),
            "{framing}: {took:?}"
        );
        drop(client);
        feeding.join().expect("the feeder ends with its connection");
    }
    assert!(backend.received().is_empty());
}
