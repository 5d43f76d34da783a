//! One side leaves a WebSocket: the other side hears of it, whatever of the two ways was blocked,
//! and all that the tunnel held is given back.
//!
//! Of `departures.rs` it has the promise and the means.

use super::{
    departures::{
        Blocked, DOWN,
        Departure::{Close, Reset},
        REQUESTS, STREAMS, UP, head, nothing_is_left,
    },
    endpoints::{
        BodyLength, BodyReader, BodyWriter, ClientEnd, Exchange, Leave, Pair, Protocol, runtime,
        within,
    },
};

const HANDSHAKE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// The four ends of a WebSocket.
struct WebSocket {
    client: ClientEnd,
    up: BodyWriter,
    up_at_backend: BodyReader,
    down: BodyWriter,
    down_at_client: BodyReader,
    leave: Leave,
    connection: usize,
}

impl WebSocket {
    async fn open(pair: &Pair) -> Self {
        let client = pair.connect().await;
        let (up, answer) = client
            .send("GET", "/open/left", &HANDSHAKE, BodyLength::None)
            .await;
        let Exchange {
            body,
            respond,
            leave,
            connection,
            ..
        } = pair.backend.next().await;
        let agreed = [HANDSHAKE[0], HANDSHAKE[1], ("Sec-WebSocket-Accept", "x")];
        let down = respond
            .respond(101, &agreed, BodyLength::None)
            .await
            .expect("an answer");
        let answer = head("a handshake", answer).await;
        assert_eq!(answer.status, 101);
        Self {
            client,
            up,
            up_at_backend: body,
            down,
            down_at_client: answer.body,
            leave,
            connection,
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a closure is written where it is used"
)]
fn with_websockets(test: impl AsyncFn(&Pair)) {
    let runtime = runtime();
    runtime.block_on(async {
        let pair = Pair::start(Protocol::Http1, Protocol::Http1);
        within("a WebSocket", test(&pair)).await;
    });
}

/// It comes to its end, in peace or not.
async fn ends(name: &str, body: &mut BodyReader) {
    drop(within(&format!("{name}: the end"), body.rest()).await);
}

#[test]
fn somebody_who_leaves_a_websocket_is_noticed_by_the_other() {
    with_websockets(async |pair| {
        for departure in [Close, Reset] {
            let name = format!("the client, {departure:?}");
            let mut socket = WebSocket::open(pair).await;
            departure.client(&socket.client, (socket.up, socket.down_at_client));
            ends(&name, &mut socket.up_at_backend).await;
            // A backend that has heard the last word ends it.
            socket.leave.socket.close();
            pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
            nothing_is_left(pair, &name, socket.client, Some(socket.connection)).await;
        }
        for departure in [Close, Reset] {
            let name = format!("the backend, {departure:?}");
            let mut socket = WebSocket::open(pair).await;
            departure.backend(&mut socket.down, &socket.leave);
            ends(&name, &mut socket.down_at_client).await;
            socket.client.socket.close();
            pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
            nothing_is_left(pair, &name, socket.client, Some(socket.connection)).await;
        }
    });
}

#[test]
fn a_client_that_leaves_a_websocket_which_the_backend_does_not_read_is_noticed() {
    with_websockets(async |pair| {
        let socket = WebSocket::open(pair).await;
        let upload = Blocked::write(pair, socket.up, UP).await;
        Reset.client(&socket.client, socket.down_at_client);
        upload.refused("the client").await;
        pair.wait_for_zero("the client", &[REQUESTS, STREAMS]);
        drop((socket.up_at_backend, socket.down, socket.leave));
        nothing_is_left(pair, "the client", socket.client, Some(socket.connection)).await;
    });
}

#[test]
fn a_backend_that_leaves_a_websocket_which_the_client_does_not_read_is_noticed() {
    with_websockets(async |pair| {
        let mut socket = WebSocket::open(pair).await;
        let download = Blocked::write(pair, socket.down, DOWN).await;
        socket.leave.socket.reset();
        download.refused("the backend").await;
        ends("the backend", &mut socket.down_at_client).await;
        pair.wait_for_zero("the backend", &[REQUESTS, STREAMS]);
        nothing_is_left(pair, "the backend", socket.client, Some(socket.connection)).await;
    });
}

#[test]
fn either_side_that_leaves_a_websocket_of_which_the_other_writes_is_noticed() {
    with_websockets(async |pair| {
        for departure in [Close, Reset] {
            let name = format!("the client, {departure:?}");
            let socket = WebSocket::open(pair).await;
            let download = Blocked::write(pair, socket.down, DOWN).await;
            departure.client(&socket.client, (socket.up, socket.down_at_client));
            download.refused(&name).await;
            drop((socket.up_at_backend, socket.leave));
            pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
            nothing_is_left(pair, &name, socket.client, Some(socket.connection)).await;
        }
        for departure in [Close, Reset] {
            let name = format!("the backend, {departure:?}");
            let mut socket = WebSocket::open(pair).await;
            let upload = Blocked::write(pair, socket.up, UP).await;
            departure.backend(&mut socket.down, &socket.leave);
            upload.refused(&name).await;
            drop(socket.down_at_client);
            nothing_is_left(pair, &name, socket.client, Some(socket.connection)).await;
        }
    });
}
