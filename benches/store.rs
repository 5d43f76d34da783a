//! How much does a store operation cost, alone and in company? On sled a login and a rotation end in an `fdatasync`, so one
//! caller measures the disk, and 64 callers measure how well the group commit shares it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use futures::future::BoxFuture;
use menshen::{
    crypto::Key,
    entropy::Entropy,
    store::{
        self, LoginOutcome, OpenOptions, Rotation, RotationOutcome, Store, StoreKeys,
        contract::{NOW, login_of},
    },
    types::SessionId,
};
use tokio::runtime::Runtime;

/// How many callers ask at once.
const CALLERS: [u64; 2] = [1, 64];
/// Sessions that are there before the reads and rotations begin.
const SESSIONS: u64 = 1024;

/// One operation, told its number.
type Operation = Arc<dyn Fn(u64) -> BoxFuture<'static, ()> + Send + Sync>;

fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let urls = [("memory", "memory:".to_owned()), ("sled", format!("sled:{}", directory.path().display()))];
    for (engine, url) in urls {
        let keys = StoreKeys::derive(&Key::new([1; 32]), None);
        let store = store::open(&url, &OpenOptions::default(), &keys, Entropy::default()).expect("a store").store;
        runtime.block_on(fill(&store));
        let mut group = criterion.benchmark_group(format!("store_{engine}"));
        for (name, operation) in [("login", login(&store)), ("rotate", rotate(&store)), ("session", session(&store))] {
            for callers in CALLERS {
                bench(&mut group, &runtime, name, callers, &operation);
            }
        }
        group.finish();
        runtime.block_on(store.close()).expect("closed");
    }
}

/// Criterion's iterations are shared among the callers; the time is that of all together, so its inverse is operations per
/// second.
fn bench(group: &mut BenchmarkGroup<'_, WallTime>, runtime: &Runtime, name: &str, callers: u64, operation: &Operation) {
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("{name}/{callers}"), |bencher| {
        bencher.iter_custom(|iterations| runtime.block_on(share(iterations, callers, operation)));
    });
}

async fn share(iterations: u64, callers: u64, operation: &Operation) -> Duration {
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: tokio::task::JoinSet<()> = (0..callers)
        .map(|_| {
            let (next, operation) = (Arc::clone(&next), Arc::clone(operation));
            async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= iterations {
                        break;
                    }
                    operation(number).await;
                }
            }
        })
        .collect();
    tasks.join_all().await;
    started.elapsed()
}

async fn fill(store: &Arc<dyn Store>) {
    for n in 0..SESSIONS {
        let outcome = store.login(&login_of(&format!("person-{n}"), n.into())).await.expect("a login");
        assert!(matches!(outcome, LoginOutcome::Opened(_)));
    }
}

/// A new session each time, of one of 1,000 people.
fn login(store: &Arc<dyn Store>) -> Operation {
    let store = Arc::clone(store);
    let numbers = Arc::new(AtomicU64::new(SESSIONS));
    Arc::new(move |_| {
        let (store, number) = (Arc::clone(&store), numbers.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            let login = login_of(&format!("person-{}", number % 1000), number.into());
            store.login(&login).await.expect("a login");
        })
    })
}

/// The present token of one of the sessions. Each session has one caller at a time, as a client is.
fn rotate(store: &Arc<dyn Store>) -> Operation {
    let store = Arc::clone(store);
    let counters: Arc<Vec<tokio::sync::Mutex<u64>>> = Arc::new((0..SESSIONS).map(|_| 0.into()).collect());
    Arc::new(move |number| {
        let (store, counters) = (Arc::clone(&store), Arc::clone(&counters));
        Box::pin(async move {
            let place = number % SESSIONS;
            let mut counter = counters[usize::try_from(place).expect("small")].lock().await;
            let rotation = Rotation {
                session: SessionId::from_bits(place.into()),
                counter: *counter,
                replay_window: None,
                idle_ttl: Duration::from_hours(1),
                now: NOW,
            };
            match store.rotate(&rotation).await.expect("a rotation") {
                RotationOutcome::Rotated(renewed) => *counter = renewed.session.counter,
                other => panic!("not rotated: {other:?}"),
            }
        })
    })
}

/// A session by its id.
fn session(store: &Arc<dyn Store>) -> Operation {
    let store = Arc::clone(store);
    Arc::new(move |number| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let found = store.session(SessionId::from_bits((number % SESSIONS).into()), NOW).await.expect("a read");
            assert!(found.is_some());
        })
    })
}

criterion_group!(store_benches, benches);
criterion_main!(store_benches);
