//! What does an operation of the store cost on a database: the time, the CPU time of this process, and
//! that of the database? Beside it, a transaction written by hand with the same reads and writes.
//!
//! `./run engines` starts the databases and runs this for each row; it says how to read the figures.
//! One run prints one line of JSON.

#![expect(clippy::print_stdout, reason = "its result is one line")]

mod by_hand;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use futures::{StreamExt as _, future::BoxFuture, stream};
use menshen::{
    crypto::Key,
    entropy::Entropy,
    store::{
        self, CodeHash, LoginOutcome, NewLogin, OpenOptions, Rotation, RotationOutcome, SmsId,
        SmsLimits, SmsReservation, SmsReservationOutcome, Store, TokenCheck, WrappingKeys,
        fixture::{NOW, login_of},
    },
    types::{Phone, SessionId, SmsPurpose, UserId},
};
use serde_json::json;

/// One operation, told the place of the user whom it is about and a number of its own.
type Operation = Arc<dyn Fn(u64, u64) -> BoxFuture<'static, ()> + Send + Sync>;

/// Clock ticks of `/proc/PID/stat` in a second, as Linux has them on every machine of today.
const TICKS: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Of a user who is known.
    Login,
    FirstLogin,
    Refresh,
    /// The slots of an SMS code.
    Code,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// As `store.url`; its tables are made.
    #[arg(long)]
    url: String,
    #[arg(long)]
    kind: Kind,
    #[arg(long, default_value_t = 64)]
    callers: u64,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Users who are there before.
    #[arg(long, default_value_t = 10_000)]
    users: u64,
    /// The database's process, whose CPU time and that of its children is measured.
    #[arg(long)]
    server: u32,
    /// The transaction that is written by hand (MySQL only), with a user's record of so many bytes.
    #[arg(long)]
    by_hand: Option<usize>,
    /// What `cargo bench` adds.
    #[arg(long)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let operation = match arguments.by_hand {
        Some(bytes) => by_hand::operation(&arguments, bytes).await,
        None => of_store(&arguments).await,
    };
    // Connections are made and statements are known before the clock starts.
    repeat(&operation, &arguments, Duration::from_millis(500)).await;
    let before = (
        cpu(std::process::id()),
        cpu(arguments.server),
        Instant::now(),
    );
    let operations = repeat(
        &operation,
        &arguments,
        Duration::from_secs_f64(arguments.seconds),
    )
    .await;
    let seconds = before.2.elapsed().as_secs_f64();
    let each = |spent: f64| spent * 1e6 / u32::try_from(operations).map_or(f64::NAN, f64::from);
    println!(
        "{}",
        json!({
            "operations": operations,
            "a_second": f64::from(u32::try_from(operations).expect("few")) / seconds,
            "client_cpu_us": each(cpu(std::process::id()) - before.0),
            "server_cpu_us": each(cpu(arguments.server) - before.1),
        })
    );
}

/// Seconds of CPU that a process and its children have spent.
fn cpu(pid: u32) -> f64 {
    let own = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, which may hold anything, is in parentheses.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks: f64 = fields
            .get(11..13)
            .into_iter()
            .flatten()
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum();
        ticks / TICKS
    };
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    own(pid)
        + children
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
            .map(own)
            .sum::<f64>()
}

/// So many callers at once, each with users of its own, for so long; says how many operations it was.
async fn repeat(operation: &Operation, arguments: &Arguments, duration: Duration) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (end, done) = (Instant::now() + duration, Arc::new(AtomicU64::new(0)));
    let share = arguments.users / arguments.callers;
    let callers: tokio::task::JoinSet<()> = (0..arguments.callers)
        .map(|caller| {
            let (operation, done) = (Arc::clone(operation), Arc::clone(&done));
            async move {
                let mut turn = 0;
                while Instant::now() < end {
                    let place = caller * share + turn % share;
                    operation(place, NEXT.fetch_add(1, Ordering::Relaxed)).await;
                    done.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                }
            }
        })
        .collect();
    callers.join_all().await;
    done.load(Ordering::Relaxed)
}

async fn of_store(arguments: &Arguments) -> Operation {
    let keys = WrappingKeys::derive(&Key::new([1; 32]), None);
    let options = OpenOptions::default();
    let store = store::open(&arguments.url, &options, &keys, Entropy::default())
        .await
        .expect("a store")
        .store;
    let made = stream::iter(0..arguments.users).map(|place| {
        let store = Arc::clone(&store);
        async move {
            let first = store.login(&first_login(place)).await.expect("a login");
            assert!(matches!(first, LoginOutcome::Opened(_)), "{first:?}");
        }
    });
    made.buffer_unordered(64).for_each(async |()| ()).await;
    match arguments.kind {
        Kind::Login => login(store),
        Kind::FirstLogin => first(store, arguments.users),
        Kind::Refresh => refresh(store, arguments.users),
        Kind::Code => code(store),
    }
}

fn first_login(place: u64) -> NewLogin {
    login_of(&format!("person-{place}"), place.into())
}

/// The user and the session of a first login.
fn made_by(place: u64) -> (UserId, SessionId) {
    (
        UserId::parse(&format!("u{place}")).expect("a user id"),
        SessionId::from_bits(place.into()),
    )
}

/// A hash of a code that no other login has.
fn code_hash(number: u64) -> CodeHash {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    CodeHash(hash)
}

fn login(store: Arc<dyn Store>) -> Operation {
    Arc::new(move |place, number| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let mut login = login_of(&format!("person-{place}"), u128::from(number) + (1 << 64));
            login.max_sessions = 20;
            login.code = Some((code_hash(number), NOW.plus(Duration::from_mins(10))));
            let outcome = store.login(&login).await.expect("a login");
            assert!(matches!(outcome, LoginOutcome::Opened(_)), "{outcome:?}");
        })
    })
}

fn first(store: Arc<dyn Store>, users: u64) -> Operation {
    Arc::new(move |_, number| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let mut login = first_login(users + number);
            login.code = Some((code_hash(number), NOW.plus(Duration::from_mins(10))));
            let outcome = store.login(&login).await.expect("a login");
            assert!(matches!(outcome, LoginOutcome::Opened(_)), "{outcome:?}");
        })
    })
}

fn refresh(store: Arc<dyn Store>, users: u64) -> Operation {
    let counters: Arc<Vec<AtomicU64>> = Arc::new((0..users).map(|_| 0.into()).collect());
    Arc::new(move |place, _| {
        let (store, counters) = (Arc::clone(&store), Arc::clone(&counters));
        Box::pin(async move {
            let counter = &counters[usize::try_from(place).expect("few")];
            let (user, session) = made_by(place);
            let rotation = Rotation {
                user,
                session,
                counter: counter.load(Ordering::Relaxed),
                check: TokenCheck::new(|_| true),
                replay_window: None,
                idle_ttl: Duration::from_hours(1),
                now: NOW,
            };
            match store.rotate(&rotation).await.expect("a rotation") {
                RotationOutcome::Rotated(renewed) => {
                    counter.store(renewed.session.counter, Ordering::Relaxed);
                }
                other => panic!("not rotated: {other:?}"),
            }
        })
    })
}

fn code(store: Arc<dyn Store>) -> Operation {
    Arc::new(move |_, number| {
        let store = Arc::clone(&store);
        Box::pin(async move {
            let reservation = SmsReservation {
                id: SmsId(number.into()),
                phone: Phone::from_parts("86", &(13_000_000_000 + number).to_string())
                    .expect("a phone"),
                purpose: SmsPurpose::Login,
                code: CodeHash([1; 32]),
                limits: SmsLimits {
                    code_ttl: Duration::from_mins(5),
                    resend_after: Duration::from_mins(1),
                    per_phone_hour: 5,
                    per_phone_day: 10,
                    daily_budget: u64::MAX,
                    max_attempts: 5,
                },
                is_test: false,
                now: NOW,
            };
            assert_eq!(
                store.reserve_sms(&reservation).await.expect("a store"),
                SmsReservationOutcome::Granted
            );
        })
    })
}
