//! Whatever bytes a client sends: what goes on has one reading, an identity comes from the token
//! alone, and what comes without one is on an open path. Over HTTP/2 the same request gets the same
//! decision.
//!
//! Input: the bytes of a connection; `{T}` in them stands for a good token.

use std::net::IpAddr;

use menshen::{
    config::Access,
    error::ErrorCode,
    gate::{AdmittedRequest, Decision, MessageFraming},
    policy::{BodyLength, Http2Head},
};

use super::{
    readers::{self, Length},
    world::{self, GATE, NOW, TOKEN},
};

const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let bytes = with_token(data);
    let decision = GATE.decide_http1(&bytes, PEER, NOW);
    decision
        .iter()
        .for_each(|decision| same_over_http2(&bytes, decision));
    match decision {
        None => {}
        Some(Decision::Reject(refused)) => {
            assert_ne!(refused.code, ErrorCode::Internal);
            if let Some(framing) = &refused.framing {
                one_length(&bytes, framing);
            }
        }
        Some(Decision::AuthApi(request)) => {
            assert!(
                request.path() == "/auth" || request.path().starts_with("/auth/"),
                "{}",
                request.path()
            );
            assert!(
                request.identity.is_none(),
                "the auth API reads tokens itself"
            );
            one_length(&bytes, &request.framing);
            // It gets all that the client sent, and believes no header but the credential.
            one_target(&bytes, &request);
        }
        Some(Decision::Forward(request)) => {
            one_length(&bytes, &request.framing);
            one_target(&bytes, &request);
            one_reading(&bytes, &request);
            identity_of_the_token(&bytes, &request);
        }
        Some(Decision::Preflight(_) | Decision::AllowForwardAuth(_)) => {
            panic!("neither CORS nor forward-auth is configured")
        }
    }
}

/// `{T}` filled in, a few times at most.
fn with_token(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + TOKEN.len());
    let mut rest = data;
    for _ in 0..3 {
        let Some(at) = rest.windows(3).position(|window| window == b"{T}") else {
            break;
        };
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(TOKEN.as_bytes());
        rest = &rest[at + 3..];
    }
    out.extend_from_slice(rest);
    out
}

/// Every kind of reader finds the end of the message where the gate does, whatever has arrived with
/// it or not yet.
fn one_length(bytes: &[u8], framing: &MessageFraming) {
    let head = &bytes[..framing.head_len];
    assert!(head.ends_with(b"\r\n\r\n"));
    for (at, byte) in head.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(head[at - 1], b'\r', "a bare LF"),
            b'\r' => assert_eq!(head[at + 1], b'\n', "a bare CR"),
            _ => assert!(*byte != 0, "a NUL"),
        }
    }
    let ours = match framing.body {
        BodyLength::None => Length::Bytes(0),
        BodyLength::Length(length) => Length::Bytes(length.into()),
        BodyLength::Unknown => Length::Chunked,
    };
    for end in [&b"\r\n"[..], b"\n"] {
        let (_, fields) = readers::lines(head, end);
        for (last, coding_wins) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(
                readers::length(&fields, false, last, coding_wins),
                ours,
                "{:?}",
                head.escape_ascii().to_string()
            );
        }
    }
    // A head is one whether the rest has come or not, and none before it is whole.
    let decision = GATE.decide_http1(&bytes[..framing.head_len - 1], PEER, NOW);
    assert!(decision.is_none(), "a head without its end: {decision:?}");
    let alone = GATE.decide_http1(head, PEER, NOW);
    assert_eq!(
        alone.as_ref().and_then(Decision::head_len),
        Some(framing.head_len)
    );
}

/// The same request over HTTP/2 gets the same decision, and the backend gets the same of it.
fn same_over_http2(bytes: &[u8], decision: &Decision) {
    let Some((head, framing)) = decision
        .framing()
        .map(|framing| (&bytes[..framing.head_len], framing))
    else {
        return;
    };
    let Some(request) = as_http2(head) else {
        return;
    };
    let ends_stream = matches!(framing.body, BodyLength::None | BodyLength::Length(0));
    let copied = Http2Head::new(&request, ends_stream).expect("a well-formed request");
    match (decision, &GATE.decide_http2(&copied, PEER, NOW)) {
        (Decision::Reject(one), Decision::Reject(two)) => {
            assert_eq!(
                (one.code, one.rule, &one.path),
                (two.code, two.rule, &two.path)
            );
        }
        (Decision::AuthApi(one), Decision::AuthApi(two))
        | (Decision::Forward(one), Decision::Forward(two)) => {
            assert_eq!(forwarded(bytes, one), forwarded(copied.bytes(), two));
        }
        (one, two) => panic!("{one:?} over HTTP/1.1, {two:?} over HTTP/2"),
    }
}

/// A head of HTTP/1.1 as HTTP/2 has it; `None`: HTTP/2 cannot say it, or says it otherwise.
fn as_http2(head: &[u8]) -> Option<http::request::Parts> {
    let (line, fields) = readers::lines(head, b"\r\n");
    let [method, target, b"HTTP/1.1"] = line.split(|&byte| byte == b' ').collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let of_connection = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "te",
        "expect",
    ];
    let is = |name: &[u8], known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    if fields.len() > 90
        || fields
            .iter()
            .any(|(name, _)| of_connection.iter().any(|known| is(name, known)))
    {
        return None;
    }
    let host = fields
        .iter()
        .find(|(name, _)| is(name, "host"))
        .map(|(_, value)| *value)?;
    let uri = http::Uri::builder()
        .scheme("http")
        .authority(host)
        .path_and_query(target)
        .build()
        .ok()?;
    if uri.path_and_query()?.as_str().as_bytes() != target
        || uri.authority()?.as_str().as_bytes() != host
    {
        return None;
    }
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri)
        .body(())
        .ok()?
        .into_parts()
        .0;
    for (name, value) in fields
        .iter()
        .filter(|(name, _)| !is(name, "host") && !is(name, "transfer-encoding"))
    {
        request.headers.append(
            http::HeaderName::from_bytes(name).ok()?,
            http::HeaderValue::from_bytes(value).ok()?,
        );
    }
    Some(request)
}

/// What the backend gets of a request.
#[derive(Debug, PartialEq, Eq)]
struct Forwarded {
    target: String,
    user: Option<String>,
    cookies: Vec<Vec<u8>>,
    /// In an order of their own.
    fields: Vec<(String, Vec<u8>)>,
}

fn forwarded(bytes: &[u8], request: &AdmittedRequest) -> Forwarded {
    let fields = request.forward.forwarded_headers.iter();
    let fields = fields.map(|range| {
        (
            String::from_utf8_lossy(&bytes[range.name()]).to_lowercase(),
            bytes[range.value()].to_vec(),
        )
    });
    let (cookies, mut fields): (Vec<_>, Vec<_>) = fields.partition(|(name, _)| name == "cookie");
    fields.retain(|(name, _)| name != "transfer-encoding");
    fields.sort();
    let cookies = cookies.iter().map(|(_, value)| &value[..]);
    let cookies = cookies.chain(
        request
            .forward
            .cookie
            .as_ref()
            .map(http::HeaderValue::as_bytes),
    );
    Forwarded {
        target: request.forward.target.clone(),
        user: request
            .identity
            .as_ref()
            .map(|identity| identity.claims.sub().as_str().to_owned()),
        cookies: cookies
            .flat_map(crumbs)
            .filter(|crumb| !crumb.is_empty())
            .map(<[u8]>::to_vec)
            .collect(),
        fields,
    }
}

/// Method and target are sent on as they came, but for tokens, and every reader finds the same
/// path.
fn one_target(bytes: &[u8], request: &AdmittedRequest) {
    let (line, _) = readers::lines(&bytes[..request.framing.head_len], b"\r\n");
    let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    assert_eq!(words.len(), 3, "{:?}", line.escape_ascii().to_string());
    assert_eq!(words[0], request.forward.method.as_str().as_bytes());
    let path = request.path().as_bytes();
    if words[1] == request.forward.target.as_bytes() {
        assert!(
            !in_api(path) || tokens_in_query(words[1]).is_empty() || !request.forward.websocket,
            "a token goes on"
        );
    } else {
        assert!(
            request.forward.websocket && in_api(path),
            "the target is sent on as it is"
        );
        let without: Vec<_> = parameters(words[1])
            .filter(|pair| !pair.starts_with(b"access_token="))
            .collect();
        assert_eq!(
            parameters(request.forward.target.as_bytes())
                .collect::<Vec<_>>()
                .join(&b'&'),
            without.join(&b'&')
        );
        assert!(words[1].starts_with(path) && words[1].get(path.len()) == Some(&b'?'));
    }
    assert!(
        readers::READINGS
            .iter()
            .all(|reading| reading(path) == path),
        "{:?}",
        request.path()
    );
}

/// What is sent on is part of what came, and reads the same with names folded.
fn one_reading(bytes: &[u8], request: &AdmittedRequest) {
    let (_, fields) = readers::lines(&bytes[..request.framing.head_len], b"\r\n");
    let kept: Vec<(&[u8], &[u8])> = request
        .forward
        .forwarded_headers
        .iter()
        .map(|field| (&bytes[field.name()], &bytes[field.value()]))
        .collect();
    let mut sent = fields.iter();
    let cookies = kept
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"))
        .map(|(_, value)| *value);
    let cookies = cookies.chain(
        request
            .forward
            .cookie
            .as_ref()
            .map(http::HeaderValue::as_bytes),
    );
    assert!(
        cookies
            .flat_map(crumbs)
            .all(|crumb| !crumb.starts_with(b"at=")),
        "the cookie of a token goes on"
    );
    for (name, value) in &kept {
        assert!(
            sent.any(|(n, v)| n == name && v == value),
            "{:?} was not sent",
            name.escape_ascii().to_string()
        );
        let folded = readers::fold(name);
        let foreign = [
            &b"X_USER_"[..],
            b"X_AUTH_",
            b"X_SESSION_",
            b"X_CLIENT_",
            b"X_FORWARDED_",
            b"X_MENSHEN_",
            b"X_REAL_IP",
        ];
        assert!(
            !foreign.iter().any(|prefix| folded.starts_with(prefix)),
            "{:?}",
            name.escape_ascii().to_string()
        );
        for once in [
            &b"HOST"[..],
            b"CONTENT_LENGTH",
            b"TRANSFER_ENCODING",
            b"AUTHORIZATION",
            b"CONTENT_TYPE",
        ] {
            let count = kept
                .iter()
                .filter(|(other, _)| readers::fold(other) == once)
                .count();
            assert!(count <= 1, "{} goes on {count} times", once.escape_ascii());
        }
    }
    // A server that folds names reads the same length from what is kept.
    let own = readers::length(&kept, false, false, true);
    for (last, coding_wins) in [(false, false), (false, true), (true, false), (true, true)] {
        assert_eq!(readers::length(&kept, true, last, coding_wins), own);
    }
}

/// Whether the rule decides that takes tokens from cookies and queries.
fn in_api(path: &[u8]) -> bool {
    path.strip_prefix(b"/api")
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn crumbs(cookie: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookie.split(|&byte| byte == b';').map(<[u8]>::trim_ascii)
}

fn parameters(target: &[u8]) -> impl Iterator<Item = &[u8]> {
    let query = target
        .iter()
        .position(|&byte| byte == b'?')
        .map_or(&b""[..], |at| &target[at + 1..]);
    query.split(|&byte| byte == b'&')
}

fn tokens_in_query(target: &[u8]) -> Vec<&[u8]> {
    parameters(target)
        .filter_map(|pair| pair.strip_prefix(b"access_token="))
        .collect()
}

/// Who is named is whom the one token names; who is not named is on an open path.
fn identity_of_the_token(bytes: &[u8], request: &AdmittedRequest) {
    let (line, fields) = readers::lines(&bytes[..request.framing.head_len], b"\r\n");
    let named = |wanted: &'static [u8]| {
        fields
            .iter()
            .filter(move |(name, _)| name.eq_ignore_ascii_case(wanted))
    };
    // An empty field is none.
    let mut credentials: Vec<&[u8]> = named(b"authorization")
        .map(|(_, value)| *value)
        .filter(|value| !value.is_empty())
        .collect();
    let path = request.path().as_bytes();
    if in_api(path) {
        let cookies = named(b"cookie").flat_map(|(_, value)| crumbs(value));
        credentials.extend(
            cookies
                .filter_map(|crumb| crumb.strip_prefix(b"at="))
                .filter(|value| !value.is_empty()),
        );
    }
    if in_api(path) && request.forward.websocket {
        credentials.extend(tokens_in_query(
            line.split(|&byte| byte == b' ').nth(1).unwrap_or_default(),
        ));
    }
    let access = world::expected(path, request.forward.method.as_str());
    assert_ne!(access, Access::Deny);
    match &request.identity {
        Some(identity) => {
            assert_eq!(identity.claims.sub().as_str(), "42");
            let [credential] = credentials[..] else {
                panic!("{} credentials", credentials.len())
            };
            assert!(
                credential.ends_with(TOKEN.as_bytes()),
                "an identity without its token"
            );
            assert_eq!(
                access,
                Access::Required,
                "a token has no say on an open path"
            );
        }
        None => assert_eq!(
            access,
            Access::Public,
            "{:?} passes without a token",
            request.path()
        ),
    }
}
