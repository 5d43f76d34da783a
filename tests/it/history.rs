//! A history under faults: four replicas on one real database, clients that sign in, refresh, sign out,
//! bind phones, ask for codes and guess them, and an operator who bans and erases. Meanwhile replicas
//! are killed and stopped, connections to the database are cut in either direction, and the database
//! is restarted. Afterwards `checker` reads what the clients were told.
//!
//! `MENSHEN_HISTORY_SECONDS=600 cargo test --test it history::on -- --nocapture --test-threads=1` makes
//! a long one: replicas are stopped for longer than readers of the revocation log look back, and
//! PostgreSQL's synchronous standby takes the place of the primary. `MENSHEN_HISTORY_SEED` chooses what
//! is done; the order in which processes run is theirs. `MENSHEN_OTHER_BINARY=/path/to/menshen` lets two
//! of the four be of another version with stores of the same format, as during an update.

mod checker;
mod client;
mod database;
mod faults;
mod link;
mod record;

use std::{
    path::PathBuf,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::ScopedJoinHandle,
    time::{Duration, Instant},
};

use self::{
    checker::Findings,
    client::{Client, World},
    database::{Database, Engine},
    faults::{Faults, Replica, Severity},
    link::Link,
    record::{Disturbance, Record},
};
use super::{backend::Backend, menshen::Setup, phones::Town};

const REPLICAS: usize = 4;
const CLIENTS: usize = 6;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// The config of a replica.
fn setup(town: &Town, engine: Engine, links: &[Link]) -> Setup {
    let hosts: Vec<_> = links.iter().map(|link| link.address.to_string()).collect();
    let hosts = hosts.join(",");
    let url = match engine {
        Engine::Postgres => {
            format!("postgres://menshen@{hosts}/postgres?target_session_attrs=read-write")
        }
        Engine::Mariadb => format!("mysql://menshen@{hosts}/menshen"),
    };
    let sections = format!(
        "[store]\nurl = \"{url}\"\nencryption_key_file = \"store.key\"\nconnections = 6\nrevocation_poll = \"200ms\"\n\
         [auth]\nmax_sessions = 100\n\
         [admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n"
    );
    let setup = town
        .setup()
        .with(&sections)
        .variable("MENSHEN_SMS__RESEND_AFTER", "1s")
        .variable("MENSHEN_SMS__PER_PHONE_HOUR", "1000")
        .variable("MENSHEN_SMS__PER_PHONE_DAY", "1000")
        .variable("MENSHEN_SMS__DAILY_BUDGET", "1000000");
    let key = setup.directory().path().join("store.key");
    std::fs::write(key, "42".repeat(32)).expect("a file");
    setup
}

/// Makes a history and checks it.
fn history(engine: Engine, usual: Duration) {
    let seconds = from_environment("MENSHEN_HISTORY_SECONDS");
    let seed = from_environment("MENSHEN_HISTORY_SEED").unwrap_or(1);
    let length = seconds.map_or(usual, Duration::from_secs);
    let severity = if seconds.is_some() {
        Severity {
            between: Duration::from_secs(8),
            longest: Duration::from_secs(45),
            failovers: 2,
        }
    } else {
        Severity {
            between: Duration::from_secs(2),
            longest: Duration::from_secs(2),
            failovers: 0,
        }
    };
    let town = Arc::new(Town::before(Backend::start()));
    let database = Database::start(engine);
    let other = std::env::var_os("MENSHEN_OTHER_BINARY").map(PathBuf::from);
    let replicas: Vec<_> = (0..REPLICAS)
        .map(|at| {
            let town = Arc::clone(&town);
            let other = other.clone().filter(|_| at % 2 == 1);
            Replica::new(&database, move |links| {
                let setup = setup(&town, engine, links);
                match &other {
                    Some(binary) => setup.running(binary.clone()),
                    None => setup,
                }
            })
        })
        .collect();
    let world = World {
        town: &town,
        record: Record::new(seconds.is_some()),
        addresses: replicas
            .iter()
            .map(|replica| RwLock::new(replica.address()))
            .collect(),
        is_over: AtomicBool::new(false),
        number: AtomicUsize::new(0),
    };
    let logins = AtomicUsize::new(0);
    let (clients, database) = std::thread::scope(|scope| {
        let (world, replicas, logins) = (&world, &replicas[..], &logins);
        let faults = |kind: u64| Faults {
            world,
            replicas,
            severity,
            random: fastrand::Rng::with_seed(seed * 1000 + kind),
        };
        let client = |number| Client::new(world, seed * 1000 + 100 + number);
        let clients: Vec<_> = (0..CLIENTS as u64)
            .map(|number| scope.spawn(move || client(number).live(logins)))
            .collect();
        scope.spawn(move || client(99).operate());
        let (processes, network, servers) = (faults(1), faults(2), faults(3));
        let disturbing = [
            scope.spawn(move || processes.of_processes()),
            scope.spawn(move || network.of_the_network()),
        ];
        let database = scope.spawn(move || servers.of_the_database(database));
        let end = Instant::now() + length;
        // One that panicked says why at once.
        let has_ended =
            || database.is_finished() || disturbing.iter().any(ScopedJoinHandle::is_finished);
        while Instant::now() < end && !has_ended() {
            std::thread::sleep(Duration::from_millis(100));
        }
        world.is_over.store(true, Ordering::Relaxed);
        // First: without a database no replica starts either.
        let database = database.join().expect("the database goes on");
        for faults in disturbing {
            faults.join().expect("no panic");
        }
        faults(0).end();
        let clients = clients
            .into_iter()
            .map(|client| client.join().expect("no panic"));
        (clients.collect::<Vec<_>>(), database)
    });
    for client in clients {
        client.end();
    }
    report(engine, seed, &world.record);
    drop(replicas);
    drop(database);
}

/// Says what was found, and fails where something was.
fn report(engine: Engine, seed: u64, record: &Record) {
    let disturbances = record.disturbances();
    let findings = checker::check(&record.events(), &disturbances);
    let Findings {
        violations,
        requests,
        unknown,
        by_kind,
        reused_late,
        longest_undisturbed,
        longest,
    } = &findings;
    eprintln!(
        "{engine:?}, seed {seed}: {requests} requests, {unknown} of unknown outcome, {} faults; {by_kind:?}",
        disturbances.len()
    );
    eprintln!(
        "sessions that ended with a refresh that came late: {reused_late}; revoked tokens were accepted for {longest:?} at most, \
         {longest_undisturbed:?} where nothing was disturbed"
    );
    for fault in disturbances.iter().filter(|_| !violations.is_empty()) {
        let Disturbance {
            replica,
            began,
            ended,
            what,
        } = fault;
        eprintln!("{began:?} to {ended:?}, replica {replica:?}: {what}");
    }
    assert!(violations.is_empty(), "{violations:#?}");
    // A history in which nothing happens proves nothing.
    for kind in [
        "logins",
        "refreshes",
        "calls",
        "logouts",
        "phones bound",
        "logins by phone",
        "bans",
        "erasures",
    ] {
        assert!(by_kind.contains_key(kind), "there were no {kind}");
    }
    assert!(*unknown < requests / 2 && *requests > 100, "{findings:?}");
}

#[test]
fn on_postgres() {
    history(Engine::Postgres, Duration::from_secs(15));
}

#[test]
fn on_mariadb() {
    history(Engine::Mariadb, Duration::from_secs(10));
}
