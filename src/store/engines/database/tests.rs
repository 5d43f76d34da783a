//! What the engines that are databases do alike, on a real server of each.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;

use crate::{
    entropy::Entropy,
    store::{
        engine::{Commit, CommitOutcome, FENCE, SharedEngine, Version, Versioned},
        error::EngineError,
    },
    types::Timestamp,
};

/// A test of each case, on the engine that this function makes.
macro_rules! engine_cases {
    ($engine:path) => {
        $crate::store::engines::database::tests::engine_cases! {
            $engine;
            what_is_committed_is_read_with_its_version,
            a_read_tells_the_time_of_the_server,
            a_commit_conflicts_if_anything_that_it_read_has_changed,
            a_commit_that_comes_too_late_changes_nothing,
            scans_are_in_the_order_of_bytes_and_end_with_the_prefix,
            commits_that_race_happen_as_if_one_after_the_other,
        }
    };
    ($engine:path; $($case:ident,)+) => {
        mod cases {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let engine = $engine().await;
                    $crate::store::engines::database::tests::$case(&*engine).await;
                }
            )+
        }
    };
}
pub(in crate::store::engines) use engine_cases;

/// A commit that has read and that changes these records.
pub(in crate::store::engines) fn commit(
    reads: &[(&[u8], Version)],
    changes: &[(&[u8], Option<&[u8]>)],
) -> Commit {
    let mut reads: BTreeMap<_, _> = reads
        .iter()
        .map(|(key, version)| (key.to_vec(), *version))
        .collect();
    reads.entry(FENCE.to_vec()).or_insert(Version::ABSENT);
    Commit {
        version: Version::first(&Entropy::default()).expect("randomness"),
        reads,
        changes: changes
            .iter()
            .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
            .collect(),
        not_after: Timestamp::from_secs(4_000_000_000),
    }
}

/// The record at this key.
pub(in crate::store::engines) async fn read_one(
    engine: &dyn SharedEngine,
    key: &[u8],
) -> Versioned {
    let result = engine.read(&[key.to_vec()], &[]).await.expect("read");
    result.values.into_iter().next().expect("one record")
}

/// The server runs beside this process, so both have one clock.
pub(in crate::store::engines) async fn a_read_tells_the_time_of_the_server(
    engine: &dyn SharedEngine,
) {
    let now = || {
        let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        u64::try_from(since.as_millis()).expect("small")
    };
    let before = now();
    let read = engine.read(&[], &[]).await.unwrap();
    // It is rounded to milliseconds.
    let expected = before..=now() + 1;
    assert!(expected.contains(&read.time.as_millis()), "{read:?}");
    let later = engine.read(&[b"absent".to_vec()], &[b"a".to_vec()]).await;
    assert!(later.unwrap().time >= read.time);
}

pub(in crate::store::engines) async fn what_is_committed_is_read_with_its_version(
    engine: &dyn SharedEngine,
) {
    // Every byte, and as long as keys and values may be.
    let key: Vec<u8> = (0..255).collect();
    let other_key: Vec<u8> = (1..=255).rev().collect();
    let value: Vec<u8> = (0..65_569_u32).map(|at| at.to_le_bytes()[0]).collect();
    let first = commit(
        &[(&key, Version::ABSENT), (&other_key, Version::ABSENT)],
        &[
            (&key, Some(&value)),
            (&other_key, Some(&key)),
            (b"", Some(b"")),
        ],
    );
    assert_eq!(engine.commit(&first).await, Ok(CommitOutcome::Committed));
    let result = engine
        .read(
            &[key.clone(), b"absent".to_vec()],
            &[Vec::new(), b"none".to_vec()],
        )
        .await
        .unwrap();
    assert_eq!(result.versions, [first.version, Version::ABSENT]);
    assert_eq!(result.values[1], Versioned::ABSENT);
    assert_eq!(result.values[0].version, first.version);
    assert_eq!(result.values[0].value.as_ref(), Some(&value));
    assert_eq!(read_one(engine, &other_key).await.value, Some(key.clone()));
    let scanned = engine.scan(&key, None, 9).await.unwrap();
    assert_eq!(scanned[0].1.value.as_ref(), Some(&value));
    // A key that only looks alike is another one.
    for similar in [b" ".as_slice(), b"\0"] {
        assert_eq!(read_one(engine, similar).await, Versioned::ABSENT);
    }

    let removal = commit(&[(&key, first.version)], &[(&key, None)]);
    assert_eq!(engine.commit(&removal).await, Ok(CommitOutcome::Committed));
    assert_eq!(read_one(engine, &key).await, Versioned::ABSENT);
    assert!(engine.size_bytes().await.unwrap() > 0);
    let pool = engine.connections().unwrap();
    assert_eq!((pool.in_use, pool.waiting), (0, 0));
    assert!(pool.idle > 0);
    assert_eq!(engine.ready().await, Ok(()));
    engine.close().await.unwrap();
    assert_eq!(engine.ready().await, Err(EngineError::Closed));
}

pub(in crate::store::engines) async fn a_commit_conflicts_if_anything_that_it_read_has_changed(
    engine: &dyn SharedEngine,
) {
    let first = commit(&[], &[(b"a", Some(b"1")), (b"b", Some(b"1"))]);
    assert_eq!(engine.commit(&first).await, Ok(CommitOutcome::Committed));
    for (key, version) in [
        (b"a", Version::ABSENT),
        (b"c", first.version),
        (b"b", Version::first(&Entropy::default()).unwrap()),
    ] {
        let stale = commit(
            &[(key, version)],
            &[(b"a", Some(b"2")), (b"b", None), (b"c", Some(b"2"))],
        );
        assert_eq!(engine.commit(&stale).await, Ok(CommitOutcome::Conflict));
    }
    assert_eq!(read_one(engine, b"a").await.value, Some(b"1".to_vec()));
    assert_eq!(read_one(engine, b"b").await.value, Some(b"1".to_vec()));
    assert_eq!(read_one(engine, b"c").await, Versioned::ABSENT);
}

pub(in crate::store::engines) async fn a_commit_that_comes_too_late_changes_nothing(
    engine: &dyn SharedEngine,
) {
    let mut late = commit(&[], &[(b"a", Some(b"1"))]);
    late.not_after = engine
        .read(&[], &[])
        .await
        .unwrap()
        .time
        .minus(Duration::from_millis(1));
    assert_eq!(engine.commit(&late).await, Ok(CommitOutcome::Conflict));
    assert_eq!(read_one(engine, b"a").await, Versioned::ABSENT);
    late.not_after = late.not_after.plus(Duration::from_mins(1));
    assert_eq!(engine.commit(&late).await, Ok(CommitOutcome::Committed));
}

pub(in crate::store::engines) async fn scans_are_in_the_order_of_bytes_and_end_with_the_prefix(
    engine: &dyn SharedEngine,
) {
    let keys: [&[u8]; 6] = [b"\xfe", b"\xff", b"\xff\x00", b"\xff\xff", b"u/1", b"u/2"];
    let changes: Vec<_> = keys.iter().map(|key| (*key, Some(*key))).collect();
    let all = commit(&[], &changes);
    assert_eq!(engine.commit(&all).await, Ok(CommitOutcome::Committed));
    let scan = async |prefix: &[u8], after: Option<&[u8]>, limit| {
        let pairs = engine.scan(prefix, after, limit).await.unwrap();
        pairs.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let snapshot = engine.snapshot().await.unwrap();
    let gone = commit(&[], &[(b"u/1", None)]);
    let mut sorted = keys;
    sorted.sort_unstable();
    assert_eq!(scan(b"", None, 100).await, sorted);
    assert_eq!(scan(b"\xff", None, 100).await, keys[1..4]);
    assert_eq!(scan(b"\xff", Some(b"\xff"), 1).await, keys[2..3]);
    assert_eq!(scan(b"u/", Some(b"u/1"), 9).await, keys[5..]);

    // What was there when the snapshot was made.
    assert_eq!(engine.commit(&gone).await, Ok(CommitOutcome::Committed));
    assert_eq!(scan(b"u/", None, 9).await, keys[5..]);
    let seen = snapshot.scan(b"u/", None, 9).await.unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(snapshot.get(b"u/1").await, Ok(Some(b"u/1".to_vec())));
}

/// Clients that each add 1 to the same two counters, and an invariant over two records of which only
/// one may be taken: what locks on rows, or a snapshot older than the locks, would break.
pub(in crate::store::engines) async fn commits_that_race_happen_as_if_one_after_the_other(
    engine: &dyn SharedEngine,
) {
    const CLIENTS: usize = 8;
    const ROUNDS: usize = 20;
    let client = async |n: usize| {
        for round in 0..ROUNDS {
            loop {
                let read = engine
                    .read(&[b"a".to_vec(), b"b".to_vec()], &[])
                    .await
                    .unwrap();
                let [a, b] = read.values.try_into().unwrap();
                let next = |record: &Versioned| {
                    let count = record.value.as_ref().map_or(0, |value| {
                        u32::from_be_bytes(value.as_slice().try_into().unwrap())
                    });
                    (count + 1).to_be_bytes()
                };
                let (next_a, next_b) = (next(&a), next(&b));
                assert_eq!(next_a, next_b, "two moments in one read");
                let both = commit(
                    &[(b"a", a.version), (b"b", b.version)],
                    &[(b"a", Some(&next_a)), (b"b", Some(&next_b))],
                );
                if engine.commit(&both).await.unwrap() == CommitOutcome::Committed {
                    break;
                }
            }
            // Of these two, both absent at first, at most one may be taken.
            let (mine, other) = (
                format!("{round}/{}", n % 2),
                format!("{round}/{}", (n + 1) % 2),
            );
            let keys = [mine.clone().into_bytes(), other.clone().into_bytes()];
            let read = engine.read(&keys, &[]).await.unwrap();
            if read.values.iter().all(|record| record.value.is_none()) {
                let take = commit(
                    &[
                        (mine.as_bytes(), Version::ABSENT),
                        (other.as_bytes(), Version::ABSENT),
                    ],
                    &[(mine.as_bytes(), Some(b"taken"))],
                );
                engine.commit(&take).await.unwrap();
            }
        }
    };
    join_all((0..CLIENTS).map(client)).await;
    let total = u32::try_from(CLIENTS * ROUNDS).unwrap();
    assert_eq!(
        read_one(engine, b"a").await.value,
        Some(total.to_be_bytes().to_vec())
    );
    for round in 0..ROUNDS {
        let taken = engine
            .scan(format!("{round}/").as_bytes(), None, 9)
            .await
            .unwrap();
        assert_eq!(taken.len(), 1, "round {round}");
    }
}
