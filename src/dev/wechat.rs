//! A simulated WeChat: `GET /sns/jscode2session` as the real server answers it.
//!
//! HTTP says 200 to everything and `text/plain`; the bodies are the published ones. Credentials are checked, a code works
//! once (then 40163), and `errcode` is absent on success. Who signs in is in the code: everything before its last `-` is the
//! person, so `alice-1` and `alice-2` are two logins of one openid. Codes with a name of their own make it misbehave:
//! they are listed at `Script`.

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
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{listener::Listener, mishap};
use crate::crypto::sha256;

/// The running server; it stops when dropped.
#[derive(Debug)]
pub struct SimulatedWechat {
    listener: Listener,
    desk: Arc<Desk>,
}

/// A mini program that the server knows.
#[derive(Debug, Clone)]
pub struct KnownApp {
    pub app_id: String,
    pub secret: String,
}

/// How a code makes the server behave. The code is the name given here, alone or with `-` and anything after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Any other code: a login.
    Login,
    /// `fail.40029`: this errcode.
    Fail(i64),
    /// `text.40029`: this errcode as a text, as one vendor page shows it.
    FailAsText(i64),
    /// `busy`: errcode -1, always.
    Busy,
    /// `once`: errcode -1 the first time, then a login.
    BusyOnce,
    /// `slow.250`: a login after so many milliseconds.
    Slow(u64),
    /// `empty`: 200 without a body.
    Empty,
    /// `garbage`: a page instead of JSON.
    Garbage,
    /// `huge`: a megabyte.
    Huge,
    /// `cut`: half an answer, then the connection ends.
    Cut,
    /// `moved`: a redirect to a place that counts as another call.
    Moved,
    /// `down`: 502 with a page.
    Down,
}

#[derive(Debug)]
struct Desk {
    apps: Vec<KnownApp>,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    calls: HashMap<String, usize>,
    used: HashSet<String>,
    /// Bodies to answer with, whatever is asked, by code.
    written: HashMap<String, String>,
}

impl SimulatedWechat {
    /// Starts it on a free loopback port.
    pub async fn start(apps: Vec<KnownApp>) -> io::Result<Self> {
        let desk = Arc::new(Desk { apps, book: Mutex::default() });
        let router = Router::new().route("/sns/jscode2session", get(code_to_session)).with_state(Arc::clone(&desk));
        let listener = Listener::start(router).await?;
        Ok(Self { listener, desk })
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
        self.desk.book().calls.values().sum()
    }

    /// How often it was asked about this code.
    pub fn calls_for(&self, code: &str) -> usize {
        self.desk.book().calls.get(code).copied().unwrap_or_default()
    }

    /// Answers this code with exactly this body from now on.
    pub fn write(&self, code: &str, body: &str) {
        self.desk.book().written.insert(code.to_owned(), body.to_owned());
    }
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, app_id: &str, secret: &str) -> Result<(), &'static str> {
        let Some(app) = self.apps.iter().find(|app| app.app_id == app_id) else {
            return Err(r#"{"errcode":40013,"errmsg":"invalid appid, rid: 0a0a0a0a-simulated"}"#);
        };
        if app.secret == secret {
            Ok(())
        } else {
            Err(r#"{"errcode":40125,"errmsg":"invalid appsecret, rid: 0b0b0b0b-simulated"}"#)
        }
    }

    /// A login, the first time a code is seen.
    fn login(&self, app_id: &str, code: &str) -> String {
        if !self.book().used.insert(format!("{app_id} {code}")) {
            return failure(40163, "code been used, rid: 0c0c0c0c-simulated");
        }
        let person = code.rsplit_once('-').map_or(code, |(person, _)| person);
        let openid = format!("o{}", &letters(&format!("openid {app_id} {person}"))[..27]);
        let session_key = STANDARD.encode(&sha256(format!("session key {app_id} {code}").as_bytes())[..16]);
        format!(r#"{{"session_key":"{session_key}","openid":"{openid}"}}"#)
    }
}

impl Script {
    fn of(code: &str) -> Self {
        let name = code.split_once('-').map_or(code, |(name, _)| name);
        let (name, number) = name.split_once('.').unwrap_or((name, ""));
        match (name, number.parse::<u32>()) {
            ("fail", Ok(errcode)) => Self::Fail(errcode.into()),
            ("text", Ok(errcode)) => Self::FailAsText(errcode.into()),
            ("slow", Ok(millis)) => Self::Slow(millis.into()),
            ("busy", _) => Self::Busy,
            ("once", _) => Self::BusyOnce,
            ("empty", _) => Self::Empty,
            ("garbage", _) => Self::Garbage,
            ("huge", _) => Self::Huge,
            ("cut", _) => Self::Cut,
            ("moved", _) => Self::Moved,
            ("down", _) => Self::Down,
            _ => Self::Login,
        }
    }
}

async fn code_to_session(State(desk): State<Arc<Desk>>, Query(asked): Query<HashMap<String, String>>) -> Response {
    let of = |name: &str| asked.get(name).map_or("", String::as_str);
    let (app_id, code) = (of("appid"), of("js_code"));
    let (times, written) = {
        let mut book = desk.book();
        let times = book.calls.entry(code.to_owned()).or_default();
        *times += 1;
        (*times, book.written.get(code).cloned())
    };
    if let Some(written) = written {
        return plain(written);
    }
    if let Err(refusal) = desk.knows(app_id, of("secret")) {
        return plain(refusal.to_owned());
    }
    if of("grant_type") != "authorization_code" {
        return plain(failure(40002, "invalid grant_type"));
    }
    if code.is_empty() {
        return plain(failure(41008, "missing code"));
    }
    match Script::of(code) {
        Script::Login => plain(desk.login(app_id, code)),
        Script::Fail(errcode) => plain(failure(errcode, "scripted, rid: 0d0d0d0d-simulated")),
        Script::FailAsText(errcode) => plain(format!(r#"{{"errcode":"{errcode}","errmsg":"scripted"}}"#)),
        Script::BusyOnce if times > 1 => plain(desk.login(app_id, code)),
        Script::Busy | Script::BusyOnce => plain(failure(-1, "system error")),
        Script::Slow(millis) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            plain(desk.login(app_id, code))
        }
        Script::Empty => plain(String::new()),
        Script::Garbage => plain(mishap::PAGE.to_owned()),
        Script::Huge => plain(format!(r#"{{"openid":"o1","padding":"{}"}}"#, "x".repeat(1024 * 1024))),
        Script::Cut => mishap::cut(),
        Script::Moved => (StatusCode::FOUND, [(header::LOCATION, "/sns/jscode2session?js_code=moved")]).into_response(),
        Script::Down => (StatusCode::BAD_GATEWAY, "<html>502</html>").into_response(),
    }
}

/// As the real server says it, whatever it says.
fn plain(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], body).into_response()
}

fn failure(errcode: i64, message: &str) -> String {
    format!(r#"{{"errcode":{errcode},"errmsg":"{message}"}}"#)
}

/// 32 letters and digits that are always the same for the same name.
fn letters(name: &str) -> String {
    const SIGNS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    sha256(name.as_bytes()).iter().map(|&byte| char::from(SIGNS[usize::from(byte) % SIGNS.len()])).collect()
}
