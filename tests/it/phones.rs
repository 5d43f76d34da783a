//! Phones in production: the real binary in front of simulated SMS vendors and WeChat on real
//! sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

use menshen::{
    clock::Clock,
    config::SmsProvider,
    dev::sms::{KEY_ID, SECRET, SIGN_NAME, Scenario, SimulatedSms, TEMPLATE},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    backend::Backend,
    menshen::{Menshen, Setup, command},
    wechat::{self, Wechat},
    wire::{self, Answer, Client},
};

const PHONE: &str = "+8613800138000";
const SEND: &str = "/auth/sms/send";
const LOGIN: &str = "/auth/sms/login";
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// The vendors, WeChat and the backend.
pub(super) struct Town {
    pub(super) sms: SimulatedSms,
    pub(super) wechat: Wechat,
    pub(super) backend: Backend,
    _runtime: tokio::runtime::Runtime,
}

impl Town {
    fn new() -> Self {
        Self::before(Backend::start())
    }

    /// With this backend.
    pub(super) fn before(backend: Backend) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let sms = runtime
            .block_on(SimulatedSms::start(Clock::System))
            .expect("a port");
        Self {
            sms,
            wechat: Wechat::start(),
            backend,
            _runtime: runtime,
        }
    }

    /// A menshen in production that asks Tencent Cloud, and Aliyun after it; every peer is a
    /// trusted proxy.
    pub(super) fn setup(&self) -> Setup {
        let (sms, wechat) = (self.sms.base_url(), self.wechat.server.base_url());
        let (app_id, app_secret) = (wechat::APP_ID, wechat::SECRET);
        Setup::before(self.backend.address).in_production().with(&format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
             [wechat]\nbase_url = \"{wechat}\"\napp_id = \"{app_id}\"\nsecret = \"{app_secret}\"\n\
             [users]\nmerge = \"proven\"\n\
             [sms]\nproviders = [\"tencent\", \"aliyun\"]\ntimeout = \"2s\"\n\
             [sms.tencent]\nendpoint = \"{sms}\"\nsecret_id = \"{KEY_ID}\"\nsecret_key = \"{SECRET}\"\n\
             sdk_app_id = \"1400006666\"\nsign_name = \"{SIGN_NAME}\"\ntemplate_id = \"{TEMPLATE}\"\n\
             [sms.aliyun]\nendpoint = \"{sms}\"\naccess_key_id = \"{KEY_ID}\"\naccess_key_secret = \"{SECRET}\"\n\
             sign_name = \"{SIGN_NAME}\"\ntemplate_code = \"{TEMPLATE}\"\n"
        ))
    }

    /// Asks for a code and reads it from the phone.
    fn code(&self, menshen: &Menshen, phone: &str, purpose: &str) -> String {
        let asked = menshen.post(SEND, &[], &json!({ "phone": phone, "purpose": purpose }));
        assert_eq!(
            asked.status,
            200,
            "{}",
            String::from_utf8_lossy(&asked.body)
        );
        self.sms.code_on(phone).expect("a message on the phone")
    }

    pub(super) fn sign_in(&self, menshen: &Menshen, phone: &str) -> Value {
        let code = self.code(menshen, phone, "login");
        let answer = menshen.post(LOGIN, &[], &json!({ "phone": phone, "code": code }));
        assert_eq!(
            answer.status,
            200,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }
}

fn says(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.error())
}

fn bearer(tokens: &Value) -> String {
    format!(
        "Bearer {}",
        tokens["access_token"].as_str().expect("a token")
    )
}

fn guess(menshen: &Menshen, phone: &str, code: &str) -> Answer {
    menshen.post(LOGIN, &[], &json!({ "phone": phone, "code": code }))
}

/// A code that is not this one.
fn wrong(code: &str) -> String {
    format!(
        "{:06}",
        (code.parse::<u32>().expect("a code") + 1) % 1_000_000
    )
}

/// Whose request reached the backend last.
fn seen_by(backend: &Backend, menshen: &Menshen, tokens: &Value) -> String {
    assert_eq!(
        menshen
            .get("/orders", &[("Authorization", &bearer(tokens))])
            .status,
        200
    );
    let ids = backend.last().folded("x-user-id");
    assert_eq!(ids.len(), 1);
    ids[0].clone()
}

/// The log and the metrics tell of each event, and of no phone, code, token or key.
fn assert_told_without_secrets(town: &Town, told: &str, openid: &str, sessions: [&Value; 4]) {
    for event in [
        "sms.requested",
        "login.succeeded",
        "phone.bound",
        "phone.refused",
        "users.merged",
        "account.exported",
        "AuthFailure",
    ] {
        assert!(
            told.contains(event),
            "{event} was not told, so it proves nothing"
        );
    }
    let sent = town.sms.sent();
    assert_eq!(
        sent.iter()
            .map(|message| message.provider)
            .collect::<Vec<_>>(),
        [SmsProvider::Tencent, SmsProvider::Aliyun]
    );
    let mut secrets = vec![
        "13800138000",
        "13900139000",
        "138 0013",
        "alice-1",
        "phone.138",
        openid,
        KEY_ID,
        SECRET,
    ];
    secrets.extend(
        sent.iter()
            .map(|message| message.code.as_str())
            .filter(|code| !is_part_of_a_number(told, code)),
    );
    for session in sessions {
        secrets.extend(
            ["access_token", "refresh_token"].map(|name| session[name].as_str().expect("a token")),
        );
    }
    assert!(secrets.len() >= 16);
    for secret in secrets {
        assert!(!told.contains(secret), "{secret} was told");
    }
}

#[test]
fn a_phone_and_a_wechat_of_one_person_are_one_user_and_the_log_knows_neither() {
    let town = Town::new();
    let mut menshen = town
        .setup()
        .with("[telemetry]\nlog_level = \"trace\"")
        .start();
    menshen.expect_error("tencent refuses to send SMS codes");
    let by_phone = town.sign_in(&menshen, PHONE);
    let id = by_phone["user"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(by_phone["is_new_user"], true);
    assert_eq!(seen_by(&town.backend, &menshen, &by_phone), id);

    let alice = menshen.login("alice-1");
    assert_ne!(alice["user"]["id"], id.as_str());
    town.sms.set_scenario(SmsProvider::Tencent, Scenario::Echo);
    let other = "+8613900139000";
    let first_code = town.code(&menshen, other, "bind");
    let to_alice = [("Authorization", bearer(&alice))];
    let as_alice = [("Authorization", to_alice[0].1.as_str())];
    let bind = |phone: &str, code: &str| {
        menshen.post(
            "/auth/phone/sms",
            &as_alice,
            &json!({ "phone": phone, "code": code }),
        )
    };
    assert_eq!(
        says(&bind(other, &wrong(&first_code))),
        (400, Some("code_invalid"))
    );
    assert_eq!(bind(other, &first_code).status, 200);
    assert_eq!(
        seen_by(&town.backend, &menshen, &alice),
        alice["user"]["id"]
    );

    let button = menshen.post(
        "/auth/phone/wechat",
        &as_alice,
        &json!({ "code": "phone.13800138000-1" }),
    );
    let joined = button.json();
    assert_eq!((button.status, &joined["merged"]), (200, &json!(true)));
    let tokens = &joined["tokens"];
    assert_eq!(seen_by(&town.backend, &menshen, tokens), id);
    assert_eq!(
        says(&menshen.get("/orders", &as_alice)),
        (401, Some("token_revoked")),
        "the user who is gone"
    );
    let again = menshen.login("alice-2");
    assert_eq!(seen_by(&town.backend, &menshen, &again), id);
    assert_eq!(seen_by(&town.backend, &menshen, &by_phone), id);
    let copy = menshen
        .get("/auth/me/export", &[("Authorization", &bearer(&again))])
        .json();
    assert_eq!(
        (
            &copy["user"]["phone"],
            copy["sessions"].as_array().map(Vec::len)
        ),
        (&json!(PHONE), Some(3))
    );
    let openid = copy["openids"][0]["openid"]
        .as_str()
        .expect("an openid")
        .to_owned();
    assert_eq!(guess(&menshen, PHONE, "123456").status, 400);

    let gone = wire::ask(
        menshen.http,
        "DELETE",
        "/auth/me",
        &[("Authorization", &bearer(&again))],
        b"",
    );
    assert_eq!(gone.status, 204);
    assert_eq!(
        says(&menshen.get("/orders", &[("Authorization", &bearer(&by_phone))])),
        (401, Some("token_revoked"))
    );
    menshen.wait_for_log("account.erased");
    let metrics = menshen.metrics();
    menshen.stop();

    let told = format!("{}{metrics}", menshen.log().join("\n"));
    assert_told_without_secrets(&town, &told, &openid, [&by_phone, &alice, tokens, &again]);
}

/// Six digits may stand inside a longer number (a time, an id) by chance; a code would stand alone.
fn is_part_of_a_number(text: &str, code: &str) -> bool {
    let mut found = text.match_indices(code).peekable();
    found.peek().is_some()
        && found.all(|(at, _)| {
            let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
            let bytes = text.as_bytes();
            is_hex(at.checked_sub(1).and_then(|before| bytes.get(before)))
                || is_hex(bytes.get(at + code.len()))
        })
}

#[test]
fn limits_and_lost_guesses_survive_a_restart() {
    let town = Town::new();
    let mut first = town.setup().start();
    let code = town.code(&first, PHONE, "login");
    for _ in 0..4 {
        assert_eq!(
            says(&guess(&first, PHONE, &wrong(&code))),
            (400, Some("code_invalid"))
        );
    }
    let good = town.code(&first, "+8613900139000", "login");
    let dir = first.keep_directory();
    first.stop();

    let second = town.setup().in_directory(dir).start();
    let asked = second.post(SEND, &[], &json!({ "phone": PHONE }));
    assert_eq!(says(&asked), (429, Some("sms_cooldown")));
    let wait: u64 = asked
        .header("Retry-After")
        .expect("how long")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(
        guess(&second, "+8613900139000", &good).status,
        200,
        "a code of before is good"
    );
    assert_eq!(
        says(&guess(&second, PHONE, &wrong(&code))),
        (400, Some("code_invalid")),
        "the fifth"
    );
    assert_eq!(
        says(&guess(&second, PHONE, &code)),
        (400, Some("code_invalid")),
        "and no sixth"
    );
    assert_eq!(town.sms.sent().len(), 2);
}

#[test]
fn an_acknowledged_bind_survives_kill_9() {
    let town = Town::new();
    let mut dir = None;
    for round in 0..3 {
        let setup = town.setup();
        let mut menshen = match dir.take() {
            Some(dir) => setup.in_directory(dir).start(),
            None => setup.start(),
        };
        let (phone, person) = (format!("+861380013800{round}"), format!("user{round}"));
        let user = menshen.login(&format!("{person}-1"));
        let code = town.code(&menshen, &phone, "bind");
        let bound = menshen.post(
            "/auth/phone/sms",
            &[("Authorization", &bearer(&user))],
            &json!({ "phone": phone, "code": code }),
        );
        assert_eq!(bound.status, 200);
        menshen.signal(Signal::KILL);
        menshen.wait();
        let again = town.setup().in_directory(menshen.keep_directory()).start();
        let me = again
            .get("/auth/me", &[("Authorization", &bearer(&user))])
            .json();
        assert_eq!(
            (&me["phone_masked"], &me["id"]),
            (&json!(format!("138****800{round}")), &user["user"]["id"])
        );
        let replayed = guess(&again, &phone, &code);
        assert_eq!(
            says(&replayed),
            (400, Some("code_invalid")),
            "a used code stays used"
        );
        dir = Some(again.keep_directory());
    }
}

#[test]
fn fifty_sends_on_eight_connections_send_one_message() {
    let town = Town::new();
    let menshen = town.setup().start();
    let body = json!({ "phone": "138-0013-8000" }).to_string();
    let (left, granted, cooled) = (
        AtomicUsize::new(50),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(menshen.http);
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok()
                {
                    client.send(wire::request("POST", SEND, &[JSON], body.as_bytes()));
                    let answer = client.receive().expect("an answer");
                    match says(&answer) {
                        (200, None) => granted.fetch_add(1, Ordering::SeqCst),
                        (429, Some("sms_cooldown")) => cooled.fetch_add(1, Ordering::SeqCst),
                        other => panic!("{other:?}"),
                    };
                }
            });
        }
    });
    assert_eq!((granted.into_inner(), cooled.into_inner()), (1, 49));
    assert_eq!(town.sms.sent().len(), 1);
}

#[test]
fn eight_thousand_addresses_have_five_guesses_together() {
    const GUESSES: usize = 8000;
    let town = Town::new();
    let menshen = town.setup().with("[limits]").start();
    let code = town.code(&menshen, PHONE, "login");
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let mut client = Client::connect(menshen.http);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= GUESSES {
                        return;
                    }
                    let address = format!("198.{}.{}.{}", 18 + n / 65_536, n / 256 % 256, n % 256);
                    let guessed = (code.parse::<usize>().expect("a code") + 1 + n) % 1_000_000;
                    let body =
                        json!({ "phone": PHONE, "code": format!("{guessed:06}") }).to_string();
                    let headers = [JSON, ("X-Forwarded-For", address.as_str())];
                    client.send(wire::request("POST", LOGIN, &headers, body.as_bytes()));
                    assert_eq!(
                        says(&client.receive().expect("an answer")),
                        (400, Some("code_invalid")),
                        "{n}"
                    );
                }
            });
        }
    });
    assert_eq!(
        says(&guess(&menshen, PHONE, &code)),
        (400, Some("code_invalid")),
        "the right one, too late"
    );
    let counted = menshen.metric("menshen_sms_codes_verified_total{result=\"wrong\"}");
    assert!((counted - 8001.0).abs() < 0.1, "{counted}");
    // Four of another phone leave it one.
    let other = "+8613900139000";
    let code = town.code(&menshen, other, "login");
    for _ in 0..4 {
        assert_eq!(guess(&menshen, other, &wrong(&code)).status, 400);
    }
    assert_eq!(guess(&menshen, other, &code).status, 200);
}

#[test]
fn development_shows_the_code_in_the_log_and_production_will_not() {
    let backend = Backend::start();
    let menshen = Setup::before(backend.address).start();
    assert_eq!(
        menshen
            .post(SEND, &[], &json!({ "phone": "13800138000" }))
            .status,
        200
    );
    let line = menshen.wait_for_log("the code for 138****8000 is ");
    let code: String = line
        .split(" is ")
        .nth(1)
        .expect("a code")
        .chars()
        .take(6)
        .collect();
    assert_eq!(guess(&menshen, "13800138000", &code).status, 200);
    assert!(
        !menshen
            .log()
            .iter()
            .any(|line| line.contains("13800138000")),
        "the number may be a real one"
    );

    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(
        dir.path().join("config.toml"),
        "mode = \"production\"\n[sms]\nproviders = [\"log\"]\n",
    )
    .expect("a file");
    for args in [["run"], ["check"]] {
        let output = command(dir.path(), &args, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(
            said.contains("config.toml:3") && said.contains("`log` prints codes in the log"),
            "{said}"
        );
    }
}
