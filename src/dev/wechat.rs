//! A simulated WeChat: `jscode2session`, `stable_token` and `getuserphonenumber` as the real server
//! answers them.
//!
//! HTTP says 200 to everything and `text/plain`; the bodies are the published ones. Credentials are
//! checked, a code works once (then 40163), and `errcode` is absent on success. Who signs in is in
//! the code: everything before its last `-` is the person, so `alice-1` and `alice-2` are two
//! logins of one openid. Phone codes are described in `phone`. Codes with a name of their own make
//! it misbehave: they are listed at `Scenario`.

mod encrypted;
mod phone;
pub mod push;
mod scenario;
mod token;

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, State},
    response::Response,
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::listener::Listener;
use crate::crypto::sha256;
use encrypted::first_16_bytes;
use scenario::{Scenario, errcode_body, text_response};
use token::AppTokens;

/// The running server; it stops when dropped.
#[derive(Debug)]
pub struct SimulatedWechat {
    listener: Listener,
    simulator: Arc<Simulator>,
}

/// A mini program that the server knows.
#[derive(Debug, Clone)]
pub struct KnownApp {
    pub app_id: String,
    pub secret: String,
}

#[derive(Debug)]
struct Simulator {
    apps: Vec<KnownApp>,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    calls: HashMap<String, usize>,
    used_codes: HashSet<String>,
    /// Bodies to answer with, whatever is asked, by code.
    canned: HashMap<String, String>,
    /// Everybody who has signed in.
    openids: HashSet<String>,
    /// By app id.
    tokens: HashMap<String, AppTokens>,
    token_calls: usize,
    token_delay: Duration,
    /// The errcode for a token that is not good; 40001 unless a test wants another.
    refuses_tokens_with: Option<i64>,
    /// What came as access token with each call for a phone number.
    tokens_seen: Vec<Option<String>>,
}

impl SimulatedWechat {
    /// Starts it on a free loopback port.
    pub async fn start(apps: Vec<KnownApp>) -> io::Result<Self> {
        let simulator = Arc::new(Simulator {
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
        let listener = Listener::start(router).await?;
        Ok(Self {
            listener,
            simulator,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// For `wechat.base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// How often it was asked about any code.
    pub fn calls(&self) -> usize {
        self.simulator.records().calls.values().sum()
    }

    /// How often it was asked about this code.
    pub fn calls_for(&self, code: &str) -> usize {
        self.simulator
            .records()
            .calls
            .get(code)
            .copied()
            .unwrap_or_default()
    }

    /// How often it was asked for an access token.
    pub fn token_calls(&self) -> usize {
        self.simulator.records().token_calls
    }

    /// The access token of each call for a phone number, in order; `None` for a call without any.
    pub fn tokens_seen(&self) -> Vec<Option<String>> {
        self.simulator.records().tokens_seen.clone()
    }

    /// From now on no access token of before is good, and calls with one are refused with this
    /// errcode (40001, 40014, 42001).
    pub fn revoke_tokens(&self, errcode: i64) {
        let mut records = self.simulator.records();
        records.refuses_tokens_with = Some(errcode);
        records.tokens.values_mut().for_each(AppTokens::revoke);
    }

    /// The next to ask for an access token gets a new one; the present ones stay good.
    pub fn renew_tokens(&self) {
        self.simulator
            .records()
            .tokens
            .values_mut()
            .for_each(AppTokens::supersede);
    }

    /// Takes this long to give an access token.
    pub fn delay_tokens(&self, delay: Duration) {
        self.simulator.records().token_delay = delay;
    }

    /// Answers this code with exactly this body from now on; the code `stable_token` is that call.
    pub fn set_response(&self, code: &str, body: &str) {
        self.simulator
            .records()
            .canned
            .insert(code.to_owned(), body.to_owned());
    }
}

impl Simulator {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_credentials(&self, app_id: &str, secret: &str) -> Result<(), String> {
        let Some(app) = self.apps.iter().find(|app| app.app_id == app_id) else {
            return Err(errcode_body(
                40013,
                "invalid appid, rid: 0a0a0a0a-simulated",
            ));
        };
        if app.secret == secret {
            Ok(())
        } else {
            Err(errcode_body(
                40125,
                "invalid appsecret, rid: 0b0b0b0b-simulated",
            ))
        }
    }

    /// A login, the first time a code is seen.
    fn login(&self, app_id: &str, code: &str) -> String {
        if code.starts_with("phone.") {
            // A code of the phone number button.
            return errcode_body(40029, "invalid code, rid: 0e0e0e0e-simulated");
        }
        if !self.records().used_codes.insert(format!("{app_id} {code}")) {
            return errcode_body(40163, "code been used, rid: 0c0c0c0c-simulated");
        }
        let person = code.rsplit_once('-').map_or(code, |(person, _)| person);
        let openid = openid(app_id, person);
        self.records().openids.insert(openid.clone());
        let session_key = STANDARD.encode(session_key(app_id, code));
        format!(r#"{{"session_key":"{session_key}","openid":"{openid}"}}"#)
    }
}

async fn code_to_session(
    State(simulator): State<Arc<Simulator>>,
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
    if let Err(refusal) = simulator.check_credentials(app_id, of("secret")) {
        return text_response(refusal);
    }
    if of("grant_type") != "authorization_code" {
        return text_response(errcode_body(40002, "invalid grant_type"));
    }
    if code.is_empty() {
        return text_response(errcode_body(41008, "missing code"));
    }
    Scenario::parse(code)
        .play(times, || simulator.login(app_id, code))
        .await
}

/// Who a person is to a mini program.
/// The openid of a person of this name in a mini program.
pub fn openid(app_id: &str, person: &str) -> String {
    format!(
        "o{}",
        &stable_letters(&format!("openid {app_id} {person}"))[..27]
    )
}

/// The key that a login with this code gives.
fn session_key(app_id: &str, code: &str) -> [u8; 16] {
    first_16_bytes(&sha256(format!("session key {app_id} {code}").as_bytes()))
}

/// 32 letters and digits that are always the same for the same name.
fn stable_letters(name: &str) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    sha256(name.as_bytes())
        .iter()
        .map(|&byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
        .collect()
}
