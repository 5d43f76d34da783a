//! The revocation log on a shared engine: no reader skips a line, however late its commit comes.

use std::collections::BTreeSet;

use futures::future::join;

use super::{super::shared::MAX_LOG_REWRITES, footprint::shared, *};
use crate::{
    store::{
        LogCursor, LookBack, RevocationEntry, RevocationTarget, UnreadableLines,
        engine::{Changes, CommitOutcome, SharedEngine, Version},
        engines::versioned::{SharedFault, VersionedMemory},
    },
    types::REVOCATION_RETENTION,
};

/// Another process on the same engine.
pub(super) async fn another(engine: &Arc<VersionedMemory>) -> EngineStore {
    let engine: Arc<dyn SharedEngine> = Arc::<VersionedMemory>::clone(engine);
    let store = EngineStore::shared(engine, &options(), &keys(), Entropy::default()).await;
    store.unwrap()
}

/// A process that follows the log.
struct Reader {
    store: EngineStore,
    cursor: Option<LogCursor>,
    sessions: Vec<u128>,
}

impl Reader {
    async fn poll(&mut self) {
        self.read(LookBack::Window).await;
    }

    async fn read(&mut self, look_back: LookBack) {
        loop {
            let cursor = self.cursor.as_ref();
            let page = self
                .store
                .revocations(cursor, look_back, REVOCATION_RETENTION, 10, NOW);
            let page = page.await.unwrap();
            self.sessions.extend(page.entries.iter().map(session));
            self.cursor = Some(page.next);
            if !page.more {
                return;
            }
        }
    }

    fn seen(&self) -> BTreeSet<u128> {
        self.sessions.iter().copied().collect()
    }
}

fn session(entry: &RevocationEntry) -> u128 {
    match entry.target {
        RevocationTarget::Session(id) => id.bits(),
        RevocationTarget::User { .. } | RevocationTarget::Everything { .. } => panic!("{entry:?}"),
    }
}

/// Two processes that revoke, one that reads, and four users with a session each.
async fn processes() -> (EngineStore, EngineStore, Reader, Arc<VersionedMemory>) {
    let (one, engine) = shared().await;
    for n in 1..=4 {
        let login = login_of(&format!("person-{n}"), n);
        one.login(&login).await.unwrap();
    }
    let other = another(&engine).await;
    let mut reader = Reader {
        store: another(&engine).await,
        cursor: None,
        sessions: Vec::new(),
    };
    reader.poll().await;
    (one, other, reader, engine)
}

async fn revoke(store: &EngineStore, session: u128, now: Timestamp) -> Result<(), StoreError> {
    let (user, session) = (user_of(session), SessionId::from_bits(session));
    let scope = RevocationScope::Session { user, session };
    store.revoke(&scope, now).await.map(drop)
}

fn lines(engine: &VersionedMemory) -> usize {
    let commits = engine.commits();
    let written = commits.iter().flat_map(|commit| commit.changes.keys());
    written.filter(|key| key.starts_with(layout::LOG)).count()
}

/// Its line lies behind the window by the time it can be read; a reader that waited for it alone would
/// never see it.
#[tokio::test(start_paused = true)]
async fn a_revocation_that_is_committed_late_is_read_all_the_same() {
    let (one, other, mut reader, engine) = processes().await;
    engine.fail_next([SharedFault::Hold(Duration::from_mins(1))]);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(50)).await;
        revoke(&other, 2, NOW).await.unwrap();
        reader.poll().await;
        assert_eq!(reader.seen(), [2].into());
    };
    let (late, ()) = join(revoke(&one, 1, NOW), meanwhile).await;
    late.unwrap();
    reader.poll().await;
    assert_eq!(reader.seen(), [1, 2].into());
    assert_eq!(lines(&engine), 3, "the late one twice");
}

#[tokio::test(start_paused = true)]
async fn a_late_commit_that_was_lost_is_written_again_once_it_is_found() {
    let (one, _, _, engine) = processes().await;
    engine.fail_next([SharedFault::HoldUntold(Duration::from_secs(4))]);
    // The read that finds it: the first one has fetched the user.
    engine.delay_read(1, Duration::from_secs(7));
    revoke(&one, 1, NOW).await.unwrap();
    assert_eq!(lines(&engine), 2);
}

/// It is in the state, but other processes do not hear of it: the caller has to ask again, and then they
/// do.
#[tokio::test(start_paused = true)]
async fn a_late_revocation_that_is_not_written_again_is_no_success() {
    let (one, other, mut reader, engine) = processes().await;
    // The other process commits in between.
    let held = SharedFault::Hold(Duration::from_mins(1));
    engine.fail_next([held, SharedFault::None, SharedFault::Refuse]);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(50)).await;
        revoke(&other, 2, NOW).await.unwrap();
        reader.poll().await;
    };
    let (outcome, ()) = join(revoke(&one, 1, NOW), meanwhile).await;
    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_))),
        "{outcome:?}"
    );
    reader.poll().await;
    assert_eq!(reader.seen(), [2].into(), "its line is behind the window");
    revoke(&one, 1, NOW).await.unwrap();
    reader.poll().await;
    assert_eq!(reader.seen(), [1, 2].into());
}

#[tokio::test(start_paused = true)]
async fn a_line_is_written_again_until_it_is_in_time_or_too_often() {
    let late = SharedFault::Hold(Duration::from_secs(11));
    let (one, _, _, engine) = processes().await;
    engine.fail_next(vec![late; 1 + MAX_LOG_REWRITES]);
    let outcome = revoke(&one, 1, NOW).await;
    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_))),
        "{outcome:?}"
    );
    let (one, _, mut reader, engine) = processes().await;
    engine.fail_next(vec![late; MAX_LOG_REWRITES]);
    revoke(&one, 1, NOW).await.unwrap();
    reader.poll().await;
    assert_eq!(reader.seen(), [1].into());
}

/// Commits become visible in another order than their keys.
#[tokio::test(start_paused = true)]
async fn a_line_that_appears_behind_others_is_read_once() {
    let (one, other, mut reader, engine) = processes().await;
    engine.fail_next([SharedFault::Hold(Duration::from_secs(9))]);
    let meanwhile = async {
        for n in 2..=4 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            revoke(&other, n, NOW).await.unwrap();
            reader.poll().await;
        }
    };
    let (held, ()) = join(revoke(&one, 1, NOW), meanwhile).await;
    held.unwrap();
    for _ in 0..3 {
        reader.poll().await;
    }
    assert_eq!(reader.sessions, [2, 3, 4, 1], "each once");
    assert_eq!(lines(&engine), 4, "it was not late");
}

/// What a process takes for the present has no part in where its lines lie.
#[tokio::test(start_paused = true)]
async fn clocks_that_differ_hide_no_line() {
    let (one, other, mut reader, _) = processes().await;
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    for (store, session, now) in [
        (&one, 1, NOW.plus(day)),
        (&other, 2, NOW),
        (&one, 3, NOW.plus(hour)),
        (&other, 4, NOW.minus(day)),
    ] {
        tokio::time::sleep(Duration::from_secs(20)).await;
        revoke(store, session, now).await.unwrap();
        reader.poll().await;
    }
    assert_eq!(reader.sessions, [1, 2, 3, 4]);
}

/// The network brings it a minute after its call was given up: by then no reader looks where its line
/// would lie.
#[tokio::test(start_paused = true)]
async fn a_revocation_that_was_given_up_does_not_happen_behind_the_window() {
    let (one, other, mut reader, engine) = processes().await;
    engine.fail_next([SharedFault::Late]);
    engine.fail_next([SharedFault::Refuse; 400]);
    let outcome = revoke(&one, 1, NOW).await;
    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_))),
        "{outcome:?}"
    );
    engine.recover();
    tokio::time::sleep(Duration::from_mins(1)).await;
    revoke(&other, 2, NOW).await.unwrap();
    reader.poll().await;
    assert_eq!(engine.deliver_late(), [CommitOutcome::Conflict]);
    revoke(&one, 1, NOW.plus(Duration::from_mins(2)))
        .await
        .unwrap();
    reader.poll().await;
    assert_eq!(reader.seen(), [1, 2].into());
}

/// As after a failover to a server whose clock is behind.
#[tokio::test(start_paused = true)]
async fn an_engine_whose_clock_is_set_back_hides_no_line() {
    let (one, other, mut reader, engine) = processes().await;
    revoke(&one, 1, NOW).await.unwrap();
    reader.poll().await;
    engine.set_clock_back(Duration::from_mins(5));
    for (store, session) in [(&one, 2), (&other, 3)] {
        revoke(store, session, NOW).await.unwrap();
        tokio::time::sleep(Duration::from_secs(40)).await;
        reader.poll().await;
    }
    // And once it is right again.
    engine.set_clock_back(Duration::ZERO);
    revoke(&one, 4, NOW).await.unwrap();
    reader.poll().await;
    assert_eq!(reader.seen(), [1, 2, 3, 4].into());
}

/// The clock has come to where it was before the reader looks again, so that it shows nothing.
#[tokio::test(start_paused = true)]
async fn a_reader_that_was_stopped_while_the_clock_was_set_back_misses_no_line() {
    let (one, _, mut reader, engine) = processes().await;
    revoke(&one, 1, NOW).await.unwrap();
    reader.poll().await;
    engine.set_clock_back(Duration::from_secs(40));
    revoke(&one, 2, NOW).await.unwrap();
    tokio::time::sleep(Duration::from_mins(1)).await;
    reader.poll().await;
    assert_eq!(reader.seen(), [1, 2].into());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_starts_reads_no_more_than_the_age_that_it_asks_for() {
    let (one, _, _, engine) = processes().await;
    let hour = Duration::from_hours(1);
    for n in 1..=4 {
        revoke(&one, n, NOW).await.unwrap();
        tokio::time::sleep(hour).await;
    }
    // A token that a line rejects may have been issued some seconds after the time in its key.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let late = another(&engine).await;
    for (hours, expected) in [(1, 1), (2, 2), (10, 4)] {
        for look_back in [LookBack::Window, LookBack::Recent] {
            let page = late.revocations(None, look_back, hour * hours, 10, NOW);
            let page = page.await.unwrap();
            assert_eq!(page.entries.len(), expected, "{hours} hours, {look_back:?}");
        }
    }
}

/// What follows a hint reads little, so it leaves a line that came late to the read of the window, and does
/// not count as one.
#[tokio::test(start_paused = true)]
async fn a_read_after_a_hint_leaves_late_lines_to_the_read_of_the_window() {
    let (one, other, mut reader, engine) = processes().await;
    engine.fail_next([SharedFault::Hold(Duration::from_secs(5))]);
    let meanwhile = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        revoke(&other, 2, NOW).await.unwrap();
        reader.read(LookBack::Recent).await;
        assert_eq!(reader.seen(), [2].into());
    };
    let (late, ()) = join(revoke(&one, 1, NOW), meanwhile).await;
    late.unwrap();
    reader.read(LookBack::Recent).await;
    assert_eq!(reader.seen(), [2].into());
    let mut window = Reader {
        store: another(&engine).await,
        cursor: reader.cursor.clone(),
        sessions: Vec::new(),
    };
    window.poll().await;
    assert_eq!(window.seen(), [1].into());
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        reader.read(LookBack::Recent).await;
    }
    assert_eq!(
        reader.seen(),
        [1, 2].into(),
        "the window was not read for too long"
    );
}

/// A page follows the cursor of the page before it, however many lines lie in the window.
#[tokio::test(start_paused = true)]
async fn a_position_in_the_window_is_kept_from_page_to_page() {
    let (one, _, reader, _) = processes().await;
    for n in 1..=4 {
        revoke(&one, n, NOW).await.unwrap();
    }
    let (mut cursor, mut seen) = (reader.cursor, Vec::new());
    for is_last in [false, false, false, true] {
        let page = reader.store.revocations(
            cursor.as_ref(),
            LookBack::Window,
            REVOCATION_RETENTION,
            1,
            NOW,
        );
        let page = page.await.unwrap();
        assert_eq!((page.entries.len(), page.more), (1, !is_last));
        seen.extend(page.entries.iter().map(session));
        cursor = Some(page.next);
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3, 4]);
}

/// A line that is damaged, or written by a newer version, stops no other; what it may reject is told.
#[tokio::test(start_paused = true)]
async fn a_line_that_cannot_be_read_stops_no_other() {
    let (one, other, mut reader, engine) = processes().await;
    revoke(&one, 1, NOW).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let damaged_at = engine.time();
    let key = layout::log_line(layout::LogLineId::new(damaged_at, [7; 8]));
    let version = Version::first(&Entropy::default()).unwrap();
    engine.write(version, [(key, Some(b"damaged".to_vec()))].into());
    tokio::time::sleep(Duration::from_secs(1)).await;
    revoke(&other, 2, NOW).await.unwrap();
    let cursor = reader.cursor.clone().unwrap();
    let page = |cursor| {
        let store = &reader.store;
        async move {
            let page = store.revocations(
                Some(&cursor),
                LookBack::Window,
                REVOCATION_RETENTION,
                10,
                NOW,
            );
            page.await.unwrap()
        }
    };
    let first = page(cursor).await;
    assert_eq!(first.entries.len(), 2);
    let read_at = engine.time();
    assert_eq!(
        first.unreadable,
        Some(UnreadableLines {
            count: 1,
            issued_until: read_at.plus(Duration::from_secs(2)),
        })
    );
    let ages: Vec<_> = first.ages.iter().map(Duration::as_secs).collect();
    assert_eq!(ages, [2, 1, 0]);
    // Known from here on, and to one that starts later no longer of now.
    assert_eq!(page(first.next).await.unreadable, None);
    tokio::time::sleep(Duration::from_mins(1)).await;
    let later = another(&engine).await;
    let page = later
        .revocations(None, LookBack::Window, REVOCATION_RETENTION, 10, NOW)
        .await;
    let issued_until = page.unwrap().unreadable.unwrap().issued_until;
    assert_eq!(issued_until, damaged_at.plus(Duration::from_secs(12)));
    reader.poll().await;
    assert_eq!(reader.seen(), [1, 2].into());
}

/// A key in a store is no clock: a line whose key lies far ahead doubts no token that is issued after it
/// was read, and it is over once no token is left that it may reject.
#[tokio::test(start_paused = true)]
async fn a_line_of_a_far_future_that_cannot_be_read_is_not_doubted_for_ever() {
    let far = layout::LogLineId::new(NOW.plus(Duration::from_hours(24 * 365 * 90)), [7; 8]);
    let damaged: Changes = [(layout::log_line(far), Some(b"damaged".to_vec()))].into();
    let embedded = in_memory();
    engine(&embedded).commit(&damaged).unwrap();
    let (several, shared_engine) = shared().await;
    shared_engine.write(Version::first(&Entropy::default()).unwrap(), damaged);
    for store in [embedded, several] {
        let now = store.shared_time().await.unwrap().unwrap_or(NOW);
        let until = async |now| {
            let page = store.revocations(None, LookBack::Window, REVOCATION_RETENTION, 10, now);
            let unreadable = page.await.unwrap().unreadable;
            unreadable.map(|lines| (lines.count, lines.issued_until))
        };
        let (second, margin) = (Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(until(now).await, Some((1, now.plus(margin))));
        // The sweep brings it to the present, where it ends as others do.
        assert_eq!(store.sweep(now, 10).await.unwrap(), 1);
        assert_eq!(store.sweep(now, 10).await.unwrap(), 0);
        assert_eq!(until(now).await, Some((1, now.plus(margin))));
        let over = now.plus(REVOCATION_RETENTION).plus(second);
        assert_eq!(store.sweep(over, 10).await.unwrap(), 1);
        assert_eq!(until(now).await, None);
    }
}

/// One that can be read stays where it is: a clock was set back.
#[tokio::test]
async fn a_line_of_a_time_to_come_that_can_be_read_is_not_moved() {
    let store = in_memory();
    store.login(&login_of("alice", 1)).await.unwrap();
    revoke(&store, 1, NOW.plus(Duration::from_hours(24)))
        .await
        .unwrap();
    let lines = || engine(&store).scan(layout::LOG, None, 9).unwrap();
    let before = lines();
    assert_eq!((before.len(), store.sweep(NOW, 10).await.unwrap()), (1, 0));
    assert_eq!(lines(), before);
}

#[tokio::test]
async fn only_what_writes_to_the_log_sends_a_hint() {
    let (one, _, reader, _) = processes().await;
    let mut hint = reader.store.wait_for_hint();
    one.login(&login_of("person-1", 9)).await.unwrap();
    tokio::task::yield_now().await;
    assert!(futures::poll!(&mut hint).is_pending());
    revoke(&one, 1, NOW).await.unwrap();
    hint.await;
}
