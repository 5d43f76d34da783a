//! Where an operator's command is carried out: by the running menshen, or on the store of a stopped
//! one.
//!
//! A running process holds its embedded store, so it is asked through its admin listener; where
//! none answers, the store is opened here and the same routes are asked without a socket. So there
//! is one way to do a thing, and one wording of what went wrong.

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
};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use tower::ServiceExt;

use super::run::load;
use crate::{
    admin, app,
    config::{Config, HumanDuration, Source},
    outbound::{AdminClient, AdminError, DownloadError, parse_response},
    store::Store,
    telemetry::{self, Sink},
};

/// How long to wait for a process that holds the store but does not answer on its admin listener.
const LOCK_WAIT: HumanDuration = HumanDuration::secs(1);
/// Time to close the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Does what operators ask for.
pub(super) enum Operator {
    Running(AdminClient),
    /// What is to be logged goes to standard error: the trail of what was done, and why something
    /// was not.
    Offline {
        routes: Router,
        store: Arc<dyn Store>,
        log: Sink,
    },
}

/// Loads the config, finds out where to work, and works there. A failure is told in words.
pub(super) fn with_operator(
    source: &Source,
    err: &mut impl Write,
    with_operator: impl AsyncFnOnce(&Operator) -> anyhow::Result<()>,
) -> io::Result<ExitCode> {
    match load(source, err)? {
        Ok(config) => with_operator_for(config, err, with_operator),
        Err(code) => Ok(code),
    }
}

/// The same with a config that is loaded already.
pub(super) fn with_operator_for(
    config: Config,
    err: &mut impl Write,
    with_operator: impl AsyncFnOnce(&Operator) -> anyhow::Result<()>,
) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        let operator = Operator::connect(config).await?;
        let done = with_operator(&operator).await;
        operator.close().await?;
        done
    });
    match done.map_err(anyhow::Error::downcast::<io::Error>) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ok(unwritten)) => Err(unwritten),
        Err(Err(fault)) => {
            writeln!(err, "menshen: {fault:#}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

impl Operator {
    async fn connect(config: Config) -> anyhow::Result<Self> {
        if let Some(running) = app::admin_client(&config)? {
            match running
                .call::<IgnoredAny>(Method::GET, "/admin/keys", None)
                .await
            {
                Ok(_) => return Ok(Self::Running(running)),
                Err(AdminError::NotRunning) => {}
                Err(fault) => return Err(fault).context("the running menshen was asked"),
            }
        }
        Self::open_offline(config).await
    }

    async fn open_offline(mut config: Config) -> anyhow::Result<Self> {
        if config.store.url.starts_with("memory:") {
            bail!(
                "a store in memory is in the running process only: set admin.token_file, and ask it"
            );
        }
        config.store.lock_wait = LOCK_WAIT.min(config.store.lock_wait);
        let log = Sink::to(io::stderr())?;
        telemetry::init(&config.telemetry, &log);
        match app::operations(&config).await {
            Ok(operations) => {
                let store = operations.store.clone();
                Ok(Self::Offline {
                    routes: admin::operations(operations),
                    store,
                    log,
                })
            }
            Err(fault) => {
                log.close();
                Err(fault.context(
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
        let request = Request::builder()
            .method(method)
            .uri(target)
            .body(body)
            .map_err(|_| AdminError::Unreadable)?;
        let Ok(response) = routes.oneshot(request).await;
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX)
            .await
            .map_err(|_| AdminError::Unreadable)?;
        parse_response(head.status, &body)
    }

    /// Asks for `target` and hands on the bytes of the answer as they come.
    pub(super) async fn download(
        &self,
        target: &str,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), DownloadError> {
        let routes = match self {
            Self::Running(client) => return client.download(target, take).await,
            Self::Offline { routes, .. } => routes.clone(),
        };
        let request = Request::builder()
            .uri(target)
            .body(Body::empty())
            .map_err(|_| AdminError::Unreadable)?;
        let Ok(response) = routes.oneshot(request).await;
        let (head, mut body) = response.into_parts();
        if !head.status.is_success() {
            let body = to_bytes(body, usize::MAX)
                .await
                .map_err(|_| AdminError::Unreadable)?;
            return Err(parse_response::<Value>(head.status, &body)
                .err()
                .unwrap_or(AdminError::Unreadable)
                .into());
        }
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
