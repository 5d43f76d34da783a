//! Open streams: each WebSocket and event stream, and each response and gRPC call that has lasted
//! longer than a second. Each is closed when its session ends.
//!
//! Ordinary requests are not registered. A revocation checks every open stream with the gate's own
//! token check, instead of keeping an index in step: there are thousands of streams, and
//! revocations are rare. Nothing announces that a session has expired, so the store is polled for
//! the sessions of open streams once a minute.
//!
//! Must stay true: a stream that opens while its session is being revoked is closed, too; a failing
//! store closes no stream, and a slow one delays no revocation; an expired access token of ours
//! closes no stream, since its session may be renewed, but an expired token of another issuer does,
//! since nothing else marks the end of its session.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
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

/// Age from which an exchange counts as a stream: of a response since its head, of a gRPC call
/// since its start.
pub(super) const MIN_STREAM_AGE: Duration = Duration::from_secs(1);

/// Interval of checking for expired tokens of other issuers.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Interval of polling the store for the sessions of open streams.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// Revocations within this time are handled together.
const REVOCATION_BATCH_INTERVAL: Duration = Duration::from_millis(20);

/// The kind of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StreamKind {
    WebSocket,
    /// `text/event-stream`.
    Events,
    /// Any other long response.
    LongResponse,
    /// A long gRPC call, in whichever direction messages are sent.
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
pub(super) enum CloseReason {
    /// The client or the backend ended it.
    Closed,
    /// Neither side sent anything for too long.
    Idle,
    /// Its session, its user or all users were revoked.
    Revoked,
    /// Its session has expired.
    SessionExpired,
    /// menshen stops.
    Stopping,
    /// It was opened with a token of another issuer that has expired.
    TokenExpired,
}

impl CloseReason {
    /// The error code in the access log.
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
    /// The earliest expiry of another issuer's token among them, in Unix milliseconds. `u64::MAX`:
    /// there is none.
    next_token_expiry: AtomicU64,
    denylist: Arc<Denylist>,
    metrics: Metrics,
}

struct StreamEntry {
    kind: StreamKind,
    identity: Option<Arc<Identity>>,
    /// Set once, when it has to end or has ended.
    close_reason: OnceLock<CloseReason>,
    /// Wakes the task that relays the stream.
    waker: AtomicWaker,
    gauge: IntGauge,
}

impl StreamEntry {
    /// The expiry of its token, if that is another issuer's.
    fn token_expiry(&self) -> Option<Timestamp> {
        match &self.identity.as_ref()?.claims {
            VerifiedClaims::Own(_) => None,
            VerifiedClaims::External(claims) => claims.end,
        }
    }

    /// Asks the task that relays the stream to end it. The first reason counts.
    fn end(&self, reason: CloseReason) {
        if self.close_reason.set(reason).is_ok() {
            self.waker.wake();
        }
    }
}

/// A registered stream; deregistered when dropped.
pub(super) struct OpenStream {
    streams: Arc<Streams>,
    id: u64,
    entry: Arc<StreamEntry>,
}

impl OpenStream {
    /// Resolves when the stream has to end. Only one task may wait.
    pub(super) async fn closed(&self) -> CloseReason {
        poll_fn(|cx| self.poll_closed(cx)).await
    }

    pub(super) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.entry.waker.register(cx.waker());
        self.close_reason().map_or(Poll::Pending, Poll::Ready)
    }

    /// The reason why it has to end. `None`: it may go on.
    fn close_reason(&self) -> Option<CloseReason> {
        self.entry.close_reason.get().copied()
    }

    /// Records why it ended, if it was not asked to end before.
    pub(super) fn end(&self, reason: CloseReason) {
        self.entry.end(reason);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.streams.open.pin().remove(&self.id);
        self.entry.gauge.dec();
        let reason = self.close_reason().unwrap_or(CloseReason::Closed);
        let ended = &self.streams.metrics.streams_ended;
        ended.with_label_values(&[reason.as_str()]).inc();
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
        Self {
            open: papaya::HashMap::default(),
            next: AtomicU64::new(0),
            next_token_expiry: AtomicU64::new(u64::MAX),
            denylist,
            metrics: metrics.clone(),
        }
    }

    /// Registers a stream. It may have to end at once.
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
            close_reason: OnceLock::new(),
            waker: AtomicWaker::new(),
            gauge,
        };
        let entry = Arc::new(entry);
        self.open.pin().insert(id, entry.clone());
        // Checked after the insertion, or a revocation between the gate's check and the insertion
        // would be missed.
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

    /// Ends streams whose sessions are revoked, or whose tokens of other issuers expire. Runs until
    /// the denylist is dropped, and waits for no store.
    pub async fn watch_revocations(&self, clock: &Clock) {
        let mut revoked = self.denylist.subscribe();
        // Includes revocations from before the subscription.
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

    /// Ends streams whose sessions have expired, by polling the store. Never returns.
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

    /// Ends every stream whose token, of another issuer, has expired.
    fn end_expired_tokens(&self, now: Timestamp) {
        if now.as_millis() < self.next_token_expiry.load(Ordering::Acquire) {
            return;
        }
        // A stream that registers from here on lowers it again; all others are checked now.
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

    /// Ends every stream whose session is no longer active in the store.
    async fn end_expired_sessions(&self, store: &dyn Store, now: Timestamp) {
        let mut sessions: HashMap<_, Vec<Arc<StreamEntry>>> = HashMap::new();
        for entry in self.open.pin().values() {
            if let Some(claims) = entry
                .identity
                .as_ref()
                .and_then(|identity| identity.claims.own())
            {
                let session = (claims.sub.clone(), claims.sid);
                sessions.entry(session).or_default().push(entry.clone());
            }
        }
        for ((user, session), entries) in sessions {
            match store.session(&user, session, now).await {
                Ok(Some(_)) => {}
                Ok(None) => entries
                    .iter()
                    .for_each(|entry| entry.end(CloseReason::SessionExpired)),
                Err(error) => {
                    tracing::debug!(error = %error, "the sessions of open streams could not be read from the store");
                    return;
                }
            }
        }
    }

    /// Ends every WebSocket, since none ends by itself. Other streams may finish.
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
