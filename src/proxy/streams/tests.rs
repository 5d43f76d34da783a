//! What `proxy::streams` promises and integration tests cannot observe.

use std::pin::pin;

use super::*;
use crate::store::engine_store::faulty;
use crate::{
    auth::CachedAssertions,
    crypto::Key,
    entropy::Entropy,
    policy::IdentityFields,
    store::{
        self, NewUserId, OpenOptions, RevocationEntry, RevocationTarget, WrappingKeys,
        fixture as store_fixture,
    },
    token::{
        AccessClaims, ExternalClaims,
        fixture::{self, NOW},
    },
    types::SessionId,
};

struct World {
    denylist: Arc<Denylist>,
    metrics: Metrics,
    streams: Arc<Streams>,
}

impl World {
    fn new() -> Self {
        let (denylist, metrics) = (Arc::new(Denylist::new()), Metrics::new());
        Self {
            streams: Arc::new(Streams::new(denylist.clone(), &metrics)),
            denylist,
            metrics,
        }
    }

    fn open(&self, session: u128) -> OpenStream {
        self.open_with(VerifiedClaims::Own(AccessClaims {
            sid: SessionId::from_bits(session),
            ..fixture::claims()
        }))
    }

    /// Opens a stream with a token of another issuer that expires then.
    fn open_until(&self, end: Option<Timestamp>) -> OpenStream {
        self.open_with(VerifiedClaims::External(ExternalClaims {
            end,
            ..fixture::foreign("u1")
        }))
    }

    fn open_with(&self, claims: VerifiedClaims) -> OpenStream {
        let identity = Arc::new(Identity {
            claims,
            headers: IdentityFields::default(),
            assertions: CachedAssertions::default(),
        });
        self.streams
            .register(StreamKind::WebSocket, Some(&identity))
    }

    fn revoke(&self, session: u128) {
        let target = RevocationTarget::Session(SessionId::from_bits(session));
        self.denylist.apply(&RevocationEntry { at: NOW, target });
    }

    fn ended(&self, reason: CloseReason) -> u64 {
        self.metrics
            .streams_ended
            .with_label_values(&[reason.as_str()])
            .get()
    }
}

#[tokio::test]
async fn a_revocation_ends_its_streams_and_no_others() {
    let world = World::new();
    let (mine, also_mine, other) = (world.open(1), world.open(1), world.open(2));
    let anonymous = world.streams.register(StreamKind::Events, None);
    let clock = Clock::manual(NOW);
    let mut watch_revocations = pin!(world.streams.watch_revocations(&clock));
    tokio::select! {
        () = watch_revocations.as_mut() => panic!("it goes on"),
        // The waker of one and the state of the other.
        reason = async { world.revoke(1); also_mine.closed().await } => assert_eq!(reason, CloseReason::Revoked),
    }
    assert_eq!(mine.close_reason(), Some(CloseReason::Revoked));
    assert_eq!(
        (other.close_reason(), anonymous.close_reason()),
        (None, None)
    );
    drop((mine, also_mine, other, anonymous));
    assert_eq!(
        (
            world.ended(CloseReason::Revoked),
            world.ended(CloseReason::Closed)
        ),
        (2, 2)
    );
    assert_eq!(
        world
            .metrics
            .streams_open
            .with_label_values(&["websocket"])
            .get(),
        0
    );
    assert!(world.streams.open.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_delays_no_revocation() {
    const TICK: Duration = Duration::from_millis(1);
    let world = World::new();
    let ((store, faults), clock) = (faulty::with_faults(), Clock::manual(NOW));
    faults.reads.close();
    let open = world.open(1);
    let (mut watch_revocations, mut check_sessions) = (
        pin!(world.streams.watch_revocations(&clock)),
        pin!(world.streams.check_sessions(&store, &clock)),
    );
    // The store is asked, and says nothing.
    tokio::select! {
        _ = async { tokio::join!(watch_revocations.as_mut(), check_sessions.as_mut()) } => panic!("they go on"),
        () = faults.reads.reached.notified() => {}
    }
    world.revoke(1);
    let begun = Instant::now();
    tokio::select! {
        _ = async { tokio::join!(watch_revocations, check_sessions) } => panic!("they go on"),
        // While a thread waits for the store, time stands still unless it is moved.
        () = async { loop { tokio::time::advance(TICK).await } } => {}
        why = open.closed() => assert_eq!(why, CloseReason::Revoked),
    }
    assert!(
        begun.elapsed() <= REVOCATION_BATCH_INTERVAL + TICK,
        "after {:?}",
        begun.elapsed()
    );
    faults.reads.open();
}

#[test]
fn a_stream_that_opens_just_after_its_session_was_revoked_ends_at_once() {
    let world = World::new();
    world.revoke(1);
    assert_eq!(world.open(1).close_reason(), Some(CloseReason::Revoked));
}

#[tokio::test]
async fn a_stream_ends_when_its_session_is_past_its_end() {
    let world = World::new();
    let keys = WrappingKeys::derive(&Key::new([1; 32]), None);
    let store = store::open(
        "memory:",
        &OpenOptions::default(),
        &keys,
        Entropy::default(),
    )
    .await
    .unwrap()
    .store;
    let mut login = store_fixture::login_of("alice", 1);
    login.new_user = NewUserId::Generated(fixture::user().id);
    let now = login.now;
    store.login(&login).await.unwrap();
    let (alive, unknown) = (world.open(1), world.open(2));
    world.streams.end_expired_sessions(&*store, now).await;
    assert_eq!(
        (alive.close_reason(), unknown.close_reason()),
        (None, Some(CloseReason::SessionExpired))
    );
    world
        .streams
        .end_expired_sessions(&*store, now.plus(Duration::from_hours(31 * 24)))
        .await;
    assert_eq!(alive.close_reason(), Some(CloseReason::SessionExpired));
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_issuer_ends_its_streams_with_itself() {
    let world = World::new();
    let clock = Clock::manual(NOW);
    let in_secs = |secs| NOW.plus(Duration::from_secs(secs));
    let (endless, late, early, ours) = (
        world.open_until(None),
        world.open_until(Some(in_secs(20))),
        world.open_until(Some(in_secs(10))),
        world.open(1),
    );
    let mut watch_revocations = pin!(world.streams.watch_revocations(&clock));
    for (more, expected) in [
        (9, [None, None]),
        (1, [None, Some(CloseReason::TokenExpired)]),
        (10, [Some(CloseReason::TokenExpired); 2]),
    ] {
        clock.advance(Duration::from_secs(more));
        let looked =
            tokio::time::timeout(TOKEN_CHECK_INTERVAL * 2, watch_revocations.as_mut()).await;
        assert!(looked.is_err(), "it goes on");
        assert_eq!(
            [late.close_reason(), early.close_reason()],
            expected,
            "{more} s later"
        );
    }
    assert_eq!((endless.close_reason(), ours.close_reason()), (None, None));
    // A stream that is opened later is found, too.
    let next = world.open_until(Some(in_secs(21)));
    clock.advance(Duration::from_secs(1));
    assert!(
        tokio::time::timeout(TOKEN_CHECK_INTERVAL * 2, watch_revocations)
            .await
            .is_err()
    );
    assert_eq!(next.close_reason(), Some(CloseReason::TokenExpired));
}

#[tokio::test]
async fn a_store_that_fails_ends_no_stream() {
    let world = World::new();
    let open = world.open(1);
    let (store, faults) = faulty::with_faults();
    faults.set_down(true);
    world.streams.end_expired_sessions(&store, NOW).await;
    assert_eq!(open.close_reason(), None);
}

#[test]
fn what_was_said_first_is_why_it_ended() {
    let world = World::new();
    let open = world.open(1);
    world.streams.close_websockets();
    open.end(CloseReason::Idle);
    world.revoke(1);
    world.streams.end_revoked();
    assert_eq!(open.close_reason(), Some(CloseReason::Stopping));
}
