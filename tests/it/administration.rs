//! What operators do with commands, to a running menshen and to the store of a stopped one.

use std::{path::Path, process::Output};

use serde_json::{Value, json};

use super::{
    backend::Backend,
    menshen::{self, Menshen, Setup},
    wire::Answer,
};

const LISTENERS: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"\n[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"";
const BACK_OFFICE: &str =
    "[[rule]]\nname = \"back-office\"\npath = \"/back-office/**\"\nuser_types = [\"admin\"]";
pub(super) const PASSWORD: &str = "correct horse battery staple";

pub(super) fn setup(backend: &Backend) -> Setup {
    Setup::before(backend.address)
        .with(LISTENERS)
        .with(BACK_OFFICE)
}

/// What a command said.
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Said {
    pub(super) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// What was printed, of a command that succeeded.
    pub(super) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out.trim_end().to_owned()
    }

    /// That it failed with this code, and words of the message.
    pub(super) fn failed(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(
            self.err.contains(words),
            "{words:?} is not in {:?}",
            self.err
        );
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

/// A command while it runs.
pub(super) fn live(menshen: &Menshen, args: &[&str]) -> Said {
    live_reading(menshen, args, "")
}

pub(super) fn live_reading(menshen: &Menshen, args: &[&str], input: &str) -> Said {
    let admin = menshen.admin.to_string();
    let variables = [("MENSHEN_ADMIN__LISTEN", admin.as_str())];
    Said::of(&menshen::command_reading(
        menshen.directory(),
        args,
        &variables,
        input,
    ))
}

/// A command on the store of one that does not run.
pub(super) fn stopped(dir: &Path, args: &[&str], input: &str) -> Said {
    Said::of(&menshen::command_reading(dir, args, &[], input))
}

fn bearer(session: &Value) -> String {
    format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    )
}

pub(super) fn call(menshen: &Menshen, path: &str, session: &Value) -> (u16, Option<String>) {
    let answer = menshen.get(path, &[("Authorization", &bearer(session))]);
    (answer.status, answer.error().map(str::to_owned))
}

fn refused(status: u16, code: &str) -> (u16, Option<String>) {
    (status, Some(code.to_owned()))
}

pub(super) fn id(session: &Value) -> &str {
    session["user"]["id"].as_str().expect("an id")
}

pub(super) fn password_login(menshen: &Menshen, name: &str, password: &str) -> Answer {
    menshen.post(
        "/auth/password/login",
        &[],
        &json!({ "username": name, "password": password }),
    )
}

pub(super) fn refresh(menshen: &Menshen, session: &Value) -> Answer {
    menshen.post(
        "/auth/refresh",
        &[],
        &json!({ "refresh_token": session["refresh_token"] }),
    )
}

#[test]
fn an_administrator_made_before_the_first_start_signs_in_to_the_back_office() {
    let backend = Backend::start();
    let setup = setup(&backend);
    setup.config();
    let dir = setup.directory();
    let add = ["users", "add", "Root", "--admin", "--password-stdin"];
    let made = stopped(dir.path(), &add, &format!("{PASSWORD}\n")).good();
    stopped(dir.path(), &add, &format!("{PASSWORD}\n"))
        .failed(1, "another user has this name already");

    let mut menshen = setup.start();
    let answer = password_login(&menshen, "root", PASSWORD);
    assert_eq!(answer.status, 200);
    let admin = answer.json();
    assert_eq!(
        (id(&admin), &admin["user"]["user_type"]),
        (made.as_str(), &json!("admin"))
    );
    assert_eq!(call(&menshen, "/back-office/orders", &admin), (200, None));
    assert_eq!(backend.last().folded("x-user-type"), ["admin"]);
    assert_eq!(
        call(&menshen, "/back-office/orders", &menshen.login("alice")),
        refused(403, "forbidden")
    );
    let wrong = password_login(&menshen, "root", "correct horse battery stable");
    let unknown = password_login(&menshen, "nobody", PASSWORD);
    assert_eq!(
        (wrong.status, wrong.error()),
        (401, Some("credentials_invalid"))
    );
    assert_eq!(
        (unknown.status, unknown.error()),
        (401, Some("credentials_invalid"))
    );

    // Another password ends what was opened with the one before; also while it runs, and on a
    // stopped one.
    let set = ["users", "set-password", "name:root"];
    assert_eq!(
        live_reading(&menshen, &set, "another good password").good(),
        "has another password, 1 session ended"
    );
    assert_eq!(
        call(&menshen, "/back-office/orders", &admin),
        refused(401, "token_revoked")
    );
    assert_eq!(password_login(&menshen, "root", PASSWORD).status, 401);
    let admin = password_login(&menshen, "root", "another good password").json();
    menshen.stop();
    assert_eq!(
        stopped(dir.path(), &set, PASSWORD).good(),
        "has another password, 1 session ended"
    );
    drop(menshen);
    let menshen = self::setup(&backend).in_directory(dir).start();
    assert_eq!(
        call(&menshen, "/back-office/orders", &admin),
        refused(401, "token_revoked")
    );
    assert_eq!(password_login(&menshen, "root", PASSWORD).status, 200);
}

#[test]
fn a_ban_bites_the_very_next_request_though_the_token_is_cached() {
    let backend = Backend::start();
    let mut menshen = setup(&backend).start();
    let (alice, bob) = (menshen.login("alice"), menshen.login("bob"));
    for _ in 0..3 {
        assert_eq!(call(&menshen, "/orders", &alice), (200, None));
    }
    assert_eq!(
        live(&menshen, &["users", "ban", id(&alice)]).good(),
        "banned, 1 session ended"
    );
    assert_eq!(
        call(&menshen, "/orders", &alice),
        refused(401, "token_revoked")
    );
    assert_eq!(
        menshen
            .post("/auth/wechat/login", &[], &json!({ "code": "alice" }))
            .error(),
        Some("user_disabled")
    );
    assert!([401, 403].contains(&refresh(&menshen, &alice).status));
    assert_eq!(call(&menshen, "/orders", &bob), (200, None));
    assert!(
        live(&menshen, &["users", "show", id(&alice)])
            .good()
            .contains("state       banned")
    );

    // The same on a stopped one is known to the next start.
    menshen.stop();
    let dir = menshen.keep_directory();
    assert_eq!(
        stopped(dir.path(), &["users", "unban", id(&alice)], "").good(),
        "may sign in again"
    );
    assert_eq!(
        stopped(dir.path(), &["users", "ban", id(&bob)], "").good(),
        "banned, 1 session ended"
    );
    drop(menshen);
    let menshen = setup(&backend).in_directory(dir).start();
    assert_eq!(
        call(&menshen, "/orders", &alice),
        refused(401, "token_revoked"),
        "an old token stays refused"
    );
    assert_eq!(
        call(&menshen, "/orders", &menshen.login("alice")),
        (200, None)
    );
    assert_eq!(
        call(&menshen, "/orders", &bob),
        refused(401, "token_revoked")
    );
    assert_eq!(
        live(&menshen, &["users", "unban", id(&bob)]).good(),
        "may sign in again"
    );
    assert_eq!(id(&menshen.login("bob")), id(&bob));
}

#[test]
fn a_promotion_holds_at_once_and_the_session_goes_on() {
    let backend = Backend::start();
    let menshen = setup(&backend).start();
    let alice = menshen.login("alice");
    assert_eq!(
        call(&menshen, "/back-office/", &alice),
        refused(403, "forbidden")
    );
    assert_eq!(
        live(
            &menshen,
            &["users", "promote", id(&alice), "--type", "admin"]
        )
        .good(),
        "is admin from now on"
    );
    assert_eq!(
        call(&menshen, "/back-office/", &alice),
        refused(401, "token_revoked")
    );
    let renewed = refresh(&menshen, &alice).json();
    assert_eq!(call(&menshen, "/back-office/", &renewed), (200, None));
    live(
        &menshen,
        &["users", "promote", id(&alice), "--type", "user"],
    )
    .good();
    assert_eq!(
        call(&menshen, "/back-office/", &renewed),
        refused(401, "token_revoked")
    );
    assert_eq!(
        call(
            &menshen,
            "/back-office/",
            &refresh(&menshen, &renewed).json()
        ),
        refused(403, "forbidden")
    );
}

#[test]
fn a_deleted_user_is_gone_and_the_id_tells_when() {
    let backend = Backend::start();
    let menshen = setup(&backend).start();
    let alice = menshen.login("alice");
    live(&menshen, &["users", "delete", id(&alice)]).failed(64, "--yes");
    assert_eq!(call(&menshen, "/orders", &alice), (200, None));
    assert_eq!(
        live(&menshen, &["users", "delete", id(&alice), "--yes"]).good(),
        "erased, 1 session ended"
    );
    assert_eq!(
        call(&menshen, "/orders", &alice),
        refused(401, "token_revoked")
    );
    for what in [
        &["users", "show"][..],
        &["users", "ban"],
        &["sessions", "list"],
        &["sessions", "revoke", "--user"],
    ] {
        live(&menshen, &[what, &[id(&alice)]].concat()).failed(1, "this user was erased at 20");
    }
    live(&menshen, &["users", "delete", id(&alice), "--yes"])
        .failed(1, "this user was erased at 20");
    let again = menshen.login("alice");
    assert_ne!(id(&again), id(&alice));
    assert_eq!(again["is_new_user"], true);
}

#[test]
fn users_are_listed_in_pages_shown_and_found_by_what_leads_to_them() {
    let backend = Backend::start();
    let menshen = setup(&backend).start();
    let made = live_reading(
        &menshen,
        &["users", "add", "ops@example.com", "--type", "ops"],
        PASSWORD,
    )
    .good();
    let mut ids: Vec<_> = (0..205)
        .map(|n| id(&menshen.login(&format!("person{n}"))).to_owned())
        .collect();
    ids.push(made.clone());
    ids.sort();
    let lines = live(&menshen, &["users", "list", "--json"]).good();
    let users: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        users
            .iter()
            .map(|user| user["id"].as_str().expect("an id"))
            .collect::<Vec<_>>(),
        ids
    );
    assert_eq!(
        live(&menshen, &["users", "list"]).good().lines().count(),
        207
    );

    let shown: Value = serde_json::from_str(
        &live(
            &menshen,
            &["users", "show", "name:OPS@example.com", "--json"],
        )
        .good(),
    )
    .expect("JSON");
    assert_eq!(
        (&shown["id"], &shown["user_type"], &shown["username"]),
        (&json!(made), &json!("ops"), &json!("ops@example.com"))
    );
    let alice = menshen
        .post(
            "/auth/wechat/login",
            &[],
            &json!({ "code": "alice", "nickname": "N1ckname" }),
        )
        .json();
    let plain = live(&menshen, &["users", "show", id(&alice), "--json"]).good();
    let personal = live(
        &menshen,
        &["users", "show", id(&alice), "--json", "--personal"],
    )
    .good();
    let personal: Value = serde_json::from_str(&personal).expect("JSON");
    let openid = &personal["personal"]["openids"][0];
    let (app_id, openid) = (
        openid["app_id"].as_str().expect("an app id"),
        openid["openid"].as_str().expect("an openid"),
    );
    assert!(
        !plain.contains(openid) && !plain.contains("N1ckname") && plain.contains(app_id),
        "{plain}"
    );
    assert_eq!(personal["personal"]["profile"]["nickname"], "N1ckname");
    let by_openid = live(
        &menshen,
        &["users", "show", &format!("openid:{app_id}/{openid}")],
    )
    .good();
    assert!(
        by_openid.contains(id(&alice)) && !by_openid.contains("N1ckname"),
        "{by_openid}"
    );
    assert!(
        live(&menshen, &["users", "show", id(&alice), "--personal"])
            .good()
            .contains("nickname    N1ckname")
    );
    let log = menshen.log().join("\n");
    for hidden in ["ops@example.com", PASSWORD, "$argon2id", "N1ckname", openid] {
        assert!(!log.contains(hidden), "{hidden} is in the log");
    }
    assert!(log.contains("account.created") && log.contains(&made));
}

#[test]
fn a_user_is_found_by_phone_and_the_phone_is_shown_only_where_it_is_asked_for() {
    let backend = Backend::start();
    let sms =
        "[[sms.test_phone]]\nphone = \"+8613800138000\"\ncode = \"246810\"\nuntil = \"2099-12-31\"";
    let menshen = setup(&backend).with(sms).start();
    let sent = menshen.post("/auth/sms/send", &[], &json!({ "phone": "13800138000" }));
    assert_eq!(sent.status, 200, "{}", String::from_utf8_lossy(&sent.body));
    let alice = menshen
        .post(
            "/auth/sms/login",
            &[],
            &json!({ "phone": "13800138000", "code": "246810" }),
        )
        .json();
    let show = ["users", "show", "phone:+8613800138000"];
    let plain = live(&menshen, &show).good();
    assert!(
        plain.contains(id(&alice))
            && plain.contains("138****8000")
            && !plain.contains("13800138000"),
        "{plain}"
    );
    assert!(
        live(&menshen, &["users", "list"])
            .good()
            .contains("138****8000")
    );
    let personal = live(&menshen, &[&show[..], &["--personal"]].concat()).good();
    assert!(personal.contains("+8613800138000"), "{personal}");
    assert_eq!(
        live(&menshen, &["users", "ban", "phone:138 0013 8000"]).good(),
        "banned, 1 session ended"
    );
    assert_eq!(
        call(&menshen, "/orders", &alice),
        refused(401, "token_revoked")
    );
    assert!(!menshen.log().join("\n").contains("13800138000"));
}

#[test]
fn sessions_are_listed_and_ended_one_a_users_or_everybodys() {
    let backend = Backend::start();
    let mut menshen = setup(&backend).start();
    let [first, second] = [menshen.login("alice"), menshen.login("alice")];
    let (bob, carol) = (menshen.login("bob"), menshen.login("carol"));
    let list = |user: &Value| -> Vec<String> {
        let lines = live(&menshen, &["sessions", "list", id(user)]).good();
        lines
            .lines()
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect()
    };
    let sid = |session: &Value| {
        assert_eq!(call(&menshen, "/orders", session), (200, None));
        backend.last().folded("x-session-id")[0].clone()
    };
    let (first_sid, second_sid) = (sid(&first), sid(&second));
    let mut sessions = list(&first);
    sessions.sort();
    let mut both = [first_sid.clone(), second_sid.clone()];
    both.sort();
    assert_eq!(sessions, both);

    let revoke = ["sessions", "revoke"];
    let one = [
        &revoke[..],
        &["--user", id(&first), "--session", &first_sid],
    ]
    .concat();
    assert_eq!(live(&menshen, &one).good(), "1 session ended");
    assert_eq!(
        call(&menshen, "/orders", &first),
        refused(401, "token_revoked")
    );
    assert_eq!(call(&menshen, "/orders", &second), (200, None));
    assert_eq!(list(&first), [second_sid]);
    live(&menshen, &one).failed(1, "no such session, or it has ended");

    assert_eq!(
        live(&menshen, &[&revoke[..], &["--user", id(&second)]].concat()).good(),
        "1 session ended"
    );
    assert_eq!(
        call(&menshen, "/orders", &second),
        refused(401, "token_revoked")
    );
    assert_eq!(refresh(&menshen, &second).error(), Some("session_revoked"));
    assert_eq!(call(&menshen, "/orders", &bob), (200, None));

    live(&menshen, &[&revoke[..], &["--everything"]].concat()).failed(64, "--yes");
    assert_eq!(call(&menshen, "/orders", &bob), (200, None));
    assert_eq!(
        live(
            &menshen,
            &[&revoke[..], &["--everything", "--yes"]].concat()
        )
        .good(),
        "all sessions ended"
    );
    for session in [&bob, &carol] {
        assert_eq!(
            call(&menshen, "/orders", session),
            refused(401, "token_revoked")
        );
        assert_eq!(refresh(&menshen, session).error(), Some("session_revoked"));
    }
    assert!((menshen.metric("menshen_revocations_total{reason=\"everything\"}") - 1.0).abs() < 0.1);
    let audited = menshen.wait_for_log("\"scope\":\"everything\"");
    assert!(audited.contains("sessions.revoked"), "{audited}");
    let bob = menshen.login("bob");
    assert_eq!(call(&menshen, "/orders", &bob), (200, None));
    menshen.stop();
    let dir = menshen.keep_directory();
    let all = stopped(
        dir.path(),
        &["sessions", "revoke", "--everything", "--yes"],
        "",
    )
    .good();
    assert_eq!(all, "all sessions ended");
    drop(menshen);
    let menshen = setup(&backend).in_directory(dir).start();
    assert_eq!(
        call(&menshen, "/orders", &bob),
        refused(401, "token_revoked")
    );
}
