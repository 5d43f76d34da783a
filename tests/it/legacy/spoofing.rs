//! What clients say of themselves, as it arrives in `request.META`, in the scope of ASGI and in
//! `req.headers`: nothing, in no spelling, on no kind of path, whatever the server folds.

use std::collections::BTreeMap;

use serde_json::Value;

use super::servers::{Gate, Program, Server};
use crate::wire::Client;

/// Where an application shows what arrived.
const SHOWS: &str = "/debug/headers";

/// Names that a backend may read as menshen's word. Of the last eight menshen sends none.
const NAMES: [&str; 14] = [
    "X-User-Id",
    "X-User-Type",
    "X-Session-Id",
    "X-Client-Type",
    "X-Auth-State",
    "X-Auth-Assertion",
    "X-User-Role",
    "X-User-Openid",
    "X-Auth-Token",
    "X-Session-Key",
    "X-Client-Version",
    "X-Menshen-Secret",
    "X-WX-OPENID",
    "X-Forwarded-User",
];

/// Every sign that a name may have, each in three cases, and mixtures: what some server folds into
/// the same variable.
fn spellings(name: &str) -> Vec<String> {
    let mut all = Vec::new();
    for sign in "-_.~!#$%&'*+^`|".chars() {
        let spelt = name.replace('-', &sign.to_string());
        all.extend([spelt.to_lowercase(), spelt.to_uppercase(), spelt]);
    }
    let words: Vec<_> = name.split('-').collect();
    all.extend([words.join("_-"), format!("HTTP_{}", words.join("_"))]);
    all.push(format!("{}_{}", words[0], words[1..].join("-")));
    all.push(format!("{}-{}", words[0], words[1..].join("_")));
    all.push(format!("{name}_"));
    all
}

/// Heads of requests that are not well-formed, or say it in another way.
const CRAFTED: [&str; 18] = [
    "X-User-Id: forged\r\nX-User-Id: forged\r\nx-user-id: forged\r\nX_USER_ID: forged",
    "X-User-Id : forged",
    "X-User-Id\t: forged",
    " X-User-Id: forged",
    "X-A: a\r\n X-User-Id: forged",
    "X-A: a\r\n\tX-User-Id: forged",
    "X-A: a\nX-User-Id: forged",
    "X-A: a\rX-User-Id: forged",
    "X-A: a\0\r\nX-User-Id\0: forged",
    "X-A: a\u{b}X-User-Id: forged",
    "X\u{2010}User\u{2010}Id: forged",
    "\u{ff38}-User-Id: forged",
    "X-U\u{17f}er-Id: forged",
    "X-%55ser-Id: forged",
    "X-User-Id;: forged",
    "Connection: close, X-User-Id, X-Auth-State, X-User-Type, x-session-id, X-Auth-Assertion, X-Client-Type",
    "Connection: x-user-id\r\nX-User-Id: forged",
    "Connection: x_user_id, HTTP_X_USER_ID\r\nX_User_Id: forged",
];

/// By folded name, every value that arrived: of the variables that the application reads, and of
/// the list that its server read.
fn arrived(shown: &Value) -> [BTreeMap<String, Vec<String>>; 2] {
    let mut both = [BTreeMap::<_, Vec<_>>::new(), BTreeMap::new()];
    let [read, raw] = &mut both;
    let fold = |name: &str| {
        name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
            .to_ascii_lowercase()
    };
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let shown = shown.get("data").unwrap_or(shown);
    for (name, value) in shown["meta"]
        .as_object()
        .or(shown["headers"].as_object())
        .expect("headers")
    {
        read.entry(fold(name.trim_start_matches("HTTP_")))
            .or_default()
            .push(text(value));
    }
    // Pairs of Django, or names and values of Node one after another.
    let list = shown["raw"].as_array().expect("a list");
    let flat: Vec<_> = list
        .iter()
        .flat_map(|item| {
            item.as_array()
                .cloned()
                .unwrap_or_else(|| vec![item.clone()])
        })
        .collect();
    for pair in flat.chunks(2) {
        raw.entry(fold(&text(&pair[0])))
            .or_default()
            .push(text(&pair[1]));
    }
    both
}

/// What the application may have seen of a caller, from first to last.
struct Expected {
    names: &'static [&'static str],
    values: BTreeMap<&'static str, String>,
}

impl Expected {
    fn check(&self, answer: &[u8], why: &str) {
        let text = String::from_utf8_lossy(answer);
        assert!(!text.to_lowercase().contains("forged"), "{why}: {text}");
        let shown = serde_json::from_slice(answer).unwrap_or_else(|_| panic!("{why}: {text}"));
        let [read, raw] = arrived(&shown);
        for list in [&read, &raw].into_iter().filter(|list| !list.is_empty()) {
            let ours = |name: &&String| {
                ["x-user", "x-auth", "x-session", "x-client", "x-menshen"]
                    .iter()
                    .any(|p| name.starts_with(p))
            };
            let names: Vec<_> = list.keys().filter(ours).collect();
            assert_eq!(names, self.names, "{why}");
            assert!(
                names.iter().all(|name| list[*name].len() == 1),
                "{why}: {list:?}"
            );
            for (name, value) in &self.values {
                assert_eq!(&list[*name][0], value, "{why}");
            }
        }
    }
}

/// Sends these lines; what came back, if it was not refused.
fn send(client: &mut Client, credential: &str, lines: &str, body: &str) -> Option<Vec<u8>> {
    let head = format!(
        "GET {SHOWS} HTTP/1.1\r\nHost: shop.example\r\nAuthorization: {credential}\r\n{lines}\r\n\r\n"
    );
    client.send(head + body);
    let answer = client.receive()?;
    assert!(
        matches!(answer.status, 200 | 400),
        "{lines:?}: {}",
        answer.status
    );
    assert!(
        answer.status == 200 || answer.error() == Some("request_malformed"),
        "{lines:?}: not the backend's to refuse"
    );
    (answer.status == 200).then_some(answer.body)
}

/// Which spellings of `X-User-Id` the application reads as that, past menshen: that there is
/// something to fear, and that it shows.
fn folded_by(server: &Server) -> Vec<String> {
    let mut folded = spellings("X-User-Id");
    folded.retain(|spelling| {
        let mut client = Client::connect(server.address());
        let head = format!("GET {SHOWS} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{spelling}: forged\r\n\r\n");
        client.send(head);
        let shown = client.receive().map(|answer| String::from_utf8_lossy(&answer.body).into_owned()).unwrap_or_default();
        shown.contains("\"HTTP_X_USER_ID\": \"forged\"") || shown.contains("\"x-user-id\":\"forged\"")
    });
    folded
}

/// Everything that a client can say of itself, and what the application sees of it.
fn try_everything(gate: &Gate, credential: &str, expected: &Expected) {
    let mut client = Client::connect(gate.menshen.http);
    let count = spellings("X-User-Id").len();
    assert_eq!(count, 50);
    for n in 0..count {
        let forged: Vec<_> = NAMES
            .iter()
            .map(|name| format!("{}: forged", spellings(name)[n]))
            .collect();
        // The two ways to the backend.
        for body in ["", "x"] {
            let lines = format!("{}\r\nContent-Length: {}", forged.join("\r\n"), body.len());
            let answer = send(&mut client, credential, &lines, body)
                .expect("a good head, without what is forged");
            expected.check(&answer, &forged[0]);
        }
    }
    let alone = |lines, body| {
        send(
            &mut Client::connect(gate.menshen.http),
            credential,
            lines,
            body,
        )
    };
    let mut passed = 0;
    for lines in CRAFTED {
        if let Some(answer) = alone(lines, "") {
            expected.check(&answer, lines);
            passed += 1;
        }
    }
    assert!(
        passed >= 4,
        "{passed} of them are good heads, and the rest is refused by menshen"
    );
    // A trailer is no header.
    let body = "0\r\nX-User-Id: forged\r\nX_User_Id: forged\r\nX-Auth-State: forged\r\n\r\n";
    let answer = alone("Transfer-Encoding: chunked\r\nTrailer: X-User-Id", body);
    expected.check(&answer.expect("a good body"), "a trailer");
}

fn nothing_gets_through(program: Program, folds: &[&str]) {
    let server = Server::on_a_port(program, &[("SHOW_HEADERS", "1")]);
    assert_eq!(folded_by(&server), folds);

    let required = Gate::before(server.application, &server.url, &[]);
    let alice = required.login("alice-1");
    let id = alice.id.to_string();
    let says = [
        ("x-auth-state", "authenticated"),
        ("x-user-id", &id),
        ("x-user-type", "user"),
        ("x-client-type", "miniprogram"),
    ];
    let signed_in = Expected {
        names: &[
            "x-auth-assertion",
            "x-auth-state",
            "x-client-type",
            "x-session-id",
            "x-user-id",
            "x-user-type",
        ],
        values: says.map(|(name, value)| (name, value.to_owned())).into(),
    };
    try_everything(&required, &alice.bearer, &signed_in);

    let [name, path, access] = server.application.one_more_rule;
    let public = Gate::before(
        server.application,
        &server.url,
        &[(name, "shows"), (path, SHOWS), (access, "public")],
    );
    let anonymous = Expected {
        names: &["x-auth-state"],
        values: [("x-auth-state", "anonymous".to_owned())].into(),
    };
    try_everything(&public, &alice.bearer, &anonymous);
}

/// What a server takes for `X-User-Id`, as it is written.
const ITSELF: [&str; 3] = ["x-user-id", "X-USER-ID", "X-User-Id"];

#[test]
fn nothing_forged_gets_through_to_gunicorn() {
    nothing_gets_through(Program::Gunicorn, &ITSELF);
}

#[test]
fn nothing_forged_gets_through_to_gunicorn_that_folds_names() {
    let folded = [
        "x_user_id",
        "X_USER_ID",
        "X_User_Id",
        "X_User-Id",
        "X-User_Id",
    ];
    nothing_gets_through(
        Program::GunicornPermissive,
        &[&ITSELF[..], &folded].concat(),
    );
}

#[test]
fn nothing_forged_gets_through_to_gunicorn_with_asgi() {
    nothing_gets_through(Program::GunicornAsgi, &ITSELF);
}

#[test]
fn nothing_forged_gets_through_to_uvicorn() {
    nothing_gets_through(Program::Uvicorn, &ITSELF);
}

#[test]
fn nothing_forged_gets_through_to_uvicorn_with_httptools() {
    nothing_gets_through(Program::UvicornHttptools, &ITSELF);
}

#[test]
fn nothing_forged_gets_through_to_nest() {
    nothing_gets_through(Program::Node, &ITSELF);
}
