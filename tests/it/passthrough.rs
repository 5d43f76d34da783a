//! What passes is passed on as it is: informational answers, answers without a body, old clients,
//! and bodies of any size in the memory of a few buffers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup},
    wire::{self, Client},
};

/// How much more memory a body of any size may take: a few socket and copy buffers.
const FEW_BUFFERS: usize = 24 << 20;
const PART: usize = 1 << 20;

fn resident(menshen: &Menshen) -> usize {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", menshen.pid())).expect("a process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("its memory");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<usize>()
        .expect("a number")
        * 1024
}

/// Takes one request, counts its chunks' bytes and answers with their number.
fn counting() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let mut stream = BufReader::with_capacity(PART, listener.accept().expect("a connection").0);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).expect("a head");
        }
        let mut count = 0_u64;
        loop {
            line.clear();
            stream.read_line(&mut line).expect("a chunk");
            let size = u64::from_str_radix(line.trim(), 16).expect("a size");
            count += std::io::copy(&mut (&mut stream).take(size), &mut std::io::sink())
                .expect("a chunk");
            stream.read_line(&mut line).expect("its end");
            if size == 0 {
                break;
            }
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}",
            count.to_string().len()
        );
        stream.get_mut().write_all(answer.as_bytes()).expect("sent");
    });
    address
}

/// Sends so many MiB in chunks and gives the most memory that menshen had while it did, beyond what
/// it had before.
fn upload(mebibytes: usize) -> usize {
    let backend = counting();
    let menshen = Setup::before(backend).start();
    let token = menshen.token("alice");
    let before = resident(&menshen);
    let mut client = Client::connect(menshen.http);
    client.send(format!(
        "POST /upload HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    let chunk = [format!("{PART:x}\r\n").as_bytes(), &vec![0; PART], b"\r\n"].concat();
    let mut most = 0;
    for n in 0..mebibytes {
        client.send(&chunk);
        if n % 32 == 0 {
            most = most.max(resident(&menshen));
        }
    }
    client.send("0\r\n\r\n");
    let answer = client.receive().expect("an answer");
    assert_eq!(
        String::from_utf8_lossy(&answer.body),
        (mebibytes * PART).to_string()
    );
    most.saturating_sub(before)
}

#[test]
fn an_upload_of_2_gib_takes_the_memory_of_a_few_buffers() {
    let grown = upload(2048);
    assert!(grown < FEW_BUFFERS, "{grown} bytes more");
}

#[test]
fn a_client_that_reads_slowly_holds_its_backend_back() {
    let written = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = written.clone();
    let backend = Backend::answering(move |_, stream| {
        stream
            .write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 512 * PART).as_bytes(),
            )
            .expect("sent");
        let part = vec![7; PART];
        (0..512).all(|_| {
            count.fetch_add(PART, std::sync::atomic::Ordering::AcqRel);
            stream.write_all(&part).is_ok()
        })
    });
    let menshen = Setup::before(backend.address).start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    let before = resident(&menshen);
    for (method, body) in [("GET", &b""[..]), ("POST", b"hello")] {
        written.store(0, std::sync::atomic::Ordering::Release);
        let mut client = Client::connect(menshen.http);
        client.send(wire::request(
            method,
            "/large",
            &[("Authorization", &authorization)],
            body,
        ));
        let mut first = vec![0; PART];
        client
            .stream()
            .read_exact(&mut first)
            .expect("the beginning");
        // Until nobody takes any more: the sockets' buffers are full.
        let mut seen = 0;
        loop {
            thread::sleep(std::time::Duration::from_millis(200));
            let now = written.load(std::sync::atomic::Ordering::Acquire);
            if now == seen {
                break;
            }
            seen = now;
        }
        assert!(
            seen < 64 * PART,
            "{method}: {seen} bytes were taken for a client that took 1 MiB"
        );
        assert!(
            resident(&menshen).saturating_sub(before) < FEW_BUFFERS,
            "{method}"
        );
        let mut rest = 0;
        let mut part = vec![0; PART];
        while rest < 511 * PART {
            let n = client.stream().read(&mut part).expect("the rest");
            assert!(n > 0, "{method}: all of it comes");
            rest += n;
        }
    }
}

#[test]
fn informational_answers_pass_but_not_to_http_1_0() {
    let backend = Backend::answering(|_, stream| {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
        stream
            .write_all(format!("{early}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").as_bytes())
            .is_ok()
    });
    let menshen = Setup::before(backend.address).start();
    let token = menshen.token("alice");
    let authorization = format!("Bearer {token}");
    for (method, body) in [("GET", &b""[..]), ("POST", b"hello")] {
        let mut client = Client::connect(menshen.http);
        client.send(wire::request(
            method,
            "/x",
            &[("Authorization", &authorization)],
            body,
        ));
        let hints = client.receive().expect("hints");
        assert_eq!(
            (hints.status, hints.header("Link")),
            (103, Some("</style.css>; rel=preload")),
            "{method}"
        );
        let answer = client.receive().expect("an answer");
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, &b"ok"[..]),
            "{method}"
        );
    }
    let mut old = Client::connect(menshen.http);
    old.send(format!(
        "GET /x HTTP/1.0\r\nHost: a\r\nAuthorization: {authorization}\r\n\r\n"
    ));
    let answer = old.receive().expect("an answer");
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"ok"[..]));
    assert!(old.ended());
}

#[test]
fn answers_without_a_body_stay_what_they_are() {
    let backend = Backend::answering(|request, stream| {
        let head = match request.line.split(' ').nth(1).expect("a path") {
            "/204" => "204 No Content\r\n",
            "/304" => "304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 17\r\n",
            _ => "200 OK\r\nContent-Length: 123456\r\n",
        };
        stream
            .write_all(format!("HTTP/1.1 {head}\r\n").as_bytes())
            .is_ok()
    });
    let menshen = Setup::before(backend.address).start();
    let authorization = format!("Bearer {}", menshen.token("alice"));
    let headers = [("Authorization", authorization.as_str())];
    let mut client = Client::connect(menshen.http);
    // All on one connection, and all sent before the first is answered.
    let cases = [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("17")),
        ("HEAD", "/x", 200, Some("123456")),
    ];
    let pipelined: Vec<_> = cases
        .iter()
        .flat_map(|(method, path, ..)| wire::request(method, path, &headers, b""))
        .collect();
    client.send(pipelined);
    for (method, path, status, length) in cases {
        let answer = client.receive_to(method).expect("an answer");
        assert_eq!(
            (answer.status, answer.header("Content-Length")),
            (status, length),
            "{method} {path}"
        );
        assert_eq!(answer.header("Transfer-Encoding"), None, "{method} {path}");
    }
}

#[test]
fn who_waits_for_100_continue_hears_it_from_the_backend_or_the_last_word_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let converse = |stream: TcpStream, go_on: bool| {
        let mut stream = BufReader::new(stream);
        let (mut line, mut expects) = (String::new(), false);
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).expect("a head");
            expects |= line
                .to_ascii_lowercase()
                .starts_with("expect: 100-continue");
        }
        assert!(expects, "the backend is asked");
        if !go_on {
            drop(
                stream
                    .get_mut()
                    .write_all(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"),
            );
            return;
        }
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .expect("sent");
        let mut body = [0; 5];
        stream.read_exact(&mut body).expect("a body");
        assert_eq!(&body, b"hello");
        stream
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            .expect("sent");
    };
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            converse(stream.expect("a connection"), n == 0);
        }
    });
    let menshen = Setup::before(address).start();
    let token = menshen.token("alice");
    let ask = || {
        let mut client = Client::connect(menshen.http);
        client.send(format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        ));
        let mut line = String::new();
        client
            .stream()
            .read_line(&mut line)
            .expect("an answer before the body");
        (client, line)
    };
    let (mut client, line) = ask();
    assert!(line.starts_with("HTTP/1.1 100 "), "{line}");
    while line_of(&mut client) != "\r\n" {}
    client.send("hello");
    assert_eq!(
        client.receive().map(|answer| (answer.status, answer.body)),
        Some((200, b"ok".to_vec()))
    );
    let (_, line) = ask();
    assert!(line.starts_with("HTTP/1.1 417 "), "{line}");
}

fn line_of(client: &mut Client) -> String {
    let mut line = String::new();
    client.stream().read_line(&mut line).expect("a line");
    line
}
