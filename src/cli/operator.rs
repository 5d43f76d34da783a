//! Runs an operator's command: in the running menshen, or on the store of a stopped one.
//!
//! A running process holds its embedded store, so its admin listener is called; where none
//! responds, the store is opened here and the same routes are called without a socket. So there is
//! one implementation and one set of error texts.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request},
    response::Response,
};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tower::ServiceExt;

use super::{
    command_error::{CommandError, CommandResult},
    console::Console,
    run::runtime,
};
use crate::{
    admin, app,
    config::{Config, HumanDuration},
    outbound::{AdminClient, AdminError, DownloadError, parse_response},
    store::{Access, Store},
    telemetry::{self, Sink},
};

/// How long to wait for a process that holds the store but does not respond on its admin listener.
const LOCK_WAIT: HumanDuration = HumanDuration::secs(1);
/// Timeout of closing the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls the admin routes.
pub(super) enum Operator {
    Running(AdminClient),
    /// `log` writes to standard error: the audit log and errors.
    Offline {
        routes: Router,
        store: Arc<dyn Store>,
        log: Sink,
    },
}

/// Loads the config, connects, and runs `work`. Where no menshen runs, `access` is for what the store
/// is opened.
pub(super) fn with_operator(
    console: &mut Console<'_>,
    access: Access,
    work: impl AsyncFnOnce(&Operator, &mut dyn Write) -> anyhow::Result<()>,
) -> CommandResult {
    let config = console.load()?;
    with_operator_for(config, access, async |operator| {
        work(operator, console.out).await
    })
}

/// The same with a loaded config.
pub(super) fn with_operator_for(
    config: Config,
    access: Access,
    work: impl AsyncFnOnce(&Operator) -> anyhow::Result<()>,
) -> CommandResult {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        // Large, and awaited once.
        let operator = Box::pin(Operator::connect(config, access)).await?;
        let done = work(&operator).await;
        operator.close().await?;
        done
    });
    match done.map_err(anyhow::Error::downcast::<io::Error>) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ok(unwritten)) => Err(CommandError::Output(unwritten)),
        Err(Err(error)) => Err(CommandError::Failed(error)),
    }
}

impl Operator {
    async fn connect(config: Config, access: Access) -> anyhow::Result<Self> {
        if let Some(running) = app::admin_client(&config)? {
            match running
                .call::<IgnoredAny>(Method::GET, "/admin/keys", None)
                .await
            {
                Ok(_) => return Ok(Self::Running(running)),
                Err(AdminError::NotRunning) => {}
                Err(error) => return Err(error).context("the running menshen was called"),
            }
        }
        Self::open_offline(config, access).await
    }

    async fn open_offline(mut config: Config, access: Access) -> anyhow::Result<Self> {
        if config.store.url.starts_with("memory:") {
            bail!(
                "a store in memory is in the running process only: set admin.token_file to reach it"
            );
        }
        config.store.lock_wait = LOCK_WAIT.min(config.store.lock_wait);
        let log = Sink::to(io::stderr())?;
        telemetry::init(&config.telemetry, &log);
        match app::operations(&config, access).await {
            Ok(operations) => {
                let store = operations.store.clone();
                Ok(Self::Offline {
                    routes: admin::operator_routes(Arc::new(operations)),
                    store,
                    log,
                })
            }
            Err(error) => {
                log.close();
                Err(error.context(
                    "no running menshen answered on admin.listen (it needs admin.token_file), so its store was tried",
                ))
            }
        }
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, target: &str) -> Result<T, AdminError> {
        self.call(Method::GET, target, None).await
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        target: &str,
        body: &Value,
    ) -> Result<T, AdminError> {
        self.call(Method::POST, target, Some(body)).await
    }

    pub(super) async fn delete<T: DeserializeOwned>(&self, target: &str) -> Result<T, AdminError> {
        self.call(Method::DELETE, target, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<T, AdminError> {
        let routes = match self {
            Self::Running(client) => return client.call(method, target, body).await,
            Self::Offline { routes, .. } => routes.clone(),
        };
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        read(oneshot(routes, method, target, body).await?).await
    }

    /// Gets `target` and passes on the bytes of the body as they come.
    pub(super) async fn download(
        &self,
        target: &str,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), DownloadError> {
        let routes = match self {
            Self::Running(client) => return client.download(target, take).await,
            Self::Offline { routes, .. } => routes.clone(),
        };
        let response = oneshot(routes, Method::GET, target, Body::empty()).await?;
        if !response.status().is_success() {
            let rejection = read::<Value>(response).await.err();
            return Err(rejection.unwrap_or(AdminError::Unreadable).into());
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame.map_err(|_| DownloadError::BrokenOff)?.into_data() {
                take(&bytes)?;
            }
        }
        Ok(())
    }

    async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Offline { store, log, .. } => {
                let closed = tokio::time::timeout(CLOSE_TIMEOUT, store.close()).await;
                log.close();
                Ok(closed??)
            }
        }
    }
}

async fn oneshot(
    routes: Router,
    method: Method,
    target: &str,
    body: Body,
) -> Result<Response, AdminError> {
    let request = Request::builder().method(method).uri(target).body(body);
    let request = request.map_err(|_| AdminError::Unreadable)?;
    let Ok(response) = routes.oneshot(request).await;
    Ok(response)
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, AdminError> {
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX)
        .await
        .map_err(|_| AdminError::Unreadable)?;
    parse_response(status, &body)
}
