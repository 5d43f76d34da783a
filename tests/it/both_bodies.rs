//! Both bodies at once: whatever the sizes, the protocols and the pace of each side, the request's
//! body goes up while the answer's comes down, and neither waits for the other.
//!
//! menshen's own timeouts are an hour here, so nothing ends because menshen has lost its patience.

use bytes::Bytes;
use tokio::{sync::Semaphore, task::JoinHandle};

use super::{
    endpoints::{
        Answer, BodyLength, BodyReader, BodyWriter, Broken, ClientEnd, Exchange, Pair, Pending,
        Protocol, for_each_pair, runtime, within,
    },
    patterns::{Pace, Pattern, TOKEN, read_body, read_part, write_body, write_part},
};

/// More than the buffers and windows between the two ends, as far as they grow where all goes on.
const LARGE: usize = 24 << 20;
/// More than all of them: of sockets they are 33 MiB each, if the system likes.
const HUGE: usize = 80 << 20;

/// The bodies of one exchange.
const UP: Pattern = Pattern::of_body(1);
const DOWN: Pattern = Pattern::of_body(2);

impl Pair {
    /// A request whose head is at the backend.
    async fn begin(
        &self,
        client: &ClientEnd,
        method: &str,
        fields: &[(&str, &str)],
        body: BodyLength,
    ) -> (BodyWriter, Pending, Exchange) {
        let (writer, answer) = client.send(method, "/open/both", fields, body).await;
        let exchange = self.backend.next().await;
        assert_eq!(
            (exchange.method.as_str(), exchange.target.as_str()),
            (method, "/open/both"),
            "{}",
            self.name
        );
        (writer, answer, exchange)
    }

    /// A request with a body of unknown length, whose answer's body has begun.
    async fn open(&self, client: &ClientEnd, fields: &[(&str, &str)]) -> Open {
        let (up, answer, exchange) = self
            .begin(client, "POST", fields, BodyLength::Unknown)
            .await;
        let kind: Vec<_> = fields
            .iter()
            .copied()
            .filter(|(name, _)| *name == "content-type")
            .collect();
        let down = exchange
            .respond
            .respond(200, &kind, BodyLength::Unknown)
            .await
            .expect("an answer");
        let answer = self.head(answer).await;
        Open {
            up,
            up_at_backend: exchange.body,
            down,
            answer,
        }
    }

    async fn head(&self, answer: Pending) -> Answer {
        let answer = within("the head of the answer", answer.head()).await;
        let answer = answer.unwrap_or_else(|broken| panic!("{}: {broken:?}", self.name));
        assert_eq!(answer.status, 200, "{}", self.name);
        answer
    }
}

/// Both bodies, with the four ends of them.
struct Open {
    up: BodyWriter,
    up_at_backend: BodyReader,
    down: BodyWriter,
    answer: Answer,
}

/// Parts of every kind of size, some larger than a frame, a window and a buffer.
const PARTS: [usize; 12] = [
    1, 2, 1000, 4096, 16_384, 16_385, 65_535, 65_536, 70_000, 131_072, 300_000, 1_000_000,
];

#[test]
fn each_part_is_echoed_before_the_next_is_sent() {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        let Open {
            mut up,
            mut up_at_backend,
            mut down,
            mut answer,
        } = pair.open(&client, &[]).await;
        let backend = tokio::spawn(async move {
            while let Some(part) = up_at_backend.part().await.expect("a part") {
                down.write(part).await.expect("an open connection");
            }
            down.finish().await.expect("an open connection");
        });
        let (mut sent, mut echoed) = (UP, UP);
        for size in [PARTS, PARTS].concat() {
            let (pace, mut left) = (Pace::free(), size);
            let writing = write_part(&mut up, &mut sent, size, &pace);
            let reading = async {
                while left > 0 {
                    let part = answer
                        .body
                        .part()
                        .await
                        .expect("a part")
                        .expect("more of the body");
                    echoed.check(&part);
                    left -= part.len();
                }
            };
            let (written, ()) = tokio::join!(writing, reading);
            written.expect("an open connection");
        }
        up.finish().await.expect("an open connection");
        assert_eq!(answer.body.rest().await.expect("the end"), 0);
        backend.await.expect("the whole request");
        pair.serves_on(&client).await;
    });
}

/// Both bodies at once and to their ends, through a backend that answers each part with what
/// `filter` makes of it before it reads the next: `req.pipe(res)` of Node.
async fn pipe(
    pair: &Pair,
    client: &ClientEnd,
    length: usize,
    framed: BodyLength,
    filter: fn(&Bytes) -> usize,
) {
    let (mut up, answer, exchange) = pair.begin(client, "POST", &[], framed).await;
    let Exchange {
        mut body, respond, ..
    } = exchange;
    // What an echo writes is as long as what it reads.
    let mut down = respond.respond(200, &[], framed).await.expect("an answer");
    let backend = tokio::spawn(async move {
        let (mut received, mut sent, mut answered) = (UP, DOWN, 0);
        while let Some(part) = body.part().await.expect("a part of the request") {
            received.check(&part);
            let size = filter(&part);
            write_part(&mut down, &mut sent, size, &Pace::free())
                .await
                .expect("an open connection");
            answered += size;
        }
        down.finish().await.expect("an open connection");
        answered
    });
    let client = tokio::spawn(async move { write_body(&mut up, UP, length, &Pace::free()).await });
    let mut answer = pair.head(answer).await;
    let mut read = 0;
    let mut received = DOWN;
    while let Some(part) = answer
        .body
        .part()
        .await
        .unwrap_or_else(|broken| panic!("{}: {broken:?}", pair.name))
    {
        received.check(&part);
        read += part.len();
    }
    client.await.expect("no panic").expect("an open connection");
    assert_eq!(
        backend.await.expect("the whole request"),
        read,
        "{}",
        pair.name
    );
}

#[test]
fn an_echo_of_any_size_goes_on_by_itself() {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        pipe(pair, &client, LARGE, BodyLength::Unknown, Bytes::len).await;
        pair.serves_on(&client).await;
    });
}

#[test]
fn an_echo_of_a_known_length_goes_on_by_itself() {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        pipe(pair, &client, LARGE, BodyLength::Known(LARGE), Bytes::len).await;
        pair.serves_on(&client).await;
    });
}

/// As compression does, and its opposite.
#[test]
fn an_answer_may_be_shorter_or_longer_than_what_it_is_made_of() {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        pipe(pair, &client, LARGE, BodyLength::Unknown, |part| {
            part.len() / 9
        })
        .await;
        pipe(pair, &client, LARGE / 8, BodyLength::Unknown, |part| {
            part.len() * 8
        })
        .await;
        pair.serves_on(&client).await;
    });
}

/// What the backend does about the rest of a request that it has answered early.
#[derive(Debug, Clone, Copy)]
enum Rest {
    Unread,
    Read,
    /// It closes its connection, or resets the stream (RFC 9113 section 8.1).
    Refused,
}

#[test]
fn an_early_answer_is_heard_while_the_client_sends_on() {
    for rest in [Rest::Unread, Rest::Read, Rest::Refused] {
        for_each_pair(async |pair| {
            for framed in [BodyLength::Unknown, BodyLength::Known(LARGE)] {
                // A connection of its own: it may end with this.
                let client = pair.connect().await;
                let (mut up, answer) = client.send("POST", "/open/both", &[], framed).await;
                let mut exchange = pair.backend.next().await;
                let sending = tokio::spawn(async move {
                    // It may be told to stop.
                    drop(write_body(&mut up, UP, LARGE, &Pace::free()).await);
                    up
                });
                // It is in the middle of it.
                exchange.body.part().await.expect("a part").expect("more");
                let mut writer = exchange
                    .respond
                    .respond(413, &[("x-early", "yes")], BodyLength::Known(9))
                    .await
                    .expect("an answer");
                writer
                    .write(Bytes::from_static(b"too large"))
                    .await
                    .expect("an answer");
                writer.finish().await.expect("an answer");
                let kept = match rest {
                    Rest::Unread => Some((exchange.body, writer)),
                    Rest::Read => {
                        let mut body = exchange.body;
                        // It may break off: the client was told.
                        tokio::spawn(async move { drop(body.rest().await) });
                        None
                    }
                    Rest::Refused => {
                        match pair.backend.protocol {
                            Protocol::Http1 => exchange.leave.socket.close(),
                            // The library resets a stream that nobody reads any more, with
                            // NO_ERROR.
                            Protocol::Http2 => drop((exchange.body, writer)),
                        }
                        None
                    }
                };
                let name = format!("{}, {framed:?}, {rest:?}", pair.name);
                let answer = within(&name, answer.head())
                    .await
                    .unwrap_or_else(|broken| panic!("{name}: {broken:?}"));
                assert_eq!(
                    (answer.status, answer.fields.contains_key("x-early")),
                    (413, true),
                    "{name}"
                );
                let mut body = answer.body;
                let text = within(&name, body.text())
                    .await
                    .unwrap_or_else(|broken| panic!("{name}: {broken:?}"));
                assert_eq!(text, "too large", "{name}");
                drop((sending.abort(), kept));
            }
        });
    }
}

#[test]
fn events_come_during_an_upload_and_after_it() {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        let Open {
            mut up,
            mut up_at_backend,
            mut down,
            mut answer,
        } = pair
            .open(&client, &[("content-type", "text/event-stream")])
            .await;
        let (mut sent, mut received, pace) = (UP, UP, Pace::free());
        for round in 0..40 {
            let event = format!("data: {round}\n\n");
            down.write(event.clone().into())
                .await
                .expect("an open connection");
            let mut text = Vec::new();
            while text.len() < event.len() {
                let part = within("an event", answer.body.part())
                    .await
                    .expect("a part")
                    .expect("more of the stream");
                text.extend_from_slice(&part);
            }
            assert_eq!(String::from_utf8_lossy(&text), event, "{}", pair.name);
            if round >= 30 {
                continue;
            }
            // Half of the time a part that no buffer takes.
            let size = if round % 2 == 0 { 500 } else { 700_000 };
            let mut left = size;
            let reading = async {
                while left > 0 {
                    let part = up_at_backend
                        .part()
                        .await
                        .expect("a part")
                        .expect("more of the upload");
                    received.check(&part);
                    left -= part.len();
                }
            };
            let (written, ()) = tokio::join!(write_part(&mut up, &mut sent, size, &pace), reading);
            written.expect("an open connection");
            if round == 29 {
                up.finish().await.expect("an open connection");
                assert_eq!(
                    up_at_backend.rest().await.expect("the end of the upload"),
                    0
                );
            }
        }
        down.finish().await.expect("an open connection");
        assert_eq!(answer.body.rest().await.expect("the end"), 0);
        pair.serves_on(&client).await;
    });
}

/// A message of gRPC: not compressed, so many bytes.
fn message(pattern: &mut Pattern, length: usize) -> Bytes {
    let mut out = vec![0];
    out.extend(
        u32::try_from(length)
            .expect("a short message")
            .to_be_bytes(),
    );
    let mut left = length;
    while left > 0 {
        let part = pattern.take(left);
        left -= part.len();
        out.extend_from_slice(&part);
    }
    out.into()
}

/// A bidirectional call of 60 messages of 1 MiB. `waits`: for the echo of each before the next.
async fn call(pair: &Pair, client: &ClientEnd, waits: bool) {
    const MESSAGES: usize = 60;
    const LENGTH: usize = 1 << 20;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let Open {
        mut up,
        mut up_at_backend,
        mut down,
        mut answer,
    } = pair.open(client, &fields).await;
    let service = tokio::spawn(async move {
        while let Some(part) = up_at_backend.part().await.expect("a part") {
            down.write(part).await.expect("an open stream");
        }
        down.finish_with("grpc-status", "0")
            .expect("an open stream");
    });
    let echoes = Semaphore::new(0);
    let talking = async {
        let mut pattern = UP;
        for _ in 0..MESSAGES {
            up.write(message(&mut pattern, LENGTH))
                .await
                .expect("an open stream");
            if waits {
                echoes.acquire().await.expect("an open semaphore").forget();
            }
        }
        up.finish().await.expect("an open stream");
    };
    let hearing = async {
        let mut pattern = UP;
        let (mut heard, mut expected) = (0, Bytes::new());
        while let Some(part) = answer.body.part().await.expect("a part") {
            let mut part = &part[..];
            while !part.is_empty() {
                if expected.is_empty() {
                    expected = message(&mut pattern, LENGTH);
                }
                let length = part.len().min(expected.len());
                assert!(
                    part[..length] == expected.split_to(length),
                    "message {heard}"
                );
                part = &part[length..];
                if expected.is_empty() {
                    heard += 1;
                    echoes.add_permits(1);
                }
            }
        }
        assert_eq!((heard, expected.len()), (MESSAGES, 0));
        assert_eq!(
            answer
                .body
                .trailers
                .get("grpc-status")
                .map(http::HeaderValue::as_bytes),
            Some(&b"0"[..])
        );
    };
    tokio::join!(talking, hearing);
    service.await.expect("the whole call");
}

#[test]
fn a_bidirectional_call_of_grpc_goes_on_by_itself() {
    let runtime = runtime();
    runtime.block_on(async {
        let pair = Pair::start(Protocol::Http2, Protocol::Http2);
        let client = pair.connect().await;
        within("a call", call(&pair, &client, false)).await;
        within(
            "a call that waits for each echo",
            call(&pair, &client, true),
        )
        .await;
        pair.serves_on(&client).await;
    });
}

/// Which side of a body is slower than the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slow {
    Writer,
    Reader,
}

/// A body that goes on as the tokens come, a mebibyte for each.
struct Held {
    pace: Pace,
    writing: JoinHandle<()>,
    reading: JoinHandle<()>,
}

impl Held {
    fn begin(slow: Slow, pattern: Pattern, mut writer: BodyWriter, mut reader: BodyReader) -> Self {
        let pace = Pace::slow();
        let (writing_pace, reading_pace) = match slow {
            Slow::Writer => (pace.clone(), Pace::free()),
            Slow::Reader => (Pace::free(), pace.clone()),
        };
        let same = pattern.clone();
        let writing =
            spawn(async move { write_body(&mut writer, pattern, HUGE, &writing_pace).await });
        let reading = spawn(async move { read_body(&mut reader, same, HUGE, &reading_pace).await });
        Self {
            pace,
            writing,
            reading,
        }
    }

    /// Lets it come to its end.
    async fn release(self, name: &str) {
        assert_eq!(self.pace.done(), 0, "{name}: it has had no token");
        assert!(
            !self.writing.is_finished() && !self.reading.is_finished(),
            "{name}: the buffers hold all of it"
        );
        // A reader takes one more to see the end.
        for token in 1..=HUGE / TOKEN + 1 {
            self.pace.give(1);
            while self.pace.done() < (token * TOKEN).min(HUGE) && !self.reading.is_finished() {
                tokio::task::yield_now().await;
            }
        }
        within(name, self.writing).await.expect("no panic");
        within(name, self.reading).await.expect("no panic");
    }
}

fn spawn(work: impl Future<Output = Result<(), Broken>> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move { work.await.expect("a whole body") })
}

/// All of the answer has come but its end, before any of the upload goes on: what is left of a
/// request is waited for only a little after the whole answer.
fn a_slow_upload_holds_up_nothing_else(slow: Slow) {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        let Open {
            up,
            up_at_backend,
            mut down,
            mut answer,
        } = pair.open(&client, &[]).await;
        let upload = Held::begin(slow, UP, up, up_at_backend);
        let (mut sent, mut received, pace) = (DOWN, DOWN, Pace::free());
        let download = async {
            tokio::join!(
                write_part(&mut down, &mut sent, LARGE, &pace),
                read_part(&mut answer.body, &mut received, LARGE)
            )
        };
        let (written, read) = within(&format!("{}: the answer", pair.name), download).await;
        written.and(read).expect("all of it");
        upload.release(&format!("{}: the upload", pair.name)).await;
        down.finish().await.expect("an open connection");
        assert_eq!(answer.body.rest().await.expect("the end"), 0);
        pair.serves_on(&client).await;
    });
}

/// The whole upload has come before any of the answer goes on.
fn a_slow_answer_holds_up_nothing_else(slow: Slow) {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        let Open {
            mut up,
            mut up_at_backend,
            down,
            answer,
        } = pair.open(&client, &[]).await;
        let download = Held::begin(slow, DOWN, down, answer.body);
        let pace = Pace::free();
        let upload = async {
            tokio::join!(
                write_body(&mut up, UP, LARGE, &pace),
                read_body(&mut up_at_backend, UP, LARGE, &pace)
            )
        };
        let (written, read) = within(&format!("{}: the upload", pair.name), upload).await;
        written.and(read).expect("all of it");
        download
            .release(&format!("{}: the answer", pair.name))
            .await;
        pair.serves_on(&client).await;
    });
}

#[test]
fn a_client_that_writes_slowly_holds_up_its_upload_alone() {
    a_slow_upload_holds_up_nothing_else(Slow::Writer);
}

#[test]
fn a_backend_that_reads_slowly_holds_up_the_upload_alone() {
    a_slow_upload_holds_up_nothing_else(Slow::Reader);
}

#[test]
fn a_backend_that_writes_slowly_holds_up_its_answer_alone() {
    a_slow_answer_holds_up_nothing_else(Slow::Writer);
}

#[test]
fn a_client_that_reads_slowly_holds_up_its_answer_alone() {
    a_slow_answer_holds_up_nothing_else(Slow::Reader);
}
