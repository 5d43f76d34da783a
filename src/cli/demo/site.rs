//! The demo's page: a phone, an attacker, and the story of each tap.
//!
//! It runs the steps of the tour with a mini program of its own. All is rendered here and works
//! without JavaScript: each button is a form, whose response leads back to the page.
//!
//! Must stay true: no page of another origin can tap, and none is served under a name that is not
//! this machine's.

mod checks;
mod exchange;
mod frame;
mod guard;
mod header_changes;
mod phone;
mod story;
mod tap;
#[cfg(test)]
mod tests;
mod texts;
mod view;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use axum::{
    Extension, Form, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;

use super::{mini_program::MiniProgram, step::Step, step_run::StepRunner};
use crate::{admin::run_to_completion, console::Language, dev::listener::LoopbackListener};
use tap::{Tap, TapOutcome};
use view::{Addresses, PageView};

/// Taps whose story is kept.
const MAX_TAPS: usize = 50;
/// Longest body of a form, in bytes.
const MAX_FORM_LEN: usize = 4 * 1024;
/// Longest code that is typed, in characters.
const MAX_CODE_LEN: usize = 64;

/// The page that is served; it stops when dropped.
pub(super) struct DemoSite {
    listener: LoopbackListener,
}

/// What the page is made from.
struct SiteState {
    runner: Arc<StepRunner>,
    addresses: Addresses,
    program: tokio::sync::Mutex<MiniProgram>,
    taps: Mutex<VecDeque<Tap>>,
}

#[derive(Deserialize)]
struct TapForm {
    step: String,
    #[serde(default)]
    code: Option<String>,
}

impl DemoSite {
    /// Serves it on this port; 0 is a free one. `http` is menshen's address.
    pub(super) async fn start(
        port: u16,
        runner: Arc<StepRunner>,
        http: &str,
    ) -> anyhow::Result<Self> {
        let listener = LoopbackListener::start_on(port, router(runner, http)).await;
        let listener = listener
            .with_context(|| format!("cannot serve the page on 127.0.0.1:{port} (--port)"))?;
        Ok(Self { listener })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.listener.address()
    }
}

fn router(runner: Arc<StepRunner>, http: &str) -> Router {
    let servers = runner.servers();
    let addresses = Addresses {
        menshen: http.to_owned(),
        backend: servers.backend.address().to_string(),
        wechat: servers.wechat.address().to_string(),
        sms: servers.sms.address().to_string(),
    };
    let state = Arc::new(SiteState {
        runner,
        addresses,
        program: tokio::sync::Mutex::new(MiniProgram::of_the_page()),
        taps: Mutex::default(),
    });
    Router::new()
        .route("/", get(show))
        .route("/tap", post(tap).get(async || Redirect::to("/")))
        .route(
            "/demo.css",
            get(async || {
                asset(
                    "text/css; charset=utf-8",
                    concat!(
                        include_str!("../../console/assets/palette.css"),
                        include_str!("site/assets/demo.css")
                    ),
                )
            }),
        )
        .route(
            "/demo.js",
            get(async || {
                asset(
                    "text/javascript; charset=utf-8",
                    include_str!("site/assets/demo.js"),
                )
            }),
        )
        .route(
            "/icon.svg",
            get(async || {
                asset(
                    "image/svg+xml",
                    include_str!("../../console/assets/icon.svg"),
                )
            }),
        )
        .layer(DefaultBodyLimit::max(MAX_FORM_LEN))
        .layer(middleware::from_fn(run_to_completion))
        .layer(middleware::from_fn(guard::guard))
        .with_state(state)
}

type Asset = ([(HeaderName, &'static str); 1], &'static str);

const fn asset(content_type: &'static str, text: &'static str) -> Asset {
    ([(header::CONTENT_TYPE, content_type)], text)
}

async fn show(
    State(state): State<Arc<SiteState>>,
    Extension(language): Extension<Language>,
) -> Html<String> {
    let program = state.program.lock().await;
    let taps = state.taps.lock().unwrap_or_else(PoisonError::into_inner);
    let view = PageView {
        language,
        addresses: &state.addresses,
        program: &program,
        taps: &taps,
    };
    Html(frame::page(&view).into_string())
}

/// Takes a step, and leads back to the page.
async fn tap(State(state): State<Arc<SiteState>>, Form(form): Form<TapForm>) -> Response {
    let Some(step) = Step::from_id(&form.step) else {
        return (StatusCode::BAD_REQUEST, "there is no such button").into_response();
    };
    let mut program = state.program.lock().await;
    let outcome = if let Some(reason) = step.obstacle(&program) {
        TapOutcome::Obstacle { step, reason }
    } else {
        let code = form.code.filter(|code| !code.trim().is_empty());
        program.typed_code = code.map(|code| code.trim().chars().take(MAX_CODE_LEN).collect());
        let (record, result) = state.runner.run(step, &mut program).await;
        TapOutcome::from_run(record, result)
    };
    let mut taps = state.taps.lock().unwrap_or_else(PoisonError::into_inner);
    let number = taps.back().map_or(0, |tap| tap.number) + 1;
    if taps.len() == MAX_TAPS {
        taps.pop_front();
    }
    taps.push_back(Tap { number, outcome });
    Redirect::to("/#latest").into_response()
}
