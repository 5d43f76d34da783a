//! The code that docs/hooks.md gives to backends, taken out of the page and tried on a message of
//! the real binary.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::{
    backend::{Backend, Received},
    menshen::Setup,
};

const PAGE: &str = include_str!("../../docs/hooks.md");
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The one piece of code of the page in this language.
fn snippet(language: &str) -> String {
    let parts: Vec<_> = PAGE.split(&format!("```{language}\n")).skip(1).collect();
    let [part] = parts.as_slice() else {
        panic!("{} pieces of {language}", parts.len())
    };
    part.split("```").next().expect("its end").to_owned()
}

/// A question as menshen sends it.
fn question() -> Received {
    let backend = Backend::answering(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .is_ok()
    });
    let section = format!(
        "[hooks]\nurl = \"http://{}/hooks\"\nsecret = \"{SECRET}\"",
        backend.address
    );
    let menshen = Setup::before(backend.address).with(&section).start();
    menshen.token("alice");
    let received = backend.received();
    received
        .into_iter()
        .find(|request| request.folded("x-menshen-event") == ["user.created"])
        .expect("a question")
}

fn signature(time: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!(
        "sha256={}",
        hex::encode(hmac::sign(&key, &[time.as_bytes(), b".", body].concat()))
    )
}

/// Messages, and whether each is from menshen: the real one, and what somebody else might make of
/// it.
fn messages() -> Vec<(Value, bool)> {
    let real = question();
    let body = String::from_utf8(real.body.clone()).expect("JSON");
    let header = |name: &str| real.folded(name).first().expect(name).clone();
    let (time, signed) = (header("x-menshen-timestamp"), header("x-menshen-signature"));
    assert_eq!(
        signed,
        signature(&time, &real.body),
        "the snippets are tried on what is right"
    );
    let seconds: u64 = time.parse().expect("seconds");
    let message = |time: &str, signed: &str, body: &str, secret: &str| {
        let headers = json!({ "x-menshen-timestamp": time, "x-menshen-signature": signed });
        json!({ "headers": headers, "body": body, "secret": secret })
    };
    let at = |time: &str| message(time, &signature(time, real.body.as_slice()), &body, SECRET);
    let (old, future) = ((seconds - 400).to_string(), (seconds + 400).to_string());
    let mut cases = vec![
        (message(&time, &signed, &body, SECRET), true),
        (
            message(&time, &signed, &body.replace("alice", "mallory"), SECRET),
            false,
        ),
        (message(&time, &signed, &format!("{body} "), SECRET), false),
        (
            message(&time, &signed, &body, "another secret of 32 bytes or more"),
            false,
        ),
        (
            message(&(seconds + 1).to_string(), &signed, &body, SECRET),
            false,
        ),
        (
            message(&time, &signed[..signed.len() - 1], &body, SECRET),
            false,
        ),
        (
            message(
                &time,
                signed.strip_prefix("sha256=").expect("a prefix"),
                &body,
                SECRET,
            ),
            false,
        ),
        (message(&time, "sha256=", &body, SECRET), false),
        (message(&time, "\u{b2}", &body, SECRET), false),
    ];
    // Signed rightly, and at a time that does not count.
    for time in [
        "",
        "now",
        "\u{b2}",
        "NaN",
        "Infinity",
        "1e99",
        &"9".repeat(5000),
        &old,
        &future,
    ] {
        cases.push((at(time), false));
    }
    let empty = json!({ "headers": {}, "body": body, "secret": SECRET });
    cases.push((empty, false));
    cases
}

/// Runs a program on all messages, one a line; what it says of each.
fn verdicts(program: &str, arguments: &[&str], messages: &[(Value, bool)]) -> Vec<bool> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|fault| panic!("{program}: {fault} (`./run test` installs it)"));
    let lines = messages
        .iter()
        .map(|(message, _)| message.to_string())
        .collect::<Vec<_>>()
        .join("\n");
    child
        .stdin
        .take()
        .expect("stdin")
        .write_all(lines.as_bytes())
        .expect("written");
    let output = child.wait_with_output().expect("an end");
    assert!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(|line| line == "true")
        .collect()
}

#[test]
fn the_snippets_of_the_page_take_what_menshen_sends_and_nothing_else() {
    let messages = messages();
    let expected: Vec<bool> = messages.iter().map(|(_, is_real)| *is_real).collect();
    assert!(expected.len() > 15 && expected.iter().filter(|is_real| **is_real).count() == 1);
    let node = format!(
        "{}\nfor (const line of require('node:fs').readFileSync(0, 'utf8').trim().split('\\n')) {{\n\
         const {{ headers, body, secret }} = JSON.parse(line);\n\
         console.log(isFromMenshen(headers, Buffer.from(body), secret));\n}}\n",
        snippet("js")
    );
    assert_eq!(verdicts("node", &["-e", &node], &messages), expected);
    // Names of headers are found in any case there, as in Django.
    let python = format!(
        "{}\nimport json, sys\nfrom email.message import Message\nfor line in sys.stdin:\n    said = json.loads(line)\n    \
         headers = Message()\n    for name, value in said['headers'].items():\n        headers[name] = value\n    \
         print(str(is_from_menshen(headers, said['body'].encode(), said['secret'].encode())).lower())\n",
        snippet("python")
    );
    assert_eq!(
        verdicts("python3", &["-B", "-c", &python], &messages),
        expected
    );
}
