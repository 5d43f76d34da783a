//! What the runner over a shared engine promises, on records in memory with faults on demand.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{
    backoff::{FIRST_BACKOFF, MAX_BACKOFF},
    open_keyring::open_keyring,
    *,
};
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{
        Access, WrappingKeys,
        engine::FENCE,
        engines::versioned::{SharedFault, VersionedMemory},
        keyring::rewrap,
        operations::{sweep, transaction::ReadView},
    },
};

fn keys() -> WrappingKeys {
    WrappingKeys::derive(&Key::new([7; 32]), None)
}

async fn runner() -> (SharedRunner, Arc<VersionedMemory>) {
    let engine = Arc::new(VersionedMemory::new());
    (another(&engine).await, engine)
}

/// Another process on the same engine.
async fn another(engine: &Arc<VersionedMemory>) -> SharedRunner {
    let ciphers = Arc::new(CipherCache::new(keys(), Entropy::default()));
    open_keyring(engine.as_ref(), Access::ReadWrite, &keys(), &ciphers)
        .await
        .unwrap();
    SharedRunner::new(
        Arc::<VersionedMemory>::clone(engine),
        ciphers,
        Metrics::new(),
    )
}

async fn read<T: Send + 'static>(
    runner: &SharedRunner,
    operation: &'static str,
    query: impl Fn(&dyn ReadView) -> Result<T, EngineError> + Send + Sync + 'static,
) -> Result<T, StoreError> {
    let outcome = runner.read(operation, operation::query(query)).await;
    outcome.and_then(operation::typed)
}

async fn write<T: Send + 'static>(
    runner: &SharedRunner,
    operation: &'static str,
    change: impl Fn(&mut Transaction<'_>) -> Result<T, EngineError> + Send + Sync + 'static,
) -> Result<T, StoreError> {
    let outcome = runner.write(operation, operation::change(change)).await;
    outcome.and_then(operation::typed)
}

/// Adds one to the number at a key; says what it is then.
fn increment(key: &'static str) -> impl Fn(&mut Transaction<'_>) -> Result<u64, EngineError> {
    move |tx| {
        let next = tx.record::<u64>(key.as_bytes())?.unwrap_or_default() + 1;
        tx.put(key.as_bytes().to_vec(), &next)?;
        Ok(next)
    }
}

async fn number(runner: &SharedRunner, key: &'static str) -> Option<u64> {
    read(runner, "user", move |view| view.record(key.as_bytes()))
        .await
        .unwrap()
}

/// As it would be after another process had written it.
fn changed(runner: &SharedRunner, key: &str, number: u64) -> (Version, Changes) {
    let cipher = runner.ciphers.last().unwrap();
    let plain = crate::store::record_cipher::RecordCipher::encode(key.as_bytes(), &number).unwrap();
    let sealed = cipher.seal(key.as_bytes(), &plain).unwrap();
    let version = Version::first(&Entropy::default()).unwrap();
    (version, [(key.as_bytes().to_vec(), Some(sealed))].into())
}

#[tokio::test]
async fn of_two_processes_that_start_together_one_makes_the_keyring() {
    let engine = Arc::new(VersionedMemory::new());
    let opened = futures::future::join_all((0..8).map(|_| another(&engine))).await;
    assert_eq!(engine.commits().len(), 1);
    for runner in &opened {
        write(runner, "login", increment("n")).await.unwrap();
    }
    assert_eq!(number(&opened[0], "n").await, Some(8));
}

/// As the versions before the present layout left it, and as one after it may.
#[tokio::test]
async fn records_of_another_format_are_refused_with_the_way_over() {
    for (format, name, way_over) in [
        (None, "2", "`menshen export`"),
        (Some(4), "4", "made by a newer menshen"),
    ] {
        let engine = Arc::new(VersionedMemory::new());
        another(&engine).await;
        let wrapped = engine.commits()[0].changes[FENCE].clone().unwrap();
        let other = rewrap(&keys(), &wrapped, |fields| {
            fields.retain(|(field, _)| field.as_str() != Some("format"));
            fields.extend(format.map(|format| ("format".into(), format.into())));
        });
        let version = Version::first(&Entropy::default()).unwrap();
        engine.write(version, [(FENCE.to_vec(), Some(other))].into());
        let ciphers = CipherCache::new(keys(), Entropy::default());
        let refused = open_keyring(engine.as_ref(), Access::ReadWrite, &keys(), &ciphers).await;
        let refused = refused.map(drop).unwrap_err().to_string();
        let found = format!("has format {name}, and this menshen reads format 3");
        assert!(refused.contains(&found), "{refused}");
        assert!(refused.contains(way_over), "{refused}");
        assert_eq!(engine.commits().len(), 2, "nothing was changed");
    }
}

#[tokio::test(start_paused = true)]
async fn all_of_many_at_once_on_one_record_are_done() {
    let (runner, engine) = runner().await;
    let calls: tokio::task::JoinSet<_> = (0..64)
        .map(|_| {
            let runner = runner.clone();
            async move { write(&runner, "login", increment("n")).await }
        })
        .collect();
    let mut numbers: Vec<_> = calls
        .join_all()
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=64).collect::<Vec<_>>());
    assert_eq!(
        engine.commits().len(),
        65,
        "the keyring, and each call once"
    );
}

/// An import or a sweep that others go on to get in the way of.
#[tokio::test(start_paused = true)]
async fn a_call_that_changes_many_records_holds_up_no_other() {
    let (runner, engine) = runner().await;
    let keys: Vec<_> = (0..50_u8).map(|n| [b'n', n].to_vec()).collect();
    let (runs, is_over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let first = keys[0].clone();
    let other = changed(&runner_ready(&runner).await, "elsewhere", 1);
    let value = other.1.into_values().next().unwrap();
    let (intruder, seen, ended) = (Arc::clone(&engine), Arc::clone(&runs), Arc::clone(&is_over));
    let of_many = keys.clone();
    let many = runner.clone();
    let many = tokio::spawn(async move {
        let change = move |tx: &mut Transaction<'_>| {
            for key in &of_many {
                tx.contains(key)?;
                tx.put(key.clone(), &1_u64)?;
            }
            seen.fetch_add(1, Ordering::SeqCst);
            if !ended.load(Ordering::SeqCst) {
                let version = Version::first(&Entropy::default())?;
                intruder.write(version, [(first.clone(), value.clone())].into());
            }
            Ok(())
        };
        write(&many, "import_users", change).await
    });
    while runs.load(Ordering::SeqCst) < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Each meets a conflict, and waits for its turn.
    for key in keys.into_iter().skip(1) {
        engine.fail_next([SharedFault::Conflict]);
        let change = move |tx: &mut Transaction<'_>| {
            tx.contains(&key)?;
            tx.put(key.clone(), &2_u64)
        };
        write(&runner, "import_users", change).await.unwrap();
    }
    is_over.store(true, Ordering::SeqCst);
    many.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_absent_record_counts_as_read() {
    let (runner, engine) = runner().await;
    let (other, intruder) = (changed(&runner_ready(&runner).await, "n", 41), &engine);
    let calls = AtomicUsize::new(0);
    let intruder = Arc::clone(intruder);
    let outcome = write(&runner, "login", move |tx| {
        let found = tx.record::<u64>(b"n")?;
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            // It has just found nothing there; another process is quicker.
            intruder.write(other.0, other.1.clone());
        }
        tx.put(b"mine".to_vec(), &found.unwrap_or_default())?;
        Ok(found)
    })
    .await
    .unwrap();
    assert_eq!(outcome, Some(41), "it was run again");
    assert_eq!(number(&runner, "mine").await, Some(41));
}

/// The runner, once it has used its keys.
async fn runner_ready(runner: &SharedRunner) -> SharedRunner {
    number(runner, "nothing").await;
    runner.clone()
}

/// Two records that are always equal: no operation sees them differ, not even one that reads them
/// one after the other.
#[tokio::test]
async fn an_operation_sees_one_moment() {
    let (runner, engine) = runner().await;
    write(&runner, "login", increment("a")).await.unwrap();
    write(&runner, "login", increment("b")).await.unwrap();
    let (version, mut both) = changed(&runner, "a", 2);
    both.extend(changed(&runner, "b", 2).1);
    for is_write in [false, true] {
        let both = both.clone();
        engine.interrupt(1, move |engine| engine.write(version, both));
        let pair = |view: &dyn ReadView| {
            let a = view.record::<u64>(b"a")?;
            Ok((a, view.record::<u64>(b"b")?))
        };
        let (a, b) = if is_write {
            write(&runner, "login", move |tx| pair(tx)).await.unwrap()
        } else {
            read(&runner, "user", pair).await.unwrap()
        };
        assert_eq!((a, b), (Some(2), Some(2)));
        write(&runner, "login", increment("a")).await.unwrap();
        write(&runner, "login", increment("b")).await.unwrap();
        let (one, other) = (number(&runner, "a").await, number(&runner, "b").await);
        assert_eq!((one, other), (Some(3), Some(3)));
    }
}

#[tokio::test]
async fn what_is_known_beforehand_comes_in_one_read() {
    let (runner, engine) = runner().await;
    runner_ready(&runner).await;
    let before = engine.reads();
    write(&runner, "login", |tx| {
        tx.want(&[b"a".to_vec(), b"b".to_vec(), b"unused".to_vec()]);
        let sum = tx.record::<u64>(b"a")?.unwrap_or_default()
            + tx.record::<u64>(b"b")?.unwrap_or_default();
        tx.put(b"sum".to_vec(), &sum)
    })
    .await
    .unwrap();
    assert_eq!(engine.reads() - before, 1);
    let commit = engine.commits().pop().unwrap();
    let read: Vec<_> = commit.reads.keys().map(Vec::as_slice).collect();
    assert_eq!(read, [b"a", b"b", FENCE], "neither what was only fetched");
    assert!(commit.reads[b"a".as_slice()] == Version::ABSENT);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_got_lost_happens_once() {
    use SharedFault::{Conflict, HappenUntold, Lose, None, Refuse};
    for (faults, commits) in [
        (vec![Conflict], 1),
        (vec![Lose], 1),
        (vec![HappenUntold], 1),
        (vec![Lose, Lose, HappenUntold], 1),
        (vec![Lose, Refuse, None], 1),
        (vec![Conflict, HappenUntold], 1),
    ] {
        let (runner, engine) = runner().await;
        engine.fail_next(faults.clone());
        assert_eq!(
            write(&runner, "login", increment("n")).await.unwrap(),
            1,
            "{faults:?}"
        );
        assert_eq!(number(&runner, "n").await, Some(1), "{faults:?}");
        assert_eq!(engine.commits().len(), 1 + commits, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_comes_late_is_refused_by_what_came_first() {
    let (runner, engine) = runner().await;
    engine.fail_next([SharedFault::Late]);
    assert_eq!(write(&runner, "login", increment("n")).await.unwrap(), 1);
    assert_eq!(engine.deliver_late(), [CommitOutcome::Conflict]);
    assert_eq!(number(&runner, "n").await, Some(1));
}

/// A record, removed as another process would.
fn removed(key: &str) -> (Version, Changes) {
    let version = Version::first(&Entropy::default()).unwrap();
    (version, [(key.as_bytes().to_vec(), None)].into())
}

/// Nothing of what it has read has a version: others have removed what the next attempt made.
#[tokio::test(start_paused = true)]
async fn a_commit_that_comes_late_is_refused_though_all_is_as_it_found_it() {
    let (runner, engine) = runner().await;
    engine.fail_next([SharedFault::Late]);
    assert_eq!(write(&runner, "login", increment("n")).await.unwrap(), 1);
    let (version, changes) = removed("n");
    engine.write(version, changes);
    assert_eq!(engine.deliver_late(), [CommitOutcome::Conflict]);
    assert_eq!(number(&runner, "n").await, None);
    // What says that the call is over goes by itself, when nothing of it can be on its way.
    // The clock of this process does not count.
    let far_ahead = engine.time().plus(Duration::from_hours(2));
    for (minutes, gone) in [(0, 0), (9, 0), (11, 1)] {
        tokio::time::advance(Duration::from_mins(minutes)).await;
        let swept = write(&runner, "sweep", move |tx| sweep::sweep(tx, far_ahead, 100));
        assert_eq!(swept.await.unwrap(), gone, "after {minutes} min more");
    }
}

/// The call is answered with the first, which knows nothing of the second.
#[tokio::test(start_paused = true)]
async fn a_second_commit_that_comes_late_is_refused_where_the_first_one_happened() {
    let (runner, engine) = runner().await;
    runner_ready(&runner).await;
    engine.fail_next([SharedFault::Late, SharedFault::Late]);
    // The read of the third attempt.
    engine.interrupt(2, |engine| {
        assert_eq!(engine.deliver_first_late(), Some(CommitOutcome::Committed));
    });
    assert_eq!(write(&runner, "login", increment("n")).await.unwrap(), 1);
    let (version, changes) = removed("n");
    engine.write(version, changes);
    assert_eq!(engine.deliver_late(), [CommitOutcome::Conflict]);
    assert_eq!(number(&runner, "n").await, None);
}

/// Its keys are fetched a second time, because an attempt that would have changed them got lost.
#[tokio::test(start_paused = true)]
async fn what_a_scan_found_is_not_overwritten_after_a_lost_attempt() {
    let (runner, engine) = runner().await;
    write(&runner, "login", increment("s/1")).await.unwrap();
    let (version, other) = changed(&runner, "s/1", 41);
    engine.fail_next([SharedFault::Lose]);
    // Between the scan of the second attempt and its read.
    engine.interrupt(1, move |engine| engine.write(version, other));
    let increment_all = |tx: &mut Transaction<'_>| {
        for (key, bytes) in tx.scan(b"s/", None, 9)? {
            let number: u64 = tx.cipher().read(&key, &bytes)?;
            tx.put(key, &(number + 1))?;
        }
        Ok(())
    };
    write(&runner, "sweep", increment_all).await.unwrap();
    assert_eq!(number(&runner, "s/1").await, Some(42));
}

/// The second attempt answers without a change of its own, because of something that goes away again.
#[tokio::test(start_paused = true)]
async fn a_commit_that_comes_late_is_refused_where_its_call_was_answered_without_a_change() {
    for is_there in [false, true] {
        let (runner, engine) = runner().await;
        runner_ready(&runner).await;
        if is_there {
            write(&runner, "login", increment("n")).await.unwrap();
        }
        let before = number(&runner, "n").await;
        let (version, taken) = changed(&runner, "taken", 1);
        engine.fail_next([SharedFault::Late]);
        // The read of the second attempt.
        engine.interrupt(1, move |engine| engine.write(version, taken));
        let unless_taken = |tx: &mut Transaction<'_>| {
            tx.want(&[b"taken".to_vec(), b"n".to_vec()]);
            if tx.record::<u64>(b"taken")?.is_some() {
                return Ok(0);
            }
            increment("n")(tx)
        };
        assert_eq!(write(&runner, "login", unless_taken).await.unwrap(), 0);
        let (version, changes) = removed("taken");
        engine.write(version, changes);
        assert_eq!(engine.deliver_late(), [CommitOutcome::Conflict]);
        assert_eq!(number(&runner, "n").await, before);
    }
}

/// Most calls need no record for that: what they change is there.
#[tokio::test]
async fn a_call_that_changes_what_is_there_reads_nothing_more() {
    let (runner, engine) = runner().await;
    let read = |engine: &VersionedMemory| engine.commits().pop().unwrap().reads.len();
    write(&runner, "login", increment("n")).await.unwrap();
    assert_eq!(read(&engine), 3, "the fence, the record and its call");
    write(&runner, "login", increment("n")).await.unwrap();
    assert_eq!(read(&engine), 2);
}

/// It comes after the call has looked for it, and before its next attempt commits.
#[tokio::test(start_paused = true)]
async fn a_commit_that_comes_between_two_attempts_is_recognised() {
    let (runner, engine) = runner().await;
    runner_ready(&runner).await;
    engine.fail_next([SharedFault::Late, SharedFault::Conflict]);
    // The read of the third attempt: the first was late, the second lost to another.
    engine.interrupt(2, |engine| {
        assert_eq!(engine.deliver_late(), [CommitOutcome::Committed]);
    });
    assert_eq!(write(&runner, "login", increment("n")).await.unwrap(), 1);
    assert_eq!(number(&runner, "n").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_call_gives_up_in_time() {
    let (runner, engine) = runner().await;
    engine.fail_next([SharedFault::Conflict; 400]);
    let began = Instant::now();
    let outcome = write(&runner, "login", increment("n")).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
    let took = began.elapsed();
    assert!(
        took >= CALL_TIMEOUT && took < CALL_TIMEOUT + 2 * MAX_BACKOFF,
        "{took:?}"
    );
    assert_eq!(engine.commits().len(), 1, "the keyring alone");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_is_said_to_be_so_at_once() {
    let (runner, engine) = runner().await;
    engine.fail_next([SharedFault::Refuse]);
    let began = Instant::now();
    let outcome = write(&runner, "login", increment("n")).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
    assert!(began.elapsed() < FIRST_BACKOFF);
    assert_eq!(write(&runner, "login", increment("n")).await.unwrap(), 1);
}

/// A process that has not heard of a new keyring neither reads with the old one nor writes under
/// it.
#[tokio::test]
async fn nothing_is_committed_under_an_old_keyring() {
    let (one, engine) = runner().await;
    let other = another(&engine).await;
    write(&other, "login", increment("n")).await.unwrap();
    write(&one, "login", |tx| {
        let keyring = tx.cipher().keyring().with_new_key(&Entropy::default())?;
        tx.put_keyring(keyring.with_global_epoch(5))
    })
    .await
    .unwrap();
    write(&other, "login", |tx| {
        let epoch = tx.cipher().keyring().global_epoch();
        tx.put(b"epoch".to_vec(), &epoch)
    })
    .await
    .unwrap();
    assert_eq!(number(&one, "epoch").await, Some(5));
    let commit = engine.commits().pop().unwrap();
    let sealed = commit.changes[b"epoch".as_slice()].clone().unwrap();
    assert!(one.ciphers.last().unwrap().is_newest(&sealed));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_nobody_waits_for_runs_to_its_end() {
    let (runner, _engine) = runner().await;
    let mut waiting = Box::pin(write(&runner, "login", increment("n")));
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(waiting);
    tokio::time::sleep(CALL_TIMEOUT).await;
    assert_eq!(number(&runner, "n").await, Some(1));
}

#[tokio::test]
async fn an_operation_that_fails_changes_nothing() {
    let (runner, engine) = runner().await;
    let outcome = write(&runner, "login", |tx| {
        tx.put(b"half".to_vec(), &1)?;
        Err::<(), _>(EngineError::Refused("on purpose"))
    })
    .await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
    assert_eq!(engine.commits().len(), 1, "the keyring alone");
}

#[test]
fn waits_grow_to_a_bound() {
    let mut backoff = Backoff::default();
    let longest: Vec<_> = (0..7).map(|_| backoff.next(u32::MAX).as_millis()).collect();
    assert_eq!(longest, [10, 20, 40, 80, 160, 160, 160]);
    assert_eq!(backoff.next(0), Duration::ZERO);
}
