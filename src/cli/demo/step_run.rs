//! Runs one step, for the tour as for the page: its requests, and what is claimed about them.
//!
//! The requests go over real sockets. Must stay true: a claim is checked before it is recorded, and
//! the first false one ends the step.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use anyhow::Context;
use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    call::{Call, has_forgery},
    claims,
    client::DemoClient,
    mini_program::MiniProgram,
    record::{Exchange, ShownHeader, StepEvent, StepRecord, Vendor, VendorCall},
    sandbox::SimulatedServers,
    session::DemoSession,
    step::Step,
    text::Text,
};
use crate::{app::LiveExplainer, dev::backend::ReceivedRequest};

/// The identity headers of a caller.
const IDENTITY: [ShownHeader; 4] = [
    ShownHeader::Identity("X-User-Id"),
    ShownHeader::Identity("X-User-Type"),
    ShownHeader::Identity("X-Session-Id"),
    ShownHeader::Identity("X-Auth-State"),
];

/// What steps run against.
pub(super) struct StepRunner {
    servers: Arc<SimulatedServers>,
    client: DemoClient,
    explainer: Option<LiveExplainer>,
    /// One step at a time, so that counts of calls are those of the step.
    turn: Mutex<()>,
}

/// Why a step has ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error("{}", .0.english)]
    ClaimFailed(Text),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl StepRunner {
    /// `http` is menshen's address.
    pub(super) fn new(
        servers: Arc<SimulatedServers>,
        http: &str,
        explainer: Option<LiveExplainer>,
    ) -> Self {
        Self {
            servers,
            client: DemoClient::new(http),
            explainer,
            turn: Mutex::new(()),
        }
    }

    /// Runs a step. What happened before an error is in the record.
    pub(super) async fn run(
        &self,
        step: Step,
        program: &mut MiniProgram,
    ) -> (StepRecord, Result<(), StepError>) {
        let _turn = self.turn.lock().await;
        let mut run = StepRun {
            runner: self,
            program,
            events: Vec::new(),
        };
        let result = run.run(step).await;
        let events = run.events;
        (StepRecord { step, events }, result)
    }

    /// The servers around menshen.
    pub(super) fn servers(&self) -> &SimulatedServers {
        &self.servers
    }

    fn backend_requests(&self) -> usize {
        self.servers.backend.requests()
    }
}

/// A step that runs.
struct StepRun<'a> {
    runner: &'a StepRunner,
    program: &'a mut MiniProgram,
    events: Vec<StepEvent>,
}

impl StepRun<'_> {
    async fn run(&mut self, step: Step) -> Result<(), StepError> {
        match step {
            Step::SignIn => self.sign_in().await,
            Step::OrdersWithoutToken => self.call_without_token().await,
            Step::Orders => self.call_with_token().await,
            Step::ForgedHeaders => self.forge_headers().await,
            Step::ForgedHeadersOnPublicPage => self.forge_headers_on_public_page().await,
            Step::Refresh => self.refresh().await,
            Step::SignOut => self.sign_out().await,
            Step::OldToken => self.call_with_old_token().await,
            Step::ComeBack => self.come_back().await,
            Step::AddPhone => self.add_phone().await,
            Step::SendSmsCode => self.send_sms_code().await,
            Step::SignInBySms => self.sign_in_by_sms().await,
            Step::OddPath => self.call_odd_path().await,
        }
    }

    async fn sign_in(&mut self) -> Result<(), StepError> {
        let code = self.program.next_login_code();
        let before = self.runner.backend_requests();
        let body = json!({ "code": code, "nickname": "Alice" });
        let response = self.ask(Call::post("/auth/wechat/login", &body)).await?;
        let session = self.session(&response)?;
        let is_new_user = session.is_new_user;
        self.program.user_id = Some(session.user.id.clone());
        self.program.session = Some(session);
        let asked_once = self.runner.servers.wechat.calls_for(&code) == 1;
        self.check(asked_once, claims::WECHAT_ASKED_ONCE)?;
        let is_unasked = self.runner.backend_requests() == before;
        self.check(is_unasked, claims::BACKEND_NOT_ASKED)?;
        let text = String::from_utf8_lossy(response.body());
        let kept = !text.contains("openid") && !text.contains("session_key");
        self.check(kept, claims::WECHAT_IDS_STAYED_INSIDE)?;
        self.check(is_new_user, claims::NEW_USER)
    }

    async fn call_without_token(&mut self) -> Result<(), StepError> {
        let before = self.runner.backend_requests();
        let response = self.ask(Call::get("/orders")).await?;
        self.check(
            is_rejected(&response, 401, "token_missing"),
            claims::REFUSED_TOKEN_MISSING,
        )?;
        self.check_backend_unasked_since(before)
    }

    async fn call_with_token(&mut self) -> Result<(), StepError> {
        let call = Call::get("/orders").with_token(&self.access_token()?);
        let received = self
            .ask_backend(call, &[ShownHeader::Other("Authorization")])
            .await?;
        let is_alice = received.header("x-user-id").eq([self.user_id()?]);
        self.check(is_alice, claims::USER_ID_OF_LOGIN)?;
        let is_signed_in = received.header("x-auth-state").eq(["authenticated"]);
        self.check(is_signed_in, claims::AUTHENTICATED)?;
        let has_token = received.header("authorization").next().is_some();
        self.check(!has_token, claims::TOKEN_STAYED_AT_GATE)
    }

    async fn forge_headers(&mut self) -> Result<(), StepError> {
        let call = Call::get("/orders")
            .with_token(&self.access_token()?)
            .with_forged_headers();
        let received = self
            .ask_backend(call, &[ShownHeader::Other("X-User-Role")])
            .await?;
        let mine = received
            .headers
            .iter()
            .filter(|(name, _)| name.replace('_', "-") == "x-user-id");
        let is_hers_alone = mine.map(|(_, value)| value.as_str()).eq([self.user_id()?]);
        self.check(is_hers_alone, claims::ONE_USER_ID)?;
        self.check(!has_forgery(&received), claims::NOTHING_CLAIMED_ARRIVED)
    }

    async fn forge_headers_on_public_page(&mut self) -> Result<(), StepError> {
        let received = self
            .ask_backend(Call::get("/menu").with_forged_headers(), &[])
            .await?;
        let is_anonymous = received.header("x-auth-state").eq(["anonymous"]);
        self.check(is_anonymous, claims::ANONYMOUS)?;
        let is_clean = received.header("x-user-id").next().is_none() && !has_forgery(&received);
        self.check(is_clean, claims::NOTHING_FORGED_ARRIVED)
    }

    async fn refresh(&mut self) -> Result<(), StepError> {
        let asked = self.runner.servers.wechat.calls();
        let before = self.program.session.as_ref();
        let before = before.context("nobody is signed in")?.clone();
        let body = json!({ "refresh_token": before.refresh_token });
        let response = self.ask(Call::post("/auth/refresh", &body)).await?;
        let renewed = self.session(&response)?;
        let (access, refresh) = (&renewed.access_token, &renewed.refresh_token);
        let fresh = *access != before.access_token && *refresh != before.refresh_token;
        let is_same = renewed.user.id == before.user.id;
        self.program.session = Some(renewed);
        self.check(fresh, claims::BOTH_TOKENS_NEW)?;
        self.check(is_same, claims::SAME_USER)?;
        let is_unasked = self.runner.servers.wechat.calls() == asked;
        self.check(is_unasked, claims::WECHAT_NOT_ASKED_AGAIN)?;
        self.check_user(claims::NEW_TOKEN_WORKS).await
    }

    async fn sign_out(&mut self) -> Result<(), StepError> {
        let token = self.access_token()?;
        let call = Call::post("/auth/logout", &json!({ "scope": "local" })).with_token(&token);
        let response = self.ask(call).await?;
        let has_ended = response.status() == 204;
        self.check(has_ended, claims::SESSION_ENDED)?;
        self.program.session = None;
        self.program.old_token = Some(token);
        Ok(())
    }

    async fn call_with_old_token(&mut self) -> Result<(), StepError> {
        let before = self.runner.backend_requests();
        let token = self.program.old_token.clone();
        let token = token.context("no token is old yet")?;
        let response = self.ask(Call::get("/orders").with_token(&token)).await?;
        self.check(
            is_rejected(&response, 401, "token_revoked"),
            claims::REFUSED_TOKEN_REVOKED,
        )?;
        self.check_backend_unasked_since(before)
    }

    async fn come_back(&mut self) -> Result<(), StepError> {
        let body = json!({ "code": self.program.next_login_code() });
        let response = self.ask(Call::post("/auth/wechat/login", &body)).await?;
        self.session_of_same_user(&response).await
    }

    async fn add_phone(&mut self) -> Result<(), StepError> {
        let body = json!({ "code": self.program.next_phone_code() });
        let call = Call::post("/auth/phone/wechat", &body).with_token(&self.access_token()?);
        let response = self.ask(call).await?;
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let is_hers = response.status() == 200 && body["phone"] == self.program.e164();
        self.check(is_hers, claims::NUMBER_IS_HERS)?;
        self.program.phone = body["masked"].as_str().map(str::to_owned);
        Ok(())
    }

    async fn send_sms_code(&mut self) -> Result<(), StepError> {
        let body = json!({ "phone": self.program.spaced_number() });
        let sent_before = self.runner.servers.sms.log().count();
        let response = self.ask(Call::post("/auth/sms/send", &body)).await?;
        let is_sent =
            response.status() == 200 && self.runner.servers.sms.log().count() == sent_before + 1;
        let message = self.runner.servers.sms.message_on(&self.program.e164());
        self.check(is_sent && message.is_some(), claims::CODE_SENT)?;
        self.program.message = message;
        Ok(())
    }

    async fn sign_in_by_sms(&mut self) -> Result<(), StepError> {
        let sent = self.program.message.as_ref().map(|message| &message.code);
        let typed = self.program.typed_code.take();
        let code = typed
            .or_else(|| sent.cloned())
            .context("no code was sent")?;
        let body = json!({ "phone": self.program.number, "code": code, "client_type": "web" });
        let response = self.ask(Call::post("/auth/sms/login", &body)).await?;
        self.session_of_same_user(&response).await?;
        self.program.message = None;
        Ok(())
    }

    async fn call_odd_path(&mut self) -> Result<(), StepError> {
        let before = self.runner.backend_requests();
        let response = self.ask(Call::get("/menu/%2e%2e/orders")).await?;
        self.check(
            is_rejected(&response, 400, "path_ambiguous"),
            claims::REFUSED_PATH_AMBIGUOUS,
        )?;
        self.check_backend_unasked_since(before)
    }

    fn access_token(&self) -> Result<String, StepError> {
        let session = self.program.session.as_ref();
        let session = session.context("nobody is signed in")?;
        Ok(session.access_token.clone())
    }

    fn user_id(&self) -> Result<&str, StepError> {
        let id = self.program.user_id.as_deref();
        Ok(id.context("nobody has signed in yet")?)
    }

    /// Sends a request, and records it.
    async fn ask(&mut self, call: Call) -> Result<Response<Bytes>, StepError> {
        self.exchange(call, &[]).await.map(|(response, _)| response)
    }

    /// Sends a request that must reach the backend, and records it. The terminal prints the
    /// identity headers and these.
    async fn ask_backend(
        &mut self,
        call: Call,
        also: &[ShownHeader],
    ) -> Result<ReceivedRequest, StepError> {
        let (_, received) = self.exchange(call, also).await?;
        let claim = claims::BACKEND_ANSWERED;
        received.ok_or_else(|| self.failed_claim(claim))
    }

    async fn exchange(
        &mut self,
        call: Call,
        also: &[ShownHeader],
    ) -> Result<(Response<Bytes>, Option<ReceivedRequest>), StepError> {
        let StepRunner {
            servers,
            client,
            explainer,
            ..
        } = self.runner;
        let logs = [
            (Vendor::Wechat, servers.wechat.log()),
            (Vendor::Sms, servers.sms.log()),
        ];
        let counts = logs.map(|(_, log)| log.count());
        let head = client.head(&call);
        // Before it is sent, because it may end the session of its own token.
        let explanation = explainer
            .as_ref()
            .map(|explainer| explainer.explain(&head.bytes, IpAddr::V4(Ipv4Addr::LOCALHOST)));
        let response = client.send(&call, &head).await?;
        let vendor_calls = logs.iter().zip(counts).flat_map(|((vendor, log), count)| {
            let calls = log.since(count).into_iter();
            calls.map(|call| VendorCall {
                vendor: *vendor,
                call,
            })
        });
        let received = received(&response);
        let exchange = Exchange {
            call,
            sent_headers: head.headers,
            explanation,
            response: response.clone(),
            received: received.clone(),
            vendor_calls: vendor_calls.collect(),
            shown: [&IDENTITY, also].concat(),
        };
        self.events.push(StepEvent::Exchange(Box::new(exchange)));
        Ok((response, received))
    }

    /// Reads a token response, and checks that it is one.
    fn session(&mut self, response: &Response<Bytes>) -> Result<DemoSession, StepError> {
        let claim = claims::TOKENS_ANSWERED;
        let session: Option<DemoSession> = serde_json::from_slice(response.body()).ok();
        match session.filter(|session| response.status() == 200 && session.is_complete()) {
            Some(session) => {
                self.check(true, claim)?;
                Ok(session)
            }
            None => Err(self.failed_claim(claim)),
        }
    }

    /// Reads a token response, and checks that it is of the user of the first login.
    async fn session_of_same_user(&mut self, response: &Response<Bytes>) -> Result<(), StepError> {
        let session = self.session(response)?;
        let is_same = !session.is_new_user && session.user.id == self.user_id()?;
        self.program.session = Some(session);
        self.check(is_same, claims::SAME_USER_AS_AT_FIRST_LOGIN)?;
        self.check_user(claims::SAME_USER_ID_AT_BACKEND).await
    }

    fn check_backend_unasked_since(&mut self, requests: usize) -> Result<(), StepError> {
        let is_unasked = self.runner.backend_requests() == requests;
        self.check(is_unasked, claims::BACKEND_NEVER_HEARD)
    }

    /// Checks, with a call that is not recorded, that the session's access token is valid, and is of
    /// the user of the first login.
    async fn check_user(&mut self, claim: Text) -> Result<(), StepError> {
        let call = Call::get("/orders").with_token(&self.access_token()?);
        let client = &self.runner.client;
        let response = client.send(&call, &client.head(&call)).await?;
        let id = self.user_id()?;
        let known =
            received(&response).is_some_and(|received| received.header("x-user-id").eq([id]));
        self.check(known, claim)
    }

    /// Records a claim, which ends the step if it is false.
    fn check(&mut self, holds: bool, claim: Text) -> Result<(), StepError> {
        if !holds {
            return Err(self.failed_claim(claim));
        }
        self.events.push(StepEvent::Claim { claim, holds });
        Ok(())
    }

    fn failed_claim(&mut self, claim: Text) -> StepError {
        let holds = false;
        self.events.push(StepEvent::Claim { claim, holds });
        StepError::ClaimFailed(claim)
    }
}

fn is_rejected(response: &Response<Bytes>, status: u16, code: &str) -> bool {
    let named = response.headers().get("x-menshen-error");
    response.status() == status && named.is_some_and(|value| value == code)
}

/// The request that the backend received, if the response is the backend's.
fn received(response: &Response<Bytes>) -> Option<ReceivedRequest> {
    (response.status() == 200)
        .then(|| serde_json::from_slice(response.body()).ok())
        .flatten()
}
