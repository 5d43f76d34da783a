//! Whatever bytes a client sends: what goes on has one reading, an identity comes from the token alone, and what comes without one
//! is on an open path.
//!
//! Input: the bytes of a connection; `{T}` in them stands for a good token.

use std::net::IpAddr;

use menshen::{
    config::Access,
    error::ErrorCode,
    gate::{Extent, Passage, Verdict},
    policy::Body,
};

use super::{
    readers::{self, Length},
    world::{self, GATE, NOW, TOKEN},
};

const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let bytes = with_token(data);
    match GATE.decide(&bytes, PEER, NOW) {
        Verdict::Incomplete => {}
        Verdict::Refuse(refused) => {
            assert_ne!(refused.code, ErrorCode::Internal);
            if let Some(extent) = &refused.framing {
                one_length(&bytes, extent);
            }
        }
        Verdict::AuthApi(passage) => {
            assert!(passage.path() == "/auth" || passage.path().starts_with("/auth/"), "{}", passage.path());
            assert!(passage.identity.is_none(), "the auth API reads tokens itself");
            one_length(&bytes, &passage.extent);
            one_reading(&bytes, &passage);
        }
        Verdict::Forward(passage) => {
            one_length(&bytes, &passage.extent);
            one_reading(&bytes, &passage);
            identity_of_the_token(&bytes, &passage);
        }
        Verdict::Preflight(_) | Verdict::Verified(_) => panic!("neither CORS nor forward-auth is configured"),
    }
}

/// `{T}` filled in, a few times at most.
fn with_token(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + TOKEN.len());
    let mut rest = data;
    for _ in 0..3 {
        let Some(at) = rest.windows(3).position(|window| window == b"{T}") else { break };
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(TOKEN.as_bytes());
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    out
}

/// Every kind of reader finds the end of the message where the gate does, whatever has arrived with it or not yet.
fn one_length(bytes: &[u8], extent: &Extent) {
    let head = &bytes[..extent.head];
    assert!(head.ends_with(b"\r\n\r\n"));
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(head[at - 1], b'\r', "a bare LF"),
            b'\r' => assert_eq!(head[at + 1], b'\n', "a bare CR"),
            _ => assert!(*byte != 0, "a NUL"),
        }
    }
    let ours = match extent.body {
        Body::None => Length::Bytes(0),
        Body::Length(length) => Length::Bytes(length.into()),
        Body::Chunked => Length::Chunked,
    };
    for end in [&b"\r\n"[..], b"\n"] {
        let (_, fields) = readers::lines(head, end);
        for (last, coding_wins) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(readers::length(&fields, false, last, coding_wins), ours, "{:?}", head.escape_ascii().to_string());
        }
    }
    // A head is one whether the rest has come or not, and none before it is whole.
    let verdict = GATE.decide(&bytes[..extent.head - 1], PEER, NOW);
    assert!(matches!(verdict, Verdict::Incomplete), "a head without its end: {verdict:?}");
    let alone = GATE.decide(head, PEER, NOW);
    assert_eq!(alone.head_length(), Some(extent.head));
}

/// What is sent on is part of what came, and reads the same with names folded.
fn one_reading(bytes: &[u8], passage: &Passage) {
    let (line, fields) = readers::lines(&bytes[..passage.extent.head], b"\r\n");
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    assert_eq!(words.len(), 3, "{:?}", line.escape_ascii().to_string());
    assert_eq!(words[0], passage.method.as_str().as_bytes());
    assert_eq!(words[1], passage.target.as_bytes(), "the target is sent on as it is");
    let path = passage.path().as_bytes();
    assert!(readers::READINGS.iter().all(|reading| reading(path) == path), "{:?}", passage.path());

    let kept: Vec<(&[u8], &[u8])> = passage.kept.iter().map(|field| (&bytes[field.name()], &bytes[field.value()])).collect();
    let mut sent = fields.iter();
    for (name, value) in &kept {
        assert!(sent.any(|(n, v)| n == name && v == value), "{:?} was not sent", name.escape_ascii().to_string());
        let folded = readers::fold(name);
        let foreign =
            [&b"X_USER_"[..], b"X_AUTH_", b"X_SESSION_", b"X_CLIENT_", b"X_FORWARDED_", b"X_MENSHEN_", b"X_REAL_IP"];
        assert!(!foreign.iter().any(|prefix| folded.starts_with(prefix)), "{:?}", name.escape_ascii().to_string());
        for once in [&b"HOST"[..], b"CONTENT_LENGTH", b"TRANSFER_ENCODING", b"AUTHORIZATION", b"CONTENT_TYPE"] {
            let count = kept.iter().filter(|(other, _)| readers::fold(other) == once).count();
            assert!(count <= 1, "{} goes on {count} times", once.escape_ascii());
        }
    }
    // A server that folds names reads the same length from what is kept.
    let own = readers::length(&kept, false, false, true);
    for (last, coding_wins) in [(false, false), (false, true), (true, false), (true, true)] {
        assert_eq!(readers::length(&kept, true, last, coding_wins), own);
    }
}

/// Who is named is whom the one token names; who is not named is on an open path.
fn identity_of_the_token(bytes: &[u8], passage: &Passage) {
    let (_, fields) = readers::lines(&bytes[..passage.extent.head], b"\r\n");
    let credentials: Vec<&[u8]> =
        fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"authorization")).map(|(_, value)| *value).collect();
    let path = passage.path().as_bytes();
    let access = world::expected(path, passage.method.as_str());
    assert_ne!(access, Access::Deny);
    match &passage.identity {
        Some(identity) => {
            assert_eq!(identity.claims.sub().as_str(), "42");
            let [credential] = credentials[..] else { panic!("{} credentials", credentials.len()) };
            assert!(credential.ends_with(TOKEN.as_bytes()), "an identity without its token");
            assert_eq!(access, Access::Required, "a token has no say on an open path");
        }
        None => assert_eq!(access, Access::Public, "{:?} passes without a token", passage.path()),
    }
}
