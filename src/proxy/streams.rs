//! The streams that are open: each WebSocket, event stream, answer that has been coming for a
//! second, and call of gRPC that has lasted as long. Each ends when its session does.
//!
//! A plain request is never in here. A stream is found by looking at all of them, with the very
//! check that the gate makes of a token: streams are counted in thousands, revocations are rare,
//! and nothing has to be kept in step. That a session has merely come to its end nobody announces,
//! so the store is asked about the sessions of open streams once a minute.
//!
//! Must stay true: a stream that is opened while its session is being revoked ends too; while the
//! store fails no stream is ended for it, and while it is slow no revocation waits for it; an
//! access token of ours that has expired ends none (its session may be renewed), one of another
//! issuer does: there is nothing else that could tell the end.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use atomic_waker::AtomicWaker;
use foldhash::fast::RandomState;
use prometheus::IntGauge;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::{
    auth::{Denylist, Identity},
    clock::Clock,
    error::ErrorCode,
    metrics::Metrics,
    store::Store,
    token::VerifiedClaims,
    types::Timestamp,
};

/// What has gone on for as long as this is a stream: an answer since its head, a call of gRPC since
/// its beginning.
pub(super) const LONG: Duration = Duration::from_secs(1);

/// How often it is looked whether a token of another issuer has ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the store is asked about the sessions of open streams.
const ASK_EVERY: Duration = Duration::from_mins(1);

/// Many revocations at once are one look at the streams.
const GATHER: Duration = Duration::from_millis(20);

/// What kind of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    WebSocket,
    /// `text/event-stream`.
    Events,
    /// Any other answer that takes long.
    Answer,
    /// A call of gRPC that takes long, whoever talks.
    Call,
}

impl Kind {
    const ALL: [Self; 4] = [Self::WebSocket, Self::Events, Self::Answer, Self::Call];

    const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Events => "events",
            Self::Answer => "answer",
            Self::Call => "call",
        }
    }
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum CloseReason {
    /// One of its sides ended it.
    Closed = 0,
    /// Both were silent too long.
    Idle = 1,
    /// Its session, its user or everybody was revoked.
    Revoked = 2,
    /// Its session is past its end.
    SessionOver = 3,
    /// menshen stops.
    Stopping = 4,
    /// The token of another issuer by which it was opened is good no more.
    TokenOver = 5,
}

impl CloseReason {
    const ALL: [Self; 6] = [
        Self::Closed,
        Self::Idle,
        Self::Revoked,
        Self::SessionOver,
        Self::Stopping,
        Self::TokenOver,
    ];

    /// What the access log says of it.
    pub(super) const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::Revoked => Some(ErrorCode::TokenRevoked),
            Self::SessionOver | Self::TokenOver => Some(ErrorCode::TokenExpired),
            Self::Closed | Self::Idle | Self::Stopping => None,
        }
    }

    /// The label of `menshen_streams_ended_total`, and the reason in a Close frame.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
            Self::SessionOver => "session_over",
            Self::Stopping => "stopping",
            Self::TokenOver => "token_over",
        }
    }
}

/// All open streams of the process.
pub struct Streams {
    open: papaya::HashMap<u64, Arc<Entry>, RandomState>,
    next: AtomicU64,
    /// The earliest end of a token by which one of them was opened, in Unix milliseconds;
    /// `u64::MAX`: there is none.
    earliest: AtomicU64,
    denylist: Arc<Denylist>,
    metrics: Metrics,
}

struct Entry {
    kind: Kind,
    identity: Option<Arc<Identity>>,
    /// A [`CloseReason`].
    ending: AtomicU8,
    /// Whoever carries the stream.
    carrier: AtomicWaker,
    gauge: IntGauge,
}

impl Entry {
    /// When the token is good no more by which it was opened, where no session of ours is behind
    /// it.
    fn end_of_token(&self) -> Option<Timestamp> {
        match &self.identity.as_ref()?.claims {
            VerifiedClaims::Own(_) => None,
            VerifiedClaims::External(claims) => claims.end,
        }
    }

    /// Tells its carrier to end it; what was said first counts.
    fn end(&self, why: CloseReason) {
        let first = self.ending.compare_exchange(
            CloseReason::Closed as u8,
            why as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if first.is_ok() {
            self.carrier.wake();
        }
    }

    fn ending(&self) -> CloseReason {
        let said = self.ending.load(Ordering::Acquire);
        CloseReason::ALL
            .into_iter()
            .find(|ending| *ending as u8 == said)
            .unwrap_or(CloseReason::Closed)
    }
}

/// A stream's place among the open ones; given back when dropped.
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    id: u64,
    entry: Arc<Entry>,
}

impl OpenStream {
    /// Resolves when somebody else has ended the stream. For one waiter.
    pub(super) async fn closed(&self) -> CloseReason {
        poll_fn(|cx| self.poll_closed(cx)).await
    }

    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.entry.carrier.register(cx.waker());
        self.close_reason().map_or(Poll::Pending, Poll::Ready)
    }

    /// Why it has to end, if it has to.
    fn close_reason(&self) -> Option<CloseReason> {
        Some(self.entry.ending()).filter(|ending| *ending != CloseReason::Closed)
    }

    /// Its carrier has found out itself.
    pub(super) fn end(&self, why: CloseReason) {
        self.entry.end(why);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.open.pin().remove(&self.id);
        self.entry.gauge.dec();
        self.streams
            .metrics
            .streams_ended
            .with_label_values(&[self.entry.ending().as_str()])
            .inc();
    }
}

impl Streams {
    pub fn new(denylist: Arc<Denylist>, metrics: &Metrics) -> Self {
        for kind in Kind::ALL {
            metrics
                .streams_open
                .with_label_values(&[kind.as_str()])
                .set(0);
        }
        for ending in CloseReason::ALL {
            metrics
                .streams_ended
                .with_label_values(&[ending.as_str()])
                .inc_by(0);
        }
        Self {
            open: papaya::HashMap::default(),
            next: AtomicU64::new(0),
            earliest: AtomicU64::new(u64::MAX),
            denylist,
            metrics: metrics.clone(),
        }
    }

    /// Takes a stream in. It may have to end at once.
    pub(super) fn register(
        self: &Arc<Self>,
        kind: Kind,
        identity: Option<&Arc<Identity>>,
    ) -> OpenStream {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let gauge = self
            .metrics
            .streams_open
            .with_label_values(&[kind.as_str()]);
        gauge.inc();
        let entry = Entry {
            kind,
            identity: identity.cloned(),
            ending: AtomicU8::new(CloseReason::Closed as u8),
            carrier: AtomicWaker::new(),
            gauge,
        };
        let entry = Arc::new(entry);
        self.open.pin().insert(id, entry.clone());
        // Only now: a revocation between the gate's check and the line above would be missed
        // otherwise.
        self.end_if_revoked(&entry);
        if let Some(end) = entry.end_of_token() {
            self.earliest.fetch_min(end.as_millis(), Ordering::AcqRel);
        }
        OpenStream {
            streams: self.clone(),
            id,
            entry,
        }
    }

    /// Ends streams as their sessions are revoked, or the tokens of others behind them end, for as
    /// long as it is polled. It waits for nothing else.
    pub async fn follow(&self, clock: &Clock) {
        let mut revoked = self.denylist.subscribe();
        // What was revoked before we listened counts too.
        revoked.mark_changed();
        let mut ticks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = revoked.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.end_revoked();
                    sleep(GATHER).await;
                }
                _ = ticks.tick() => self.end_by_token(clock.now()),
            }
        }
    }

    /// Ends streams whose sessions are past their end, for as long as it is polled. The store may
    /// take its time.
    pub async fn look(&self, store: &dyn Store, clock: &Clock) {
        let mut ticks = interval_at(Instant::now() + ASK_EVERY, ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.end_those_over(store, clock.now()).await;
        }
    }

    /// Ends every stream whose session is revoked.
    fn end_revoked(&self) {
        for entry in self.open.pin().values() {
            self.end_if_revoked(entry);
        }
    }

    /// Ends every stream whose token is another issuer's and good no more.
    fn end_by_token(&self, now: Timestamp) {
        if now.as_millis() < self.earliest.load(Ordering::Acquire) {
            return;
        }
        // Whoever opens one from here on says so again; all others are looked at now.
        self.earliest.store(u64::MAX, Ordering::Release);
        for entry in self.open.pin().values() {
            match entry.end_of_token() {
                Some(end) if now >= end => entry.end(CloseReason::TokenOver),
                Some(end) => {
                    self.earliest.fetch_min(end.as_millis(), Ordering::AcqRel);
                }
                None => {}
            }
        }
    }

    fn end_if_revoked(&self, entry: &Entry) {
        if entry
            .identity
            .as_ref()
            .is_some_and(|identity| self.denylist.is_revoked(&identity.claims))
        {
            entry.end(CloseReason::Revoked);
        }
    }

    /// Ends every stream whose session the store no longer has among the living.
    async fn end_those_over(&self, store: &dyn Store, now: Timestamp) {
        let mut sessions: HashMap<_, Vec<Arc<Entry>>> = HashMap::new();
        for entry in self.open.pin().values() {
            if let Some(claims) = entry
                .identity
                .as_ref()
                .and_then(|identity| identity.claims.own())
            {
                sessions.entry(claims.sid).or_default().push(entry.clone());
            }
        }
        for (session, entries) in sessions {
            match store.session(session, now).await {
                Ok(Some(_)) => {}
                Ok(None) => entries
                    .iter()
                    .for_each(|entry| entry.end(CloseReason::SessionOver)),
                Err(fault) => {
                    tracing::debug!(error = %fault, "the sessions of open streams could not be looked at");
                    return;
                }
            }
        }
    }

    /// Ends each WebSocket, which would never end by itself; what else is open may finish.
    pub(super) fn stop(&self) {
        for entry in self
            .open
            .pin()
            .values()
            .filter(|entry| entry.kind == Kind::WebSocket)
        {
            entry.end(CloseReason::Stopping);
        }
    }
}

#[cfg(test)]
mod tests;
