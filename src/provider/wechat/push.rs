//! Pushes of WeChat: a user of a mini program has withdrawn consent or deleted the account.
//!
//! Sources: developers.weixin.qq.com, "message push" (how a push is signed and encrypted) and
//! "security guide, changes of authorised user information" (the events). One address serves every
//! mini program of the config; the token that signed a push says which one it is for.
//!
//! In safe mode the signature covers the body, which is encrypted. In plain mode it covers the time
//! and a nonce alone, so an observer of one push can send any body for as long as its time is
//! valid; hence `wechat.push.plain`, which is off by default.
//!
//! Must stay true: nothing is decrypted or parsed before its signature was verified, in constant
//! time; there is one response to everything that is not WeChat's; bodies are bounded; XML is
//! parsed without DTD, entities and processing instructions.

mod envelope;
mod event;
mod rejection;
mod xml;

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use serde::Deserialize;

pub use event::{AuthorizationChange, AuthorizationEvent, PushMessage};
pub use rejection::PushRejection;

use self::envelope::PushKey;
use crate::{
    clock::Clock,
    config::WechatConfig,
    crypto,
    types::{AppId, Secret, Timestamp},
};

/// How far WeChat's clock may be ahead of ours.
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Verifies and parses pushes.
#[derive(Debug)]
pub struct PushReceiver {
    apps: Vec<PushApp>,
    plain: bool,
    max_age: Duration,
    clock: Clock,
}

/// A mini program whose pushes are accepted.
#[derive(Debug)]
struct PushApp {
    app_id: AppId,
    token: Secret<String>,
    /// `None`: plain mode.
    key: Option<PushKey>,
}

/// The query of a push.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PushQuery {
    pub signature: String,
    pub msg_signature: String,
    pub timestamp: String,
    pub nonce: String,
    /// The challenge with which WeChat verifies the URL.
    pub echostr: String,
}

impl PushReceiver {
    /// From the config; `None`: pushes are off. Unusable entries are left out, which `Config::load`
    /// rejects.
    pub fn new(config: &WechatConfig, clock: &Clock) -> Option<Self> {
        if !config.push.enabled {
            return None;
        }
        let apps = config.apps().into_iter().filter_map(|app| {
            Some(PushApp {
                app_id: AppId::parse(&app.app_id).ok()?,
                token: Secret::new(app.push_token?.expose().clone()),
                key: app
                    .push_aes_key
                    .and_then(|key| PushKey::parse(key.expose())),
            })
        });
        Some(Self {
            apps: apps.collect(),
            plain: config.push.plain,
            max_age: config.push.max_age.get(),
            clock: clock.clone(),
        })
    }

    /// The response to WeChat's verification of the URL.
    pub fn echo<'a>(&self, query: &'a PushQuery) -> Result<&'a str, PushRejection> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte);
        if !(1..=256).contains(&query.echostr.len()) || !query.echostr.bytes().all(is_plain) {
            return Err(PushRejection::Unreadable);
        }
        if self.signers(query, None, &query.signature).next().is_none() {
            return Err(PushRejection::Forged);
        }
        self.check_age(query)?;
        Ok(&query.echostr)
    }

    /// Verifies and parses a push.
    pub fn read(&self, query: &PushQuery, body: &[u8]) -> Result<PushMessage, PushRejection> {
        let sealed = envelope::encrypted(body);
        if let Some(sealed) = &sealed {
            let mut rejection = PushRejection::Forged;
            for app in self.signers(query, Some(sealed), &query.msg_signature) {
                self.check_age(query)?;
                let Some(key) = &app.key else { continue };
                match key.open(sealed) {
                    // Several mini programs may share a token and a key: the message names its own.
                    Some((message, named)) if named == app.app_id.as_str().as_bytes() => {
                        return event::read(&message, &app.app_id, true);
                    }
                    Some(_) => rejection = PushRejection::OtherApp,
                    None => {}
                }
            }
            return Err(rejection);
        }
        if !self.plain {
            return Err(PushRejection::Forged);
        }
        let mut rejection = PushRejection::Forged;
        for app in self
            .signers(query, None, &query.signature)
            .filter(|app| app.key.is_none())
        {
            self.check_age(query)?;
            match event::read(body, &app.app_id, false) {
                Err(PushRejection::OtherApp) => rejection = PushRejection::OtherApp,
                read => return read,
            }
        }
        Err(rejection)
    }

    /// The mini programs with whose token this signature is right: lower-case hex of SHA-1 over the
    /// parts, sorted and joined. SHA-1 is WeChat's choice.
    fn signers<'a>(
        &'a self,
        query: &'a PushQuery,
        sealed: Option<&'a str>,
        signature: &'a str,
    ) -> impl Iterator<Item = &'a PushApp> {
        // Joined without a separator, two lists of parts could be one text; a time has only digits.
        let is_well_formed = (1..=12).contains(&query.timestamp.len())
            && query.timestamp.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=64).contains(&query.nonce.len())
            && query.nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
        self.apps.iter().filter(move |app| {
            let mut parts = vec![app.token.expose().as_str(), &query.timestamp, &query.nonce];
            parts.extend(sealed);
            parts.sort_unstable();
            let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            for part in parts {
                digest.update(part.as_bytes());
            }
            let expected = hex::encode(digest.finish());
            crypto::constant_time_eq(expected.as_bytes(), signature.as_bytes()) && is_well_formed
        })
    }

    /// Checks the age of the signature.
    fn check_age(&self, query: &PushQuery) -> Result<(), PushRejection> {
        let signed_at = query
            .timestamp
            .parse()
            .map(Timestamp::from_secs)
            .map_err(|_| PushRejection::Unreadable)?;
        let now = self.clock.now();
        let is_fresh =
            now.since(signed_at) <= self.max_age && signed_at.since(now) <= MAX_CLOCK_SKEW;
        is_fresh.then_some(()).ok_or(PushRejection::Stale)
    }
}

#[cfg(test)]
mod tests;
