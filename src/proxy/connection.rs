//! The connections of clients: heads are read, decided on by the gate, and served; then the next
//! one is waited for, or the end.

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
    snapshot::{Limits, Snapshot},
    socket::Socket,
    tls::Tls,
    upstream::session::Connections,
};
use crate::{
    api::problem::Problem, clock::Clock, error::ErrorCode, gate::Decision, metrics::Metrics,
    policy::HttpVersion, types::Timestamp,
};

/// Most connections over the limit that are told so at the same time.
pub(super) const MAX_OVERLOADED_RESPONSES: usize = 1024;

/// Everything that connections share.
pub(super) struct ConnectionService {
    /// What the next request is served with.
    pub(super) current: Arc<ArcSwap<Snapshot>>,
    /// Those to backends, of each worker.
    pub(super) connections: Arc<[Connections]>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
    pub(super) tls: Option<Arc<Tls>>,
    /// `true`: responses say `Connection: close`, so that clients move on.
    pub(super) closing: watch::Receiver<bool>,
    /// `true`: connections that wait for a request end.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) tracker: Arc<ConnectionTracker>,
    pub(super) overloaded: Arc<Semaphore>,
}

impl ConnectionService {
    /// A permit for one more connection, or `None` when there are too many.
    pub(super) fn admit(&self) -> Option<ConnectionPermit> {
        let permit = self.tracker.admit(self.limits().max_connections);
        if permit.is_none() {
            self.metrics.connections_refused.inc();
        }
        permit
    }

    /// Tells a connection over the limit so, and closes it, without looking at what was asked.
    pub(super) async fn reject_overloaded(&self, socket: Socket) {
        let snapshot = self.current.load_full();
        let mut client = Http1Client::new(socket);
        let (problem, request_id) = (
            Problem::new(ErrorCode::Overloaded),
            snapshot.recorder.request_id(),
        );
        let RenderedRejection { response, .. } = render(
            &snapshot.voices,
            ResponseForm::Http,
            "",
            &problem,
            &request_id,
            None,
        );
        if Client::Http1(&mut client)
            .respond(&Method::GET, response)
            .await
            .is_ok()
        {
            client.close().await;
        }
    }

    /// What the config of the moment allows.
    pub(super) fn limits(&self) -> Limits {
        self.current.load().limits
    }

    /// Of a request that comes now, on which the gate did not decide.
    fn timing(&self) -> Timing {
        Timing {
            at: self.clock.now(),
            start: Instant::now(),
            gate_us: 0,
        }
    }

    /// `decision`: of the request, which may have an id already.
    fn context(
        snapshot: Arc<Snapshot>,
        timing: Timing,
        decision: Option<&Decision>,
        version: HttpVersion,
    ) -> RequestContext {
        let known = decision.and_then(Decision::request_id);
        let request_id = known.map_or_else(|| snapshot.recorder.request_id(), str::to_owned);
        RequestContext {
            snapshot,
            timing,
            request_id,
            version,
        }
    }

    /// Has the gate decide, and says when.
    fn decide<D>(&self, snapshot: &Snapshot, decide: impl FnOnce(Timestamp) -> D) -> (D, Timing) {
        let (now, start) = (self.clock.now(), Instant::now());
        let decision = decide(now);
        (decision, snapshot.recorder.record_decision(now, start))
    }
}
