//! Makes a history: clients that call replicas, which are paused and killed meanwhile.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::LocalSet,
    time::{Instant, timeout},
};

use super::{
    calls::{Call, Known, Response, Theme},
    follower::{Follower, POLL},
    server::{Connection, Host, Server, Trace, locked},
};
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{
        OpenOptions, RevocationEntry, StoreError, WrappingKeys, engine::SharedEngine,
        engine_store::EngineStore, fixture::NOW,
    },
    types::Timestamp,
};

/// So many calls each client makes.
const CALLS: usize = 6;
/// The longest time that a client waits between two calls.
const THINKING: Duration = Duration::from_millis(300);
/// The longest time between two revocations, however little the clients do.
const LOG_PAUSE: Duration = Duration::from_secs(20);
/// How far the clock of a replica is from the server's, at most.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

/// A call, and what became of it.
pub(super) struct Entry {
    pub(super) call: Call,
    /// `None`: the client heard nothing.
    pub(super) outcome: Option<Result<Response, StoreError>>,
    pub(super) trace: Arc<Mutex<Trace>>,
    /// Where the call was made through this replica.
    replica: usize,
}

/// All that happened.
pub(super) struct History {
    pub(super) entries: Vec<Entry>,
    /// What a follower of the log missed, and other things that must not be.
    pub(super) violations: Vec<String>,
}

impl History {
    /// Every call with its outcome, a line each.
    pub(super) fn describe(&self) -> String {
        let lines = self.entries.iter().map(|entry| {
            let outcome = entry.outcome.as_ref();
            let outcome = outcome.map(|outcome| outcome.as_ref().map(|told| &told.text));
            let trace = locked(&entry.trace);
            let moments: Vec<_> = trace.commits.iter().map(|commit| commit.at).collect();
            let read = trace.last_read.unwrap_or_default();
            format!(
                "replica {} read at {read}, committed at {moments:?}: {:?}\n    -> {outcome:?}\n",
                entry.replica, entry.call
            )
        });
        lines.collect()
    }
}

/// A process, while it lives.
struct Replica {
    host: Arc<Host>,
    store: Rc<EngineStore>,
}

/// What all tasks of one history share.
struct World {
    server: Arc<Server>,
    random: RefCell<fastrand::Rng>,
    known: RefCell<Known>,
    replicas: RefCell<Vec<Replica>>,
    clocks: Vec<Duration>,
    entries: RefCell<Vec<Entry>>,
    acknowledged: Mutex<Vec<RevocationEntry>>,
    violations: RefCell<Vec<String>>,
    clients_ended: Cell<bool>,
    /// Clients have ended, and nothing is on its way.
    is_over: watch::Sender<bool>,
    options: OpenOptions,
    /// What clients do.
    theme: Theme,
    began: Instant,
}

fn keys() -> WrappingKeys {
    WrappingKeys::derive(&Key::new([7; 32]), None)
}

impl World {
    fn connection(&self, host: &Arc<Host>) -> (Arc<dyn SharedEngine>, Arc<Mutex<Trace>>) {
        let trace = Arc::<Mutex<Trace>>::default();
        let connection = Connection {
            server: Arc::clone(&self.server),
            host: Arc::clone(host),
            trace: Arc::clone(&trace),
        };
        (Arc::new(connection), trace)
    }

    fn random<T>(&self, choose: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        choose(&mut self.random.borrow_mut())
    }

    /// Up to this span.
    fn up_to(&self, span: Duration) -> Duration {
        span.mul_f64(self.random(fastrand::Rng::f64))
    }

    /// The time of a replica's clock.
    fn now(&self, replica: usize) -> Timestamp {
        NOW.plus(self.began.elapsed() + self.clocks[replica])
    }

    async fn start(&self) -> Replica {
        let host = Arc::new(Host::new());
        loop {
            let (engine, _) = self.connection(&host);
            let entropy = Entropy::seeded(self.random(|random| random.u64(..)));
            // The server may be away; menshen tries again too.
            if let Ok(store) = EngineStore::shared(engine, &self.options, &keys(), entropy).await {
                let store = Rc::new(store);
                return Replica { host, store };
            }
        }
    }

    /// The store of a replica for one call, or one that follows the log.
    fn store_of(&self, replica: usize) -> (Arc<Host>, EngineStore, Arc<Mutex<Trace>>) {
        let replicas = self.replicas.borrow();
        let Replica { host, store } = &replicas[replica];
        let (engine, trace) = self.connection(host);
        (Arc::clone(host), store.over(engine), trace)
    }

    async fn call(&self, replica: usize, call: Call) {
        let (host, store, trace) = self.store_of(replica);
        let outcome = tokio::select! {
            biased;
            () = host.died() => None,
            outcome = call.make(&store) => Some(outcome),
        };
        if let Some(Ok(told)) = &outcome {
            locked(&self.acknowledged).extend(told.entries.clone());
            self.known.borrow_mut().note(told);
        }
        self.entries.borrow_mut().push(Entry {
            call,
            outcome,
            trace,
            replica,
        });
    }

    async fn client(self: Rc<Self>) {
        for _ in 0..CALLS {
            tokio::time::sleep(self.up_to(THINKING)).await;
            let replica = self.random(|random| random.usize(..self.clocks.len()));
            let now = self.now(replica);
            let call = self.random(|random| {
                let known = &mut self.known.borrow_mut();
                Call::random(self.theme, known, random, now)
            });
            // Once in a while the same is asked of another replica at the same time.
            if self.random(|random| random.u8(..8) == 0) {
                let other = self.random(|random| random.usize(..self.clocks.len()));
                tokio::join!(self.call(replica, call.clone()), self.call(other, call));
            } else {
                self.call(replica, call).await;
            }
        }
    }

    /// Follows the log through one replica until all is over, and then once more.
    async fn follow(self: Rc<Self>, replica: usize) {
        let mut follower = Follower::default();
        loop {
            let is_over = *self.is_over.borrow();
            let (host, store, _) = self.store_of(replica);
            let changes = self.server.changes();
            let missed = tokio::select! {
                biased;
                // The process that takes its place follows from where this one was.
                () = host.died() => None,
                missed = follower.poll(&store, changes, &self.acknowledged) => missed,
            };
            if let Some(missed) = missed {
                let missed = format!("the follower of replica {replica} missed {missed:?}");
                self.violations.borrow_mut().push(missed);
                return;
            }
            if is_over {
                return;
            }
            let mut over = self.is_over.subscribe();
            // The sender lives as long as this.
            drop(timeout(POLL, over.wait_for(|is_over| *is_over)).await);
        }
    }

    /// Ends tokens of some user every now and then, so that readers of the log do not stay where they
    /// are, until nothing is on its way any more.
    async fn move_the_log_on(self: Rc<Self>) {
        while !self.clients_ended.get() || self.server.is_busy() {
            tokio::time::sleep(self.up_to(LOG_PAUSE)).await;
            let replica = self.random(|random| random.usize(..self.clocks.len()));
            let now = self.now(replica);
            let call = self.random(|random| Call::revocation(&self.known.borrow(), random, now));
            if let Some(call) = call {
                self.call(replica, call).await;
            }
        }
    }

    /// Pauses and kills replicas, and sets the server's clock back, while there are clients.
    async fn disturb(self: Rc<Self>) {
        while !self.clients_ended.get() {
            tokio::time::sleep(self.up_to(4 * THINKING)).await;
            let replica = self.random(|random| random.usize(..self.clocks.len()));
            let host = Arc::clone(&self.replicas.borrow()[replica].host);
            match self.random(|random| random.u8(..6)) {
                0 => {
                    host.kill();
                    let started = self.start().await;
                    self.replicas.borrow_mut()[replica] = started;
                }
                1 => host.pause(self.up_to(Duration::from_mins(1))),
                2 => host.pause(self.up_to(THINKING)),
                3 if self.random(|random| random.u8(..4) == 0) => {
                    self.server
                        .set_clock_back(self.up_to(Duration::from_mins(3)));
                }
                3.. => {}
            }
        }
    }
}

/// The history of a seed; `log_is_slow`: revocations may become visible when no reader looks for them.
pub(super) async fn make(seed: u64, log_is_slow: bool, options: &OpenOptions) -> History {
    let mut random = fastrand::Rng::with_seed(seed);
    let count = random.usize(2..=5);
    let clients = random.usize(2..=4);
    let theme = Theme::random(&mut random);
    let clocks = (0..count)
        .map(|_| CLOCK_DIFFERENCE.mul_f64(random.f64()))
        .collect();
    let world = Rc::new(World {
        server: Server::new(random.u64(..), log_is_slow),
        random: RefCell::new(random),
        known: RefCell::default(),
        replicas: RefCell::default(),
        clocks,
        entries: RefCell::default(),
        acknowledged: Mutex::default(),
        violations: RefCell::default(),
        clients_ended: Cell::new(false),
        is_over: watch::Sender::new(false),
        options: options.clone(),
        theme,
        began: Instant::now(),
    });
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            for _ in 0..count {
                let replica = world.start().await;
                world.replicas.borrow_mut().push(replica);
            }
            let followers: Vec<_> = (0..count)
                .map(|replica| tokio::task::spawn_local(Rc::clone(&world).follow(replica)))
                .collect();
            let moving = tokio::task::spawn_local(Rc::clone(&world).move_the_log_on());
            let disturbing = tokio::task::spawn_local(Rc::clone(&world).disturb());
            let clients: Vec<_> = (0..clients)
                .map(|_| tokio::task::spawn_local(Rc::clone(&world).client()))
                .collect();
            for client in clients {
                client.await.expect("a client ends");
            }
            world.clients_ended.set(true);
            disturbing
                .await
                .expect("the last one that was killed starts");
            world.server.calm_down().await;
            moving.await.expect("the last revocation ends");
            // Whatever was paused goes on, and whatever runs ends.
            tokio::time::sleep(Duration::from_mins(1)).await;
            let inventory = Call::inventory(&world.known.borrow(), world.now(0));
            for call in inventory {
                world.call(0, call).await;
            }
            world.is_over.send_replace(true);
            for follower in followers {
                follower.await.expect("a follower ends");
            }
        })
        .await;
    let mut violations = world.violations.take();
    let late = world.server.late_lines();
    if late > 0 {
        violations.push(format!("{late} lines of the log came too late"));
    }
    History {
        entries: world.entries.take(),
        violations,
    }
}
