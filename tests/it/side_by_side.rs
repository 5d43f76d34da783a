//! Two versions on one database: what a newer one adds to a record, real processes of this one keep when
//! they write that record back.
//!
//! The newer version is the crate here: it writes each record of a user again, with a field more in
//! every struct, while two processes run. (`history.rs` runs an older binary beside this one.)

use menshen::{
    crypto::Key,
    entropy::Entropy,
    store::{
        self, ExportRecord, ExportedIdentity, OpenOptions, Store, UnknownFields, Unreadable,
        WrappingKeys,
    },
};
use serde_json::{Value, json};

use super::{
    backend::Backend,
    databases::{Database, block_on},
    menshen::{Menshen, Setup},
    wire::{self, Answer},
};

/// The config's encryption key.
const KEY: [u8; 32] = [0x42; 32];

/// A field that this version does not know.
fn added() -> UnknownFields {
    let fields = json!({ "of_a_newer_version": { "text": "kept", "numbers": [1, -2, 3.5, null] } });
    serde_json::from_value(fields).expect("fields")
}

/// Opens the store beside the processes that run on it.
async fn with_store<T>(url: &str, run: impl AsyncFnOnce(&dyn Store) -> T) -> T {
    let keys = WrappingKeys::derive(&Key::new(KEY), None);
    let options = OpenOptions {
        connections: 2,
        ..OpenOptions::default()
    };
    let opened = store::open(url, &options, &keys, Entropy::default()).await;
    let store = opened.expect("the store").store;
    let outcome = run(&*store).await;
    store.close().await.expect("it closes");
    outcome
}

async fn exported(store: &dyn Store) -> Vec<ExportRecord> {
    let mut export = store.export(Unreadable::Fails).await.expect("an export");
    let mut all = Vec::new();
    while let Some(records) = export.next().await {
        all.extend(records.expect("records"));
    }
    all
}

/// Writes what concerns users again, as a newer version would have written it.
async fn write_newer(store: &dyn Store) {
    let mut newer = Vec::new();
    for record in exported(store).await {
        match record {
            ExportRecord::User(mut user) => {
                user.unknown = added();
                user.user.unknown = added();
                user.user.profile.unknown = added();
                let openids = user.openids.iter_mut();
                let identities: Vec<_> = openids
                    .map(|openid| {
                        openid.unknown = added();
                        ExportedIdentity::OpenId(openid.app_id.clone(), openid.openid.clone())
                    })
                    .collect();
                newer.push(ExportRecord::User(user));
                let with_field = |identity| ExportRecord::IdentityFields {
                    identity,
                    unknown: added(),
                };
                newer.extend(identities.into_iter().map(with_field));
            }
            ExportRecord::Session(mut session) => {
                session.unknown = added();
                newer.push(ExportRecord::Session(session));
            }
            _ => {}
        }
    }
    store.restore(newer).await.expect("written");
}

/// In how many structs the field is: of users, of their openids, of what leads to them, of sessions.
async fn kept(store: &dyn Store) -> [usize; 4] {
    let is_there = |fields: &UnknownFields| usize::from(*fields == added());
    let mut kept = [0; 4];
    for record in exported(store).await {
        match record {
            ExportRecord::User(user) => {
                kept[0] += is_there(&user.unknown)
                    + is_there(&user.user.unknown)
                    + is_there(&user.user.profile.unknown);
                kept[1] += user
                    .openids
                    .iter()
                    .map(|openid| is_there(&openid.unknown))
                    .sum::<usize>();
            }
            ExportRecord::IdentityFields { unknown, .. } => kept[2] += is_there(&unknown),
            ExportRecord::Session(session) => kept[3] += is_there(&session.unknown),
            _ => {}
        }
    }
    kept
}

fn ask(menshen: &Menshen, method: &str, path: &str, session: &Value, body: &Value) -> Answer {
    let token = session["access_token"].as_str().expect("a token");
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    let answer = wire::ask(
        menshen.http,
        method,
        path,
        &headers,
        body.to_string().as_bytes(),
    );
    let said = String::from_utf8_lossy(&answer.body);
    assert!(
        answer.status < 300,
        "{method} {path}: {} {said}",
        answer.status
    );
    answer
}

fn processes_keep_what_a_newer_version_added(database: Database) {
    let url = database.empty();
    let backend = Backend::start();
    let section = format!(
        "[store]\nurl = \"{url}\"\nencryption_key = \"{}\"\nconnections = 4",
        hex::encode(KEY)
    );
    let [one, other] = [(), ()].map(|()| Setup::before(backend.address).with(&section).start());
    let [first, second, third] = [&one, &other, &one].map(|menshen| menshen.login("alice"));
    block_on(with_store(&url, write_newer));
    let before = block_on(with_store(&url, kept));
    assert_eq!(before, [3, 1, 1, 3], "the newer version has written them");

    // Each rewrites the user's one record: a refresh, a profile, a logout, a login.
    let refresh = json!({ "refresh_token": first["refresh_token"] });
    let refreshed = other.post("/auth/refresh", &[], &refresh);
    assert_eq!(refreshed.status, 200);
    let refreshed = refreshed.json();
    ask(
        &one,
        "PATCH",
        "/auth/me",
        &refreshed,
        &json!({ "nickname": "Alice" }),
    );
    ask(&other, "POST", "/auth/logout", &second, &json!({}));
    let fourth = other.login("alice");
    assert_eq!(fourth["user"]["id"], third["user"]["id"]);
    // The session that ended is remembered by a record of this version, and the new one is of this one.
    assert_eq!(block_on(with_store(&url, kept)), [3, 1, 1, 2]);
    assert_eq!(
        ask(&other, "GET", "/auth/me", &fourth, &Value::Null).json()["nickname"],
        "Alice"
    );
}

#[test]
fn on_postgres() {
    processes_keep_what_a_newer_version_added(Database::Postgres);
}

#[test]
fn on_mysql() {
    processes_keep_what_a_newer_version_added(Database::Mysql);
}
