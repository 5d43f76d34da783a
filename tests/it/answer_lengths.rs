//! Answers that have no body say no length (RFC 9110 section 8.6, RFC 9112 section 6.1), and
//! informational ones go only to clients that know them (RFC 9110 section 15.2): on every way to
//! the backend, to clients of every version.

use std::io::Read;

use super::{
    byte_backend::{Answers, ByteBackend, Reply},
    http2::{self, Http2},
    menshen::Setup,
    wire::Client,
};

/// The backend's answer, by the name of its target.
fn answer(target: &str) -> Reply {
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let bytes = match target.split('/').nth(2).unwrap_or_default() {
        "204" => "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "204-with-a-length" => "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n".to_owned(),
        "204-in-chunks" => {
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
        }
        "103" => {
            format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 2\r\n\r\n{last}")
        }
        "102-in-chunks" => {
            format!("HTTP/1.1 102 Processing\r\nTransfer-Encoding: chunked\r\n\r\n{last}")
        }
        "100-unasked" => format!("HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n{last}"),
        "several" => format!(
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{last}"
        ),
        _ => return Reply::naming(target),
    };
    Reply::bytes(bytes)
}

const NAMES: [&str; 7] = [
    "204",
    "204-with-a-length",
    "204-in-chunks",
    "103",
    "102-in-chunks",
    "100-unasked",
    "several",
];

#[test]
fn a_client_of_http1_reads_no_length_where_there_is_no_body() {
    let backend = ByteBackend::start(Answers {
        late: answer,
        ..Answers::default()
    });
    let rule = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address).with(rule).start();
    let mut seen = 0;
    for name in NAMES {
        for version in ["1.0", "1.1"] {
            for (method, body) in [("GET", ""), ("POST", "Content-Length: 5\r\n")] {
                let target = format!("/open/{name}/{method}/{version}");
                let mut client = Client::connect(menshen.http);
                let rest = if body.is_empty() { "" } else { "hello" };
                client.send(format!(
                    "{method} {target} HTTP/{version}\r\nHost: shop.example\r\nConnection: close\r\n{body}\r\n{rest}"
                ));
                let mut text = String::new();
                client
                    .stream()
                    .read_to_string(&mut text)
                    .expect("an answer and the end");
                let text = text.to_ascii_lowercase();
                let heads: Vec<_> = text
                    .split("\r\n\r\n")
                    .filter(|head| head.starts_with("http/1.1 "))
                    .collect();
                let (last, informational) = heads
                    .split_last()
                    .unwrap_or_else(|| panic!("{target}: no answer"));
                let no_body = |head: &str| {
                    !head.contains("content-length") && !head.contains("transfer-encoding")
                };
                assert!(
                    informational
                        .iter()
                        .all(|head| head.starts_with("http/1.1 1") && no_body(head)),
                    "{target}: {text}"
                );
                assert!(
                    version == "1.1" || informational.is_empty(),
                    "{target}: {text}"
                );
                if name.starts_with("204") {
                    assert!(
                        last.starts_with("http/1.1 204 ") && no_body(last),
                        "{target}: {text}"
                    );
                    assert!(text.ends_with("\r\n\r\n"), "{target}: {text}");
                } else {
                    assert!(
                        last.starts_with("http/1.1 200 ") && text.ends_with("\r\n\r\nok"),
                        "{target}: {text}"
                    );
                }
                if version == "1.1" && ["103", "several"].contains(&name) {
                    assert!(
                        informational.iter().any(|head| head.contains("link: </a>")),
                        "{target}: {text}"
                    );
                }
                seen += 1;
            }
        }
    }
    assert_eq!(seen, NAMES.len() * 4);
}

#[test]
fn a_client_of_http2_reads_no_length_where_there_is_no_body() {
    let backend = ByteBackend::start(Answers {
        late: answer,
        ..Answers::default()
    });
    let rules = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"\n\
                 [server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true";
    let menshen = Setup::before(backend.address).with(rules).start();
    let client = Http2::connect(menshen.http);
    for name in NAMES {
        for (method, body) in [("GET", &b""[..]), ("POST", b"hello")] {
            let url = format!("http://shop.example/open/{name}/{method}");
            let answer = client
                .ask(http2::request(method, &url, &[]), body)
                .unwrap_or_else(|fault| panic!("{url}: {fault}"));
            if name.starts_with("204") {
                let length = answer.headers.get("content-length");
                assert_eq!(
                    (answer.status, length, answer.body.len()),
                    (204, None, 0),
                    "{url}"
                );
            } else {
                assert_eq!(
                    (answer.status, &answer.body[..]),
                    (200, &b"ok"[..]),
                    "{url}"
                );
            }
        }
    }
}

#[test]
fn an_expectation_of_http_1_0_is_ignored() {
    let backend = ByteBackend::start(Answers::default());
    let rule = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address).with(rule).start();
    let mut client = Client::connect(menshen.http);
    client.send("POST /open/x HTTP/1.0\r\nHost: shop.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    let mut text = String::new();
    client
        .stream()
        .read_to_string(&mut text)
        .expect("an answer and the end");
    assert!(
        text.starts_with("HTTP/1.1 200 ") && text.ends_with("/open/x"),
        "{text}"
    );
    assert!(
        !backend.of("/open/x").messages[0]
            .head
            .to_ascii_lowercase()
            .contains("expect")
    );
}
