//! What `auth::denylist` promises.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::store::{
    ExportRecord,
    engine_store::{EngineStore, faulty},
};
use crate::token::fixture::{self, NOW};

fn entry(target: RevocationTarget) -> RevocationEntry {
    RevocationEntry { at: NOW, target }
}

fn of_user(epoch: u64) -> RevocationEntry {
    entry(RevocationTarget::User {
        id: fixture::user().id,
        epoch,
    })
}

/// Writes to the log of the store.
async fn add(store: &EngineStore, entries: impl IntoIterator<Item = RevocationEntry>) {
    let records = entries.into_iter().map(ExportRecord::Revocation).collect();
    store.restore(records).await.unwrap();
}

#[test]
fn exactly_what_was_revoked_is_refused() {
    let (mine, other) = (fixture::session().id, SessionId::from_bits(1));
    let somebody = UserId::parse("43").unwrap();
    // The claims say: session `mine`, user 42, ep 3, gep 1.
    for (target, refused) in [
        (RevocationTarget::Session(mine), true),
        (RevocationTarget::Session(other), false),
        (
            RevocationTarget::User {
                id: fixture::user().id,
                epoch: 4,
            },
            true,
        ),
        (
            RevocationTarget::User {
                id: fixture::user().id,
                epoch: 3,
            },
            false,
        ),
        (
            RevocationTarget::User {
                id: somebody,
                epoch: 9,
            },
            false,
        ),
        (RevocationTarget::Everything { epoch: 2 }, true),
        (RevocationTarget::Everything { epoch: 1 }, false),
    ] {
        let denylist = Denylist::new();
        assert!(!denylist.is_own_revoked(&fixture::claims()));
        denylist.apply(&entry(target.clone()));
        denylist.apply(&entry(target.clone()));
        assert_eq!(
            denylist.is_own_revoked(&fixture::claims()),
            refused,
            "{target:?}"
        );
    }
}

#[test]
fn an_older_entry_does_not_undo_a_newer_one() {
    let denylist = Denylist::new();
    for epoch in [5, 2] {
        denylist.apply(&of_user(epoch));
        denylist.apply(&entry(RevocationTarget::Everything { epoch }));
    }
    let after = AccessClaims {
        ep: 4,
        gep: 9,
        ..fixture::claims()
    };
    assert!(denylist.is_own_revoked(&after));
    assert!(!denylist.is_own_revoked(&AccessClaims {
        ep: 5,
        gep: 5,
        ..fixture::claims()
    }));
    assert!(denylist.is_own_revoked(&AccessClaims {
        ep: 5,
        gep: 4,
        ..fixture::claims()
    }));
}

#[test]
fn an_entry_is_forgotten_when_no_token_can_need_it() {
    let denylist = Denylist::new();
    denylist.apply(&entry(RevocationTarget::Session(fixture::session().id)));
    denylist.apply(&of_user(9));
    denylist.prune(NOW.plus(REVOCATION_RETENTION.saturating_sub(Duration::from_millis(1))));
    assert_eq!(denylist.len(), 2);
    denylist.prune(NOW.plus(REVOCATION_RETENTION));
    assert!(denylist.is_empty());
}

#[tokio::test]
async fn loading_reads_every_page_and_goes_on_where_it_was() {
    let metrics = Metrics::new();
    let store = faulty::in_memory();
    let pages = 2 * PAGE_SIZE + 1;
    let sessions = (0..pages as u128).map(SessionId::from_bits);
    add(&store, sessions.map(RevocationTarget::Session).map(entry)).await;
    let denylist = Denylist::new();
    denylist.load(&store, NOW, &metrics).await.unwrap();
    assert_eq!(denylist.len(), pages);
    denylist.load(&store, NOW, &metrics).await.unwrap();
    assert_eq!(denylist.len(), pages);
    let at = NOW.plus(Duration::from_secs(1));
    add(&store, [RevocationEntry { at, ..of_user(9) }]).await;
    denylist.load(&store, NOW, &metrics).await.unwrap();
    assert!(denylist.is_own_revoked(&fixture::claims()));
}

#[tokio::test]
async fn what_matters_for_longer_is_read_again() {
    let metrics = Metrics::new();
    let store = faulty::in_memory();
    add(&store, [of_user(9)]).await;
    let denylist = Denylist::with_retention(Duration::from_mins(10));
    denylist.load(&store, NOW, &metrics).await.unwrap();
    denylist.prune(NOW.plus(Duration::from_mins(20)));
    assert!(denylist.is_empty());
    denylist.load(&store, NOW, &metrics).await.unwrap();
    assert!(denylist.is_empty(), "it goes on where it was");
    denylist.extend_retention(Duration::from_hours(1));
    denylist.load(&store, NOW, &metrics).await.unwrap();
    assert!(denylist.is_own_revoked(&fixture::claims()));
}

#[tokio::test]
async fn a_failing_store_lets_nothing_through_that_was_refused() {
    let metrics = Metrics::new();
    let (store, faults) = faulty::with_faults();
    add(&store, [of_user(9)]).await;
    let denylist = Denylist::new();
    denylist.load(&store, NOW, &metrics).await.unwrap();
    faults.set_down(true);
    assert!(denylist.load(&store, NOW, &metrics).await.is_err());
    assert!(denylist.is_own_revoked(&fixture::claims()));
    faults.set_down(false);
    add(&store, [entry(RevocationTarget::Everything { epoch: 7 })]).await;
    denylist.load(&store, NOW, &metrics).await.unwrap();
    assert!(denylist.is_own_revoked(&AccessClaims {
        ep: 99,
        ..fixture::claims()
    }));
}

#[tokio::test]
async fn following_survives_an_outage() {
    let (store, faults) = faulty::with_faults();
    let (denylist, metrics) = (Denylist::new(), Metrics::new());
    let clock = Clock::manual(NOW.plus(Duration::from_secs(2)));
    // Ends after some turns; each turn polls it once or more. The store is down for the first of
    // them.
    let turns = AtomicUsize::new(0);
    let mut revocation = Box::pin(add(&store, [of_user(9)]));
    let mut is_revoked = false;
    let shutdown = std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        faults.set_down(turn < 3);
        if turn >= 4 && !is_revoked {
            is_revoked = revocation.as_mut().poll(context).is_ready();
        }
        if turn > 1_000_000 || denylist.is_own_revoked(&fixture::claims()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    });
    let task: Box<dyn Future<Output = ()> + Send> =
        Box::new(denylist.follow(&store, &clock, Duration::ZERO, &metrics, shutdown));
    Box::into_pin(task).await;
    assert!(denylist.is_own_revoked(&fixture::claims()));
}

#[test]
fn whatever_ends_the_tokens_of_a_user_ends_those_of_other_issuers_too() {
    let theirs = |sub: &str| VerifiedClaims::External(fixture::foreign(sub));
    let denylist = Denylist::new();
    denylist.apply(&entry(RevocationTarget::Session(fixture::session().id)));
    denylist.apply(&entry(RevocationTarget::Everything { epoch: 9 }));
    assert!(
        !denylist.is_revoked(&theirs("42")),
        "a token without session and epoch"
    );
    denylist.apply(&of_user(1));
    assert!(denylist.is_revoked(&theirs("42")) && !denylist.is_revoked(&theirs("43")));
}

/// A line of the log that cannot be read may reject any token that was issued before it.
#[test]
fn tokens_of_before_a_line_that_cannot_be_read_are_doubtful() {
    let (denylist, metrics) = (Denylist::new(), Metrics::new());
    let issued = |at| {
        VerifiedClaims::Own(AccessClaims {
            iat: at,
            ..fixture::claims()
        })
    };
    assert!(!denylist.is_doubtful(&issued(NOW)));
    let page = |issued_until| RevocationPage {
        entries: Vec::new(),
        unreadable: Some(UnreadableLines {
            count: 2,
            issued_until,
        }),
        ages: Vec::new(),
        next: LogCursor {
            place: Vec::new(),
            asked_at: tokio::time::Instant::now(),
        },
        more: false,
    };
    let second = Duration::from_secs(1);
    denylist.apply_page(&page(NOW), &metrics);
    denylist.apply_page(&page(NOW.minus(second)), &metrics);
    assert!(denylist.is_doubtful(&issued(NOW)));
    assert!(!denylist.is_doubtful(&issued(NOW.plus(second))));
    assert!(!denylist.is_revoked(&issued(NOW)), "its session may go on");
    let theirs = VerifiedClaims::External(fixture::foreign("42"));
    assert!(!denylist.is_doubtful(&theirs));
    assert_eq!(metrics.revocation_lines_unreadable.get(), 4);
}

/// Polling alone would take a minute.
#[tokio::test(start_paused = true)]
async fn a_hint_is_followed_at_once_and_without_one_the_log_is_polled() {
    let (store, hints) = faulty::shared_in_memory().await;
    let (denylist, metrics) = (Denylist::new(), Metrics::new());
    let clock = Clock::manual(NOW);
    let poll = Duration::from_mins(1);
    let began = Instant::now();
    let mut changes = denylist.subscribe();
    changes.mark_unchanged();
    let seen = async {
        add(&store, [of_user(9)]).await;
        changes.changed().await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(1), "by a hint");
        hints.lose();
        add(&store, [entry(RevocationTarget::Everything { epoch: 7 })]).await;
        changes.changed().await.unwrap();
        assert!(began.elapsed() >= poll, "by polling");
    };
    let task: Box<dyn Future<Output = ()> + Send> =
        Box::new(denylist.follow(&store, &clock, poll, &metrics, seen));
    Box::into_pin(task).await;
    assert!(denylist.age() < poll);
}

/// What a hint reads does not count as a poll, and does not put one off.
#[tokio::test(start_paused = true)]
async fn the_log_is_polled_in_time_however_many_hints_come() {
    let (store, _hints) = faulty::shared_in_memory().await;
    let (denylist, metrics) = (Denylist::new(), Metrics::new());
    let clock = Clock::manual(NOW);
    let poll = Duration::from_secs(1);
    denylist.load(&store, NOW, &metrics).await.unwrap();
    let many = async {
        for session in 0..500 {
            let session = RevocationTarget::Session(SessionId::from_bits(session));
            add(&store, [entry(session)]).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(denylist.age() <= poll * 2, "{:?}", denylist.age());
        }
        assert!(denylist.len() > 490, "{} by hints", denylist.len());
    };
    denylist.follow(&store, &clock, poll, &metrics, many).await;
}
