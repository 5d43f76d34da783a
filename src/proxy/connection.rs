//! Connections of clients: read a request head, have the gate decide, serve the request, wait for
//! the next.

pub(super) mod http1;
pub(super) mod http2;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Method;
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};

use super::{
    access_record::Timing,
    client::{Client, Http1Client},
    connection_tracker::{ConnectionPermit, ConnectionTracker},
    rejection::{RenderedRejection, ResponseForm, render},
    request_context::RequestContext,
    snapshot::{ServerLimits, Snapshot},
    socket::Socket,
    tls::Tls,
    upstream::session::Connections,
};
use crate::{
    api::problem::Problem, clock::Clock, error::ErrorCode, gate::Decision, metrics::Metrics,
    policy::HttpVersion, types::Timestamp,
};

/// Most connections over the limit that are sent an overload response at the same time.
pub(super) const MAX_OVERLOADED_RESPONSES: usize = 1024;

/// What all connections share.
pub(super) struct ConnectionService {
    /// Serves the next request.
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    /// Connections to backends, for each worker.
    pub(super) connections: Arc<[Connections]>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) tls: Option<Arc<Tls>>,
    /// `true`: each response closes its connection, so that clients reconnect elsewhere.
    pub(super) closing: watch::Receiver<bool>,
    /// `true`: idle connections close.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) tracker: Arc<ConnectionTracker>,
    pub(super) overloaded: Arc<Semaphore>,
}

impl ConnectionService {
    /// A permit for one more connection. `None`: the limit is reached.
    pub(super) fn try_acquire(&self) -> Option<ConnectionPermit> {
        let permit = self.tracker.try_acquire(self.limits().max_connections);
        if permit.is_none() {
            self.metrics.connections_refused.inc();
        }
        permit
    }

    /// Sends the overload response without reading the request, and closes the connection.
    pub(super) async fn reject_overloaded(&self, socket: Socket) {
        let snapshot = self.current.load_full();
        let mut client = Http1Client::new(socket);
        let (problem, request_id) = (
            Problem::new(ErrorCode::Overloaded),
            snapshot.recorder.request_id(),
        );
        let RenderedRejection { response, .. } = render(
            &snapshot.error_renderer,
            ResponseForm::Http,
            "",
            &problem,
            &request_id,
            None,
        );
        if client.respond(&Method::GET, response).await.is_ok() {
            client.close().await;
        }
    }

    /// The limits of the current config.
    pub(super) fn limits(&self) -> ServerLimits {
        self.current.load().limits
    }

    /// The timing of a request that is rejected before the gate sees it.
    fn timing(&self) -> Timing {
        Timing {
            at: self.clock.now(),
            start: Instant::now(),
            gate_us: 0,
        }
    }

    /// `decision`: has the request's id where the request brought one.
    fn context(
        snapshot: Arc<Snapshot>,
        timing: Timing,
        decision: &Decision,
        version: HttpVersion,
    ) -> RequestContext {
        let request_id = decision
            .request_id()
            .map_or_else(|| snapshot.recorder.request_id(), str::to_owned);
        RequestContext {
            snapshot,
            timing,
            request_id,
            version,
        }
    }

    /// Runs the gate's decision and times it.
    fn decide<D>(&self, snapshot: &Snapshot, decide: impl FnOnce(Timestamp) -> D) -> (D, Timing) {
        let (now, start) = (self.clock.now(), Instant::now());
        let decision = decide(now);
        (decision, snapshot.recorder.record_decision(now, start))
    }
}
