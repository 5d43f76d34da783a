//! A simulated WeChat: `jscode2session`, `stable_token` and `getuserphonenumber` as the real server
//! answers them.
//!
//! The status is always 200 and the type `text/plain`; the bodies are the published ones.
//! Credentials are checked, a code works once (then 40163), and `errcode` is absent on success. The
//! code names the user: everything before its last `-` is the person, so `alice-1` and `alice-2`
//! are two logins of one openid. Phone codes are described in `phone`. Codes with special names
//! make it misbehave: see `WechatScenario`.

mod app_tokens;
mod encrypted;
mod identity;
mod phone;
pub mod push;
mod scenario;
mod simulator;
mod token;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, State},
    response::Response,
    routing::{get, post},
};

use super::{call_log::CallLog, listener::LoopbackListener};
use app_tokens::AppTokens;
pub use identity::openid;
use scenario::{WechatScenario, errcode_body, text_response};
pub use simulator::KnownApp;
use simulator::WechatSimulator;

/// The running server; it stops when dropped.
#[derive(Debug)]
pub struct SimulatedWechat {
    listener: LoopbackListener,
    simulator: Arc<WechatSimulator>,
    log: CallLog,
}

impl SimulatedWechat {
    /// Starts it on a free loopback port.
    pub async fn start(apps: Vec<KnownApp>) -> io::Result<Self> {
        let simulator = Arc::new(WechatSimulator {
            apps,
            records: Mutex::default(),
        });
        let router = Router::new()
            .route("/sns/jscode2session", get(code_to_session))
            .route("/cgi-bin/stable_token", post(token::stable_token))
            .route(
                "/wxa/business/getuserphonenumber",
                post(phone::phone_number),
            )
            .with_state(Arc::clone(&simulator));
        let log = CallLog::default();
        let listener = LoopbackListener::start(log.record(router)).await?;
        Ok(Self {
            listener,
            simulator,
            log,
        })
    }

    /// The address of the listener.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// For `wechat.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The newest calls.
    pub const fn log(&self) -> &CallLog {
        &self.log
    }

    /// The number of calls with any code.
    pub fn calls(&self) -> usize {
        self.simulator.records().calls.values().sum()
    }

    /// The number of calls with this code.
    pub fn calls_for(&self, code: &str) -> usize {
        self.simulator
            .records()
            .calls
            .get(code)
            .copied()
            .unwrap_or_default()
    }

    /// The number of calls for an access token.
    pub fn token_calls(&self) -> usize {
        self.simulator.records().token_calls
    }

    /// The access token of each call for a phone number, in order; `None` for a call without any.
    pub fn tokens_seen(&self) -> Vec<Option<String>> {
        self.simulator.records().tokens_seen.clone()
    }

    /// Invalidates all access tokens; calls with one are rejected with this errcode (40001, 40014,
    /// 42001).
    pub fn revoke_tokens(&self, errcode: i64) {
        let mut records = self.simulator.records();
        records.refuses_tokens_with = Some(errcode);
        records.tokens.values_mut().for_each(AppTokens::revoke);
    }

    /// The next call for an access token gets a new one; the present ones stay valid.
    pub fn renew_tokens(&self) {
        self.simulator
            .records()
            .tokens
            .values_mut()
            .for_each(AppTokens::supersede);
    }

    /// Delays each access token by this time.
    pub fn delay_tokens(&self, delay: Duration) {
        self.simulator.records().token_delay = delay;
    }

    /// What the phone button gives a mini program whose last login was with this code:
    /// `encryptedData` and `iv` of a number of the mainland (11 digits), at this time (seconds
    /// since 1970).
    pub fn encrypted_phone(
        app_id: &str,
        login_code: &str,
        phone: &str,
        timestamp: u64,
    ) -> (String, String) {
        encrypted::encrypted_phone(app_id, login_code, phone, timestamp)
    }

    /// Responds to this code with exactly this body from now on; the code `stable_token` is that
    /// call.
    pub fn set_response(&self, code: &str, body: &str) {
        self.simulator
            .records()
            .canned
            .insert(code.to_owned(), body.to_owned());
    }
}

async fn code_to_session(
    State(simulator): State<Arc<WechatSimulator>>,
    Query(asked): Query<HashMap<String, String>>,
) -> Response {
    let of = |name: &str| asked.get(name).map_or("", String::as_str);
    let (app_id, code) = (of("appid"), of("js_code"));
    let (times, canned) = {
        let mut records = simulator.records();
        let times = records.calls.entry(code.to_owned()).or_default();
        *times += 1;
        (*times, records.canned.get(code).cloned())
    };
    if let Some(canned) = canned {
        return text_response(canned);
    }
    if let Err(rejection) = simulator.check_credentials(app_id, of("secret")) {
        return text_response(rejection);
    }
    if of("grant_type") != "authorization_code" {
        return text_response(errcode_body(40002, "invalid grant_type"));
    }
    if code.is_empty() {
        return text_response(errcode_body(41008, "missing code"));
    }
    WechatScenario::parse(code)
        .play(times, || simulator.login(app_id, code))
        .await
}
