//! A peer that reads nothing stops nothing but its own stream: clients that take no answer over
//! connections to a backend that they share with others, and a backend that takes no upload of a
//! client that sends others beside it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::{
    byte_backend::{Answers, ByteBackend},
    http2::{self, Http2},
    menshen::Setup,
    wire::Client,
};

/// More clients than the connection of a backend has streams for, were its window that of 16 of
/// them.
const READERS: usize = 90;
/// Much more than what the buffers of a connection hold.
const LARGE: usize = 8 << 20;

/// A backend of HTTP/2 that answers `/open/large` with [`LARGE`] bytes and all else with `ok`. How
/// many large answers are begun is counted.
fn backend(begun: Arc<AtomicUsize>) -> (SocketAddr, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let begun = begun.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else {
                    return;
                };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let large = request.uri().path() == "/open/large";
                    let begun = begun.clone();
                    tokio::spawn(async move {
                        let Ok(mut stream) = respond.send_response(http::Response::new(()), false)
                        else {
                            return;
                        };
                        let body = if large {
                            Bytes::from(vec![b'x'; LARGE])
                        } else {
                            Bytes::from_static(b"ok")
                        };
                        drop(stream.send_data(body, true));
                        begun.fetch_add(usize::from(large), Ordering::AcqRel);
                        // Alive until its stream is over.
                        drop(std::future::poll_fn(|cx| stream.poll_reset(cx)).await);
                    });
                }
            });
        }
    });
    (address, runtime)
}

#[test]
fn clients_that_read_nothing_hold_up_no_other_answer() {
    let begun = Arc::new(AtomicUsize::new(0));
    let (address, _runtime) = backend(begun.clone());
    let config = format!(
        "[upstream]\nurls = [\"http://{address}\"]\nprotocol = \"http2\"\n\
         [server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true\n\
         [[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\""
    );
    let menshen = Setup::before(address).with(&config).start();
    // Half of them over HTTP/1.1, half over HTTP/2, where the window is the client's.
    let mut readers = Vec::new();
    for _ in 0..READERS / 2 {
        let mut client = Client::connect(menshen.http);
        set_socket_recv_buffer_size(client.stream().get_ref(), 4096).expect("a socket option");
        client.send("GET /open/large HTTP/1.1\r\nHost: h\r\n\r\n");
        readers.push(client);
    }
    let http2 = Http2::connect(menshen.http);
    let unread: Vec<_> = http2.runtime.block_on(http2::within(async {
        let mut unread = Vec::new();
        for _ in 0..READERS / 2 {
            let mut send = http2.send.clone().ready().await.expect("a stream");
            let (answer, _) = send
                .send_request(http2::request("GET", "http://h/open/large", &[]), true)
                .expect("a stream");
            unread.push(answer.await.expect("an answer"));
        }
        unread
    }));
    // Each has begun, and what the windows take has come.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while begun.load(Ordering::Acquire) < READERS {
        assert!(
            std::time::Instant::now() < end,
            "only {} have begun",
            begun.load(Ordering::Acquire)
        );
        std::thread::yield_now();
    }
    for _ in 0..20 {
        let answer = menshen.get("/open/small", &[]);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"ok"[..]));
    }
    drop((readers, unread));
}

#[test]
fn uploads_that_the_backend_does_not_take_hold_up_no_other_on_their_connection() {
    let backend = ByteBackend::start(Answers {
        reads: |target| target != "/open/stuck",
        ..Answers::default()
    });
    let config = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"100ms\"\nh2c = true\n\
                  [[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address).with(config).start();
    let client = Http2::connect(menshen.http);
    let stuck: Vec<_> = client.runtime.block_on(http2::within(async {
        let mut stuck = Vec::new();
        for _ in 0..20 {
            let mut send = client.send.clone().ready().await.expect("a stream");
            let (answer, mut stream) = send
                .send_request(http2::request("POST", "http://h/open/stuck", &[]), false)
                .expect("a stream");
            stream
                .send_data(Bytes::from(vec![b'x'; LARGE]), false)
                .expect("frames");
            stuck.push((answer, stream));
        }
        stuck
    }));
    for _ in 0..100 {
        let answer = client
            .ask(http2::request("POST", "http://h/open/other", &[]), b"hello")
            .expect("an answer");
        assert_eq!(
            (answer.status, &answer.body[..]),
            (200, &b"/open/other"[..])
        );
    }
    drop(stuck);
}
