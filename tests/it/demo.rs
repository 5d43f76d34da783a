//! `menshen demo`, as a newcomer runs it: the whole tour, the lines to paste, and nothing left
//! behind.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::wire::{self, Answer};

/// Steps of the tour, in order.
const STEPS: [&str; 11] = [
    "1 · Alice signs in",
    "2 · A call without a token",
    "3 · The same call with Alice's token",
    "4 · Alice claims to be user 1, and an administrator",
    "5 · A stranger tries the same on a public page",
    "6 · Alice's tokens are renewed",
    "7 · Alice signs out",
    "8 · An attacker has kept her token",
    "9 · Alice comes back",
    "10 · Alice presses the phone number button",
    "11 · Alice signs in on a device without WeChat",
];

/// What each step shows, by its place in [`STEPS`] from 1 on.
const SHOWN: [(usize, &[&str]); 11] = [
    (
        1,
        &[
            "▶ POST /auth/wechat/login",
            "◀ 200 OK",
            "\"is_new_user\": true",
        ],
    ),
    (
        2,
        &[
            "▶ GET /orders",
            "◀ 401 Unauthorized",
            "X-Menshen-Error: token_missing",
        ],
    ),
    (
        3,
        &[
            "Authorization: Bearer eyJ",
            "◀ 200 OK from the backend",
            "X-Auth-State: authenticated",
        ],
    ),
    (
        4,
        &[
            "x_user_id: 1",
            "◀ 200 OK from the backend",
            "X-User-Role: (not there)",
        ],
    ),
    (5, &["X-User-Id: (not there)", "X-Auth-State: anonymous"]),
    (6, &["▶ POST /auth/refresh", "◀ 200 OK"]),
    (7, &["▶ POST /auth/logout", "◀ 204 No Content"]),
    (8, &["◀ 401 Unauthorized", "X-Menshen-Error: token_revoked"]),
    (9, &["\"is_new_user\": false"]),
    (10, &["\"masked\": \"138****8000\""]),
    (11, &["\"resend_after\": 60", "\"is_new_user\": false"]),
];

/// The demo, with nothing of this environment but a place for temporary files.
fn demo(place: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_menshen"));
    command
        .arg("demo")
        .args(args)
        .env_clear()
        .env("TMPDIR", place);
    command
}

fn left_behind(place: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(place.path()).expect("a directory");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// Whether a text has no word that is as long as a token. A UUID has 36 signs.
fn has_no_whole_token(text: &str) -> bool {
    text.split(|sign: char| !(sign.is_ascii_alphanumeric() || "-_.".contains(sign)))
        .all(|word| word.len() <= 44)
}

#[test]
fn the_tour_shows_every_step_in_order_and_no_whole_token() {
    let place = tempfile::tempdir().expect("a directory");
    let output = demo(place.path(), &["--once"])
        .output()
        .expect("the binary");
    let (told, said) = (
        String::from_utf8(output.stdout).expect("text"),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        (output.status.code(), said.as_ref()),
        (Some(0), ""),
        "{told}"
    );

    let mut rest = told.as_str();
    let mut parts = Vec::new();
    for step in STEPS {
        let (before, after) = rest
            .split_once(&format!("── {step} ─"))
            .unwrap_or_else(|| panic!("no {step:?} in\n{rest}"));
        parts.push(before);
        rest = after;
    }
    parts.push(rest);
    for (part, shows) in SHOWN {
        for shown in shows {
            assert!(
                parts[part].contains(shown),
                "no {shown:?} in\n{}",
                parts[part]
            );
        }
        assert!(
            parts[part].contains("    ✓ "),
            "nothing was proven in\n{}",
            parts[part]
        );
    }
    let id = parts[1]
        .split_once("\"id\": \"")
        .and_then(|(_, rest)| rest.split('"').next())
        .expect("an id");
    for part in [3, 4] {
        let at_backend = parts[part].split_once('◀').expect("an answer").1;
        assert_eq!(at_backend.matches("X-User-Id: ").count(), 1, "{at_backend}");
        assert!(
            at_backend.contains(&format!("X-User-Id: {id}\n")),
            "{at_backend}"
        );
    }

    assert!(has_no_whole_token(&told), "{told}");
    assert!(!told.contains('✗') && !told.contains('\x1b'), "{told}");
    let widest = told
        .lines()
        .filter(|line| !line.contains('/'))
        .map(|line| line.chars().count())
        .max();
    assert!(
        widest.is_some_and(|widest| widest <= 96),
        "{widest:?} columns"
    );
    assert_eq!(left_behind(&place), [""; 0]);
}

#[test]
fn its_log_is_shown_on_request_apart_from_the_tour() {
    let place = tempfile::tempdir().expect("a directory");
    let output = demo(place.path(), &["--once", "--log"])
        .output()
        .expect("the binary");
    let (told, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("ready") && said.contains("/auth/wechat/login") && said.contains("stopped"),
        "{said}"
    );
    assert!(has_no_whole_token(&said), "{said}");
    assert!(!said.contains("ERROR") && !said.contains("WARN"), "{said}");
    assert!(!told.contains("INFO"), "{told}");
}

/// A demo that stays up. Dropping it kills the process.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    /// The address of the page.
    page: SocketAddr,
    /// The lines to paste, without their indentation.
    commands: Vec<String>,
}

impl Running {
    /// Starts it and reads its output up to the line that says how to end it.
    fn start(place: &Path) -> Self {
        let mut child = demo(place, &[])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut out = BufReader::new(child.stdout.take().expect("stdout"));
        let mut first = String::new();
        while first.trim().is_empty() {
            first.clear();
            assert_ne!(out.read_line(&mut first).expect("a line"), 0);
        }
        let page = first.trim().strip_prefix("In a browser: http://");
        let page = page.and_then(|page| page.parse().ok());
        let mut running = Self {
            child,
            out,
            page: page.expect("the address of the page comes first"),
            commands: Vec::new(),
        };
        loop {
            let mut line = String::new();
            assert_ne!(
                running.out.read_line(&mut line).expect("a line"),
                0,
                "it ended before it said how to end it"
            );
            let line = line.trim();
            if line.starts_with("curl ") || line.starts_with("AUTH=") {
                running.commands.push(line.to_owned());
            } else {
                assert!(has_no_whole_token(line), "{line}");
            }
            if line.starts_with("Ctrl-C ends") {
                return running;
            }
        }
    }

    /// Presses a button of the page; gives the newest story.
    fn tap(&self, form: &str) -> String {
        let (host, origin) = (self.page.to_string(), format!("http://{}", self.page));
        let request = format!(
            "POST /tap HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let mut client = wire::Client::connect(self.page);
        client.send(request);
        let answer = client.receive_to("POST").expect("an answer");
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/#latest"))
        );
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let page = client.receive_to("GET").expect("a page");
        assert_eq!(page.status, 200);
        let text = String::from_utf8(page.body).expect("text");
        assert!(has_no_whole_token(&text), "{text}");
        let latest = text.split_once("id=\"latest\"").expect("a story").1;
        let end = latest.find("</article>").expect("its end");
        latest[..end].to_owned()
    }

    /// Sends a signal; gives the exit code and what was still printed.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        rustix::process::kill_process(pid, signal).expect("a signal");
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("an exit status").code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Does what a shell and `curl` do with a line, as far as the demo's lines need it.
fn curl(line: &str, auth: &str) -> Answer {
    let words = words(line, auth);
    let mut words = words
        .iter()
        .map(String::as_str)
        .take_while(|word| *word != "|");
    assert_eq!(words.next(), Some("curl"));
    let (mut url, mut headers, mut body) = (None, Vec::new(), None);
    while let Some(word) = words.next() {
        match word {
            "-i" | "-s" => {}
            "-H" => headers.push(
                words
                    .next()
                    .and_then(|field| field.split_once(": "))
                    .expect("a field"),
            ),
            "-d" => body = words.next(),
            word => url = word.strip_prefix("http://"),
        }
    }
    let (address, path) = url.and_then(|url| url.split_once('/')).expect("a URL");
    let to: SocketAddr = address.parse().expect("an address");
    let method = if body.is_some() { "POST" } else { "GET" };
    wire::ask(
        to,
        method,
        &format!("/{path}"),
        &headers,
        body.unwrap_or_default().as_bytes(),
    )
}

/// The words of a line; quotes group, and `$AUTH` is the only variable.
fn words(line: &str, auth: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for sign in line.chars() {
        match (sign, quote) {
            (' ', None) => words.push(String::new()),
            ('\'' | '"', None) => quote = Some(sign),
            (sign, Some(open)) if sign == open => quote = None,
            (sign, _) => words.last_mut().expect("a word").push(sign),
        }
    }
    words
        .into_iter()
        .map(|word| word.replace("$AUTH", auth))
        .collect()
}

/// What the sample backend says that it got under this name.
fn at_backend(answer: &Answer, name: &str) -> Vec<Value> {
    let received = answer.json();
    let fields = received["headers"].as_array().expect("fields").iter();
    fields
        .filter(|field| field[0] == name)
        .map(|field| field[1].clone())
        .collect()
}

#[test]
fn the_lines_to_paste_do_what_they_say() {
    let place = tempfile::tempdir().expect("a directory");
    let running = Running::start(place.path());
    let (set_auth, lines) = running.commands.split_first().expect("lines");
    let auth = set_auth
        .strip_prefix("AUTH='")
        .and_then(|rest| rest.strip_suffix('\''))
        .expect("a variable");
    let [mine, forged, bare, bob, devices, sign_out, metrics] = lines else {
        panic!("{} lines", lines.len())
    };

    let answer = curl(mine, auth);
    assert_eq!(answer.status, 200);
    let ids = at_backend(&answer, "x-user-id");
    assert_eq!(ids.len(), 1);
    let answer = curl(forged, auth);
    assert_eq!(
        (answer.status, at_backend(&answer, "x-user-id")),
        (200, ids.clone())
    );
    assert_eq!(at_backend(&answer, "x.user.id"), Vec::<Value>::new());
    assert_eq!(curl(bare, auth).error(), Some("token_missing"));
    let answer = curl(bob, auth);
    assert_eq!(
        (answer.status, &answer.json()["is_new_user"]),
        (200, &json!(true))
    );
    assert_ne!(answer.json()["user"]["id"], ids[0]);
    assert_eq!(curl(devices, auth).status, 200);
    assert_eq!(curl(sign_out, auth).status, 204);
    assert_eq!(curl(mine, auth).error(), Some("token_revoked"));
    let answer = curl(metrics, auth);
    assert!(metrics.ends_with("| grep ^menshen_logins") && answer.status == 200);
    assert!(
        String::from_utf8_lossy(&answer.body)
            .lines()
            .any(|line| line.starts_with("menshen_logins"))
    );

    let (code, told) = running.end(Signal::INT);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("is gone"), "{told}");
    assert_eq!(left_behind(&place), [""; 0]);
}

#[test]
fn each_step_is_a_button_of_the_page_and_tells_what_was_sent_and_seen() {
    let place = tempfile::tempdir().expect("a directory");
    let running = Running::start(place.path());
    for (step, shown) in [
        (
            "sign-in",
            &["200 OK", "/sns/jscode2session", "Alice is a new user"][..],
        ),
        (
            "orders",
            &[
                "200 OK",
                "x-auth-state",
                "the token itself stayed at the gate",
            ],
        ),
        (
            "forged-headers",
            &[
                "X-User-Role",
                "only menshen may set it",
                "nothing of what she claimed arrived",
            ],
        ),
        (
            "forged-headers-on-public-page",
            &["anonymous", "no forged header arrived"],
        ),
        (
            "orders-without-token",
            &["401 Unauthorized", "token_missing", "never heard of it"],
        ),
        (
            "odd-path",
            &["400 Bad Request", "path_ambiguous", "/menu/%2e%2e/orders"],
        ),
        (
            "refresh",
            &[
                "200 OK",
                "both tokens are new",
                "WeChat was not asked again",
            ],
        ),
        (
            "add-phone",
            &[
                "200 OK",
                "/wxa/business/getuserphonenumber",
                "the number is hers now",
            ],
        ),
        ("sign-out", &["204 No Content", "her session has ended"]),
        ("sign-out", &["Sign in first.", "Nothing was sent."]),
        (
            "old-token",
            &["401 Unauthorized", "token_revoked", "never heard of it"],
        ),
        (
            "come-back",
            &["200 OK", "the same user as at her first login"],
        ),
        ("sign-out", &["204 No Content"]),
        (
            "send-sms-code",
            &["200 OK", "PhoneNumbers", "checked menshen's signature"],
        ),
        (
            "sign-in-by-sms&code=<script>",
            &["&lt;script&gt;", "This is not so:"],
        ),
        (
            "sign-in-by-sms",
            &["200 OK", "the same user as at her first login"],
        ),
    ] {
        let story = running.tap(&format!("step={step}"));
        for shown in shown {
            assert!(story.contains(shown), "no {shown:?} of {step} in\n{story}");
        }
        let is_refused = step.contains("<script>");
        assert_eq!(
            story.contains("This is not so:"),
            is_refused,
            "{step}\n{story}"
        );
        assert!(!story.contains("<script>"), "{story}");
    }
    let answer = wire::ask(running.page, "GET", "/", &[], b"");
    assert_eq!(answer.status, 421, "another name");
    let (code, told) = running.end(Signal::INT);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(left_behind(&place), [""; 0]);
}

#[test]
fn a_port_that_is_taken_is_said_before_the_tour() {
    let place = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let output = demo(place.path(), &["--port", &port.to_string()])
        .output()
        .expect("the binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("127.0.0.1:{port}")) && said.contains("in use"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
    assert_eq!(left_behind(&place), [""; 0]);
}

#[test]
fn every_way_to_end_it_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = tempfile::tempdir().expect("a directory");
        let running = Running::start(place.path());
        assert_eq!(left_behind(&place).len(), 1, "one directory while it is up");
        assert_eq!(running.end(signal).0, Some(0), "{signal:?}");
        assert_eq!(left_behind(&place), [""; 0], "{signal:?}");
    }
    // Its reader goes away, as with `menshen demo | head`.
    let place = tempfile::tempdir().expect("a directory");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(
        demo(place.path(), &[])
            .stdout(writer)
            .status()
            .expect("the binary")
            .code(),
        Some(0)
    );
    assert_eq!(left_behind(&place), [""; 0]);
}

#[test]
fn without_a_place_to_write_it_says_so() {
    let output = demo(Path::new("/nonexistent"), &["--once"])
        .output()
        .expect("the binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("temporary directory"), "{said}");
}
