//! Simulated SMS vendors: Aliyun `SendSms` and `SendSmsVerifyCode`, Tencent Cloud `SendSms`, and a
//! webhook, on one port.
//!
//! Each verifies signature, time and nonce from the received bytes, and responds in the published
//! format. Sent messages stay here, so that a test or a demo reads the code from "the phone". A
//! [`Scenario`] makes a vendor misbehave.

mod account;
mod answer;
mod received;
mod signature;

use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::{call_log::CallLog, faults, listener::LoopbackListener};
use crate::{
    clock::Clock,
    config::{
        AliyunConfig, DypnsConfig, SecretText, SmsConfig, SmsProvider, TencentConfig, WebhookConfig,
    },
};
pub use account::{KEY_ID, SECRET, SIGN_NAME, TEMPLATE};
pub use received::SentMessage;

/// The path of the webhook.
const WEBHOOK_PATH: &str = "/hook/send";
/// Where [`Scenario::Moved`] points.
const MOVED_PATH: &str = "/moved";
/// Most bytes of a body; menshen's requests are shorter.
const MAX_BODY_LEN: usize = 64 * 1024;

/// The running vendors; they stop when dropped.
#[derive(Debug)]
pub struct SimulatedSms {
    listener: LoopbackListener,
    simulator: Arc<Simulator>,
    log: CallLog,
}

/// What a vendor does with a validly signed request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scenario {
    /// Sends the message.
    #[default]
    Send,
    /// Rejects with this vendor code; for the webhook, with this HTTP status.
    Refuse(String),
    /// Responds with exactly this to any request.
    Answer(u16, String),
    /// 404 and a rejection whose message echoes all that was received, as Aliyun's does.
    Echo,
    /// Sends the message and never responds.
    Hang,
    /// 200 without a body.
    Empty,
    /// A page instead of JSON, with this status.
    Garbage(u16),
    /// A megabyte.
    Huge,
    /// Half a response, then the connection ends.
    Cut,
    /// A redirect to a path where calls are counted.
    Moved,
}

#[derive(Debug)]
struct Simulator {
    clock: Clock,
    records: Mutex<Records>,
}

#[derive(Debug, Default)]
struct Records {
    calls: HashMap<&'static str, usize>,
    scenarios: HashMap<&'static str, Scenario>,
    nonces: HashSet<String>,
    sent: Vec<SentMessage>,
    redirects_followed: usize,
}

impl SimulatedSms {
    /// Starts them on a free loopback port. Signatures are checked against the time of `clock`.
    pub async fn start(clock: Clock) -> io::Result<Self> {
        let simulator = Arc::new(Simulator {
            clock,
            records: Mutex::default(),
        });
        let router = Router::new()
            .fallback(serve)
            .with_state(Arc::clone(&simulator));
        let log = CallLog::default();
        let listener = LoopbackListener::start(log.record(router)).await?;
        Ok(Self {
            listener,
            simulator,
            log,
        })
    }

    /// The newest calls.
    pub const fn log(&self) -> &CallLog {
        &self.log
    }

    /// Where they listen.
    pub const fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// For each `endpoint` of the config.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// An `[sms]` section with these providers and every account.
    pub fn section(&self, providers: &[SmsProvider]) -> SmsConfig {
        let text = |text: &str| Some(text.to_owned());
        let secret = || Some(SecretText::new(SECRET.to_owned()));
        SmsConfig {
            providers: providers.to_vec(),
            aliyun: AliyunConfig {
                access_key_id: text(KEY_ID),
                access_key_secret: secret(),
                sign_name: text(SIGN_NAME),
                template_code: text(TEMPLATE),
                endpoint: self.base_url(),
                ..AliyunConfig::default()
            },
            dypns: DypnsConfig {
                access_key_id: text(KEY_ID),
                access_key_secret: secret(),
                sign_name: text(SIGN_NAME),
                template_code: text(TEMPLATE),
                endpoint: self.base_url(),
                ..DypnsConfig::default()
            },
            tencent: TencentConfig {
                secret_id: text(KEY_ID),
                secret_key: secret(),
                sdk_app_id: text("1400006666"),
                sign_name: text(SIGN_NAME),
                template_id: text(TEMPLATE),
                endpoint: self.base_url(),
                ..TencentConfig::default()
            },
            webhook: WebhookConfig {
                url: Some(format!("{}{WEBHOOK_PATH}", self.base_url())),
                secret: secret(),
                allow_private: true,
                ..WebhookConfig::default()
            },
            ..SmsConfig::default()
        }
    }

    /// Sets what a vendor does from now on.
    pub fn set_scenario(&self, provider: SmsProvider, scenario: Scenario) {
        self.simulator
            .records()
            .scenarios
            .insert(provider.as_str(), scenario);
    }

    /// The number of calls of a vendor.
    pub fn calls(&self, provider: SmsProvider) -> usize {
        self.simulator
            .records()
            .calls
            .get(provider.as_str())
            .copied()
            .unwrap_or_default()
    }

    /// The number of followed redirects.
    pub fn redirects_followed(&self) -> usize {
        self.simulator.records().redirects_followed
    }

    /// All sent messages, in order.
    pub fn sent(&self) -> Vec<SentMessage> {
        self.simulator.records().sent.clone()
    }

    /// The newest code on a phone, by its number in E.164 form.
    pub fn code_on(&self, phone: &str) -> Option<String> {
        self.message_on(phone).map(|message| message.code)
    }

    /// The newest message on a phone.
    pub fn message_on(&self, phone: &str) -> Option<SentMessage> {
        self.simulator
            .records()
            .sent
            .iter()
            .rev()
            .find(|message| message.phone == phone)
            .cloned()
    }
}

impl Simulator {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The message of a validly signed request; else the vendor's error code.
    fn verify(
        &self,
        provider: SmsProvider,
        head: &Parts,
        body: &[u8],
    ) -> Result<SentMessage, &'static str> {
        let now = self.clock.now();
        match provider {
            SmsProvider::Aliyun | SmsProvider::Dypns => {
                let nonce = signature::acs3(head, body, now)?;
                if !self.records().nonces.insert(nonce) {
                    return Err("SignatureNonceUsed");
                }
                received::aliyun(provider, head)
            }
            SmsProvider::Tencent => {
                signature::tc3(head, body, now)?;
                received::tencent(head, body)
            }
            SmsProvider::Webhook => {
                signature::webhook(head, body, now)?;
                received::webhook(head, body)
            }
            SmsProvider::Log => Err("404"),
        }
    }
}

async fn serve(State(simulator): State<Arc<Simulator>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_LEN).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    if head.uri.path() == MOVED_PATH {
        simulator.records().redirects_followed += 1;
        return StatusCode::OK.into_response();
    }
    let Some(provider) = provider_of(&head) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let scenario = {
        let mut records = simulator.records();
        *records.calls.entry(provider.as_str()).or_default() += 1;
        records
            .scenarios
            .get(provider.as_str())
            .cloned()
            .unwrap_or_default()
    };
    let message = match simulator.verify(provider, &head, &body) {
        Ok(message) => message,
        Err(code) => return answer::rejection(provider, code, "as simulated"),
    };
    match scenario {
        Scenario::Send => {
            simulator.records().sent.push(message);
            answer::success(provider)
        }
        Scenario::Refuse(code) => answer::rejection(provider, &code, "as scripted"),
        Scenario::Answer(status, text) => (answer::status(status), text).into_response(),
        Scenario::Echo => answer::echo(provider, &head, &body),
        Scenario::Hang => {
            simulator.records().sent.push(message);
            std::future::pending().await
        }
        Scenario::Empty => StatusCode::OK.into_response(),
        Scenario::Garbage(status) => (answer::status(status), faults::HTML_PAGE).into_response(),
        Scenario::Huge => {
            format!(r#"{{"Code":"OK","padding":"{}"}}"#, "x".repeat(1024 * 1024)).into_response()
        }
        Scenario::Cut => faults::truncated_response(),
        Scenario::Moved => (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, MOVED_PATH)],
            Bytes::new(),
        )
            .into_response(),
    }
}

/// The vendor that a request is for.
fn provider_of(head: &Parts) -> Option<SmsProvider> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    match (
        header("x-acs-action"),
        header("x-tc-action"),
        head.uri.path(),
    ) {
        (Some("SendSms"), None, "/") => Some(SmsProvider::Aliyun),
        (Some("SendSmsVerifyCode"), None, "/") => Some(SmsProvider::Dypns),
        (None, Some("SendSms"), "/") => Some(SmsProvider::Tencent),
        (None, None, WEBHOOK_PATH) => Some(SmsProvider::Webhook),
        _ => None,
    }
}
