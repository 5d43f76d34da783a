//! What `token::keyrings` promises.

use super::*;
use crate::{
    config::{HumanDuration, SecretText},
    store::engine_store::{
        EngineStore,
        faulty::{self, Faults},
    },
    store::{ReplicaId, UpkeepLease},
    token::{fixture::NOW, key},
};

const ALL: [Algorithm; 4] = [
    Algorithm::EdDsa,
    Algorithm::Es256,
    Algorithm::Rs256,
    Algorithm::Hs256,
];

fn config(algorithm: Algorithm) -> TokenConfig {
    TokenConfig {
        algorithm,
        ..TokenConfig::default()
    }
}

async fn open(config: &TokenConfig, store: &EngineStore) -> Keyrings {
    Keyrings::open(
        config,
        Lifetimes::from_config(config),
        store,
        &Entropy::default(),
        NOW,
    )
    .await
    .unwrap()
}

/// A task of its own has to be able to run this.
fn sent<F: Future + Send>(task: F) -> F {
    task
}

/// Ends when it has come true, or after many turns in which it has not.
fn until(come_true: impl Fn() -> bool) -> impl Future<Output = ()> {
    let mut turns = 0;
    std::future::poll_fn(move |context| {
        context.waker().wake_by_ref();
        turns += 1;
        // What is waited for may be up to the store's writing thread.
        std::thread::yield_now();
        if come_true() || turns > 1_000_000 {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
}

fn secret(letter: &str) -> SecretText {
    SecretText::new(letter.repeat(32))
}

/// A directory of key files, made of (name, algorithm).
fn key_files(files: &[(&str, Algorithm)]) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let kids = files.iter().map(|(name, algorithm)| {
        let key = key::generate(*algorithm, &Entropy::default(), NOW).unwrap();
        let text = pem::encode(&pem::Pem::new(
            "PRIVATE KEY",
            key.private.expose().as_slice(),
        ));
        std::fs::write(dir.path().join(name), text).unwrap();
        key.kid
    });
    let kids = kids.collect();
    (dir, kids)
}

#[tokio::test]
async fn the_first_start_makes_a_key_and_later_ones_find_it() {
    for algorithm in ALL {
        let store = faulty::in_memory();
        let first = open(&config(algorithm), &store)
            .await
            .current()
            .signing_kid()
            .to_owned();
        let second = open(&config(algorithm), &store).await;
        assert_eq!(second.current().signing_kid(), first);
        assert_eq!(store.keys().await.unwrap().len(), 1, "{algorithm:?}");
    }
}

#[tokio::test]
async fn another_algorithm_makes_a_new_key_and_the_old_one_still_verifies() {
    let store = faulty::in_memory();
    let old = open(&config(Algorithm::EdDsa), &store)
        .await
        .current()
        .signing_kid()
        .to_owned();
    let keyrings = open(&config(Algorithm::Es256), &store).await;
    assert_eq!(keyrings.current().algorithm(), Algorithm::Es256);
    assert!(keyrings.current().kids().any(|kid| kid == old));
}

#[tokio::test]
async fn a_rotation_reaches_the_other_replica_and_the_old_key_retires_when_its_tokens_are_dead() {
    let store = faulty::in_memory();
    let config = config(Algorithm::EdDsa);
    let (here, there) = (open(&config, &store).await, open(&config, &store).await);
    let old = here.current().signing_kid().to_owned();

    let RotationResult::Added { kid: new } =
        here.rotate(&store, &Entropy::default(), NOW).await.unwrap()
    else {
        panic!("nobody else rotates");
    };
    assert_eq!(
        here.current().kids().collect::<Vec<_>>(),
        [new.as_str(), old.as_str()]
    );
    assert_eq!(there.current().signing_kid(), old);
    assert!(there.reload(&store, NOW).await.unwrap());
    assert_eq!(there.current().signing_kid(), new);

    let tokens_dead = NOW.plus(config.access_ttl.get() + config.leeway.get());
    assert!(
        here.retire(&store, tokens_dead).await.unwrap().is_empty(),
        "another replica may have signed a moment longer"
    );
    assert_eq!(
        here.retire(&store, tokens_dead.plus(ROTATION_OVERLAP))
            .await
            .unwrap(),
        [old]
    );
    assert_eq!(here.current().kids().collect::<Vec<_>>(), [new.as_str()]);
    assert_eq!(store.keys().await.unwrap().len(), 1);
    assert!(
        here.retire(&store, Timestamp::from_millis(u64::MAX))
            .await
            .unwrap()
            .is_empty(),
        "the newest key never retires"
    );
}

#[tokio::test]
async fn a_reload_without_news_keeps_the_version() {
    let store = faulty::in_memory();
    let keyrings = open(&config(Algorithm::EdDsa), &store).await;
    let before = keyrings.version();
    assert!(!keyrings.reload(&store, NOW).await.unwrap());
    assert_eq!(keyrings.version(), before);
    keyrings
        .rotate(&store, &Entropy::default(), NOW)
        .await
        .unwrap();
    assert_ne!(keyrings.version(), before);
    assert_eq!(keyrings.version(), keyrings.current().version());
}

#[tokio::test]
async fn a_store_that_fails_changes_no_key() {
    let (store, faults) = faulty::with_faults();
    let keyrings = open(&config(Algorithm::EdDsa), &store).await;
    let kid = keyrings.current().signing_kid().to_owned();
    faults.set_down(true);
    assert!(keyrings.reload(&store, NOW).await.is_err());
    assert!(
        keyrings
            .rotate(&store, &Entropy::default(), NOW)
            .await
            .is_err()
    );
    assert!(keyrings.retire(&store, NOW).await.is_err());
    assert_eq!(keyrings.current().signing_kid(), kid);
    assert!(
        Keyrings::open(
            &config(Algorithm::EdDsa),
            Lifetimes::from_config(&config(Algorithm::EdDsa)),
            &store,
            &Entropy::default(),
            NOW
        )
        .await
        .is_err()
    );
}

/// Both at once: neither sees what the other does before it has read the store itself.
async fn at_once<A, B>(
    faults: &Faults,
    one: impl Future<Output = A>,
    other: impl Future<Output = B>,
) -> (A, B) {
    faults.commits.close();
    let (one, other, ()) = tokio::join!(one, other, async { faults.commits.open() });
    (one, other)
}

#[tokio::test]
async fn of_two_replicas_that_make_a_key_at_once_one_wins_and_both_use_it() {
    let (store, faults) = faulty::with_faults();
    let config = config(Algorithm::EdDsa);
    let (here, there) = at_once(&faults, open(&config, &store), open(&config, &store)).await;
    let first = here.current().signing_kid().to_owned();
    for keyrings in [&here, &there] {
        assert_eq!(keyrings.current().kids().collect::<Vec<_>>(), [&first]);
    }

    let entropy = Entropy::default();
    let (ours, theirs) = at_once(
        &faults,
        here.rotate(&store, &entropy, NOW),
        there.rotate(&store, &entropy, NOW),
    )
    .await;
    let RotationResult::Added { kid: second } = ours.unwrap() else {
        panic!("it was the first");
    };
    assert_eq!(
        theirs.unwrap(),
        RotationResult::Overtaken {
            kid: second.clone()
        }
    );
    for keyrings in [&here, &there] {
        assert_eq!(
            keyrings.current().kids().collect::<Vec<_>>(),
            [&second, &first]
        );
    }
}

#[tokio::test]
async fn the_last_key_file_signs_and_all_verify() {
    let (dir, kids) = key_files(&[
        ("2026-01.pem", Algorithm::Rs256),
        ("2026-03.pem", Algorithm::EdDsa),
        ("2026-02.pem", Algorithm::Es256),
        ("notes.txt", Algorithm::EdDsa),
    ]);
    let config = TokenConfig {
        key_dir: Some(dir.path().to_owned()),
        ..config(Algorithm::EdDsa)
    };
    let store = faulty::in_memory();
    let keyrings = open(&config, &store).await;
    assert_eq!(
        keyrings.current().kids().collect::<Vec<_>>(),
        [&kids[1], &kids[2], &kids[0]]
    );
    assert!(
        store.keys().await.unwrap().is_empty(),
        "no key is made where keys are given"
    );
    let rotated = keyrings.rotate(&store, &Entropy::default(), NOW).await;
    assert!(matches!(rotated, Err(KeyringError::NotOurs)));

    std::fs::remove_file(dir.path().join("2026-01.pem")).unwrap();
    assert!(keyrings.reload(&store, NOW).await.unwrap());
    assert_eq!(keyrings.current().kids().count(), 2);
}

#[tokio::test]
async fn a_key_directory_that_cannot_be_used_stops_the_start() {
    let (empty, _) = key_files(&[]);
    let (other, _) = key_files(&[("a.pem", Algorithm::Es256)]);
    let (broken, _) = key_files(&[("a.pem", Algorithm::EdDsa)]);
    std::fs::write(broken.path().join("b.pem"), "hunter2").unwrap();
    for (path, says) in [
        (empty.path().to_owned(), "no file *.pem"),
        (other.path().to_owned(), "not for EdDSA"),
        (broken.path().to_owned(), "not a PEM file"),
        (empty.path().join("missing"), "missing"),
    ] {
        let config = TokenConfig {
            key_dir: Some(path),
            ..config(Algorithm::EdDsa)
        };
        let error = Keyrings::open(
            &config,
            Lifetimes::from_config(&config),
            &faulty::in_memory(),
            &Entropy::default(),
            NOW,
        )
        .await
        .unwrap_err()
        .to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("hunter2"));
    }
}

#[tokio::test]
async fn former_secrets_verify_and_none_is_published() {
    for own in [Some(secret("a")), None] {
        let config = TokenConfig {
            secret: own.clone(),
            previous_secrets: vec![secret("b"), secret("c"), secret("b")],
            ..config(Algorithm::Hs256)
        };
        let keyrings = open(&config, &faulty::in_memory()).await;
        let keys = keyrings.current();
        assert_eq!(keys.kids().count(), 3, "{own:?}");
        assert_eq!(keys.jwks().as_ref(), br#"{"keys":[]}"#);
        assert!(!format!("{keys:?}").contains("bbbb"));
    }
}

#[tokio::test]
async fn a_short_secret_stops_the_start() {
    let short = SecretText::new("hunter2".to_owned());
    for config in [
        TokenConfig {
            secret: Some(short.clone()),
            ..config(Algorithm::Hs256)
        },
        TokenConfig {
            previous_secrets: vec![short],
            ..config(Algorithm::Hs256)
        },
    ] {
        let error = Keyrings::open(
            &config,
            Lifetimes::from_config(&config),
            &faulty::in_memory(),
            &Entropy::default(),
            NOW,
        )
        .await
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("shorter than 32 bytes") && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_jwks_has_what_rfc_7517_asks_for_and_nothing_private() {
    let store = faulty::in_memory();
    for (algorithm, members) in [
        (
            Algorithm::EdDsa,
            ["alg", "crv", "kid", "kty", "use", "x"].as_slice(),
        ),
        (
            Algorithm::Es256,
            &["alg", "crv", "kid", "kty", "use", "x", "y"],
        ),
        (Algorithm::Rs256, &["alg", "e", "kid", "kty", "n", "use"]),
    ] {
        let keys = open(&config(algorithm), &store).await;
        let jwks: serde_json::Value = serde_json::from_slice(&keys.current().jwks()).unwrap();
        let first = jwks["keys"][0].as_object().unwrap();
        let mut names: Vec<&str> = first.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, members, "{algorithm:?}");
        assert_eq!(first["alg"], algorithm.as_str());
        assert_eq!(first["use"], "sig");
        assert_eq!(first["kid"], keys.current().signing_kid());
    }
    let all = open(&config(Algorithm::Rs256), &store)
        .await
        .current()
        .jwks();
    let all: serde_json::Value = serde_json::from_slice(&all).unwrap();
    assert_eq!(all["keys"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn following_reads_a_new_key_when_it_is_asked_for_and_ends_when_it_is_told_to() {
    let store = faulty::in_memory();
    let keyrings = open(&config(Algorithm::EdDsa), &store).await;
    let other = open(&config(Algorithm::EdDsa), &store).await;
    other
        .rotate(&store, &Entropy::default(), NOW)
        .await
        .unwrap();
    keyrings.request_reload();
    let audit = Audit::new(Metrics::new());
    let reloaded = until(|| keyrings.version() > 0);
    let (clock, entropy, metrics) = (Clock::manual(NOW), Entropy::default(), Metrics::new());
    let lease = held_lease().await;
    let with = KeyMaintenance {
        store: &store,
        lease: &lease,
        clock: &clock,
        entropy: &entropy,
        audit: &audit,
        metrics: &metrics,
    };
    sent(keyrings.follow(with, reloaded)).await;
    assert_eq!(
        keyrings.current().signing_kid(),
        other.current().signing_kid()
    );
}

/// The lease of a process that is alone.
async fn held_lease() -> UpkeepLease {
    let lease = UpkeepLease::new(ReplicaId(1));
    let alone: Arc<dyn Store> = Arc::new(faulty::in_memory());
    lease.renew(&alone).await.unwrap();
    assert!(lease.is_held());
    lease
}

#[tokio::test]
async fn following_retires_what_is_over() {
    let store = faulty::in_memory();
    let keyrings = open(&config(Algorithm::EdDsa), &store).await;
    keyrings
        .rotate(&store, &Entropy::default(), NOW)
        .await
        .unwrap();
    keyrings.request_reload();
    let metrics = Metrics::new();
    let removed = metrics.audit_events.with_label_values(&["key.removed"]);
    let retired = until(|| removed.get() > 0);
    let (later, entropy, audit) = (
        Clock::manual(NOW.plus(Duration::from_hours(24))),
        Entropy::default(),
        Audit::new(metrics.clone()),
    );
    let lease = held_lease().await;
    let with = KeyMaintenance {
        store: &store,
        lease: &lease,
        clock: &later,
        entropy: &entropy,
        audit: &audit,
        metrics: &metrics,
    };
    keyrings.follow(with, retired).await;
    assert_eq!(keyrings.current().kids().count(), 1);
    assert!((metrics.signing_key_age.get() - 86_400.0).abs() < 1.0);
}

const DAY: Duration = Duration::from_hours(24);

fn scheduled() -> TokenConfig {
    TokenConfig {
        rotate_every: Some(HumanDuration::days(90)),
        ..config(Algorithm::EdDsa)
    }
}

/// One process among several that share a store.
struct Process<'a> {
    store: &'a EngineStore,
    keyrings: Keyrings,
    metrics: Metrics,
}

impl<'a> Process<'a> {
    async fn start(store: &'a EngineStore, config: &TokenConfig, now: Timestamp) -> Self {
        let keyrings = Keyrings::open(
            config,
            Lifetimes::from_config(config),
            store,
            &Entropy::default(),
            now,
        )
        .await
        .unwrap();
        Self {
            store,
            keyrings,
            metrics: Metrics::new(),
        }
    }

    /// Does what is done every minute; says which keys there are then, the one that signs first.
    async fn at(&self, now: Timestamp) -> Vec<String> {
        let (clock, entropy, audit) = (
            Clock::manual(now),
            Entropy::default(),
            Audit::new(self.metrics.clone()),
        );
        let lease = held_lease().await;
        let with = KeyMaintenance {
            store: self.store,
            lease: &lease,
            clock: &clock,
            entropy: &entropy,
            audit: &audit,
            metrics: &self.metrics,
        };
        self.keyrings.refresh(with, now).await.unwrap();
        self.keyrings.current().kids().map(str::to_owned).collect()
    }

    fn audited(&self, event: &str) -> u64 {
        self.metrics.audit_events.with_label_values(&[event]).get()
    }
}

fn day(n: u32) -> Timestamp {
    NOW.plus(DAY * n)
}

const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test]
async fn the_next_key_is_published_before_it_signs_and_the_last_one_verifies_until_its_tokens_are_dead()
 {
    let (store, config) = (faulty::in_memory(), scheduled());
    let here = Process::start(&store, &config, NOW).await;
    let there = Process::start(&store, &config, NOW).await;
    let first = here.at(day(89).minus(MOMENT)).await;
    assert_eq!((first.len(), here.audited("key.added")), (1, 0));

    let waiting = here.at(day(89)).await;
    assert_eq!(
        (waiting.len(), &waiting[0]),
        (2, &first[0]),
        "the old one signs still"
    );
    assert_eq!(
        here.keyrings.current().next(),
        Some((waiting[1].as_str(), day(90)))
    );
    let jwks: serde_json::Value = serde_json::from_slice(&here.keyrings.current().jwks()).unwrap();
    let published: Vec<_> = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(published, waiting);
    assert_eq!(there.at(day(89)).await, waiting, "one key, whoever looks");
    let restarted = Process::start(&store, &config, day(89)).await;
    assert_eq!(restarted.at(day(90).minus(MOMENT)).await, waiting);
    assert_eq!(there.at(day(90).minus(MOMENT)).await, waiting);

    for process in [&here, &there, &restarted] {
        let version = process.keyrings.version();
        let after = process.at(day(90)).await;
        assert_eq!(after, [waiting[1].clone(), waiting[0].clone()]);
        assert_ne!(process.keyrings.version(), version);
        assert_eq!(
            (
                process.keyrings.current().signs_since(),
                process.keyrings.current().next()
            ),
            (Some(day(90)), None)
        );
    }
    let dead = day(90).plus(config.access_ttl.get() + config.leeway.get() + ROTATION_OVERLAP);
    assert_eq!(here.at(dead.minus(MOMENT)).await.len(), 2);
    assert_eq!(here.at(dead).await, [waiting[1].clone()]);
    assert_eq!(there.at(day(179).minus(MOMENT)).await.len(), 1);
    assert_eq!(there.at(day(179)).await.len(), 2, "and so on");
    let audited = [&here, &there, &restarted].map(|process| process.audited("key.added"));
    assert_eq!((audited, here.audited("key.removed")), ([1, 1, 0], 1));
}

#[tokio::test]
async fn of_processes_that_find_the_next_key_due_at_once_one_makes_it() {
    let ((store, faults), config) = (faulty::with_faults(), scheduled());
    let here = Process::start(&store, &config, NOW).await;
    let there = Process::start(&store, &config, NOW).await;
    let old = here.at(NOW).await;
    let (ours, theirs) = at_once(&faults, here.at(day(89)), there.at(day(89))).await;
    assert_eq!(ours, theirs);
    assert_eq!((&ours[0], ours.len()), (&old[0], 2));
    let audited = here.audited("key.added") + there.audited("key.added");
    assert_eq!((audited, store.keys().await.unwrap().len()), (1, 2));
}

#[tokio::test]
async fn a_process_that_did_not_run_when_the_next_key_was_due_publishes_it_first_all_the_same() {
    let (store, config) = (faulty::in_memory(), scheduled());
    let old = Process::start(&store, &config, NOW).await.at(NOW).await;
    let late = Process::start(&store, &config, day(400)).await;
    let waiting = late.at(day(400)).await;
    assert_eq!((waiting.len(), &waiting[0]), (2, &old[0]));
    assert_eq!(
        late.keyrings.current().next(),
        Some((waiting[1].as_str(), day(401)))
    );
    assert_eq!(late.at(day(401)).await[0], waiting[1]);
}

#[tokio::test]
async fn a_rotation_by_hand_goes_before_a_key_that_waits() {
    let (store, config) = (faulty::in_memory(), scheduled());
    let here = Process::start(&store, &config, NOW).await;
    let waiting = here.at(day(89)).await;
    let RotationResult::Added { kid } = here
        .keyrings
        .rotate(&store, &Entropy::default(), day(89))
        .await
        .unwrap()
    else {
        panic!("nobody else rotates");
    };
    assert_eq!(
        here.at(day(89)).await,
        [kid.as_str(), &waiting[1], &waiting[0]]
    );
    assert_eq!(
        here.at(day(91)).await,
        [kid.as_str()],
        "the one that waited never signs"
    );
    assert_eq!(here.at(day(178).minus(MOMENT)).await, [kid.as_str()]);
    assert_eq!(here.at(day(178)).await.len(), 2);
}

#[tokio::test]
async fn keys_are_replaced_on_schedule_only_where_that_is_asked_for_and_they_are_ours() {
    let (dir, kids) = key_files(&[("a.pem", Algorithm::EdDsa)]);
    for config in [
        config(Algorithm::EdDsa),
        TokenConfig {
            key_dir: Some(dir.path().to_owned()),
            ..scheduled()
        },
        TokenConfig {
            secret: Some(secret("a")),
            algorithm: Algorithm::Hs256,
            ..scheduled()
        },
    ] {
        let store = faulty::in_memory();
        let process = Process::start(&store, &config, NOW).await;
        let before = process.at(NOW).await;
        assert_eq!(process.at(day(1000)).await, before, "{config:?}");
        assert_eq!(process.audited("key.added"), 0);
        assert!(config.key_dir.is_none() || before == kids);
    }
}

#[tokio::test]
async fn a_clock_behind_all_keys_signs_with_the_oldest() {
    let (store, config) = (faulty::in_memory(), scheduled());
    let here = Process::start(&store, &config, NOW).await;
    let waiting = here.at(day(89)).await;
    assert_eq!(here.at(NOW.minus(DAY)).await, waiting);
}

#[tokio::test]
async fn a_clock_that_was_years_ahead_for_a_while_does_not_stop_the_schedule() {
    let (store, config) = (faulty::in_memory(), scheduled());
    let here = Process::start(&store, &config, NOW).await;
    let first = here.at(NOW).await;
    here.at(day(3650)).await;
    let now = day(1);
    assert_eq!(
        here.at(now).await[0],
        first[0],
        "what waits for years signs nothing"
    );
    let next = here.at(day(2)).await;
    assert!(next[0] != first[0] && next.len() == 3, "{next:?}");
    assert_eq!(here.at(day(3)).await[0], next[0]);
    here.at(day(91)).await;
    assert_ne!(here.at(day(92)).await[0], next[0], "and so on");
}
