//! The admin listener: metrics, probes and what operators do, on a port of its own and on the main
//! thread, so that they answer while every worker is busy.
//!
//! `/livez`: the process works; false when its store has failed in a way that only a restart can
//! mend. `/startupz`: it has begun to serve. `/readyz`: send clients here; false from the moment
//! menshen is told to stop. None of them depends on the backend: a sidecar starts before it.
//!
//! `/admin`: what the commands ask of a running process, for the bearer of the admin token. No URL
//! holds anything personal. A refusal is `{"error": text}`.

mod exchange;
pub mod import;
pub mod keys;
pub mod lending;
pub mod sessions;
pub mod store;
pub mod users;

use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde_json::{Map, Value, json};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tower::{ServiceExt, service_fn};

use crate::{
    audit::Audit,
    auth::Administration,
    clock::Clock,
    crypto::{self, Key},
    entropy::Entropy,
    metrics::Metrics,
    store::{Store, StoreError},
    token::{Keyrings, TrustedIssuers},
    types::Secret,
};

use exchange::{LONGEST_BODY, Refused};

/// Time for a request head, so that nobody holds a place by sending slowly.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections at once; more wait. Scrapers and probes need a few, and file descriptors belong to
/// the clients of the gate.
const MOST_CONNECTIONS: usize = 64;

/// How long a probe waits for the store.
const STORE_PATIENCE: Duration = Duration::from_millis(500);

/// How far the process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Starting,
    Serving,
    Stopping,
}

/// What the probes look at.
#[derive(Clone)]
pub struct Probes {
    pub stage: watch::Receiver<Stage>,
    pub store: Arc<dyn Store>,
    pub metrics: Metrics,
    pub details: Arc<Details>,
    pub issuers: Arc<TrustedIssuers>,
}

/// What `/readyz` says of the parts that do not make menshen unready: one short line each, without
/// anything secret.
#[derive(Debug, Default)]
pub struct Details(Mutex<BTreeMap<&'static str, String>>);

impl Details {
    /// The state of a part is this from now on.
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

/// What operators work with.
pub struct Operations {
    pub administration: Arc<Administration>,
    pub keyrings: Arc<Keyrings>,
    pub store: Arc<dyn Store>,
    pub audit: Audit,
    pub clock: Clock,
    pub entropy: Entropy,
    /// What exports are sealed with; `None`: the store's key is in memory alone.
    pub export_key: Option<Key>,
    /// Logins go on: what is exported ages at once.
    pub is_live: bool,
}

/// The routes of the listener. Without a token there is no admin API, only metrics and probes.
pub fn router(probes: Probes, token: Option<Secret<String>>, state: Operations) -> Router {
    let open = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .with_state(probes);
    match token {
        Some(token) => open.merge(operations(state).layer(middleware::from_fn_with_state(
            Arc::new(token),
            require_token,
        ))),
        None => open,
    }
}

/// The admin API, for whoever may already do everything.
pub fn operations(state: Operations) -> Router {
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
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .merge(
            Router::new()
                .route("/admin/users/import", post(import::users))
                .layer(DefaultBodyLimit::max(import::LONGEST_BODY)),
        )
        .layer(middleware::from_fn(to_the_end))
        .with_state(Arc::new(state))
}

/// What was begun is finished, recorded and bites, also when whoever asked for it has gone away
/// meanwhile.
async fn to_the_end(request: Request, next: Next) -> Response {
    let done = tokio::spawn(next.run(request)).await;
    done.unwrap_or_else(|_| {
        Refused::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "menshen failed: see its log",
        )
        .into_response()
    })
}

/// Lets only the bearer of this token pass.
async fn require_token(
    State(token): State<Arc<Secret<String>>>,
    request: Request,
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
            Refused::new(StatusCode::UNAUTHORIZED, "the token is missing or wrong").into_response()
        }
    }
}

/// Serves the routes of the moment until the task is dropped.
pub async fn serve(listener: TcpListener, routes: Arc<ArcSwap<Router>>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let routes = routes.clone();
                    let service = TowerToHyperService::new(service_fn(move |request| routes.load().as_ref().clone().oneshot(request)));
                    connections.spawn(async move {
                        let mut server = hyper::server::conn::http1::Builder::new();
                        server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
                        // A scraper that goes away is no event.
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
    // A disk that hangs must not take the other figures with it.
    let (stats, (is_good, _)) = tokio::join!(
        timeout(STORE_PATIENCE, probes.store.stats()),
        store_state(&probes)
    );
    if let Ok(Ok(stats)) = stats {
        probes
            .metrics
            .store_size
            .set(i64::try_from(stats.size_bytes).unwrap_or(i64::MAX));
    }
    let is_ready = is_good && *probes.stage.borrow() == Stage::Serving;
    probes.metrics.ready.set(i64::from(is_ready));
    (
        [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)],
        probes.metrics.render(),
    )
        .into_response()
}

async fn livez(State(probes): State<Probes>) -> Response {
    // A store that has failed for good does not heal while the process lives: a restart may. One
    // that takes long may heal.
    match timeout(STORE_PATIENCE, probes.store.check())
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
    report(stage != Stage::Starting, "stage", stage_name(stage))
}

async fn readyz(State(probes): State<Probes>) -> Response {
    let stage = *probes.stage.borrow();
    if stage != Stage::Serving {
        return report(false, "stage", stage_name(stage));
    }
    let (good, store) = store_state(&probes).await;
    let mut report = json!({ "ok": good, "store": store });
    let details = probes.details.all();
    if !details.is_empty() {
        report["details"] = json!(details);
    }
    // Without the keys of another issuer its tokens alone are refused.
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

/// Whether requests are to come here, as far as the store goes, and what it is called.
async fn store_state(probes: &Probes) -> (bool, &'static str) {
    // Without its store menshen signs nobody in, but goes on checking tokens: taking it out of
    // service would stop everybody.
    match timeout(STORE_PATIENCE, probes.store.check()).await {
        Ok(Ok(())) => (true, "ok"),
        Ok(Err(StoreError::Failed(_) | StoreError::Closed)) => (false, "failed until a restart"),
        Ok(Err(StoreError::Unavailable(_) | StoreError::Damaged(_))) | Err(_) => (true, "failing"),
    }
}

const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Starting => "starting",
        Stage::Serving => "serving",
        Stage::Stopping => "stopping",
    }
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
    use axum::body::Body;
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
            .layer(middleware::from_fn(to_the_end));
        let request = Request::post("/").body(Body::empty()).unwrap();
        let asked = tokio::spawn(router.oneshot(request));
        begun.notified().await;
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        go_on.notify_one();
        done.notified().await;
    }
}
