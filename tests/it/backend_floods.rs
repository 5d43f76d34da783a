//! Backends that pour out heads without an end: they are cut, in either protocol, and what they
//! sent takes no memory.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    bad_bodies::{FEW_BUFFERS, OPEN},
    http2::{self, Http2},
    http2_frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, FRAME_HEAD_LEN, HEADERS, PREFACE_LEN,
        SETTINGS, STATUS_200, frame, payload_len,
    },
    menshen::{Menshen, Setup},
    raw_http2::Raw,
    wire::{self, Client},
};

/// A backend that does this with each connection, and how often it could not go on.
fn flooding(
    pour: impl Fn(TcpStream) -> std::io::Result<()> + Clone + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let cut = Arc::new(AtomicUsize::new(0));
    let count = cut.clone();
    // It ends with the program: nothing waits for it.
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (pour, count) = (pour.clone(), count.clone());
            std::thread::spawn(move || {
                if pour(stream).is_err() {
                    count.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
    });
    (address, cut)
}

/// Ends in an error.
fn pour(mut stream: TcpStream, begin: &[u8], part: &[u8]) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    stream.write_all(begin)?;
    loop {
        stream.write_all(part)?;
    }
}

fn wait_until(name: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{name}: it goes on");
        std::thread::yield_now();
    }
}

#[test]
fn floods_of_a_backend_before_its_answer_are_cut() {
    // More than the sockets hold between them, if the system likes.
    const MOST: usize = 128 << 20;
    let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(500);
    let floods: [(&str, &'static [u8], Vec<u8>); 6] = [
        ("informational answers", b"", hint),
        (
            "empty informational answers",
            b"",
            b"HTTP/1.1 100 Continue\r\n\r\n".repeat(500),
        ),
        ("a field", b"HTTP/1.1 200 OK\r\nX: ", vec![b'x'; 50_000]),
        ("fields", b"HTTP/1.1 200 OK\r\n", b"X: y\r\n".repeat(5000)),
        ("a name", b"HTTP/1.1 200 OK\r\n", vec![b'x'; 50_000]),
        ("a reason", b"HTTP/1.1 200 ", vec![b'x'; 50_000]),
    ];
    for (name, begin, part) in floods {
        let (address, cut) = flooding(move |stream| pour(stream, begin, &part));
        let menshen = Setup::before(address).with(OPEN).start();
        let known = menshen.memory();
        let mut client = Client::connect(menshen.http);
        client.send("GET /open/flood HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
        // What comes is an answer or nothing; it ends, and not by a timeout.
        let mut read = 0;
        let mut some = vec![0; 64 * 1024];
        loop {
            match client.stream().get_mut().read(&mut some) {
                Ok(0) => break,
                Ok(length) => read += length,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{name}: neither an answer nor an end: {error}"),
            }
            assert!(read < MOST, "{name}: {read} bytes were passed on");
        }
        wait_until(name, || cut.load(Ordering::Acquire) == 1);
        let http2 = Http2::connect(menshen.http);
        let answer = http2.ask(
            http2::request("GET", "http://shop.example/open/flood", &[]),
            b"",
        );
        assert!(
            answer.is_err() || answer.is_ok_and(|answer| answer.status == 502),
            "{name}"
        );
        wait_until(name, || cut.load(Ordering::Acquire) == 2);
        // Nor is what nobody reads heaped up: heads have no flow control (RFC 9113 section 5.2.1).
        let mut silent = Raw::connect(menshen.http);
        silent.headers(
            1,
            &[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/open/flood"),
                (":authority", "a"),
            ],
            true,
        );
        wait_until(name, || cut.load(Ordering::Acquire) == 3);
        let grown = menshen.memory().saturating_sub(known);
        assert!(grown < 2 * FEW_BUFFERS, "{name}: {grown} KiB more");
    }
}

/// Says the preface's answer, waits for the head of stream 1, and then goes on as [`pour`] does.
fn pour_frames(mut stream: TcpStream, begin: &[u8], part: &[u8]) -> std::io::Result<()> {
    stream.write_all(&frame(SETTINGS, 0, 0, &[]))?;
    stream.read_exact(&mut [0; PREFACE_LEN])?;
    loop {
        let mut head = [0; FRAME_HEAD_LEN];
        stream.read_exact(&mut head)?;
        stream.read_exact(&mut vec![0; payload_len(&head)])?;
        if head[3] == HEADERS {
            break;
        }
    }
    // What it says further is of no interest, but has to be taken.
    let mut heard = stream.try_clone()?;
    std::thread::spawn(move || while heard.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {});
    stream.write_all(begin)?;
    if part.is_empty() {
        // It is the other side that ends it.
        std::thread::park();
    }
    loop {
        stream.write_all(part)?;
    }
}

/// `:status: 103`, as a literal for the name of index 8 (RFC 7541 section 6.2.2).
const STATUS_103: &[u8] = b"\x08\x03103";

/// A field of 101 bytes that is indexed nowhere.
fn field() -> Vec<u8> {
    [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat()
}

fn before_http2(address: SocketAddr) -> Menshen {
    let upstream = format!(
        "[upstream]\nurls = [\"http://{address}\"]\nprotocol = \"http2\"\nread_timeout = \"2s\""
    );
    Setup::before(address)
        .with(&format!("{OPEN}\n{upstream}"))
        .start()
}

#[test]
fn floods_of_a_backend_of_http2_are_cut() {
    let floods = [
        (
            "CONTINUATION",
            frame(HEADERS, 0, 1, &[STATUS_200]),
            frame(CONTINUATION, 0, 1, &field().repeat(100)).repeat(10),
        ),
        (
            "empty CONTINUATION",
            frame(HEADERS, 0, 1, &[STATUS_200]),
            frame(CONTINUATION, 0, 1, &[]).repeat(1000),
        ),
        (
            "informational answers",
            Vec::new(),
            frame(HEADERS, END_HEADERS, 1, STATUS_103).repeat(1000),
        ),
    ];
    for (name, begin, part) in floods {
        // Those of a stream that was given up are read on, as all of it: the library cannot know
        // yet that the backend has heard.
        let goes_on = name == "informational answers";
        let (address, cut) = flooding(move |stream| pour_frames(stream, &begin, &part));
        let menshen = before_http2(address);
        let known = menshen.memory();
        let answer = wire::ask(menshen.http, "GET", "/open/flood", &[], b"");
        assert!(
            matches!(answer.status, 502 | 504),
            "{name}: {}",
            answer.status
        );
        wait_until(name, || goes_on || cut.load(Ordering::Acquire) >= 1);
        let http2 = Http2::connect(menshen.http);
        let answer = http2.ask(
            http2::request("GET", "http://shop.example/open/flood", &[]),
            b"",
        );
        assert!(
            answer.is_err() || answer.is_ok_and(|answer| matches!(answer.status, 502 | 504)),
            "{name}"
        );
        wait_until(name, || goes_on || cut.load(Ordering::Acquire) >= 2);
        let grown = menshen.memory().saturating_sub(known);
        assert!(grown < 2 * FEW_BUFFERS, "{name}: {grown} KiB more");
    }
}

/// As one of HTTP/1.1 is.
#[test]
fn a_head_of_a_mebibyte_of_a_backend_of_http2_is_refused() {
    let rest = frame(CONTINUATION, 0, 1, &field().repeat(150)).repeat(70);
    let head = [
        frame(HEADERS, 0, 1, &[STATUS_200]),
        rest,
        frame(CONTINUATION, END_HEADERS, 1, &field()),
    ]
    .concat();
    let end = frame(DATA, END_STREAM, 1, b"ok");
    let (address, _) = {
        let begin = [head, end].concat();
        flooding(move |stream| pour_frames(stream, &begin, &[]))
    };
    let menshen = before_http2(address);
    let answer = wire::ask(menshen.http, "GET", "/open/large", &[], b"");
    assert_eq!(
        (answer.status, answer.error(), answer.headers.len() < 50),
        (502, Some("upstream_unavailable"), true)
    );
}
