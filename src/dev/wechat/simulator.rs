//! The state of the simulated WeChat.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    app_tokens::AppTokens,
    identity::{openid, session_key},
    scenario::errcode_body,
};

/// A mini program that the server knows.
#[derive(Debug, Clone)]
pub struct KnownApp {
    pub app_id: String,
    pub secret: String,
}

#[derive(Debug)]
pub(super) struct WechatSimulator {
    pub(super) apps: Vec<KnownApp>,
    pub(super) records: Mutex<WechatRecords>,
}

#[derive(Debug, Default)]
pub(super) struct WechatRecords {
    pub(super) calls: HashMap<String, usize>,
    pub(super) used_codes: HashSet<String>,
    /// Fixed response bodies, by code.
    pub(super) canned: HashMap<String, String>,
    /// The openids that have signed in.
    pub(super) openids: HashSet<String>,
    /// By app id.
    pub(super) tokens: HashMap<String, AppTokens>,
    pub(super) token_calls: usize,
    pub(super) token_delay: Duration,
    /// The errcode for an invalid token; 40001 unless a test sets another.
    pub(super) refuses_tokens_with: Option<i64>,
    /// The access token of each call for a phone number.
    pub(super) tokens_seen: Vec<Option<String>>,
}

impl WechatSimulator {
    pub(super) fn records(&self) -> MutexGuard<'_, WechatRecords> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check_credentials(&self, app_id: &str, secret: &str) -> Result<(), String> {
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

    /// The response to a login, for the first use of a code.
    pub(super) fn login(&self, app_id: &str, code: &str) -> String {
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
