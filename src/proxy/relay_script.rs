//! Runs the relay under a script: a client and a backend that send, read, wait and disconnect in
//! any order, and invariants that hold whatever they do. Only for tests and fuzzing.
//!
//! It runs the real connection code on local sockets, in one thread, with a clock that only the
//! script advances. The script never waits: it yields until neither end makes progress. So every
//! run of a script is the same, and a timeout of a minute takes no time.
//!
//! Invariants (a panic names the one that is broken):
//! 1. The backend gets well framed requests, none twice; each body is a prefix of what the client
//!    sent, and is complete only if the client's is.
//! 2. The client gets well framed responses, each to its own request, with bodies likewise. menshen
//!    responds itself only after a failure.
//! 3. When nothing moves, no bytes are held back that their receiver has room for.
//! 4. Without failures both messages arrive completely.
//! 5. After the client disconnects, its requests at the backend end, and so does its connection, in
//!    time; then nothing is counted as open.

mod backend;
mod client;
mod ledger;
mod link;
mod script;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    future::poll_fn,
    net::IpAddr,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use axum::Router;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    net::{UnixListener, UnixStream},
    runtime::Builder,
    sync::{Semaphore, watch},
    task::{JoinHandle, yield_now},
    time::advance,
};

use super::{
    Snapshot, SnapshotParts, Streams, Upstreams,
    connection::{ConnectionService, http1, http2},
    connection_tracker::ConnectionTracker,
    socket::{MaybeTls, Socket},
    upstream::session::Connections,
};
use crate::{
    api::ErrorRenderer,
    auth::{Authorizer, Denylist, UpstreamAssertions},
    clock::Clock,
    config::{Config, IdentityConfig, TokenConfig},
    dialect::Dialects,
    entropy::Entropy,
    gate::Gate,
    metrics::Metrics,
    policy::{IdentityHeaders, LocalRoutes},
    store::StoredKey,
    telemetry::AccessLog,
    token::{Keyrings, Lifetimes, Verifier},
    types::{Secret, Timestamp},
};
use backend::Backend;
use client::Client;
use ledger::{Ledger, REQUESTS};
use link::keep_small;
use script::{Framing, Op, Script};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// All timeouts in a script, except those of a second or two.
const TIMEOUT: u64 = 60;
/// Turns without progress at either end until everything is at rest: more than there are tasks and
/// sockets between the ends.
const RESTING_TURNS: usize = 12;
/// Seconds within which the backend is rid of a disconnected client's requests, and within which
/// the client's connection is closed.
const DEPARTURE: u64 = 5;
const END: u64 = 120;
/// Longest real time between the start of a process and of its program.
const EXEC_TIMEOUT: Duration = Duration::from_secs(10);

thread_local! {
    /// For an HTTP/1 and an HTTP/2 backend.
    static STAGES: [Stage; 2] = [Stage::new(false), Stage::new(true)];
}

/// Runs these bytes as a script.
///
/// # Panics
/// When an invariant is broken.
pub(super) fn run(bytes: &[u8]) {
    let script = Script::decode(bytes);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    // Rust's `main` ignores SIGPIPE, libFuzzer's does not: with a handler, a write to a closed
    // socket is an error there, too.
    #[cfg(fuzzing)]
    runtime.block_on(async {
        drop(tokio::signal::unix::signal(
            tokio::signal::unix::SignalKind::pipe(),
        ))
    });
    STAGES.with(|stages| {
        let stage = &stages[usize::from(script.backend_http2)];
        runtime.block_on(async { Play::begin(stage, &script).await.perform(&script).await });
    });
}

/// What all runs share.
struct Stage {
    snapshot: Arc<ArcSwap<Snapshot>>,
    metrics: Metrics,
    listener: std::os::unix::net::UnixListener,
    _directory: TempDir,
}

impl Stage {
    fn new(http2: bool) -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("backend");
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a listener");
        listener
            .set_nonblocking(true)
            .expect("a listener that does not wait");
        let timeout = format!("{TIMEOUT}s");
        let config = json!({
            "server": { "header_timeout": timeout, "keepalive_timeout": timeout, "body_timeout": timeout },
            "upstream": {
                "urls": [format!("unix:{}", path.display())],
                "protocol": if http2 { "http2" } else { "http1" },
                "read_timeout": timeout,
                "write_timeout": timeout,
            },
            "rule": [{ "name": "open", "path": "/open/**", "access": "public" }],
        });
        let config = serde_json::from_value(config).expect("a config");
        let metrics = Metrics::new();
        let snapshot = snapshot(&config, &metrics);
        Self {
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            metrics,
            listener,
            _directory: directory,
        }
    }
}

fn snapshot(config: &Config, metrics: &Metrics) -> Snapshot {
    let key = StoredKey {
        kid: String::new(),
        algorithm: "HS256".to_owned(),
        private: Secret::new(vec![7; 32]),
        created_at: NOW,
        signs_from: NOW,
    };
    let tokens = TokenConfig::default();
    let verifier = Verifier::new(
        Arc::new(Keyrings::fixed(&[key]).expect("a key")),
        &tokens,
        Lifetimes::from_config(&tokens),
    );
    let headers =
        IdentityHeaders::compile(&IdentityConfig::default()).expect("the default headers");
    let denylist = Arc::new(Denylist::new());
    let authorizer = Arc::new(Authorizer::new(
        verifier,
        Arc::default(),
        denylist.clone(),
        headers,
        100,
        metrics,
    ));
    let dialects = Arc::new(Dialects::compile(config).expect("no dialects"));
    let snapshot = Snapshot::new(SnapshotParts {
        config,
        gate: Gate::compile(config, LocalRoutes::default(), authorizer, metrics.clone())
            .expect("a rule"),
        api: Router::new(),
        error_renderer: ErrorRenderer::new(dialects, Clock::manual(NOW)),
        upstreams: Arc::new(Upstreams::new(&config.upstream, metrics, None).expect("a backend")),
        streams: Arc::new(Streams::new(denylist, metrics)),
        assertions: UpstreamAssertions::new(None, None, metrics),
        metrics,
        access_log: AccessLog::new(None),
        entropy: &Entropy::default(),
    });
    snapshot.expect("randomness")
}

/// One run.
struct Play<'s> {
    stage: &'s Stage,
    ledger: Ledger,
    client: Client,
    backend: Backend,
    /// The connection's task, until it has ended.
    serving: Option<JoinHandle<()>>,
    /// Seconds that have passed.
    waited: u64,
    /// Kept, so that menshen does not stop.
    _running: [watch::Sender<bool>; 2],
}

impl<'s> Play<'s> {
    async fn begin(stage: &'s Stage, script: &Script) -> Self {
        let (closing, closing_seen) = watch::channel(false);
        let (stop, stop_seen) = watch::channel(false);
        let tracker = Arc::new(ConnectionTracker::new(stage.metrics.connections.clone()));
        let service = Arc::new(ConnectionService {
            current: stage.snapshot.clone(),
            connections: Connections::without_tls(8),
            metrics: stage.metrics.clone(),
            clock: Clock::manual(NOW),
            tls: None,
            closing: closing_seen,
            stop: stop_seen,
            tracker,
            overloaded: Arc::new(Semaphore::new(1)),
        });
        let connections = service.connections.clone();
        tokio::spawn(async move { connections[0].sweep().await });
        // Left over from an earlier run.
        while stage.listener.accept().is_ok() {}
        let listener = stage
            .listener
            .try_clone()
            .and_then(UnixListener::from_std)
            .expect("a listener");

        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        if script.small_client {
            keep_small(&ours);
            keep_small(&theirs);
        }
        let permit = service.try_acquire().map(Arc::new);
        let socket = Socket::new(MaybeTls::Unix(theirs), Duration::from_secs(TIMEOUT), permit);
        let peer = Some(IpAddr::from([192, 0, 2, 1]));
        let http2 = script.client_http2;
        let serving = tokio::spawn(async move {
            if http2 {
                http2::serve_connection(service, 0, socket, peer).await;
            } else {
                http1::serve_connection(&service, &service.connections[0], socket, peer).await;
            }
        });
        Self {
            stage,
            ledger: Ledger::new(!http2),
            client: Client::new(ours, http2).await,
            backend: Backend::new(listener, script.backend_http2, script.small_backend),
            serving: Some(serving),
            waited: 0,
            _running: [closing, stop],
        }
    }

    async fn perform(mut self, script: &Script) {
        for &op in &script.ops {
            self.step(op).await;
        }
        if script.in_peace && !self.ledger.late {
            self.finish().await;
        }
        self.end().await;
    }

    async fn step(&mut self, op: Op) {
        let Self {
            client,
            backend,
            ledger,
            ..
        } = self;
        match op {
            Op::Begin(framing) => client.begin(framing, ledger),
            Op::Upload(n, size) => client.upload(n, size, ledger),
            Op::EndUpload(n) => client.end_upload(n, ledger),
            Op::ClientReads(size) => client.room.set(size),
            Op::ClientResets(n) => client.reset(n, ledger),
            Op::ClientLeaves => client.leave(ledger),
            Op::ClientGarbage(at) => client.send_garbage(at, ledger),
            Op::Inform(n) => backend.inform(n, ledger),
            Op::Respond(n, framing) => backend.respond(n, framing, ledger),
            Op::Download(n, size) => backend.download(n, size, ledger),
            Op::EndDownload(n) => backend.end_download(n, ledger),
            Op::BackendReads(size) => backend.room.set(size),
            Op::BackendCloses(n) => backend.close(n, ledger),
            Op::BackendGarbage(n, at) => backend.send_garbage(n, at, ledger),
            Op::Settle => {
                self.settle().await;
                self.assert_nothing_held_back();
            }
            Op::Wait(seconds) => {
                self.settle().await;
                self.wait(seconds).await;
                self.assert_nothing_held_back();
            }
        }
        self.turn().await;
    }

    /// Gives every ready task a turn, then both ends. Returns whether either end made progress.
    async fn turn(&mut self) -> bool {
        let Self {
            client,
            backend,
            ledger,
            ..
        } = self;
        let moved =
            poll_fn(|cx| Poll::Ready(client.pump(cx, ledger) | backend.pump(cx, ledger))).await;
        yield_now().await;
        if let Some(serving) = self.serving.take_if(|serving| serving.is_finished()) {
            serving
                .await
                .expect("no panic while the connection is served");
        }
        moved
    }

    /// Runs until nothing moves.
    async fn settle(&mut self) {
        let mut resting = 0;
        while resting < RESTING_TURNS {
            resting = if self.turn().await { 0 } else { resting + 1 };
        }
    }

    async fn wait(&mut self, seconds: u64) {
        for exchange in &mut self.ledger.exchanges {
            exchange.may_cut |= exchange.down.ended && !exchange.up.whole;
        }
        self.waited += seconds;
        self.ledger.late |= self.waited > TIMEOUT - 5;
        let step = if seconds > DEPARTURE { 5 } else { 1 };
        for _ in 0..seconds / step {
            advance(Duration::from_secs(step)).await;
            self.settle().await;
        }
    }

    /// Whether nothing but its two ends affects a request.
    fn is_undisturbed(&self, n: usize) -> bool {
        let exchanges = &self.ledger.exchanges;
        let is_its_turn = self.client.front().is_none_or(|front| {
            n < front
                || n == front && !self.client.is_closing() && (n == 0 || exchanges[n - 1].up.whole)
        });
        let is_known = !exchanges[n].rough
            && !exchanges[n].own
            && !self.ledger.late
            && !self.ledger.hostile_client;
        is_known
            && is_its_turn
            && !(self.ledger.in_order && exchanges[..n].iter().any(|before| before.may_cut))
    }

    /// Checks invariant 3, when nothing moves.
    fn assert_nothing_held_back(&self) {
        for (n, exchange) in self.ledger.exchanges.iter().enumerate() {
            if !exchange.up.begun || !self.is_undisturbed(n) {
                continue;
            }
            if self.backend.room.is_unlimited() && !exchange.may_cut {
                exchange.up.assert_not_held_back();
            }
            if self.client.room.is_unlimited() && exchange.down.begun {
                exchange.down.assert_not_held_back();
            }
            if self.client.room.is_unlimited() {
                let (sent, came) = exchange.informational;
                assert_eq!(
                    sent, came,
                    "response {n}: informational responses are held back"
                );
            }
            // Abandoning any request closes the connection.
            let may_cut = self
                .ledger
                .exchanges
                .iter()
                .any(|exchange| exchange.may_cut || exchange.rough);
            assert!(
                !self.client.is_cut() || may_cut,
                "request {n}: the client was cut off"
            );
        }
    }

    /// Both ends finish. Checks invariant 4.
    async fn finish(&mut self) {
        self.client.room.set(usize::MAX);
        self.backend.room.set(usize::MAX);
        for _ in 0..=REQUESTS {
            for n in 0..REQUESTS {
                self.client.end_upload(n, &mut self.ledger);
                if self.ledger.exchanges[n].up.arrived {
                    self.backend
                        .respond(n, Framing::Length(100), &mut self.ledger);
                    self.backend.end_download(n, &mut self.ledger);
                }
            }
            self.settle().await;
        }
        self.assert_nothing_held_back();
        for (n, exchange) in self.ledger.exchanges.iter().enumerate() {
            if exchange.up.begun && self.is_undisturbed(n) {
                assert!(exchange.down.whole, "response {n} has not come");
                assert!(
                    exchange.up.whole || exchange.may_cut,
                    "request {n} has not come"
                );
            }
        }
    }

    /// The client disconnects. Checks invariant 5.
    async fn end(mut self) {
        self.settle().await;
        self.client.leave(&mut self.ledger);
        self.settle().await;
        let is_rid = |play: &Self| !play.backend.is_held(&play.ledger);
        assert!(
            self.within(DEPARTURE, 1, is_rid).await,
            "the client has left, and the backend is not told"
        );
        // The rest of the output is well framed, too.
        self.backend.room.set(usize::MAX);
        self.settle().await;
        self.within(END, 5, |play| play.serving.is_none() && play.is_idle())
            .await;
        assert!(self.serving.is_none(), "the connection does not end");
        assert!(self.is_idle(), "something is counted that is not there");
    }

    /// Whether this becomes true within so many seconds of the script's clock, which advances by
    /// `step` seconds. Then it is given some real time: a process that another test starts holds a
    /// copy of every socket until it executes its program, and only then a closed one ends.
    async fn within(&mut self, seconds: u64, step: u64, is_true: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..seconds / step {
            if is_true(self) {
                return true;
            }
            self.wait(step).await;
        }
        let started = Instant::now();
        while !is_true(self) && started.elapsed() < EXEC_TIMEOUT {
            self.settle().await;
        }
        is_true(self)
    }

    fn is_idle(&self) -> bool {
        let metrics = &self.stage.metrics;
        let streams = ["websocket", "events", "answer", "call"]
            .map(|kind| metrics.streams_open.with_label_values(&[kind]).get());
        metrics.in_flight.get() == 0 && metrics.connections.get() == 0 && streams == [0; 4]
    }
}
