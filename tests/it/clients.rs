//! The clients of the four seed documents (`tests/clients`), each through its story, and the package
//! `clients/miniprogram` through one for each API, before the real binary.
//!
//! A story compares bodies with its document and prints a line for each step. How many there are is
//! asserted here, and so is what reached the backend: no login, no token, and whose request each
//! is.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, mpsc},
    time::{Duration, SystemTime},
};

use menshen::dev::wechat::SimulatedWechat;
use serde_json::json;

use super::{
    backend::{Backend, Received},
    menshen::{Menshen, Setup, command_reading},
    websockets::{agree, echo},
    wechat::{APP_ID, SECRET, Wechat},
};

/// To this phone the vendor fails to send.
const BROKEN_PHONE: &str = "+8619900000500";
/// Long enough for a call that follows a refresh on a slow machine: `exp` is in whole seconds, so a
/// token of 3 lives 2 at least.
const SHORT: &str = "access_ttl = \"3s\"";
const NO_LEEWAY: &str = "[tokens]\nleeway = \"0s\"\n";
const INTEGER_IDS: &str = "[users]\nids = \"integer\"\n";
/// Two logins and one message for the one address; and nobody behind.
const STRICT: &str = "[limits]\nlogin_per_ip = \"2/1h\"\nsms_per_ip = \"1/1h\"\n";
const NO_BACKEND: &str = "[upstream]\nurls = [\"unix:/nonexistent/backend.sock\"]\n";

/// A team's surroundings: WeChat, a phone for text messages, and the backend.
struct Town {
    wechat: Wechat,
    inbox: Backend,
    backend: Backend,
}

impl Town {
    fn new() -> Self {
        let wechat = Wechat::start();
        // A story numbers its codes, and has fewer than that.
        for n in 0..200 {
            wechat.server.set_response(
                &format!("no-openid-{n}"),
                r#"{"session_key":"AAAAAAAAAAAAAAAAAAAAAA=="}"#,
            );
        }
        Self {
            wechat,
            inbox: inbox(),
            backend: backend(),
        }
    }

    /// A menshen in production, with WeChat and the webhook of text messages.
    fn production(&self, sections: &str) -> Setup {
        let (wechat, inbox) = (self.wechat.server.base_url(), self.inbox.address);
        Setup::before(self.backend.address).in_production().with(&format!(
            "{sections}\
             [wechat]\nbase_url = \"{wechat}\"\napp_id = \"{APP_ID}\"\nsecret = \"{SECRET}\"\ntimeout = \"500ms\"\nlegacy_decrypt = true\n\
             [sms.webhook]\nurl = \"http://{inbox}/send\"\nsecret = \"a secret of the webhook, long enough\"\nallow_private = true\n"
        ))
    }

    /// One that speaks this dialect, and lets administrators alone into the office.
    fn setup(&self, kind: &str, options: &str) -> Setup {
        let office = match kind {
            "simplejwt" => "/api/admin/**",
            "nest" => "/api/v1/office/**",
            "success-data" => "/api/office/**",
            _ => "/office/**",
        };
        self.production(&format!(
            "[[dialect]]\nkind = \"{kind}\"\n{options}\n\
             [[rule]]\nname = \"office\"\npath = \"{office}\"\nuser_types = [\"admin\"]\n"
        ))
    }

    fn tells(&self, story: &str, part: &str, menshen: &Menshen, steps: usize) {
        tell(story, part, menshen, self.inbox.address, steps);
        check_what_arrived(&self.backend);
    }
}

/// One vendor, who gives a code at once; with other keys of `[sms]`.
fn sms(keys: &str) -> String {
    format!("[sms]\nproviders = [\"webhook\"]\n{keys}\n")
}

/// Answers who asked, as far as the gate says it, in an envelope that every client can read.
fn backend() -> Backend {
    Backend::answering(|request, stream| {
        let header = |name: &str| request.folded(name).first().cloned();
        let data = json!({ "user_id": header("x-user-id"), "user_type": header("x-user-type") });
        let body = json!({ "code": 200, "success": true, "message": "success", "data": data });
        respond(stream, 200, &body.to_string())
    })
}

/// The same with what an upload had in it, a WebSocket that echoes, and a stream whose end waits
/// for another request.
fn files() -> Backend {
    let (go, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    Backend::answering(move |request, stream| {
        match request.line.split(' ').nth(1).unwrap_or_default() {
            "/ws" => {
                agree(stream);
                return echo(stream);
            }
            "/feed" => {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
                let is_sent = stream.write_all(head.as_bytes()).is_ok();
                let wait = wait.lock().expect("a lock");
                let goes_on = wait.recv_timeout(Duration::from_secs(10)).is_ok();
                return is_sent && goes_on && stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").is_ok();
            }
            "/go" => go.send(()).expect("a stream that waits"),
            _ => {}
        }
        let user = request.folded("x-user-id").first().cloned();
        let body = String::from_utf8_lossy(&request.body);
        let body = json!({ "data": { "user_id": user, "body": body } });
        respond(stream, 200, &body.to_string())
    })
}

/// The phones of everybody: takes what menshen sends, tells the last message, and gives what
/// WeChat's phone button gives.
fn inbox() -> Backend {
    let last = Mutex::new(String::new());
    Backend::answering(move |request, stream| {
        let mut words = request.line.split(' ');
        let (method, target) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match (method, path) {
            ("POST", "/send") => {
                let message = String::from_utf8_lossy(&request.body).into_owned();
                if message.contains(BROKEN_PHONE) {
                    return respond(stream, 500, "{}");
                }
                *last.lock().expect("a lock") = message;
                respond(stream, 200, "{}")
            }
            ("GET", "/last") => respond(stream, 200, &last.lock().expect("a lock")),
            ("GET", "/encrypted") => respond(stream, 200, &encrypted(query)),
            _ => respond(stream, 404, "{}"),
        }
    })
}

/// `login=CODE&phone=NUMBER&age=SECONDS`: what the button gives after a login with this code,
/// marked so long ago.
fn encrypted(query: &str) -> String {
    let value = |name: &str| {
        let found = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name} in {query:?}"))
    };
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_secs();
    let timestamp = now - value("age").parse::<u64>().expect("seconds");
    let (data, iv) =
        SimulatedWechat::encrypted_phone(APP_ID, value("login"), value("phone"), timestamp);
    json!({ "encryptedData": data, "iv": iv, "timestamp": timestamp }).to_string()
}

fn respond(stream: &mut impl Write, status: u16, body: &str) -> bool {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).is_ok()
}

/// Runs a part of a story, which has so many steps.
fn tell(story: &str, part: &str, menshen: &Menshen, inbox: SocketAddr, steps: usize) {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/clients/{story}/story.mjs"));
    let mut node = Command::new("node")
        .arg(script)
        .arg(part)
        .env("MENSHEN", format!("http://{}", menshen.http))
        .env("INBOX", format!("http://{inbox}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Node 18 or newer as `node`");
    let (mut out, mut err) = (
        node.stdout.take().expect("stdout"),
        node.stderr.take().expect("stderr"),
    );
    let (sender, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut steps, mut faults) = (String::new(), String::new());
        drop(out.read_to_string(&mut steps));
        drop(err.read_to_string(&mut faults));
        drop(sender.send((steps, faults)));
    });
    let told = told.recv_timeout(Duration::from_mins(1));
    if told.is_err() {
        drop(node.kill());
    }
    let status = node.wait().expect("an exit status");
    let (out, err) =
        told.unwrap_or_else(|_| panic!("{story} {part} does not come to an end in 60 s"));
    assert!(status.success(), "{story} {part}: {status}\n{out}{err}");
    assert_eq!(
        out.lines().filter(|line| line.starts_with("ok: ")).count(),
        steps,
        "{out}{err}"
    );
}

/// Whatever the story did, the backend got requests of somebody who had signed in, and none that
/// menshen answers.
fn check_what_arrived(backend: &Backend) {
    let received = backend.received();
    assert!(!received.is_empty());
    for request in received {
        let of = |name: &str| request.folded(name).len();
        let Received { line, .. } = &request;
        assert_eq!((of("x-user-id"), of("authorization")), (1, 0), "{line}");
        assert!(
            line.starts_with("GET ") && !line.contains("login"),
            "{line}"
        );
    }
}

#[test]
fn a_taro_client_of_django_lives_its_day() {
    let town = Town::new();
    let setup = town.setup("simplejwt", "").with(INTEGER_IDS);
    setup.config();
    let add = ["users", "add", "root", "--admin", "--password-stdin"];
    let made = command_reading(
        setup.directory().path(),
        &add,
        &[],
        "correct horse battery staple\n",
    );
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    town.tells("simplejwt", "day", &setup.start(), 20);
}

#[test]
fn a_taro_client_of_django_outlives_its_tokens() {
    let town = Town::new();
    let menshen = town
        .setup("simplejwt", SHORT)
        .with(INTEGER_IDS)
        .with(NO_LEEWAY)
        .start();
    town.tells("simplejwt", "expiry", &menshen, 5);
}

#[test]
fn a_taro_client_of_django_shows_what_fails() {
    let town = Town::new();
    let menshen = town
        .setup("simplejwt", "")
        .with(INTEGER_IDS)
        .with(STRICT)
        .with(NO_BACKEND)
        .start();
    tell("simplejwt", "errors", &menshen, town.inbox.address, 2);
}

#[test]
fn a_taro_client_of_django_is_developed_without_wechat() {
    let backend = backend();
    let sections = "[[dialect]]\nkind = \"simplejwt\"\nopenid = true\n\
                    [[rule]]\nname = \"office\"\npath = \"/api/admin/**\"\nuser_types = [\"admin\"]";
    let menshen = Setup::before(backend.address)
        .with(sections)
        .with(INTEGER_IDS)
        .start();
    tell("simplejwt", "development", &menshen, backend.address, 3);
    check_what_arrived(&backend);
}

#[test]
fn a_native_client_of_nest_lives_its_day() {
    let town = Town::new();
    let menshen = town.setup("nest", "").with(INTEGER_IDS).start();
    town.tells("nest", "day", &menshen, 17);
}

#[test]
fn a_native_client_of_nest_outlives_its_tokens() {
    let town = Town::new();
    let menshen = town
        .setup("nest", SHORT)
        .with(INTEGER_IDS)
        .with(NO_LEEWAY)
        .start();
    town.tells("nest", "expiry", &menshen, 5);
}

#[test]
fn a_native_client_of_nest_shows_what_fails() {
    let town = Town::new();
    let menshen = town
        .setup("nest", "")
        .with(INTEGER_IDS)
        .with(STRICT)
        .with(NO_BACKEND)
        .start();
    tell("nest", "errors", &menshen, town.inbox.address, 2);
}

#[test]
fn a_native_client_with_two_routes_lives_its_day() {
    let town = Town::new();
    town.tells(
        "success-data",
        "day",
        &town.setup("success-data", "").start(),
        18,
    );
}

#[test]
fn a_native_client_with_two_routes_outlives_its_tokens() {
    let town = Town::new();
    let menshen = town.setup("success-data", SHORT).with(NO_LEEWAY).start();
    town.tells("success-data", "expiry", &menshen, 5);
}

#[test]
fn a_native_client_with_two_routes_shows_what_fails() {
    let town = Town::new();
    let menshen = town
        .setup("success-data", "")
        .with(STRICT)
        .with(NO_BACKEND)
        .start();
    tell("success-data", "errors", &menshen, town.inbox.address, 2);
}

#[test]
fn a_client_of_express_lives_its_day() {
    let town = Town::new();
    let menshen = town.setup("code-data", "").with(&sms("")).start();
    town.tells("code-data", "day", &menshen, 18);
}

#[test]
fn a_client_of_express_outlives_its_tokens() {
    let town = Town::new();
    let menshen = town
        .setup("code-data", SHORT)
        .with(NO_LEEWAY)
        .with(&sms(""))
        .start();
    town.tells("code-data", "expiry", &menshen, 4);
}

#[test]
fn a_client_of_express_shows_what_fails() {
    let town = Town::new();
    let menshen = town
        .setup("code-data", "")
        .with(STRICT)
        .with(NO_BACKEND)
        .with(&sms(""))
        .start();
    tell("code-data", "errors", &menshen, town.inbox.address, 2);
}

#[test]
fn a_client_of_express_may_read_whole_phones_and_openids_in_its_token() {
    let town = Town::new();
    let options = "phone = \"full\"\nopenid = true";
    let menshen = town
        .setup("code-data", options)
        .with(&sms("resend_after = \"1s\""))
        .start();
    tell("code-data", "full", &menshen, town.inbox.address, 4);
}

/// The limits by address are no part of these stories: each has many phones on one address.
const NO_LIMITS: &str = "[limits]\nenabled = false\n";
const SHORT_TOKENS: &str = "[tokens]\naccess_ttl = \"3s\"\nleeway = \"0s\"\n";

#[test]
fn the_package_lives_a_day() {
    let town = Town::new();
    let menshen = town.production(NO_LIMITS).with(&sms("")).start();
    town.tells("miniprogram", "day", &menshen, 17);
}

#[test]
fn the_package_outlives_its_tokens() {
    let town = Town::new();
    let menshen = town.production(NO_LIMITS).with(SHORT_TOKENS).start();
    town.tells("miniprogram", "expiry", &menshen, 6);
}

#[test]
fn the_package_carries_files_streams_and_websockets() {
    let town = Town {
        backend: files(),
        ..Town::new()
    };
    let closed = "[[rule]]\nname = \"closed\"\npath = \"/closed\"\naccess = \"deny\"\n";
    let menshen = town
        .production(NO_LIMITS)
        .with(SHORT_TOKENS)
        .with(closed)
        .start();
    tell("miniprogram", "transfer", &menshen, town.inbox.address, 7);
    for request in town.backend.received() {
        let of = |name: &str| request.folded(name).len();
        assert_eq!(
            (of("x-user-id"), of("authorization")),
            (1, 0),
            "{}",
            request.line
        );
    }
}

#[test]
fn the_package_has_its_token_in_a_header_of_the_teams_own() {
    let town = Town::new();
    let menshen = town
        .production(NO_LIMITS)
        .with(SHORT_TOKENS)
        .with("[gate]\ntoken_header = \"_token\"\n")
        .start();
    town.tells("miniprogram", "header", &menshen, 4);
    for request in town.backend.received() {
        assert!(request.folded("_token").is_empty(), "{}", request.head);
    }
}

#[test]
fn the_package_says_what_fails() {
    let town = Town::new();
    let menshen = town.production(STRICT).with(NO_BACKEND).start();
    tell("miniprogram", "errors", &menshen, town.inbox.address, 3);
}

#[test]
fn the_package_speaks_each_dialect() {
    for (part, kind, steps) in [
        ("simplejwt", "simplejwt", 7),
        ("nest", "nest", 6),
        ("cloud", "nest", 3),
        ("success-data", "success-data", 7),
        ("code-data", "code-data", 7),
    ] {
        let town = Town::new();
        let menshen = town
            .setup(kind, SHORT)
            .with(NO_LIMITS)
            .with(SHORT_TOKENS)
            .with(&sms(""))
            .start();
        town.tells("miniprogram", part, &menshen, steps);
    }
}
