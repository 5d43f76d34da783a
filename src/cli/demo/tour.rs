//! The tour: what a mini program does in a day, one step after the other.
//!
//! The requests go over real sockets with the client in `outbound.rs`, and each is printed from the
//! value that is sent. Must stay true: a claim is printed only by [`Tour::check`], which has
//! checked it. The first false claim ends the tour and the demo.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use reqwest::Url;
use serde_json::{Value, json};

use super::{
    call::{Call, has_forgery},
    error::DemoError,
    page::{DemoPage, ShownHeader},
    sandbox::Sandbox,
    session::DemoSession,
};
use crate::{dev::backend::ReceivedRequest, outbound::Outbound};

/// Timeout of one response, which takes milliseconds on a loopback socket.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The identity headers of a caller.
const IDENTITY: [ShownHeader; 4] = [
    ShownHeader::Identity("X-User-Id"),
    ShownHeader::Identity("X-User-Type"),
    ShownHeader::Identity("X-Session-Id"),
    ShownHeader::Identity("X-Auth-State"),
];

/// Alice's phone number, as she types it and as E.164. It is assigned to no person.
const NUMBER: &str = "13800138000";
const PHONE: &str = "+8613800138000";

struct Tour<'t, 'p> {
    page: &'t mut DemoPage<'p>,
    sandbox: &'t Sandbox,
    client: Outbound,
    base: String,
}

/// Runs all steps; returns a session that is still open.
pub(super) async fn run(
    page: &mut DemoPage<'_>,
    sandbox: &Sandbox,
    http: &str,
) -> Result<DemoSession, DemoError> {
    let base = format!("http://{http}");
    let client = Url::parse(&base)
        .context("menshen's address makes no URL")
        .and_then(|url| Ok(Outbound::new(&url)?))?;
    let mut tour = Tour {
        page,
        sandbox,
        client,
        base,
    };
    let alice = tour.signs_in().await?;
    tour.calls_without_a_token().await?;
    tour.calls_with_the_token(&alice).await?;
    tour.forges_headers(&alice).await?;
    tour.forges_headers_where_no_token_is_needed().await?;
    let renewed = tour.refreshes(&alice).await?;
    tour.signs_out(&renewed).await?;
    tour.calls_after_signing_out(&renewed).await?;
    let again = tour.comes_back(&alice).await?;
    tour.adds_a_phone(&again).await?;
    tour.comes_back_by_text_message(&alice).await
}

impl Tour<'_, '_> {
    async fn signs_in(&mut self) -> Result<DemoSession, DemoError> {
        self.page.step(
            "Alice signs in",
            "wx.login gave her phone a code. menshen asks WeChat who that is and answers with tokens of its own. Your backend \
             needs no login code: it is not even asked.",
        )?;
        let call = Call::post(
            "/auth/wechat/login",
            &json!({ "code": "alice-1", "nickname": "Alice" }),
        );
        let answer = self.ask(&call).await?;
        let alice = self.session(&answer)?;
        let asked_once = self.sandbox.wechat.calls_for("alice-1") == 1;
        self.check(asked_once, "WeChat was asked once")?;
        let is_unasked = self.sandbox.backend.requests() == 0;
        self.check(is_unasked, "the backend was not asked")?;
        let text = String::from_utf8_lossy(answer.body());
        let kept = !text.contains("openid") && !text.contains("session_key");
        self.check(kept, "WeChat's openid and session_key stayed inside")?;
        self.check(
            alice.is_new_user,
            "Alice is a new user, with an id of her own",
        )?;
        Ok(alice)
    }

    async fn calls_without_a_token(&mut self) -> Result<(), DemoError> {
        self.page.step(
            "A call without a token",
            "What no rule opens needs a token. menshen itself rejects a request without one, so your backend spends no time on \
             it.",
        )?;
        let before = self.sandbox.backend.requests();
        let answer = self.ask(&Call::get("/orders")).await?;
        self.check_refused(&answer, "token_missing")?;
        self.check_backend_unasked_since(before)
    }

    async fn calls_with_the_token(&mut self, alice: &DemoSession) -> Result<(), DemoError> {
        self.page.step(
            "The same call with Alice's token",
            "menshen checks the signature and tells the backend who is calling, in headers. That is all your backend has to \
             read.",
        )?;
        let call = Call::get("/orders").with_token(&alice.access_token);
        let received = self
            .ask_backend(&call, &[ShownHeader::Other("Authorization")])
            .await?;
        let is_alice = received.header("x-user-id").eq([alice.user.id.as_str()]);
        self.check(is_alice, "X-User-Id is the id that the login gave")?;
        let is_signed_in = received.header("x-auth-state").eq(["authenticated"]);
        self.check(is_signed_in, "X-Auth-State says that the caller signed in")?;
        let has_token = received.header("authorization").next().is_some();
        self.check(!has_token, "the token itself stayed at the gate")
    }

    async fn forges_headers(&mut self, alice: &DemoSession) -> Result<(), DemoError> {
        self.page.step(
            "Alice claims to be user 1, and an administrator",
            "A backend that believes X-User-Id must never get it from a client, in any spelling that some framework reads as \
             the same name. menshen removes them all before it sets its own.",
        )?;
        let call = Call::get("/orders")
            .with_token(&alice.access_token)
            .with_forged_headers();
        let received = self
            .ask_backend(&call, &[ShownHeader::Other("X-User-Role")])
            .await?;
        let mine = received
            .headers
            .iter()
            .filter(|(name, _)| name.replace('_', "-") == "x-user-id");
        let mine: Vec<_> = mine.map(|(_, value)| value.as_str()).collect();
        let is_hers_alone = mine == [alice.user.id.as_str()];
        self.check(is_hers_alone, "X-User-Id is Alice's, and there is only one")?;
        let is_clean = !has_forgery(&received);
        self.check(is_clean, "nothing of what she claimed arrived")
    }

    async fn forges_headers_where_no_token_is_needed(&mut self) -> Result<(), DemoError> {
        self.page.step(
            "A stranger tries the same on a public page",
            "One rule of the demo's config makes /menu public. Forged headers are removed there too: otherwise every public \
             page would let a client act as any user.",
        )?;
        let received = self
            .ask_backend(&Call::get("/menu").with_forged_headers(), &[])
            .await?;
        let is_anonymous = received.header("x-auth-state").eq(["anonymous"]);
        self.check(
            is_anonymous,
            "X-Auth-State says that the caller is anonymous",
        )?;
        let is_clean = received.header("x-user-id").next().is_none() && !has_forgery(&received);
        self.check(is_clean, "no forged header arrived")
    }

    async fn refreshes(&mut self, alice: &DemoSession) -> Result<DemoSession, DemoError> {
        self.page.step(
            "Alice's tokens are renewed",
            "An access token lives for minutes, so that a stolen one is soon worthless. Before it ends, the mini program trades \
             its refresh token for the next pair, and Alice notices nothing.",
        )?;
        let asked = self.sandbox.wechat.calls();
        let call = Call::post(
            "/auth/refresh",
            &json!({ "refresh_token": alice.refresh_token }),
        );
        let answer = self.ask(&call).await?;
        let renewed = self.session(&answer)?;
        let fresh = renewed.access_token != alice.access_token
            && renewed.refresh_token != alice.refresh_token;
        self.check(fresh, "both tokens are new")?;
        self.check(renewed.user.id == alice.user.id, "the user is the same")?;
        let is_unasked = self.sandbox.wechat.calls() == asked;
        self.check(is_unasked, "WeChat was not asked again")?;
        self.check_user(
            &renewed,
            alice,
            "the new access token works, and the backend sees the same X-User-Id",
        )
        .await?;
        Ok(renewed)
    }

    async fn signs_out(&mut self, alice: &DemoSession) -> Result<(), DemoError> {
        self.page.step(
            "Alice signs out",
            "Her session ends on this device. With the scope \"global\" it would end on all of them.",
        )?;
        let call = Call::post("/auth/logout", &json!({ "scope": "local" }))
            .with_token(&alice.access_token);
        let answer = self.ask(&call).await?;
        let has_ended = answer.status() == 204;
        self.check(has_ended, "menshen says that her session has ended")
    }

    async fn calls_after_signing_out(&mut self, alice: &DemoSession) -> Result<(), DemoError> {
        self.page.step(
            "An attacker has kept her token",
            "It worked a moment ago, its signature is right, and its time is not over. It is refused all the same: menshen \
             remembers which sessions have ended.",
        )?;
        let before = self.sandbox.backend.requests();
        let answer = self
            .ask(&Call::get("/orders").with_token(&alice.access_token))
            .await?;
        self.check_refused(&answer, "token_revoked")?;
        self.check_backend_unasked_since(before)
    }

    async fn comes_back(&mut self, alice: &DemoSession) -> Result<DemoSession, DemoError> {
        self.page.step(
            "Alice comes back",
            "A new code from wx.login, the same person at WeChat: she gets a new session and keeps her id, with which your \
             backend has stored her orders.",
        )?;
        let call = Call::post("/auth/wechat/login", &json!({ "code": "alice-2" }));
        let answer = self.ask(&call).await?;
        self.session_of_same_user(&answer, alice).await
    }

    async fn adds_a_phone(&mut self, alice: &DemoSession) -> Result<(), DemoError> {
        self.page.step(
            "Alice presses the phone number button",
            "The button gave a code that is not a login code. menshen trades it for her number at WeChat, with her openid, so \
             that no user can use another user's code.",
        )?;
        let code = format!("phone.{NUMBER}-1");
        let call = Call::post("/auth/phone/wechat", &json!({ "code": code }))
            .with_token(&alice.access_token);
        let answer = self.ask(&call).await?;
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let is_hers = answer.status() == 200 && body["phone"] == PHONE;
        self.check(is_hers, "the number is hers now")
    }

    async fn comes_back_by_text_message(
        &mut self,
        alice: &DemoSession,
    ) -> Result<DemoSession, DemoError> {
        self.page.step(
            "Alice signs in on a device without WeChat",
            "She types her number and gets a code by text message. The number leads to the same account, so your backend sees \
             the same user.",
        )?;
        let call = Call::post("/auth/sms/send", &json!({ "phone": "+86 138 0013 8000" }));
        let answer = self.ask(&call).await?;
        let code = self
            .sandbox
            .sms
            .code_on(PHONE)
            .filter(|_| answer.status() == 200);
        let Some(code) = code else {
            return Err(self.failed_claim("a code was sent to her phone")?);
        };
        self.check(
            true,
            "a code was sent to her phone, by a vendor that checked menshen's signature",
        )?;
        let call = Call::post(
            "/auth/sms/login",
            &json!({ "phone": NUMBER, "code": code, "client_type": "web" }),
        );
        let answer = self.ask(&call).await?;
        self.session_of_same_user(&answer, alice).await
    }

    /// Prints and sends a request, and prints the response.
    async fn ask(&mut self, call: &Call) -> Result<Response<Bytes>, DemoError> {
        self.page.request(call)?;
        let answer = self.send(call).await?;
        self.page.answer(&answer)?;
        Ok(answer)
    }

    /// Prints and sends a request that must reach the backend, and prints what the backend
    /// received.
    async fn ask_backend(
        &mut self,
        call: &Call,
        also: &[ShownHeader],
    ) -> Result<ReceivedRequest, DemoError> {
        self.page.request(call)?;
        let answer = self.send(call).await?;
        let Some(received) = received(&answer) else {
            self.page.answer(&answer)?;
            return Err(self.failed_claim("the backend answered")?);
        };
        self.page
            .answer_of_backend(&answer, &received, &[&IDENTITY, also].concat())?;
        Ok(received)
    }

    async fn send(&self, call: &Call) -> Result<Response<Bytes>, DemoError> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.path));
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let body = call.body.clone().map(Bytes::from).unwrap_or_default();
        let request = request
            .body(body)
            .context("a request of the tour is not HTTP")?;
        let what = || format!("menshen did not answer {} {}", call.method, call.path);
        Ok(self
            .client
            .send(request, RESPONSE_TIMEOUT)
            .await
            .with_context(what)?)
    }

    /// Reads a token response, and checks that it is one.
    fn session(&mut self, answer: &Response<Bytes>) -> Result<DemoSession, DemoError> {
        let claim = "menshen answered with an access token and a refresh token";
        let session: Option<DemoSession> = serde_json::from_slice(answer.body()).ok();
        match session.filter(|session| answer.status() == 200 && session.is_complete()) {
            Some(session) => {
                self.check(true, claim)?;
                Ok(session)
            }
            None => Err(self.failed_claim(claim)?),
        }
    }

    /// Reads a token response, and checks that it is of the same user as an earlier session.
    async fn session_of_same_user(
        &mut self,
        answer: &Response<Bytes>,
        earlier: &DemoSession,
    ) -> Result<DemoSession, DemoError> {
        let session = self.session(answer)?;
        let is_same = !session.is_new_user && session.user.id == earlier.user.id;
        self.check(is_same, "it is the same user as in step 1")?;
        let claim = "with her new token, the backend sees the same X-User-Id";
        self.check_user(&session, earlier, claim).await?;
        Ok(session)
    }

    fn check_backend_unasked_since(&mut self, requests: usize) -> Result<(), DemoError> {
        let is_unasked = self.sandbox.backend.requests() == requests;
        self.check(is_unasked, "the backend never heard of it")
    }

    fn check_refused(&mut self, answer: &Response<Bytes>, code: &str) -> Result<(), DemoError> {
        let says = answer
            .headers()
            .get("x-menshen-error")
            .is_some_and(|value| value == code);
        self.check(
            answer.status() == 401 && says,
            &format!("refused by menshen: {code}"),
        )
    }

    /// Checks with a call that is not printed that a session's access token is valid, and is this
    /// user's.
    async fn check_user(
        &mut self,
        session: &DemoSession,
        user: &DemoSession,
        claim: &str,
    ) -> Result<(), DemoError> {
        let answer = self
            .send(&Call::get("/orders").with_token(&session.access_token))
            .await?;
        let known = received(&answer)
            .is_some_and(|received| received.header("x-user-id").eq([user.user.id.as_str()]));
        self.check(known, claim)
    }

    /// Prints a claim if it is true; ends the tour if it is not.
    fn check(&mut self, so: bool, claim: &str) -> Result<(), DemoError> {
        if so {
            Ok(self.page.claim_holds(claim)?)
        } else {
            Err(self.failed_claim(claim)?)
        }
    }

    fn failed_claim(&mut self, claim: &str) -> Result<DemoError, DemoError> {
        self.page.claim_fails(claim)?;
        Ok(DemoError::ClaimFailed {
            step: self.page.steps(),
            claim: claim.to_owned(),
        })
    }
}

/// The request that the backend received, if the response is the backend's.
fn received(answer: &Response<Bytes>) -> Option<ReceivedRequest> {
    (answer.status() == 200)
        .then(|| serde_json::from_slice(answer.body()).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::{super::color::Color, *};

    #[tokio::test]
    async fn a_tour_without_menshen_tells_nothing_and_fails() {
        let sandbox = Sandbox::start().await.unwrap();
        let mut out = Vec::new();
        let backend = sandbox.backend.address().to_string();
        let result = run(
            &mut DemoPage::new(&mut out, Color::Plain),
            &sandbox,
            &backend,
        )
        .await;
        assert!(
            matches!(result, Err(DemoError::ClaimFailed { step: 1, .. })),
            "{:?}",
            result.err()
        );
        let told = String::from_utf8(out).unwrap();
        assert!(told.contains('✗') && !told.contains('✓'), "{told}");
    }
}
