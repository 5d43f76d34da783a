//! The first two invariants of the rule book under random requests: thousands of spellings of paths
//! and of header names, from a sequence that is the same each time.

use super::{
    backend::{Backend, Received},
    fire::unharmed,
    fuzz_corpus::targets::readers,
    menshen::Setup,
    wire::{self, Client},
};

/// A sequence without luck: xorshift64.
struct Dice(u64);

impl Dice {
    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from[usize::try_from(self.0 >> 33).expect("31 bits") % from.len()]
    }
}

/// Where random paths begin.
const STARTS: [&str; 8] = [
    "/public",
    "/public",
    "/public/",
    "/",
    "",
    "//public",
    "/./public",
    "/admin/../public",
];

/// What random paths go on with.
const PIECES: [&str; 39] = [
    "/",
    "/",
    "/",
    "public",
    "public",
    "closed",
    "Public",
    "admin",
    "a",
    ".",
    "..",
    "...",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "\\",
    ";",
    ";a=b",
    "%3b",
    "%25",
    "%252e",
    "%61",
    "%E4%BD%A0",
    "%c0%af",
    "%00",
    "?",
    "?/../",
    "#",
    "%23",
    "%20",
    "@",
    "%",
    "~",
    "*",
    "://",
    "%0d%0a",
    "%ff",
    "|",
];

fn assert_open_under_every_reading(line: &str) {
    let target = line.split(' ').nth(1).expect("a target").as_bytes();
    let path = target
        .split(|&byte| byte == b'?')
        .next()
        .expect("a path")
        .to_vec();
    let once = readers::decode(&path);
    let mut readings = vec![path.clone(), once.clone(), readers::decode(&once)];
    for reading in readers::READINGS {
        readings.extend([
            reading(&path),
            reading(&once),
            reading(&readers::decode(&once)),
        ]);
    }
    for reading in &readings {
        let lower = reading.to_ascii_lowercase();
        let under = |path: &[u8], prefix: &[u8]| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
        };
        assert!(
            under(reading, b"/public"),
            "{line} is {}",
            reading.escape_ascii()
        );
        assert!(
            !under(&lower, b"/public/closed"),
            "{line} is {}",
            reading.escape_ascii()
        );
    }
}

/// Invariant 1 of the rule book: what reaches the backend without a token is exactly the open
/// paths, under every reading.
#[test]
fn what_passes_without_a_token_is_open_under_every_reading_of_its_path() {
    let backend = Backend::start();
    let rules = "[[rule]]\nname = \"closed\"\npath = \"/public/closed/**\"\naccess = \"deny\"\n\
                 [[rule]]\nname = \"open\"\npath = \"/public/**\"\naccess = \"public\"";
    let menshen = Setup::before(backend.address)
        .with(rules)
        .with("[telemetry]\naccess_log = false")
        .start();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut client = Client::connect(menshen.http);
    let mut passed = 0;
    for n in 0..2500 {
        let start = dice.pick(&STARTS);
        let rest: String = (0..n % 6).map(|_| dice.pick(&PIECES)).collect();
        let method = dice.pick(&["GET", "GET", "POST", "HEAD", "DELETE", "OPTIONS"]);
        client.send(wire::request(method, &format!("{start}{rest}"), &[], b""));
        match client.receive_to(method) {
            Some(answer) => {
                assert!(
                    matches!(answer.status, 200 | 400 | 401 | 403),
                    "{method} {start}{rest}: {}",
                    answer.status
                );
                passed += usize::from(answer.status == 200);
                if answer.header("Connection") == Some("close") {
                    client = Client::connect(menshen.http);
                }
            }
            None => client = Client::connect(menshen.http),
        }
    }
    let received = backend.received();
    assert_eq!(received.len(), passed);
    assert!(passed > 100, "{passed}");
    for request in received {
        assert_open_under_every_reading(&request.line);
    }
    unharmed(&menshen);
}

/// Names that an identity could come by.
const IDENTITY: [&str; 8] = [
    "x-user-id",
    "x-user-type",
    "x-session-id",
    "x-client-type",
    "x-auth-state",
    "x-user-",
    "x-user-name",
    "x-auth-assertion",
];

/// The name with other signs for its hyphens, and some of its letters in upper case.
fn respelled(dice: &mut Dice, name: &str) -> String {
    let signs = [
        "-", "-", "_", ".", "~", "!", "#", "$", "%", "&", "'", "*", "+", "^", "`", "|",
    ];
    let sign = |c: char| if c == '-' { None } else { Some(c) };
    name.chars()
        .map(|c| match (sign(c), *dice.pick(&[&true, &false])) {
            (None, _) => dice.pick(&signs).to_owned(),
            (Some(c), true) => c.to_ascii_uppercase().to_string(),
            (Some(c), false) => c.to_string(),
        })
        .collect()
}

/// The backend was told of this user and of no other, or of none.
fn assert_is_of(request: &Received, user: Option<&str>) {
    let head = &request.head;
    assert_eq!(
        request.folded("x-user-id"),
        user.into_iter().collect::<Vec<_>>(),
        "{head}"
    );
    assert_eq!(
        request.folded("x-auth-state"),
        [if user.is_some() {
            "authenticated"
        } else {
            "anonymous"
        }],
        "{head}"
    );
    assert!(!head.contains("mallory"), "{head}");
    for (name, most) in [
        ("x-user-type", 1),
        ("x-session-id", 1),
        ("x-client-type", 1),
        ("x-user-name", 0),
        ("x-auth-assertion", 0),
    ] {
        assert!(
            request.folded(name).len() <= if user.is_some() { most } else { 0 },
            "{name} in {head}"
        );
    }
}

/// Invariant 2 of the rule book: the identity that the backend sees is a function of the token
/// alone, under every folding of names.
#[test]
fn who_the_backend_sees_is_whom_the_token_names_under_every_folding() {
    let backend = Backend::start();
    let rules = "[[rule]]\nname = \"open\"\npath = \"/open/**\"\naccess = \"public\"\n\
                 [[rule]]\nname = \"either\"\npath = \"/either/**\"\naccess = \"optional\"";
    let menshen = Setup::before(backend.address)
        .with(rules)
        .with("[telemetry]\naccess_log = false")
        .start();
    let session = menshen.login("alice");
    let authorization = format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    );
    let alice = session["user"]["id"].as_str().expect("an id").to_owned();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut client = Client::connect(menshen.http);
    let mut expected = Vec::new();
    for n in 0..1000_u32 {
        let mut spelling = |name: &str| respelled(&mut dice, name);
        let forged: Vec<(String, &str)> = (0..3)
            .map(|k| {
                (
                    spelling(IDENTITY[(n as usize * 3 + k) % IDENTITY.len()]),
                    "mallory",
                )
            })
            .collect();
        let nominated = format!("keep-alive, {}, X-User-Id", spelling("x-user-id"));
        let path = dice.pick(&["/open/x", "/either/x", "/x"]);
        let with_token = path == "/x" || n % 2 == 0;
        let mut headers: Vec<(&str, &str)> = forged
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        headers.push(("Connection", &nominated));
        if with_token {
            headers.push(("Authorization", &authorization));
        }
        // Both ways to the backend.
        let (method, body) = if n % 3 == 0 {
            ("POST", &b"body"[..])
        } else {
            ("GET", &b""[..])
        };
        client.send(wire::request(method, path, &headers, body));
        let answer = client.receive().expect("an answer");
        assert_eq!(answer.status, 200, "{headers:?}");
        if answer.header("Connection") == Some("close") {
            client = Client::connect(menshen.http);
        }
        expected.push(if with_token && path != "/open/x" {
            Some(alice.as_str())
        } else {
            None
        });
    }
    let received = backend.received();
    assert_eq!(received.len(), expected.len());
    for (request, user) in received.iter().zip(expected) {
        assert_is_of(request, user);
    }
    unharmed(&menshen);
}
