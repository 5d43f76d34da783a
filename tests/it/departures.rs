//! On each side somebody leaves in the middle: the other side hears of it, all that the exchange
//! held is given back, a connection to the backend that was cut is not used again, and the next
//! request is served.
//!
//! menshen's own timeouts are an hour here, so only that it has noticed can end anything.
//!
//! What HTTP/1.1 cannot tell: the end of a client's bytes is what a client sends that has gone, and
//! one that has said all and listens (RFC 9112 section 9.6). After a whole request it is taken for
//! the former; within one it is found when the bytes before it are read. A reset is found at once.

use std::sync::Arc;

use bytes::Bytes;
use h2::Reason;
use tokio::task::JoinHandle;

use super::{
    endpoints::{
        Answer, BodyLength, BodyReader, BodyWriter, Broken, ClientEnd, Exchange, Leave, Pair,
        Pending, Protocol, Responder, for_each_pair, runtime, within,
    },
    patterns::{Pace, Pattern, read_body, write_body},
};

/// More than all the buffers and windows between the two ends: of sockets they are 33 MiB each, if
/// the system likes.
const ENDLESS: usize = 128 << 20;
pub(super) const UP: Pattern = Pattern::of_body(3);
pub(super) const DOWN: Pattern = Pattern::of_body(4);

pub(super) const REQUESTS: &str = "menshen_requests_in_flight";
const CONNECTIONS: &str = "menshen_connections ";
pub(super) const STREAMS: &str = "menshen_streams_open{";

/// How somebody leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    /// As the socket of a process that has ended.
    Close,
    Reset,
    /// Of the stream alone.
    Stream,
    /// GOAWAY, and the end of the connection.
    GoAway,
}

use Departure::{Close, GoAway, Reset, Stream};

/// Departures of a client that are found whatever is not read yet.
const fn of_client(protocol: Protocol) -> &'static [Departure] {
    match protocol {
        Protocol::Http1 => &[Reset],
        Protocol::Http2 => &[Stream, Close, Reset],
    }
}

const fn of_backend(protocol: Protocol) -> &'static [Departure] {
    match protocol {
        Protocol::Http1 => &[Close, Reset],
        Protocol::Http2 => &[Stream, Close, Reset, GoAway],
    }
}

impl Departure {
    /// A client leaves. Its `stream` is all that it has of it: dropped, it is reset.
    pub(super) fn client<S>(self, client: &ClientEnd, stream: S) {
        match self {
            Close => client.socket.close(),
            Reset => client.socket.reset(),
            Stream => {}
            GoAway => unreachable!("no departure of a client"),
        }
        drop(stream);
    }

    /// A backend leaves whose answer has begun.
    pub(super) fn backend(self, writer: &mut BodyWriter, leave: &Leave) {
        match self {
            Close => leave.socket.close(),
            Reset => leave.socket.reset(),
            Stream => writer.reset(Reason::INTERNAL_ERROR),
            GoAway => leave.go_away(Reason::INTERNAL_ERROR),
        }
    }

    /// A backend leaves that has not answered.
    fn backend_unanswered(self, exchange: &mut Exchange) {
        match self {
            Close => exchange.leave.socket.close(),
            Reset => exchange.leave.socket.reset(),
            Stream => exchange.respond.reset(Reason::INTERNAL_ERROR),
            GoAway => exchange.leave.go_away(Reason::INTERNAL_ERROR),
        }
    }
}

/// Waits until whoever writes this goes on no more: so many scrapes of the metrics have seen the
/// same.
async fn until_blocked(pair: &Pair, pace: &Pace) {
    let (mut seen, mut same) = (usize::MAX, 0);
    while same < 30 {
        tokio::task::block_in_place(|| pair.menshen.metrics());
        tokio::task::yield_now().await;
        let now = pace.done();
        same = if now == seen { same + 1 } else { 0 };
        seen = now;
    }
    assert!(seen < ENDLESS, "{}: the buffers hold all of it", pair.name);
}

/// A body that is written until nobody takes any more of it.
pub(super) struct Blocked(JoinHandle<(Result<(), Broken>, BodyWriter)>);

impl Blocked {
    pub(super) async fn write(pair: &Pair, mut writer: BodyWriter, pattern: Pattern) -> Self {
        let pace = Pace::free();
        let written = pace.clone();
        let writing = tokio::spawn(async move {
            let end = write_body(&mut writer, pattern, ENDLESS, &written).await;
            (end, writer)
        });
        until_blocked(pair, &pace).await;
        Self(writing)
    }

    /// Its writer is told that nobody wants it.
    pub(super) async fn refused(self, name: &str) {
        let (end, _) = within(name, self.0).await.expect("no panic");
        assert!(end.is_err(), "{name}: all of it was taken");
    }

    /// Takes the writer away.
    async fn abandon(self) {
        self.0.abort();
        // What it held is dropped when it has ended.
        drop(self.0.await);
    }
}

/// The exchange has left nothing behind, and the next one is served, on another connection where
/// the one before was cut.
pub(super) async fn nothing_is_left(
    pair: &Pair,
    name: &str,
    client: ClientEnd,
    cut: Option<usize>,
) {
    drop(client);
    pair.wait_for_zero(name, &[REQUESTS, STREAMS, CONNECTIONS]);
    let client = pair.connect().await;
    let connection = pair.serves_on(&client).await;
    assert!(
        cut != Some(connection),
        "{name}: the connection that was cut is used again"
    );
    drop(client);
    pair.wait_for_zero(name, &[REQUESTS, STREAMS, CONNECTIONS]);
}

/// The connection of an exchange, where that ends with it.
fn cut_of(pair: &Pair, exchange: &Exchange) -> Option<usize> {
    (pair.backend.protocol == Protocol::Http1).then_some(exchange.connection)
}

fn name_of(pair: &Pair, departure: Departure) -> String {
    format!("{}, {departure:?}", pair.name)
}

async fn begin(
    pair: &Pair,
    client: &ClientEnd,
    method: &str,
    body: BodyLength,
) -> (BodyWriter, Pending, Exchange) {
    let (writer, answer) = client.send(method, "/open/left", &[], body).await;
    let exchange = pair.backend.next().await;
    assert_eq!(exchange.target, "/open/left", "{}", pair.name);
    (writer, answer, exchange)
}

pub(super) async fn head(name: &str, answer: Pending) -> Answer {
    let answer = within(&format!("{name}: the answer"), answer.head()).await;
    answer.unwrap_or_else(|broken| panic!("{name}: {broken:?}"))
}

async fn is_broken(name: &str, body: &mut BodyReader) {
    let end = within(&format!("{name}: the end"), body.rest()).await;
    assert!(end.is_err(), "{name}: it looks whole");
}

#[test]
fn a_client_that_leaves_an_upload_which_the_backend_does_not_read_is_noticed() {
    for framed in [BodyLength::Unknown, BodyLength::Known(ENDLESS)] {
        for_each_pair(async |pair| {
            for departure in of_client(pair.client) {
                let name = format!("{}, {framed:?}", name_of(pair, *departure));
                let client = pair.connect().await;
                let (writer, answer, mut exchange) = begin(pair, &client, "POST", framed).await;
                let upload = Blocked::write(pair, writer, UP).await;
                if *departure == Stream {
                    drop(answer);
                    upload.abandon().await;
                } else {
                    departure.client(&client, answer);
                    upload.refused(&name).await;
                }
                // The backend has not read anything yet.
                pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
                if pair.backend.protocol == Protocol::Http2 {
                    within(&name, exchange.respond.peer_gone()).await;
                }
                is_broken(&name, &mut exchange.body).await;
                let cut = cut_of(pair, &exchange);
                drop(exchange);
                nothing_is_left(pair, &name, client, cut).await;
            }
        });
    }
}

/// The end of its bytes is behind the others, so it is found when those are read.
#[test]
fn a_client_of_http1_that_closes_in_the_middle_of_an_upload_leaves_a_broken_message() {
    for framed in [BodyLength::Unknown, BodyLength::Known(ENDLESS)] {
        for_each_pair(async |pair| {
            if pair.client != Protocol::Http1 {
                return;
            }
            let name = format!("{}, {framed:?}", pair.name);
            let client = pair.connect().await;
            let (writer, answer, mut exchange) = begin(pair, &client, "POST", framed).await;
            let upload = Blocked::write(pair, writer, UP).await;
            upload.abandon().await;
            Close.client(&client, answer);
            is_broken(&name, &mut exchange.body).await;
            let cut = cut_of(pair, &exchange);
            drop(exchange);
            nothing_is_left(pair, &name, client, cut).await;
        });
    }
}

#[test]
fn a_client_that_leaves_an_answer_which_it_does_not_read_is_noticed() {
    for uploading in [false, true] {
        for_each_pair(async |pair| {
            let departures = if pair.client == Protocol::Http1 {
                &[Close, Reset]
            } else {
                of_client(pair.client)
            };
            for departure in departures {
                let name = format!("{}, uploading: {uploading}", name_of(pair, *departure));
                let client = pair.connect().await;
                let framed = if uploading {
                    BodyLength::Unknown
                } else {
                    BodyLength::None
                };
                let (up, answer, exchange) = begin(pair, &client, "POST", framed).await;
                let cut = cut_of(pair, &exchange);
                let Exchange {
                    mut body,
                    respond,
                    leave: _leave,
                    ..
                } = exchange;
                let writer = respond
                    .respond(200, &[], BodyLength::Unknown)
                    .await
                    .expect("an answer");
                let answer = head(&name, answer).await;
                let download = Blocked::write(pair, writer, DOWN).await;
                departure.client(&client, (up, answer));
                download.refused(&name).await;
                if uploading {
                    is_broken(&name, &mut body).await;
                }
                drop(body);
                pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
                nothing_is_left(pair, &name, client, cut).await;
            }
        });
    }
}

/// Where an exchange is when somebody leaves it in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// The backend has not answered.
    BeforeTheAnswer,
    /// An event has come, and another may.
    BetweenEvents,
    /// Some of an answer has come, whose length is known.
    WithinAnAnswer,
}

const SILENCES: [Silence; 3] = [
    Silence::BeforeTheAnswer,
    Silence::BetweenEvents,
    Silence::WithinAnAnswer,
];

impl Silence {
    /// The answer up to where it stops.
    async fn begin(self, name: &str, exchange: Exchange, answer: Pending) -> Silent {
        let Exchange {
            body,
            respond,
            leave,
            ..
        } = exchange;
        let (fields, framed): (&[_], _) = match self {
            Self::BeforeTheAnswer => return Silent::Unanswered(respond, body, answer),
            Self::BetweenEvents => (
                &[("content-type", "text/event-stream")],
                BodyLength::Unknown,
            ),
            Self::WithinAnAnswer => (&[], BodyLength::Known(1000)),
        };
        let mut writer = respond
            .respond(200, fields, framed)
            .await
            .expect("an answer");
        writer
            .write(Bytes::from_static(b"data: 1\n\n"))
            .await
            .expect("an open connection");
        let mut answer = head(name, answer).await;
        let mut event = Vec::new();
        while event.len() < 9 {
            event.extend(
                within(name, answer.body.part())
                    .await
                    .expect("a part")
                    .expect("more"),
            );
        }
        assert_eq!(event, b"data: 1\n\n", "{name}");
        Silent::Answering(writer, body, answer, leave)
    }
}

/// Both ends of an exchange that goes on in silence.
#[expect(clippy::large_enum_variant, reason = "one of them at a time")]
enum Silent {
    Unanswered(Responder, BodyReader, Pending),
    Answering(BodyWriter, BodyReader, Answer, Leave),
}

#[test]
fn a_client_that_leaves_in_silence_takes_its_request_with_it() {
    for silence in SILENCES {
        for_each_pair(async |pair| {
            let departures = if pair.client == Protocol::Http1 {
                &[Close, Reset]
            } else {
                of_client(pair.client)
            };
            for departure in departures {
                let name = format!("{}, {silence:?}", name_of(pair, *departure));
                let client = pair.connect().await;
                let (writer, answer, exchange) =
                    begin(pair, &client, "GET", BodyLength::None).await;
                let cut = cut_of(pair, &exchange);
                match silence.begin(&name, exchange, answer).await {
                    Silent::Unanswered(mut respond, body, answer) => {
                        departure.client(&client, (writer, answer));
                        within(&name, respond.peer_gone()).await;
                        drop(body);
                    }
                    Silent::Answering(mut at_backend, body, answer, _leave) => {
                        departure.client(&client, (writer, answer));
                        within(&name, at_backend.peer_gone()).await;
                        drop(body);
                    }
                }
                pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
                nothing_is_left(pair, &name, client, cut).await;
            }
        });
    }
}

/// A client of HTTP/1.1 that has gone in peace is found when the next event does not reach it, at
/// the latest.
#[test]
fn a_client_that_closes_an_event_stream_gets_no_more_events() {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        let (writer, answer, exchange) = begin(pair, &client, "GET", BodyLength::None).await;
        let cut = cut_of(pair, &exchange);
        let Silent::Answering(mut events, body, answer, _leave) = Silence::BetweenEvents
            .begin(&pair.name, exchange, answer)
            .await
        else {
            panic!("it is answered")
        };
        Close.client(&client, (writer, answer));
        within(&pair.name, async {
            while events
                .write(Bytes::from_static(b"data: 2\n\n"))
                .await
                .is_ok()
            {}
        })
        .await;
        drop((events, body));
        pair.wait_for_zero(&pair.name, &[REQUESTS, STREAMS]);
        nothing_is_left(pair, &pair.name, client, cut).await;
    });
}

#[test]
fn a_backend_that_leaves_an_upload_which_it_does_not_read_is_noticed() {
    for_each_pair(async |pair| {
        for departure in of_backend(pair.backend.protocol) {
            let name = name_of(pair, *departure);
            let client = pair.connect().await;
            let (writer, answer, mut exchange) =
                begin(pair, &client, "POST", BodyLength::Unknown).await;
            let upload = Blocked::write(pair, writer, UP).await;
            departure.backend_unanswered(&mut exchange);
            let answer = head(&name, answer).await;
            assert_eq!(answer.status, 502, "{name}");
            let code = answer
                .fields
                .get("x-menshen-error")
                .map(http::HeaderValue::as_bytes);
            assert_eq!(code, Some(&b"upstream_unavailable"[..]), "{name}");
            let cut = (*departure != Stream).then_some(exchange.connection);
            drop((answer, exchange));
            upload.abandon().await;
            pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
            nothing_is_left(pair, &name, client, cut).await;
        }
    });
}

#[test]
fn a_backend_that_leaves_an_answer_which_the_client_does_not_read_is_noticed() {
    for framed in [BodyLength::Unknown, BodyLength::Known(ENDLESS)] {
        for_each_pair(async |pair| {
            for departure in of_backend(pair.backend.protocol) {
                let name = format!("{}, {framed:?}", name_of(pair, *departure));
                let client = pair.connect().await;
                let (_, answer, exchange) = begin(pair, &client, "GET", BodyLength::None).await;
                let cut = (*departure != Stream).then_some(exchange.connection);
                let Exchange {
                    body,
                    respond,
                    leave,
                    ..
                } = exchange;
                // The library resets a stream of which nothing is held any more.
                drop(body);
                let writer = respond.respond(200, &[], framed).await.expect("an answer");
                let mut answer = head(&name, answer).await;
                let download = Blocked::write(pair, writer, DOWN).await;
                match departure {
                    Close => leave.socket.close(),
                    Reset => leave.socket.reset(),
                    Stream => {}
                    GoAway => leave.go_away(Reason::INTERNAL_ERROR),
                }
                download.abandon().await;
                // As far as it has come it is what was sent, and it never looks whole.
                let read = within(
                    &name,
                    read_body(&mut answer.body, DOWN, ENDLESS, &Pace::free()),
                )
                .await;
                assert!(read.is_err(), "{name}: it looks whole");
                drop(answer);
                pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
                nothing_is_left(pair, &name, client, cut).await;
            }
        });
    }
}

#[test]
fn a_backend_that_leaves_in_silence_ends_the_answer() {
    for silence in SILENCES {
        for_each_pair(async |pair| {
            for departure in of_backend(pair.backend.protocol) {
                let name = format!("{}, {silence:?}", name_of(pair, *departure));
                let client = pair.connect().await;
                let (_, answer, mut exchange) = begin(pair, &client, "GET", BodyLength::None).await;
                let cut = (*departure != Stream).then_some(exchange.connection);
                if silence == Silence::BeforeTheAnswer {
                    departure.backend_unanswered(&mut exchange);
                    assert_eq!(head(&name, answer).await.status, 502, "{name}");
                } else {
                    let Silent::Answering(mut writer, _body, mut answer, leave) =
                        silence.begin(&name, exchange, answer).await
                    else {
                        panic!("it is answered")
                    };
                    departure.backend(&mut writer, &leave);
                    is_broken(&name, &mut answer.body).await;
                }
                pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
                nothing_is_left(pair, &name, client, cut).await;
            }
        });
    }
}

#[test]
fn a_goaway_in_the_middle_of_an_answer_lets_it_come_to_its_end() {
    for_each_pair(async |pair| {
        if pair.backend.protocol != Protocol::Http2 {
            return;
        }
        let client = pair.connect().await;
        let (mut up, answer, mut exchange) =
            begin(pair, &client, "POST", BodyLength::Unknown).await;
        let mut down = exchange
            .respond
            .respond(200, &[], BodyLength::Unknown)
            .await
            .expect("an answer");
        down.write(Bytes::from_static(b"begun"))
            .await
            .expect("an open stream");
        let mut answer = head(&pair.name, answer).await;
        exchange.leave.go_away_in_peace().await;
        down.write(Bytes::from_static(b", gone on"))
            .await
            .expect("an open stream");
        let mut text = String::new();
        while !text.ends_with("gone on") {
            let part = answer.body.part().await.expect("a part").expect("more");
            text.push_str(std::str::from_utf8(&part).expect("text"));
        }
        // Another connection carries the next one while this goes on.
        let other = pair.connect().await;
        assert_ne!(
            pair.serves_on(&other).await,
            exchange.connection,
            "{}",
            pair.name
        );
        up.write(Bytes::from_static(b"all"))
            .await
            .expect("an open connection");
        up.finish().await.expect("an open connection");
        assert_eq!(
            exchange.body.text().await.expect("the whole request"),
            "all"
        );
        down.write(Bytes::from_static(b" and ended"))
            .await
            .expect("an open stream");
        down.finish().await.expect("an open stream");
        text.push_str(&answer.body.text().await.expect("the whole answer"));
        assert_eq!(text, "begun, gone on and ended", "{}", pair.name);
        drop((other, up, down, answer));
        nothing_is_left(pair, &pair.name, client, Some(exchange.connection)).await;
    });
}

/// A bidirectional call of gRPC in silence, after a message each way.
struct Call {
    up: BodyWriter,
    up_at_service: BodyReader,
    down: BodyWriter,
    answer: Answer,
    leave: Leave,
    connection: usize,
}

impl Call {
    async fn open(pair: &Pair, client: &ClientEnd) -> Self {
        let fields = [("content-type", "application/grpc"), ("te", "trailers")];
        let (mut up, answer) = client
            .send("POST", "/open/left", &fields, BodyLength::Unknown)
            .await;
        let Exchange {
            mut body,
            respond,
            leave,
            connection,
            ..
        } = pair.backend.next().await;
        let message = Bytes::from_static(b"\0\0\0\0\x05hello");
        up.write(message.clone()).await.expect("an open stream");
        assert_eq!(
            body.part().await.expect("a message").as_ref(),
            Some(&message)
        );
        let mut down = respond
            .respond(200, &fields[..1], BodyLength::Unknown)
            .await
            .expect("an open stream");
        down.write(message.clone()).await.expect("an open stream");
        let mut answer = head(&pair.name, answer).await;
        assert_eq!(
            answer.body.part().await.expect("a message").as_ref(),
            Some(&message)
        );
        Self {
            up,
            up_at_service: body,
            down,
            answer,
            leave,
            connection,
        }
    }
}

#[test]
fn somebody_who_leaves_a_call_of_grpc_is_noticed_by_the_other() {
    let runtime = runtime();
    runtime.block_on(async {
        let pair = &Pair::start(Protocol::Http2, Protocol::Http2);
        for departure in of_client(Protocol::Http2) {
            let name = format!("the client, {}", name_of(pair, *departure));
            let client = pair.connect().await;
            let mut call = Call::open(pair, &client).await;
            departure.client(&client, (call.up, call.answer));
            within(&name, call.down.peer_gone()).await;
            is_broken(&name, &mut call.up_at_service).await;
            pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
            nothing_is_left(pair, &name, client, None).await;
        }
        for departure in of_backend(Protocol::Http2) {
            let name = format!("the service, {}", name_of(pair, *departure));
            let client = pair.connect().await;
            let mut call = Call::open(pair, &client).await;
            let cut = (*departure != Stream).then_some(call.connection);
            departure.backend(&mut call.down, &call.leave);
            is_broken(&name, &mut call.answer.body).await;
            within(&name, call.up.peer_gone()).await;
            drop(call);
            pair.wait_for_zero(&name, &[REQUESTS, STREAMS]);
            nothing_is_left(pair, &name, client, cut).await;
        }
    });
}

/// The streams of one connection in every state.
#[test]
fn a_connection_of_http2_that_ends_takes_all_its_requests_with_it() {
    for backend in [Protocol::Http1, Protocol::Http2] {
        for departure in [Close, Reset] {
            let runtime = runtime();
            runtime.block_on(async {
                let pair = &Pair::start(Protocol::Http2, backend);
                let name = name_of(pair, departure);
                let client = Arc::new(pair.connect().await);
                let (writer, unread, mut waiting) =
                    begin(pair, &client, "POST", BodyLength::Unknown).await;
                let upload = Blocked::write(pair, writer, UP).await;
                let (_, download, exchange) = begin(pair, &client, "GET", BodyLength::None).await;
                let writer = exchange
                    .respond
                    .respond(200, &[], BodyLength::Unknown)
                    .await
                    .expect("an answer");
                let download = head(&name, download).await;
                let blocked = Blocked::write(pair, writer, DOWN).await;
                let (_, silent, unanswered) = begin(pair, &client, "GET", BodyLength::None).await;
                let (_, events, exchange) = begin(pair, &client, "GET", BodyLength::None).await;
                let between = Silence::BetweenEvents.begin(&name, exchange, events).await;
                departure.client(&client, (unread, download, silent));
                blocked.refused(&name).await;
                upload.refused(&name).await;
                is_broken(&name, &mut waiting.body).await;
                let Exchange { mut respond, .. } = unanswered;
                within(&name, respond.peer_gone()).await;
                let Silent::Answering(mut writer, ..) = between else {
                    panic!("it is answered")
                };
                within(&name, writer.peer_gone()).await;
                pair.wait_for_zero(&name, &[REQUESTS, STREAMS, CONNECTIONS]);
            });
        }
    }
}
