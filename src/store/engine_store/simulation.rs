//! Histories of several replicas over a simulated server, in an order that a seed decides: two to
//! five processes with the real operations, clocks that differ, commits that conflict, get lost,
//! happen untold, come late or wait for a standby, processes that stop for a minute, die and start
//! again.
//!
//! A seed always gives the same history, so one that fails is a test. Afterwards every call that
//! took effect is made once more, one after the other in the order in which they took effect, on a
//! store in memory. Whatever a client was told has to be what that store says.
//!
//! Must hold besides: a commit happens once, and not when its call has been answered without it
//! (unless it changes nothing that it has read), a revocation that was acknowledged is in what every
//! follower of the log reads from then on, no line of the log begins to be written when readers do
//! not look for it any more, no more messages are granted than a day has, no event for the backend
//! comes back once it has been acknowledged, and no replica ever finds a record damaged.
//!
//! `MENSHEN_SEEDS=1000000 cargo test --lib simulation -- --nocapture` makes a longer run, which
//! `--config profile.dev.package.menshen.opt-level=1` shortens and `MENSHEN_FIRST_SEED` begins
//! further on; `MENSHEN_SEED=17` makes one history, which is printed.

mod calls;
mod checker;
mod follower;
mod history;
mod server;

use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use self::{checker::Judged, server::locked};

use crate::store::OpenOptions;

/// So many histories are made in each run of the tests: 10 to 18 ms of CPU time each without
/// optimization.
const SEEDS: u64 = 10_000;
/// And so many in which commits of revocations are slow.
const SLOW_SEEDS: u64 = 200;
/// A long run says how far it is whenever so many more have begun.
const PROGRESS: u64 = 50_000;
/// A run goes on until so many histories are wrong, so that a long one tells more than the first.
const MAX_WRONG: usize = 8;

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// Makes the history of a seed and checks it; says what is wrong with it.
fn check(seed: u64, log_is_slow: bool, options: &OpenOptions) -> Result<Judged, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let history = runtime.block_on(history::make(seed, log_is_slow, options));
    // What is left waits for a replica that is gone.
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(checker::check(&history, options))
}

#[test]
fn what_clients_are_told_is_what_one_store_would_have_said() {
    let options = OpenOptions::default();
    if let Some(seed) = from_environment("MENSHEN_SEED") {
        let judged =
            check(seed, false, &options).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        println!("{judged:?}");
        return;
    }
    let seeds = from_environment("MENSHEN_SEEDS").unwrap_or(SEEDS);
    let first = from_environment("MENSHEN_FIRST_SEED").unwrap_or(0);
    let next = AtomicU64::new(first);
    let total = Mutex::new(Judged::default());
    let wrong_seeds = Mutex::new(Vec::new());
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if seed > first && seed.is_multiple_of(PROGRESS) {
                        println!("{seed} histories begun");
                    }
                    match check(seed, false, &options) {
                        Ok(judged) => locked(&total).add(&judged),
                        Err(wrong) => {
                            println!("MENSHEN_SEED={seed} shows it: {wrong}");
                            let mut wrong_seeds = locked(&wrong_seeds);
                            wrong_seeds.push(seed);
                            if wrong_seeds.len() >= MAX_WRONG {
                                next.store(seeds, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    let wrong_seeds = locked(&wrong_seeds);
    assert!(wrong_seeds.is_empty(), "histories {wrong_seeds:?}");
    // A store that fails every call tells nothing wrong either.
    let total = locked(&total);
    println!("{total:?}");
    let seeds = usize::try_from(seeds - first).expect("a count");
    assert!(total.calls >= 8 * seeds, "{total:?}");
    assert!(total.tokens >= 2 * seeds, "{total:?}");
    assert!(total.revocations >= seeds / 4, "{total:?}");
    assert!(total.overwritten >= seeds / 1000, "{total:?}");
    assert!(total.unanswered >= seeds / 100, "{total:?}");
    assert!(total.events >= seeds / 20, "{total:?}");
}

/// Found by long runs, which called them wrong.
#[test]
fn rare_histories_are_judged_rightly() {
    let options = OpenOptions::default();
    for seed in [
        // Re-encryption seals an old line of the log anew.
        27_851,
        // A call finds the line of the log that it wrote, when its user has been erased meanwhile.
        34_716,
    ] {
        check(seed, false, &options).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
    }
}

/// Its line lies behind what readers look at again, so it is written once more before it is acknowledged.
#[test]
fn no_follower_misses_a_revocation_that_is_committed_late() {
    let options = OpenOptions::default();
    let mut revocations = 0;
    for seed in 0..SLOW_SEEDS {
        let judged = check(seed, true, &options)
            .unwrap_or_else(|wrong| panic!("history {seed} with a slow log: {wrong}"));
        revocations += judged.revocations;
    }
    assert!(revocations >= 50, "{revocations}");
}

#[test]
fn a_seed_always_gives_the_same_history() {
    let options = OpenOptions::default();
    let describe = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime
            .block_on(history::make(seed, false, &options))
            .describe()
    };
    for seed in 0..20 {
        assert_eq!(describe(seed), describe(seed), "seed {seed}");
    }
}
