//! What goes wrong: replicas that are killed, stopped and started again, a network that is cut, a
//! database that is restarted or replaced by its standby.

use std::{
    sync::{Mutex, RwLock, atomic::Ordering},
    time::Duration,
};

use rustix::process::Signal;

use super::{
    super::menshen::{Menshen, Setup},
    client::{Address, World},
    database::{Database, Engine},
    link::{Link, Mode},
};

/// How hard it is.
#[derive(Debug, Clone, Copy)]
pub struct Severity {
    /// The longest time between two faults of a kind.
    pub between: Duration,
    /// The longest time for which a replica is stopped, and a network is silent.
    pub longest: Duration,
    /// Every so many restarts of the database, its standby takes its place. 0: never.
    pub failovers: usize,
}

/// Makes the config of a replica from its links.
type Start = dyn Fn(&[Link]) -> Setup + Send + Sync;

/// A replica and its ways to the database.
pub struct Replica {
    menshen: Mutex<Menshen>,
    links: Vec<Link>,
    start: Box<Start>,
}

impl Replica {
    /// Starts one on this database.
    pub fn new(
        database: &Database,
        start: impl Fn(&[Link]) -> Setup + Send + Sync + 'static,
    ) -> Self {
        let links: Vec<_> = database.sockets().iter().map(|to| Link::to(to)).collect();
        let menshen = Mutex::new(begin(start(&links), &links));
        Self {
            menshen,
            links,
            start: Box::new(start),
        }
    }

    pub fn address(&self) -> Address {
        let menshen = self.menshen.lock().expect("a lock");
        let token = menshen.directory().join("admin.token");
        Address {
            http: menshen.http,
            admin: menshen.admin,
            admin_token: std::fs::read_to_string(token)
                .expect("its token")
                .trim()
                .to_owned(),
        }
    }

    fn signal(&self, signal: Signal) {
        self.menshen.lock().expect("a lock").signal(signal);
    }

    /// Kills it and starts another one in its place.
    fn restart(&self, address: &RwLock<Address>) {
        let mut menshen = self.menshen.lock().expect("a lock");
        menshen.signal(Signal::KILL);
        menshen.wait();
        *menshen = begin((self.start)(&self.links), &self.links);
        drop(menshen);
        *address.write().expect("a lock") = self.address();
    }

    fn set(&self, mode: Mode) {
        for link in &self.links {
            link.set(mode);
        }
    }

    fn cut(&self) {
        for link in &self.links {
            link.cut();
        }
    }
}

fn begin(setup: Setup, links: &[Link]) -> Menshen {
    // The network may be silent for long, and the database away.
    let started = setup.try_start_within(Duration::from_mins(3));
    let mut menshen = started.unwrap_or_else(|why| {
        let links: Vec<_> = links.iter().map(Link::to_string).collect();
        panic!("{}\n{why}", links.join("\n"));
    });
    menshen.expect_error("the store failed");
    menshen.expect_error("the admin API failed: store unavailable");
    menshen
}

/// A kind of faults, until it is over.
pub struct Faults<'a> {
    pub world: &'a World<'a>,
    pub replicas: &'a [Replica],
    pub severity: Severity,
    pub random: fastrand::Rng,
}

impl Faults<'_> {
    fn up_to(&mut self, span: Duration) -> Duration {
        span.mul_f64(self.random.f64())
    }

    /// Mostly short, and at times as long as may be.
    fn span(&mut self) -> Duration {
        let longest = self.severity.longest;
        if self.random.u8(..4) == 0 {
            self.up_to(longest)
        } else {
            self.up_to(longest.min(Duration::from_millis(500)))
        }
    }

    fn is_over(&mut self) -> bool {
        let span = self.up_to(self.severity.between);
        std::thread::sleep(span);
        self.world.is_over.load(Ordering::Relaxed)
    }

    fn any(&mut self) -> usize {
        self.random.usize(..self.replicas.len())
    }

    /// Kills and stops replicas.
    pub fn of_processes(mut self) {
        while !self.is_over() {
            let at = self.any();
            let replica = &self.replicas[at];
            let record = &self.world.record;
            if self.random.u8(..3) == 0 {
                record.disturb(Some(at), "killed".to_owned(), || {
                    replica.restart(&self.world.addresses[at]);
                });
                continue;
            }
            let span = self.span();
            // In the middle of a commit, or anywhere.
            let delays = self.random.bool();
            record.disturb(Some(at), format!("stopped for {span:?}"), || {
                if delays {
                    replica.set(Mode::DelayCommit(span));
                }
                replica.signal(Signal::STOP);
                std::thread::sleep(span);
                replica.signal(Signal::CONT);
            });
        }
    }

    /// Cuts connections to the database, in either direction.
    pub fn of_the_network(mut self) {
        while !self.is_over() {
            let at = self.any();
            let replica = &self.replicas[at];
            let span = self.span();
            let kind = self.random.u8(..6);
            let mode = match kind {
                0 => Mode::CutCommit,
                1 | 2 => Mode::LoseAnswer,
                3 => Mode::DelayCommit(span),
                4 => Mode::Hold,
                _ => Mode::Pass,
            };
            let what = format!("network: {mode:?}, {span:?}");
            self.world.record.disturb(Some(at), what, || match mode {
                Mode::Pass => replica.cut(),
                Mode::Hold => {
                    replica.set(mode);
                    std::thread::sleep(span);
                    replica.set(Mode::Pass);
                }
                _ => {
                    replica.set(mode);
                    std::thread::sleep(span.min(Duration::from_secs(1)));
                }
            });
        }
    }

    /// Restarts the database, and puts its standby in its place.
    pub fn of_the_database(mut self, mut database: Database) -> Database {
        let mut restarts = 0;
        while !self.is_over() {
            std::thread::sleep(self.severity.between);
            restarts += 1;
            let fails_over = database.engine == Engine::Postgres
                && self.severity.failovers > 0
                && restarts % self.severity.failovers == 0;
            if fails_over {
                // Nothing is disturbed while it is made: commits wait for it.
                database.add_standby();
                std::thread::sleep(self.severity.between);
                let promote = || database.promote();
                self.world
                    .record
                    .disturb(None, "failover".to_owned(), promote);
            } else {
                let restart = || database.restart();
                self.world
                    .record
                    .disturb(None, "database restarted".to_owned(), restart);
            }
        }
        database
    }

    /// Nothing goes wrong any more.
    pub fn end(self) {
        for replica in self.replicas {
            replica.set(Mode::Pass);
        }
    }
}
