//! The HTTP/1 codec beside other readers of the same bytes: hyper, pingora and httparse. What it
//! accepts, all of them read as it does; what it refuses and one of them takes is a class with a
//! name. Chunked bodies are here, whole responses in `http1_response_readers.rs`.

use std::{convert::Infallible, sync::Mutex, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use menshen::http1::{BodyDecoder, BodyEvent, BodyLength, Decoded, InvalidBody, Peer};
use pingora::{
    http::RequestHeader,
    protocols::http::v1::{client, server},
};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// More than any input, so that no writer waits.
const BUFFER_LEN: usize = 1 << 20;
/// Fields in a head and in trailers: as many as menshen takes of a backend.
pub(super) const MAX_FIELDS: usize = 256;

/// Another reader. Each of hyper and pingora reads as a server and as a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Hyper,
    Pingora,
    Httparse,
}

const READERS: [Reader; 3] = [Reader::Hyper, Reader::Pingora, Reader::Httparse];

/// Runs what has no reason to wait.
pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), future)
            .await
            .expect("no reader hangs")
    })
}

/// A connection on which these bytes come, and then the end; with its other side, which has to live
/// as long.
async fn connection(bytes: &[u8]) -> (DuplexStream, DuplexStream) {
    let (mut near, far) = duplex(BUFFER_LEN);
    near.write_all(bytes).await.expect("room");
    near.shutdown().await.expect("an end");
    (near, far)
}

/// The data of a chunked body as this reader finds it. `None`: it refuses the body, or finds no
/// end.
fn read_chunked(reader: Reader, body: &[u8]) -> Option<Vec<u8>> {
    let response = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        body,
    ]
    .concat();
    let [server, client] = match reader {
        Reader::Hyper => [
            run(hyper_server(body))
                .into_iter()
                .next()
                .and_then(|(_, data)| data),
            run(hyper_client(&Method::GET, &response)),
        ],
        Reader::Pingora => [
            run(pingora_server(body)),
            run(pingora_client(&Method::GET, &response)),
        ],
        Reader::Httparse => [httparse_reading(body), httparse_reading(body)],
    };
    assert_eq!(
        server,
        client,
        "{reader:?} as a server and as a client: {}",
        body.escape_ascii()
    );
    server
}

/// The requests that a server with hyper finds: a chunked one with this body, and those behind it.
async fn hyper_server(body: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let head = b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (_near, far) = connection(&[head, body].concat()).await;
    let requests = Mutex::new(Vec::new());
    let service = service_fn(async |request: Request<Incoming>| {
        let path = request.uri().path().to_owned();
        let data = request
            .into_body()
            .collect()
            .await
            .ok()
            .map(|whole| whole.to_bytes().to_vec());
        requests.lock().expect("a lock").push((path, data));
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // How a broken request ends is in what it found.
    drop(
        builder
            .half_close(true)
            .max_headers(MAX_FIELDS)
            .serve_connection(TokioIo::new(far), service)
            .await,
    );
    requests.into_inner().expect("a lock")
}

/// The body that a client with hyper finds in a response.
pub(super) async fn hyper_client(method: &Method, response: &[u8]) -> Option<Vec<u8>> {
    let (far, mut near) = duplex(BUFFER_LEN);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_headers(MAX_FIELDS);
    builder
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true);
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(far))
        .await
        .expect("a connection");
    let exchange = async {
        let request = Request::builder()
            .method(method)
            .uri("/")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let response = sender.send_request(request).await.ok()?;
        response
            .into_body()
            .collect()
            .await
            .ok()
            .map(|whole| whole.to_bytes().to_vec())
    };
    let backend = async {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            near.read_buf(&mut request).await.expect("a request");
        }
        // It may have given up.
        drop(near.write_all(response).await);
        drop(near.shutdown().await);
        near
    };
    let (data, (), _near) = tokio::join!(exchange, async { drop(connection.await) }, backend);
    data
}

/// The body that a server with pingora finds in a chunked request.
async fn pingora_server(body: &[u8]) -> Option<Vec<u8>> {
    let head = b"POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (_near, far) = connection(&[head, body].concat()).await;
    let mut session = server::HttpSession::new(Box::new(far));
    session.read_request().await.ok()??;
    let mut data = Vec::new();
    while let Some(part) = session.read_body_bytes().await.ok()? {
        data.extend_from_slice(&part);
    }
    Some(data)
}

/// The body that a client with pingora finds in a response.
pub(super) async fn pingora_client(method: &Method, response: &[u8]) -> Option<Vec<u8>> {
    let (_near, far) = connection(response).await;
    let mut session = client::HttpSession::new(Box::new(far));
    let request = RequestHeader::build(method.clone(), b"/", None).expect("a request");
    session
        .write_request_header(Box::new(request))
        .await
        .expect("room");
    loop {
        session.read_response().await.ok()?;
        if !session.get_status()?.is_informational() {
            break;
        }
    }
    let mut data = Vec::new();
    while let Some(part) = session.read_body_bytes().await.ok()? {
        data.extend_from_slice(&part);
    }
    Some(data)
}

/// The body that httparse's readers of size lines and fields find.
fn httparse_reading(body: &[u8]) -> Option<Vec<u8>> {
    let (mut data, mut rest) = (Vec::new(), body);
    loop {
        let httparse::Status::Complete((start, size)) = httparse::parse_chunk_size(rest).ok()?
        else {
            return None;
        };
        rest = &rest[start..];
        if size == 0 {
            let mut fields = vec![httparse::EMPTY_HEADER; 4 * MAX_FIELDS];
            return httparse::parse_headers(rest, &mut fields)
                .ok()?
                .is_complete()
                .then_some(data);
        }
        let size = usize::try_from(size).ok()?;
        data.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

/// The body that the codec finds, and its length on the wire; after the bytes the connection ends.
pub(super) fn decode(
    length: BodyLength,
    peer: Peer,
    bytes: &[u8],
) -> Result<(Vec<u8>, usize), InvalidBody> {
    let mut decoder = BodyDecoder::new(length, peer);
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let Decoded { skip, event } = decoder.decode(&bytes[at..])?;
        at += skip;
        match event {
            BodyEvent::Data(len) => {
                data.extend_from_slice(&bytes[at..at + len]);
                decoder.consume(len);
                at += len;
            }
            BodyEvent::NeedMore => decoder.end_of_input()?,
            BodyEvent::Complete => return Ok((data, at)),
        }
    }
}

/// Why a reader may take what is refused here. `None`: it may not.
fn permitted_difference(reader: Reader, error: InvalidBody) -> Option<&'static str> {
    match (reader, error) {
        (_, InvalidBody::ChunkExtension) => Some("an extension may be anything"),
        (_, InvalidBody::ChunkExtensionsTooLong) => Some("extensions have no bound, or another"),
        (Reader::Pingora | Reader::Httparse, InvalidBody::ChunkSize) => {
            Some("no digits are a zero")
        }
        (Reader::Hyper, InvalidBody::ChunkSizeTooLarge) => {
            Some("a size may begin with any number of zeros")
        }
        (Reader::Hyper | Reader::Httparse, InvalidBody::LineEnd) => {
            Some("a bare line feed ends a trailer")
        }
        (Reader::Pingora, InvalidBody::LineEnd) => Some("a bare line feed is in an extension"),
        (Reader::Pingora, InvalidBody::Trailer) => Some("a trailer may be anything"),
        (
            Reader::Pingora | Reader::Httparse,
            InvalidBody::TooManyTrailers | InvalidBody::TrailersTooLong,
        ) => Some("trailers have another bound"),
        (Reader::Hyper, InvalidBody::TooManyTrailers) => {
            Some("trailers of a client have another bound")
        }
        _ => None,
    }
}

/// Compares all readings of one body.
fn compare(body: &[u8]) {
    let client = decode(BodyLength::Chunked, Peer::Client, body);
    let backend = decode(BodyLength::Chunked, Peer::Backend, body);
    if client.is_ok() {
        assert_eq!(backend, client, "{}", body.escape_ascii());
    }
    for reader in READERS {
        let theirs = read_chunked(reader, body);
        for ours in [&client, &backend] {
            match (ours, &theirs) {
                (Ok((data, _)), _) => assert_eq!(
                    Some(data),
                    theirs.as_ref(),
                    "{reader:?}: {}",
                    body.escape_ascii()
                ),
                (Err(_), None) => {}
                (Err(error), Some(_)) => {
                    let difference = permitted_difference(reader, *error);
                    assert!(
                        difference.is_some(),
                        "{reader:?} takes what is {error:?}: {}",
                        body.escape_ascii()
                    );
                }
            }
        }
    }
    // The next message begins where it does for hyper.
    if let Ok((data, used)) = backend {
        let followed = [&body[..used], b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        let expected = vec![
            ("/first".to_owned(), Some(data)),
            ("/next".to_owned(), Some(Vec::new())),
        ];
        assert_eq!(
            run(hyper_server(&followed)),
            expected,
            "{}",
            body.escape_ascii()
        );
    }
}

/// A chunked body by its name, and whether it is taken: by the codec of a client and of a backend;
/// by hyper, by pingora, by httparse.
type Taken = (&'static str, String, [bool; 5]);

const NONE: [bool; 5] = [false; 5];
const ALL: [bool; 5] = [true; 5];
/// What follows the first size.
const END: &str = "hello\r\n0\r\n\r\n";

fn so_many_trailers(count: usize) -> String {
    format!("0\r\n{}\r\n", "A: b\r\n".repeat(count))
}

/// What all take.
fn sound_bodies() -> Vec<Taken> {
    vec![
        ("a chunk", format!("5\r\n{END}"), ALL),
        ("many digits", format!("0000000000000005\r\n{END}"), ALL),
        (
            "extensions",
            format!("5;a ; b = c;d=\"\\\"e\t;\"\r\n{END}"),
            ALL,
        ),
        ("trailers", "0\r\nA: b\r\nC:\r\n\r\n".to_owned(), ALL),
        ("100 trailers", so_many_trailers(100), ALL),
    ]
}

/// Blanks and extensions.
fn strange_extensions() -> Vec<Taken> {
    vec![
        (
            "blanks after a size",
            format!("5 \t\r\n{END}"),
            [false, true, true, true, true],
        ),
        (
            "an extension without a name",
            format!("5;\r\n{END}"),
            [false, true, true, true, true],
        ),
        (
            "blanks after an extension",
            format!("5;a \r\n{END}"),
            [false, true, true, true, true],
        ),
        (
            "a value that is missing",
            format!("5;a=\r\n{END}"),
            [false, true, true, true, true],
        ),
        (
            "an open quote",
            format!("5;a=\"b\r\n{END}"),
            [false, true, true, true, true],
        ),
        (
            "an extension of two words",
            format!("5;a b\r\n{END}"),
            [false, true, true, true, true],
        ),
        (
            "an extension that is not ASCII",
            format!("5;é\r\n{END}"),
            [false, true, true, true, true],
        ),
        (
            "a NUL in an extension",
            format!("5;a\0\r\n{END}"),
            [false, false, true, true, true],
        ),
        (
            "a DEL in an extension",
            format!("5;a=\"\x7f\"\r\n{END}"),
            [false, false, true, true, true],
        ),
        (
            "a bare LF in an extension",
            format!("5;a\nb\r\n{END}"),
            [false, false, false, true, true],
        ),
        (
            "a chunk in an extension",
            format!("5;\n0\r\n\r\n{END}"),
            NONE,
        ),
    ]
}

/// Sizes that are missing, or have more digits than a number of 64 bits.
fn strange_sizes() -> Vec<Taken> {
    vec![
        (
            "no size",
            "\r\n\r\n".to_owned(),
            [false, false, false, true, true],
        ),
        (
            "an extension of no size",
            ";a\r\n\r\n".to_owned(),
            [false, false, false, true, true],
        ),
        (
            "an empty line before a size",
            "5\r\nhello\r\n\r\n0\r\n\r\n".to_owned(),
            [false, false, false, true, false],
        ),
        (
            "17 digits",
            format!("00000000000000005\r\n{END}"),
            [false, false, true, false, false],
        ),
    ]
}

/// Trailers: how many, how long, and which.
fn strange_trailers() -> Vec<Taken> {
    vec![
        (
            "101 trailers",
            so_many_trailers(101),
            [false, true, true, true, true],
        ),
        (
            "257 trailers",
            so_many_trailers(257),
            [false, false, false, true, true],
        ),
        (
            "16 KiB of trailers",
            format!("0\r\nA: {}\r\n\r\n", "b".repeat(16 * 1024)),
            [false, false, false, true, true],
        ),
        (
            "a bare LF after a trailer",
            "0\r\nA: b\n\r\n\r\n".to_owned(),
            [false, false, true, false, true],
        ),
        (
            "a bare LF between trailers",
            "0\r\nA: b\nC: d\r\n\r\n".to_owned(),
            [false, false, false, false, true],
        ),
        (
            "a trailer that is no field",
            "0\r\nno field\r\n\r\n".to_owned(),
            [false, false, false, true, false],
        ),
        (
            "a trailer with a blank before its colon",
            "0\r\nA : b\r\n\r\n".to_owned(),
            [false, false, false, true, false],
        ),
        (
            "a folded trailer",
            "0\r\nA: b\r\n c\r\n\r\n".to_owned(),
            [false, false, false, true, false],
        ),
        (
            "a NUL in a trailer",
            "0\r\nA: \0\r\n\r\n".to_owned(),
            [false, false, false, true, false],
        ),
        (
            "a trailer without a name",
            "0\r\n: b\r\n\r\n".to_owned(),
            [false, false, false, true, false],
        ),
    ]
}

/// What no reader takes.
fn bodies_that_none_take() -> Vec<Taken> {
    vec![
        ("a sign", format!("+5\r\n{END}"), NONE),
        ("a minus", format!("-5\r\n{END}"), NONE),
        ("0x", format!("0x5\r\n{END}"), NONE),
        ("an underscore", format!("0_5\r\n{END}"), NONE),
        ("a blank before a size", format!(" 5\r\n{END}"), NONE),
        ("two sizes", format!("5 5\r\n{END}"), NONE),
        ("2^64", format!("10000000000000005\r\n{END}"), NONE),
        ("2^64 - 1", format!("ffffffffffffffff\r\n{END}"), NONE),
        ("a bare LF after a size", format!("5\n{END}"), NONE),
        ("a bare CR after a size", format!("5\r{END}"), NONE),
        (
            "a bare LF after a chunk",
            "5\r\nhello\n0\r\n\r\n".to_owned(),
            NONE,
        ),
        (
            "a bare CR after a chunk",
            "5\r\nhello\r0\r\n\r\n".to_owned(),
            NONE,
        ),
        (
            "nothing after a chunk",
            "5\r\nhello0\r\n\r\n".to_owned(),
            NONE,
        ),
        (
            "two bytes after a chunk",
            "5\r\nhelloXX0\r\n\r\n".to_owned(),
            NONE,
        ),
        ("a longer chunk", "4\r\nhello\r\n0\r\n\r\n".to_owned(), NONE),
        (
            "a shorter chunk",
            "6\r\nhello\r\n0\r\n\r\n".to_owned(),
            NONE,
        ),
        (
            "a bare CR in trailers",
            "0\r\nA: b\rC: d\r\n\r\n".to_owned(),
            NONE,
        ),
        ("no last chunk", "5\r\nhello\r\n".to_owned(), NONE),
        ("no empty line", "5\r\nhello\r\n0\r\n".to_owned(), NONE),
        (
            "half an empty line",
            "5\r\nhello\r\n0\r\n\r".to_owned(),
            NONE,
        ),
    ]
}

#[test]
fn where_other_readers_take_more_the_difference_has_a_name() {
    let table = [
        sound_bodies(),
        strange_extensions(),
        strange_sizes(),
        strange_trailers(),
        bodies_that_none_take(),
    ]
    .concat();
    assert_eq!(table.len(), 50);
    for (name, body, taken) in table {
        let body = body.as_bytes();
        let ours = [Peer::Client, Peer::Backend]
            .map(|peer| decode(BodyLength::Chunked, peer, body).is_ok());
        let theirs = READERS.map(|reader| read_chunked(reader, body).is_some());
        assert_eq!(
            [ours[0], ours[1], theirs[0], theirs[1], theirs[2]],
            taken,
            "{name}"
        );
        compare(body);
    }
}

#[test]
fn only_extensions_of_a_long_stream_are_taken_where_hyper_takes_none() {
    let body = format!("{}0\r\n\r\n", "1;abc\r\nx\r\n".repeat(6000));
    let data = vec![b'x'; 6000];
    let ours = [Peer::Client, Peer::Backend]
        .map(|peer| decode(BodyLength::Chunked, peer, body.as_bytes()));
    assert_eq!(
        ours,
        [
            Err(InvalidBody::ChunkExtensionsTooLong),
            Ok((data.clone(), body.len()))
        ]
    );
    let theirs = READERS.map(|reader| read_chunked(reader, body.as_bytes()));
    assert_eq!(theirs, [None, Some(data.clone()), Some(data)]);
}

/// Chunked bodies, about half of them sound.
pub(super) fn chunked() -> impl Strategy<Value = Vec<u8>> {
    const BITS: &[&str] = &[
        "\r\n",
        "\n",
        "\r",
        ";",
        ";a",
        ";a=b",
        ";a=\"b\"",
        " ",
        "\t",
        "\"",
        "\\",
        "=",
        "5",
        "0",
        "00000000000000000",
        "A: b\r\n",
        ":",
        "A: b\n",
        "0\r\n\r\n",
        "0\r\n",
        "\0",
        "\x7f",
        "é",
        "-",
        "+",
        "x",
    ];
    const STYLES: &[&str] = &[
        "", "", "", "", ";a", ";a=\"b\"", " ; a = b", " ", ";", ";a b", ";\x01",
    ];
    const ENDS: &[&str] = &[
        "0\r\n\r\n",
        "0\r\n\r\n",
        "00;a\r\n\r\n",
        "0\r\nA: b\r\nC:\td \r\n\r\n",
        "0\r\nno field\r\n\r\n",
        "",
    ];
    let chunk = (
        proptest::collection::vec(any::<u8>(), 1..20),
        proptest::sample::select(STYLES),
    )
        .prop_map(|(data, style)| {
            [
                format!("{:x}{style}\r\n", data.len()).as_bytes(),
                &data,
                b"\r\n",
            ]
            .concat()
        });
    let bit = proptest::sample::select(BITS).prop_map(|bit| bit.as_bytes().to_vec());
    let part = prop_oneof![9 => chunk, 1 => bit];
    let end = proptest::sample::select(ENDS).prop_map(|end| end.as_bytes().to_vec());
    let tail = proptest::option::weighted(
        0.1,
        proptest::sample::select(BITS).prop_map(|bit| bit.as_bytes().to_vec()),
    );
    (proptest::collection::vec(part, 0..5), end, tail)
        .prop_map(|(parts, end, tail)| [parts.concat(), tail.unwrap_or_default(), end].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_bodies_have_one_reading(body in chunked()) {
        compare(&body);
    }
}
