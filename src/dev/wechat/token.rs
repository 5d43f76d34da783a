//! `POST /cgi-bin/stable_token` in normal mode: everybody gets the same token, until it is near its
//! end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Bytes, extract::State, response::Response};
use serde::Deserialize;

use super::{
    Desk, letters,
    script::{failure, plain},
};

/// How long a token lives.
const LIFE: Duration = Duration::from_hours(2);
/// With less than this to live, a token gets a successor, and stays good beside it.
const SUCCESSION: Duration = Duration::from_mins(5);

/// The tokens of one mini program.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// How many there have been.
    made: usize,
    /// Those that are taken, the one that is given last.
    good: Vec<Token>,
    /// The last of them is not given any more.
    is_superseded: bool,
}

#[derive(Debug)]
struct Token {
    text: String,
    ends: Instant,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    appid: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    force_refresh: bool,
}

impl Tokens {
    pub(super) fn are_superseded(&mut self) {
        self.is_superseded = true;
    }

    pub(super) fn revoke(&mut self) {
        self.good.clear();
    }

    pub(super) fn has(&self, text: &str) -> bool {
        self.good
            .iter()
            .any(|token| token.text == text && token.ends > Instant::now())
    }

    /// The present token and the rest of its life in seconds.
    fn current(&mut self, app_id: &str) -> (&str, u64) {
        let now = Instant::now();
        self.good.retain(|token| token.ends > now);
        let needs_one = self.is_superseded
            || self
                .good
                .last()
                .is_none_or(|token| token.ends - now < SUCCESSION);
        if needs_one {
            self.made += 1;
            self.is_superseded = false;
            let text = format!(
                "{}_{}",
                self.made,
                letters(&format!("access token {app_id} {}", self.made))
            );
            self.good.push(Token {
                text,
                ends: now + LIFE,
            });
        }
        self.good
            .last()
            .map_or(("", 0), |token| (&token.text, (token.ends - now).as_secs()))
    }
}

pub(super) async fn stable_token(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    let (delay, written) = {
        let mut book = desk.book();
        book.token_calls += 1;
        (book.token_delay, book.written.get("stable_token").cloned())
    };
    tokio::time::sleep(delay).await;
    if let Some(written) = written {
        return plain(written);
    }
    plain(desk.give_token(&body).unwrap_or_else(|refusal| refusal))
}

impl Desk {
    fn give_token(&self, body: &[u8]) -> Result<String, String> {
        let asked: Asked = serde_json::from_slice(body)
            .map_err(|_| failure(41002, "appid missing rid: 662f0ee8-416d3b24-1426a0de"))?;
        if asked.grant_type != "client_credential" {
            return Err(failure(
                40002,
                "invalid grant_type rid: 64b09fbb-56b7faa9-1054a9fe",
            ));
        }
        if asked.secret.is_empty() {
            return Err(failure(41004, "appsecret missing rid: 0e0e0e0e-simulated"));
        }
        if asked.force_refresh {
            // It would end everybody's token; menshen never asks for it.
            return Err(failure(
                45009,
                "reach max api daily quota limit rid: 0f0f0f0f-simulated",
            ));
        }
        self.knows(&asked.appid, &asked.secret)?;
        let mut book = self.book();
        let (token, life) = book
            .tokens
            .entry(asked.appid.clone())
            .or_default()
            .current(&asked.appid);
        Ok(format!(
            r#"{{"access_token":"{token}","expires_in":{life}}}"#
        ))
    }
}
