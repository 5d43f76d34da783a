//! How much does a store operation cost, alone and in company? On sled a login and a rotation end
//! in an `fdatasync`, so one caller measures the disk, and 64 callers measure how well the group
//! commit shares it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use futures::future::BoxFuture;
use menshen::{
    crypto::Key,
    entropy::Entropy,
    store::{
        self, CodeHash, GuessId, LoginOutcome, LoginProof, NewLogin, OpenOptions, Rotation,
        RotationOutcome, SmsGuess, SmsId, SmsLimits, SmsReservation, SmsReservationOutcome, Store,
        TokenCheck, WrappingKeys,
        fixture::{NOW, login_of},
    },
    types::{Phone, SessionId, SmsPurpose, UserId},
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
    let urls = [
        ("memory", "memory:".to_owned()),
        ("sled", format!("sled:{}", directory.path().display())),
    ];
    for (engine, url) in urls {
        let keys = WrappingKeys::derive(&Key::new([1; 32]), None);
        let options = OpenOptions::default();
        let store = runtime
            .block_on(store::open(&url, &options, &keys, Entropy::default()))
            .expect("a store")
            .store;
        runtime.block_on(fill(&store));
        let mut group = criterion.benchmark_group(format!("store_{engine}"));
        let operations = [
            ("login", login(&store)),
            ("rotate", rotate(&store)),
            ("session", session(&store)),
            ("sms_send", sms_send(&store)),
            ("sms_wrong_code", sms_wrong_code(&store, &runtime)),
            ("sms_login", sms_login(&store)),
        ];
        for (name, operation) in operations {
            for callers in CALLERS {
                bench(&mut group, &runtime, name, callers, &operation);
            }
        }
        group.finish();
        runtime.block_on(store.close()).expect("closed");
    }
}

/// Criterion's iterations are shared among the callers; the time is that of all together, so its
/// inverse is operations per second.
fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    name: &str,
    callers: u64,
    operation: &Operation,
) {
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
        let outcome = store
            .login(&login_of(&format!("person-{n}"), n.into()))
            .await
            .expect("a login");
        assert!(matches!(outcome, LoginOutcome::Opened(_)));
    }
}

/// Whose session it is: each was opened by a first login.
fn user_of(place: u64) -> UserId {
    UserId::parse(&format!("u{place}")).expect("a user id")
}

/// A new session each time, of one of 1,000 people.
fn login(store: &Arc<dyn Store>) -> Operation {
    let store = Arc::clone(store);
    let numbers = Arc::new(AtomicU64::new(SESSIONS));
    Arc::new(move |_| {
        let (store, number) = (Arc::clone(&store), numbers.fetch_add(1, Ordering::Relaxed));
        Box::pin(async move {
            let mut login = login_of(&format!("person-{}", number % 1000), number.into());
            login.max_sessions = 20;
            store.login(&login).await.expect("a login");
        })
    })
}

/// The present token of one of the sessions. Each session has one caller at a time, as a client is.
fn rotate(store: &Arc<dyn Store>) -> Operation {
    let store = Arc::clone(store);
    let counters: Arc<Vec<tokio::sync::Mutex<u64>>> =
        Arc::new((0..SESSIONS).map(|_| 0.into()).collect());
    Arc::new(move |number| {
        let (store, counters) = (Arc::clone(&store), Arc::clone(&counters));
        Box::pin(async move {
            let place = number % SESSIONS;
            let mut counter = counters[usize::try_from(place).expect("small")]
                .lock()
                .await;
            let rotation = Rotation {
                user: user_of(place),
                session: SessionId::from_bits(place.into()),
                counter: *counter,
                check: TokenCheck::new(|_| true),
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
            let place = number % SESSIONS;
            let found = store
                .session(&user_of(place), SessionId::from_bits(place.into()), NOW)
                .await
                .expect("a read");
            assert!(found.is_some());
        })
    })
}

const SMS_LIMITS: SmsLimits = SmsLimits {
    code_ttl: Duration::from_mins(5),
    resend_after: Duration::from_mins(1),
    per_phone_hour: 5,
    per_phone_day: 10,
    daily_budget: u64::MAX,
    max_attempts: u32::MAX,
};

/// Numbers that no two callers and no two rounds share.
static PHONES: AtomicU64 = AtomicU64::new(0);

fn next_phone() -> (u64, Phone) {
    let number = PHONES.fetch_add(1, Ordering::Relaxed);
    (
        number,
        Phone::from_parts("86", &(13_000_000_000 + number).to_string()).expect("a phone"),
    )
}

async fn reserve(store: &Arc<dyn Store>) -> (u64, Phone) {
    let (number, phone) = next_phone();
    let reservation = SmsReservation {
        id: SmsId(number.into()),
        phone: phone.clone(),
        purpose: SmsPurpose::Login,
        code: CodeHash([1; 32]),
        limits: SMS_LIMITS,
        is_test: false,
        now: NOW,
    };
    assert_eq!(
        store.reserve_sms(&reservation).await.expect("a store"),
        SmsReservationOutcome::Granted
    );
    (number, phone)
}

fn guess(phone: Phone, code: u8) -> SmsGuess {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    SmsGuess {
        id: GuessId(NEXT.fetch_add(1, Ordering::Relaxed).into()),
        phone,
        purpose: SmsPurpose::Login,
        code: CodeHash([code; 32]),
        max_attempts: u32::MAX,
    }
}

/// The slots of a message to a phone that has had none.
fn sms_send(store: &Arc<dyn Store>) -> Operation {
    let store = Arc::clone(store);
    Arc::new(move |_| {
        let store = Arc::clone(&store);
        Box::pin(async move { drop(reserve(&store).await) })
    })
}

/// A wrong code, counted, for one of the phones that wait for one.
fn sms_wrong_code(store: &Arc<dyn Store>, runtime: &Runtime) -> Operation {
    let waiting = async { futures::future::join_all((0..SESSIONS).map(|_| reserve(store))).await };
    let phones: Arc<Vec<Phone>> = Arc::new(
        runtime
            .block_on(waiting)
            .into_iter()
            .map(|(_, phone)| phone)
            .collect(),
    );
    let store = Arc::clone(store);
    Arc::new(move |number| {
        let (store, phone) = (
            Arc::clone(&store),
            phones[usize::try_from(number % SESSIONS).expect("small")].clone(),
        );
        Box::pin(async move {
            let login = NewLogin {
                proof: LoginProof::Sms(guess(phone, 2)),
                ..login_of("nobody", u128::MAX)
            };
            assert!(matches!(
                store.login(&login).await.expect("a store"),
                LoginOutcome::NotProven { .. }
            ));
        })
    })
}

/// The whole of it: the slots, then the right code, which makes a user and opens a session.
fn sms_login(store: &Arc<dyn Store>) -> Operation {
    let store = Arc::clone(store);
    Arc::new(move |_| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let (number, phone) = reserve(&store).await;
            let session = u128::from(number) + (1 << 64);
            let login = NewLogin {
                proof: LoginProof::Sms(guess(phone, 1)),
                ..login_of("nobody", session)
            };
            assert!(matches!(
                store.login(&login).await.expect("a store"),
                LoginOutcome::Opened(_)
            ));
        })
    })
}

criterion_group!(store_benches, benches);
criterion_main!(store_benches);
