//! What was sent and what arrived, for each request in a script and its response, with the
//! invariants that hold at any moment.

use std::sync::LazyLock;

use super::script::Framing;

/// Most requests in a script.
pub(super) const REQUESTS: usize = 3;
/// Longest body.
const MAX_BODY: usize = 2 << 20;

/// Bodies are slices of it, each from a different offset, so that lost, repeated, moved or mixed up
/// bytes are noticed.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let words = std::iter::repeat_with(|| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()
    });
    words.take((MAX_BODY + 64 * 1024) / 8).flatten().collect()
});

/// One message: a request or its response.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is about another part of the message, in any combination"
)]
#[derive(Debug)]
pub(super) struct Message {
    name: String,
    text: &'static [u8],
    /// Its head was sent.
    pub(super) begun: bool,
    /// The length that its head announces.
    pub(super) declared: Option<usize>,
    /// Bytes of its body that its sender has been given.
    pub(super) queued: usize,
    pub(super) ended: bool,
    /// Something else was sent instead, so its content is unknown.
    pub(super) hostile: bool,
    /// Its head has arrived.
    pub(super) arrived: bool,
    pub(super) received: usize,
    /// The receiver takes it as complete.
    pub(super) whole: bool,
}

impl Message {
    fn new(name: &str, n: usize, place: usize) -> Self {
        Self {
            name: format!("{name} {n}"),
            text: &TEXT[place * 997..][..MAX_BODY],
            begun: false,
            declared: None,
            queued: 0,
            ended: false,
            hostile: false,
            arrived: false,
            received: 0,
            whole: false,
        }
    }

    pub(super) fn begin(&mut self, framing: Framing) {
        self.begun = true;
        self.declared = match framing {
            Framing::None => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::UntilClose => None,
        };
        self.ended = self.declared == Some(0);
    }

    /// The next bytes of its body, at most `size`.
    pub(super) fn queue(&mut self, size: usize) -> &'static [u8] {
        if !self.begun || self.ended {
            return &[];
        }
        let end = (self.queued + size).min(self.declared.unwrap_or(MAX_BODY));
        let part = &self.text[self.queued..end];
        self.queued = end;
        // Nothing else delimits it.
        self.ended = self.declared == Some(end);
        part
    }

    /// Ends it. The bytes missing from its announced length are its last part.
    pub(super) fn end(&mut self) -> &'static [u8] {
        let rest = self.queue(self.declared.unwrap_or(self.queued) - self.queued);
        self.ended = true;
        rest
    }

    /// The bytes of its body from `from` on.
    pub(super) fn unsent(&self, from: usize) -> &'static [u8] {
        &self.text[from..self.queued]
    }

    /// More of its body has arrived.
    pub(super) fn take(&mut self, part: &[u8]) {
        if !self.hostile {
            let Self { name, received, .. } = self;
            assert!(!self.whole, "{name}: more after its end");
            let end = *received + part.len();
            assert!(
                end <= self.queued,
                "{name}: {end} bytes came, {} were sent",
                self.queued
            );
            assert!(
                *part == self.text[*received..end],
                "{name}: other bytes than were sent, from {received} to {end}"
            );
        }
        self.received += part.len();
    }

    /// The receiver has seen its end.
    pub(super) fn complete(&mut self) {
        let Self {
            name,
            received,
            queued,
            ..
        } = &*self;
        assert!(
            self.hostile || self.ended,
            "{name}: taken for whole before its end"
        );
        assert!(
            self.hostile || received == queued,
            "{name}: {received} of {queued} bytes taken for the whole"
        );
        self.whole = true;
    }

    /// Whether nothing of what was sent is held back.
    pub(super) fn assert_not_held_back(&self) {
        let Self {
            name,
            received,
            queued,
            ..
        } = self;
        assert!(self.arrived, "{name}: its head is held back");
        assert!(
            received == queued,
            "{name}: {received} of {queued} bytes went on, the rest is held back"
        );
        assert!(self.whole == self.ended, "{name}: its end is held back");
    }
}

/// A request and its response.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) up: Message,
    pub(super) down: Message,
    /// Informational responses that were sent, and that arrived.
    pub(super) informational: (usize, usize),
    /// It may fail because of an earlier event.
    pub(super) rough: bool,
    /// The response arrived long before the end of the request, which may be cut off therefore.
    pub(super) may_cut: bool,
    /// menshen responded itself.
    pub(super) own: bool,
}

/// All that was sent and has arrived.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) exchanges: [Exchange; REQUESTS],
    /// The client is one HTTP/1 connection: what affects a request affects those after it.
    pub(super) in_order: bool,
    /// The client has sent an invalid request, so it is only checked that messages are well framed.
    pub(super) hostile_client: bool,
    /// Timeouts may have passed.
    pub(super) late: bool,
}

impl Ledger {
    pub(super) fn new(in_order: bool) -> Self {
        let exchanges = std::array::from_fn(|n| Exchange {
            up: Message::new("request", n, 2 * n),
            down: Message::new("response", n, 2 * n + 1),
            informational: (0, 0),
            rough: false,
            may_cut: false,
            own: false,
        });
        Self {
            exchanges,
            in_order,
            hostile_client: false,
            late: false,
        }
    }

    /// Notes an event because of which this request may fail.
    pub(super) fn roughen(&mut self, n: usize) {
        let end = if self.in_order { REQUESTS } else { n + 1 };
        self.exchanges[n..end]
            .iter_mut()
            .for_each(|exchange| exchange.rough = true);
    }

    /// The backend closes the connection of request `n`, to which other requests may be on their
    /// way.
    pub(super) fn requests_on_their_way(&mut self, n: usize) {
        for m in 0..REQUESTS {
            let Exchange { up, down, .. } = &self.exchanges[m];
            if if m == n {
                !up.whole || !down.whole
            } else {
                up.begun && !up.arrived
            } {
                self.roughen(m);
            }
        }
    }

    pub(super) fn client_is_hostile(&mut self) {
        self.hostile_client = true;
        self.roughen(0);
        for Exchange { up, down, .. } in &mut self.exchanges {
            (up.hostile, down.hostile) = (true, true);
        }
    }

    /// A backend has sent an invalid response, which does not affect complete ones.
    pub(super) fn backend_is_hostile(&mut self) {
        for Exchange { down, rough, .. } in &mut self.exchanges {
            if !down.whole {
                (down.hostile, *rough) = (true, true);
            }
        }
    }

    /// The head of a request has arrived at the backend.
    pub(super) fn request_arrived(&mut self, n: usize, length: Option<usize>) {
        if !self.hostile_client {
            let up = &mut self.exchanges[n].up;
            assert!(up.begun, "a request {n} that was never made");
            assert!(!up.arrived, "request {n} came to the backend twice");
            assert_eq!(
                length,
                up.declared.filter(|&length| length > 0),
                "request {n}: its announced length"
            );
        }
        self.exchanges[n].up.arrived = true;
    }

    pub(super) fn informational_arrived(&mut self, n: usize) {
        let Exchange {
            informational: (sent, came),
            down,
            ..
        } = &mut self.exchanges[n];
        *came += 1;
        assert!(
            down.hostile || *came <= *sent,
            "response {n}: {came} informational responses of {sent}"
        );
        assert!(
            !down.arrived,
            "response {n}: an informational response after the final one"
        );
    }

    /// The head of a final response has arrived at the client.
    pub(super) fn response_arrived(&mut self, n: usize, response: &ResponseHead<'_>) {
        let late = self.late;
        let Exchange {
            down, rough, own, ..
        } = &mut self.exchanges[n];
        if !response.own.is_empty() {
            assert!(
                response.numbers.is_empty(),
                "response {n}: menshen's own, and the backend's"
            );
            assert!(
                *rough || late,
                "request {n}: {:?}, and nothing had happened",
                response.own
            );
            (*own, down.hostile) = (true, true);
        } else if !down.hostile {
            assert_eq!(
                response.numbers,
                [n.to_string()],
                "response {n}: not to this request"
            );
            assert!(
                down.begun && !down.arrived,
                "response {n}: never sent, or sent twice"
            );
            assert_eq!(
                response.status,
                if response.length.is_none() && down.declared == Some(0) {
                    204
                } else {
                    200
                }
            );
            assert!(
                down.declared
                    .is_none_or(|length| response.length.unwrap_or(0) == length),
                "response {n}: its length"
            );
        }
        down.arrived = true;
    }
}

/// What is checked of a response head.
#[derive(Debug)]
pub(super) struct ResponseHead<'a> {
    pub(super) status: u16,
    /// The requests that the backend says it responds to.
    pub(super) numbers: Vec<&'a str>,
    /// The error code, if menshen responds itself.
    pub(super) own: Vec<&'a str>,
    pub(super) length: Option<usize>,
}
