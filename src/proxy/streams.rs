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
pub(super) const MIN_STREAM_AGE: Duration = Duration::from_secs(1);

/// How often it is looked whether a token of another issuer has ended.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the store is asked about the sessions of open streams.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// Many revocations at once are one look at the streams.
const REVOCATION_BATCH_INTERVAL: Duration = Duration::from_millis(20);

/// What kind of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamKind {
    WebSocket,
    /// `text/event-stream`.
    Events,
    /// Any other answer that takes long.
    LongResponse,
    /// A call of gRPC that takes long, whoever talks.
    GrpcCall,
}

impl StreamKind {
    const ALL: [Self; 4] = [
        Self::WebSocket,
        Self::Events,
        Self::LongResponse,
        Self::GrpcCall,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Events => "events",
            Self::LongResponse => "answer",
            Self::GrpcCall => "call",
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
    SessionExpired = 3,
    /// menshen stops.
    Stopping = 4,
    /// The token of another issuer by which it was opened is good no more.
    TokenExpired = 5,
}

impl CloseReason {
    const ALL: [Self; 6] = [
        Self::Closed,
        Self::Idle,
        Self::Revoked,
        Self::SessionExpired,
        Self::Stopping,
        Self::TokenExpired,
    ];

    /// What the access log says of it.
    pub(super) const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::Revoked => Some(ErrorCode::TokenRevoked),
            Self::SessionExpired | Self::TokenExpired => Some(ErrorCode::TokenExpired),
            Self::Closed | Self::Idle | Self::Stopping => None,
        }
    }

    /// The label of `menshen_streams_ended_total`, and the reason in a Close frame.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Revoked => "revoked",
            Self::SessionExpired => "session_over",
            Self::Stopping => "stopping",
            Self::TokenExpired => "token_over",
        }
    }
}

/// All open streams of the process.
pub struct Streams {
    open: papaya::HashMap<u64, Arc<StreamEntry>, RandomState>,
    next: AtomicU64,
    /// The earliest end of a token by which one of them was opened, in Unix milliseconds;
    /// `u64::MAX`: there is none.
    next_token_expiry: AtomicU64,
    denylist: Arc<Denylist>,
    metrics: Metrics,
}

struct StreamEntry {
    kind: StreamKind,
    identity: Option<Arc<Identity>>,
    /// A [`CloseReason`].
    close_reason: AtomicU8,
    /// Whoever carries the stream.
    waker: AtomicWaker,
    gauge: IntGauge,
}

impl StreamEntry {
    /// When the token is good no more by which it was opened, where no session of ours is behind
    /// it.
    fn token_expiry(&self) -> Option<Timestamp> {
        match &self.identity.as_ref()?.claims {
            VerifiedClaims::Own(_) => None,
            VerifiedClaims::External(claims) => claims.end,
        }
    }

    /// Tells its carrier to end it; what was said first counts.
    fn end(&self, reason: CloseReason) {
        let first = self.close_reason.compare_exchange(
            CloseReason::Closed as u8,
            reason as u8,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if first.is_ok() {
            self.waker.wake();
        }
    }

    fn close_reason(&self) -> CloseReason {
        let reason = self.close_reason.load(Ordering::Acquire);
        CloseReason::ALL
            .into_iter()
            .find(|close_reason| *close_reason as u8 == reason)
            .unwrap_or(CloseReason::Closed)
    }
}

/// A stream's place among the open ones; given back when dropped.
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    id: u64,
    entry: Arc<StreamEntry>,
}

impl OpenStream {
    /// Resolves when somebody else has ended the stream. For one waiter.
    pub(super) async fn closed(&self) -> CloseReason {
        poll_fn(|cx| self.poll_closed(cx)).await
    }

    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.entry.waker.register(cx.waker());
        self.close_reason().map_or(Poll::Pending, Poll::Ready)
    }

    /// Why it has to end, if it has to.
    fn close_reason(&self) -> Option<CloseReason> {
        Some(self.entry.close_reason()).filter(|close_reason| *close_reason != CloseReason::Closed)
    }

    /// Its carrier has found out itself.
    pub(super) fn end(&self, reason: CloseReason) {
        self.entry.end(reason);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.open.pin().remove(&self.id);
        self.entry.gauge.dec();
        self.streams
            .metrics
            .streams_ended
            .with_label_values(&[self.entry.close_reason().as_str()])
            .inc();
    }
}

impl Streams {
    pub fn new(denylist: Arc<Denylist>, metrics: &Metrics) -> Self {
        for kind in StreamKind::ALL {
            metrics
                .streams_open
                .with_label_values(&[kind.as_str()])
                .set(0);
        }
        for close_reason in CloseReason::ALL {
            metrics
                .streams_ended
                .with_label_values(&[close_reason.as_str()])
                .inc_by(0);
        }
        Self {
            open: papaya::HashMap::default(),
            next: AtomicU64::new(0),
            next_token_expiry: AtomicU64::new(u64::MAX),
            denylist,
            metrics: metrics.clone(),
        }
    }

    /// Takes a stream in. It may have to end at once.
    pub(super) fn register(
        self: &Arc<Self>,
        kind: StreamKind,
        identity: Option<&Arc<Identity>>,
    ) -> OpenStream {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let gauge = self
            .metrics
            .streams_open
            .with_label_values(&[kind.as_str()]);
        gauge.inc();
        let entry = StreamEntry {
            kind,
            identity: identity.cloned(),
            close_reason: AtomicU8::new(CloseReason::Closed as u8),
            waker: AtomicWaker::new(),
            gauge,
        };
        let entry = Arc::new(entry);
        self.open.pin().insert(id, entry.clone());
        // Only now: a revocation between the gate's check and the line above would be missed
        // otherwise.
        self.end_if_revoked(&entry);
        if let Some(end) = entry.token_expiry() {
            self.next_token_expiry
                .fetch_min(end.as_millis(), Ordering::AcqRel);
        }
        OpenStream {
            streams: self.clone(),
            id,
            entry,
        }
    }

    /// Ends streams as their sessions are revoked, or the tokens of others behind them end, for as
    /// long as it is polled. It waits for nothing else.
    pub async fn watch_revocations(&self, clock: &Clock) {
        let mut revoked = self.denylist.subscribe();
        // What was revoked before we listened counts too.
        revoked.mark_changed();
        let mut ticks = interval_at(Instant::now() + TOKEN_CHECK_INTERVAL, TOKEN_CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                changed = revoked.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.end_revoked();
                    sleep(REVOCATION_BATCH_INTERVAL).await;
                }
                _ = ticks.tick() => self.end_expired_tokens(clock.now()),
            }
        }
    }

    /// Ends streams whose sessions are past their end, for as long as it is polled. The store may
    /// take its time.
    pub async fn check_sessions(&self, store: &dyn Store, clock: &Clock) {
        let mut ticks = interval_at(
            Instant::now() + SESSION_CHECK_INTERVAL,
            SESSION_CHECK_INTERVAL,
        );
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.end_expired_sessions(store, clock.now()).await;
        }
    }

    /// Ends every stream whose session is revoked.
    fn end_revoked(&self) {
        for entry in self.open.pin().values() {
            self.end_if_revoked(entry);
        }
    }

    /// Ends every stream whose token is another issuer's and good no more.
    fn end_expired_tokens(&self, now: Timestamp) {
        if now.as_millis() < self.next_token_expiry.load(Ordering::Acquire) {
            return;
        }
        // Whoever opens one from here on says so again; all others are looked at now.
        self.next_token_expiry.store(u64::MAX, Ordering::Release);
        for entry in self.open.pin().values() {
            match entry.token_expiry() {
                Some(end) if now >= end => entry.end(CloseReason::TokenExpired),
                Some(end) => {
                    self.next_token_expiry
                        .fetch_min(end.as_millis(), Ordering::AcqRel);
                }
                None => {}
            }
        }
    }

    fn end_if_revoked(&self, entry: &StreamEntry) {
        if entry
            .identity
            .as_ref()
            .is_some_and(|identity| self.denylist.is_revoked(&identity.claims))
        {
            entry.end(CloseReason::Revoked);
        }
    }

    /// Ends every stream whose session the store no longer has among the living.
    async fn end_expired_sessions(&self, store: &dyn Store, now: Timestamp) {
        let mut sessions: HashMap<_, Vec<Arc<StreamEntry>>> = HashMap::new();
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
                    .for_each(|entry| entry.end(CloseReason::SessionExpired)),
                Err(error) => {
                    tracing::debug!(error = %error, "the sessions of open streams could not be looked at");
                    return;
                }
            }
        }
    }

    /// Ends each WebSocket, which would never end by itself; what else is open may finish.
    pub(super) fn close_websockets(&self) {
        for entry in self
            .open
            .pin()
            .values()
            .filter(|entry| entry.kind == StreamKind::WebSocket)
        {
            entry.end(CloseReason::Stopping);
        }
    }
}

#[cfg(test)]
mod tests;
