//! The admin listener: metrics, probes and the admin API, on a port of its own and on the main
//! thread, so that it responds while every worker is busy.
//!
//! `/livez`: the process works; false when its store has failed until a restart. `/startupz`: it
//! has started to serve. `/readyz`: send clients here; false from the moment menshen gets a signal
//! to stop. None of them depends on the backend: a sidecar starts before it.
//!
//! `/admin`: the operations of the CLI's commands on a running process, for the bearer of the admin
//! token. No URL holds personal data. A rejection is `{"error": text}`.

mod chunk_stream;
pub mod import;
mod json_body;
pub mod keys;
pub mod lending;
mod rejection;
pub mod sessions;
mod state;
pub mod store;
pub mod users;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, TcpListener},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    http::{Request, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::{Map, Value, json};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tower::{ServiceExt, service_fn};

use crate::{
    auth::Denylist,
    crypto,
    metrics::Metrics,
    store::{Store, StoreError},
    token::TrustedIssuers,
    types::{Secret, named_enum},
};
use json_body::MAX_BODY_LEN;
use rejection::AdminRejection;

pub use chunk_stream::ChunkStream;
pub use state::AdminState;

/// Time for a request head, so that a slow client does not hold a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Concurrent connections; more wait. Scrapers and probes need a few, and the file descriptors are
/// for the clients of the gate.
const MAX_CONNECTIONS: usize = 64;

/// Timeout of a probe for the store.
const STORE_TIMEOUT: Duration = Duration::from_millis(500);

named_enum! {
    /// The stage of the process.
    pub enum ProcessStage {
        Starting = "starting",
        Serving = "serving",
        Stopping = "stopping",
    }
}

/// The address of the client of a request, an extension of the request.
#[derive(Debug, Clone, Copy)]
pub struct AdminPeer(pub IpAddr);

/// What the probes report.
#[derive(Clone)]
pub struct Probes {
    pub stage: watch::Receiver<ProcessStage>,
    pub store: Arc<dyn Store>,
    pub denylist: Arc<Denylist>,
    pub metrics: Metrics,
    pub details: Arc<ReadinessDetails>,
    pub issuers: Arc<TrustedIssuers>,
}

impl Probes {
    /// Whether the store lets requests come here, and the name of its state.
    pub(crate) async fn store_state(&self) -> (bool, &'static str) {
        // Without its store menshen rejects logins, but still checks tokens: taking it out of service
        // would stop all requests.
        match timeout(STORE_TIMEOUT, self.store.check()).await {
            Ok(Ok(())) => (true, "ok"),
            Ok(Err(StoreError::Failed(_) | StoreError::Closed)) => {
                (false, "failed until a restart")
            }
            Ok(Err(StoreError::Unavailable(_) | StoreError::Damaged(_))) | Err(_) => {
                (true, "failing")
            }
        }
    }
}

/// The parts that `/readyz` reports and that do not make menshen unready: one short line each,
/// without anything secret.
#[derive(Debug, Default)]
pub struct ReadinessDetails(Mutex<BTreeMap<&'static str, String>>);

impl ReadinessDetails {
    /// Sets the state of a part.
    pub fn set(&self, part: &'static str, state: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, state.into());
    }

    fn all(&self) -> BTreeMap<&'static str, String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The routes of the listener. Without a token there is no admin API, only metrics and probes.
pub fn router(probes: Probes, token: Option<Secret<String>>, state: Arc<AdminState>) -> Router {
    let open = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .with_state(probes);
    match token {
        Some(token) => open.merge(operator_routes(state).layer(middleware::from_fn_with_state(
            Arc::new(token),
            require_token,
        ))),
        None => open,
    }
}

/// The admin API without authentication.
pub fn operator_routes(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/admin/keys", get(keys::list))
        .route("/admin/keys/rotate", post(keys::rotate))
        .route("/admin/users", get(users::list).post(users::add))
        .route("/admin/users/find", post(users::find))
        .route("/admin/users/{id}", get(users::show).delete(users::erase))
        .route("/admin/users/{id}/ban", post(users::ban))
        .route("/admin/users/{id}/unban", post(users::unban))
        .route("/admin/users/{id}/promote", post(users::promote))
        .route("/admin/users/{id}/password", post(users::password))
        .route("/admin/users/{id}/sessions", get(sessions::list))
        .route("/admin/sessions/revoke", post(sessions::revoke))
        .route("/admin/store/rotate-key", post(store::rotate_key))
        .route("/admin/store/reseal", post(store::reencrypt))
        .route("/admin/store/export", get(store::export))
        .layer(DefaultBodyLimit::max(MAX_BODY_LEN))
        .merge(
            Router::new()
                .route("/admin/users/import", post(import::users))
                .layer(DefaultBodyLimit::max(import::MAX_BODY_LEN)),
        )
        .layer(middleware::from_fn(run_to_completion))
        .with_state(state)
}

/// Completes, records and applies an operation even if its client has disconnected meanwhile.
pub(crate) async fn run_to_completion(request: Request<Body>, next: Next) -> Response {
    let done = tokio::spawn(next.run(request)).await;
    done.unwrap_or_else(|_| {
        AdminRejection::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "menshen failed: see its log",
        )
        .into_response()
    })
}

/// Rejects requests without this token.
async fn require_token(
    State(token): State<Arc<Secret<String>>>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let sent = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match sent {
        Some(sent) if crypto::constant_time_eq(token.expose().as_bytes(), sent) => {
            next.run(request).await
        }
        Some(_) | None => {
            AdminRejection::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong")
                .into_response()
        }
    }
}

/// The probes of a process that waits for its store's database: it lives and has started, and takes
/// no clients yet.
pub fn waiting_router() -> Router {
    Router::new()
        .route("/livez", get(async || report(true, "process", "ok")))
        .route(
            "/startupz",
            get(async || report(true, "stage", "waiting for the store")),
        )
        .route(
            "/readyz",
            get(async || report(false, "store", "it cannot be opened yet: see the log")),
        )
}

/// Serves the current routes until the task is dropped.
pub async fn serve(listener: TcpListener, routes: Arc<ArcSwap<Router>>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    let routes = routes.clone();
                    let service = TowerToHyperService::new(service_fn(move |mut request: Request<Incoming>| {
                        request.extensions_mut().insert(AdminPeer(peer.ip()));
                        routes.load().as_ref().clone().oneshot(request)
                    }));
                    connections.spawn(async move {
                        let mut server = hyper::server::conn::http1::Builder::new();
                        server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
                        // A scraper that disconnects is not worth a log line.
                        drop(server.serve_connection(TokioIo::new(stream), service).await);
                    });
                }
                Err(fault) => {
                    tracing::warn!(error = %fault, "cannot accept on the admin listener");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn metrics(State(probes): State<Probes>) -> Response {
    // A disk that hangs must not block the other metrics.
    let (stats, (is_good, _)) = tokio::join!(
        timeout(STORE_TIMEOUT, probes.store.stats()),
        probes.store_state()
    );
    if let Ok(Ok(stats)) = stats {
        probes
            .metrics
            .store_size
            .set(i64::try_from(stats.size_bytes).unwrap_or(i64::MAX));
    }
    if let Some(pool) = probes.store.connections() {
        let gauge = |state| probes.metrics.store_connections.with_label_values(&[state]);
        gauge("in_use").set(as_gauge(pool.in_use));
        gauge("idle").set(as_gauge(pool.idle));
        let waiting = &probes.metrics.store_connections_waiting;
        waiting.set(as_gauge(pool.waiting));
    }
    if let Some(arrive) = probes.store.hints_arrive() {
        probes.metrics.store_hints.set(i64::from(arrive));
    }
    let age = probes.denylist.age();
    probes.metrics.revocations_age.set(age.as_secs_f64());
    let is_ready = is_good && *probes.stage.borrow() == ProcessStage::Serving;
    probes.metrics.ready.set(i64::from(is_ready));
    (
        [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)],
        probes.metrics.render(),
    )
        .into_response()
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn livez(State(probes): State<Probes>) -> Response {
    // A store that has failed recovers only with a restart. A slow one may recover by itself.
    match timeout(STORE_TIMEOUT, probes.store.check())
        .await
        .unwrap_or(Ok(()))
    {
        Err(StoreError::Failed(_)) => report(false, "store", "failed until a restart"),
        Ok(()) | Err(StoreError::Unavailable(_) | StoreError::Damaged(_) | StoreError::Closed) => {
            report(true, "process", "ok")
        }
    }
}

async fn startupz(State(probes): State<Probes>) -> Response {
    let stage = *probes.stage.borrow();
    report(stage != ProcessStage::Starting, "stage", stage.as_str())
}

async fn readyz(State(probes): State<Probes>) -> Response {
    let stage = *probes.stage.borrow();
    if stage != ProcessStage::Serving {
        return report(false, "stage", stage.as_str());
    }
    let (good, store) = probes.store_state().await;
    let mut report = json!({ "ok": good, "store": store });
    let details = probes.details.all();
    if !details.is_empty() {
        report["details"] = json!(details);
    }
    // Without the keys of another issuer, only its tokens are rejected.
    let issuers: Map<String, Value> = probes
        .issuers
        .health()
        .map(|(name, health)| (name.to_owned(), health.as_str().into()))
        .collect();
    if !issuers.is_empty() {
        report["issuers"] = issuers.into();
    }
    (status(good), Json(report)).into_response()
}

const fn status(good: bool) -> StatusCode {
    if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn report(good: bool, part: &'static str, state: &'static str) -> Response {
    (status(good), Json(json!({ "ok": good, part: state }))).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_was_begun_is_finished_though_its_caller_has_gone() {
        let (begun, go_on, done) = (
            Arc::new(Notify::new()),
            Arc::new(Notify::new()),
            Arc::new(Notify::new()),
        );
        let (begins, waits, ends) = (begun.clone(), go_on.clone(), done.clone());
        let change = async move || {
            begins.notify_one();
            waits.notified().await;
            ends.notify_one();
        };
        let router: Router = Router::new()
            .route("/", post(change))
            .layer(middleware::from_fn(run_to_completion));
        let request = Request::post("/").body(Body::empty()).unwrap();
        let asked = tokio::spawn(router.oneshot(request));
        begun.notified().await;
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        go_on.notify_one();
        done.notified().await;
    }
}
