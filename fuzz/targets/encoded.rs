//! A path with delimiters encoded passes only where one rule allows it, and that rule is the one of
//! the path as sent, decoded once and decoded twice; none of the three has a segment that leads
//! elsewhere.
//!
//! Input: a request target.

use std::net::IpAddr;

use menshen::{
    gate::{AdmittedRequest, Decision},
    policy::path,
};

use super::{
    readers::{self, Reading},
    world::{self, GATE, NOW},
};

const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    if data.is_empty() || data.iter().any(|byte| matches!(byte, b' ' | b'\r' | b'\n')) {
        return;
    }
    for method in ["GET", "HEAD", "POST"] {
        let head = [
            method.as_bytes(),
            b" ",
            data,
            b" HTTP/1.1\r\nHost: a\r\n\r\n",
        ]
        .concat();
        match GATE.decide_http1(&head, PEER, NOW) {
            Some(Decision::Forward(request)) => one_rule(data, method, &request),
            Some(Decision::AuthApi(request)) => {
                assert!(
                    path::check(&request.forward.target).is_ok(),
                    "menshen's own paths are plain"
                )
            }
            None | Some(Decision::Reject(_)) => {}
            Some(Decision::Preflight(_) | Decision::AllowForwardAuth(_)) => {
                panic!("neither CORS nor forward-auth is configured")
            }
        }
    }
}

fn one_rule(sent: &[u8], method: &str, request: &AdmittedRequest) {
    assert_eq!(
        request.forward.target.as_bytes(),
        sent,
        "it is sent on as it is"
    );
    let said = sent.escape_ascii();
    let raw = request.path().as_bytes();
    let once = readers::decode(raw);
    let twice = readers::decode(&once);
    assert_eq!(
        readers::decode(&twice),
        twice,
        "{said} can be decoded more than twice"
    );
    let rule = world::rule(raw, method);
    for path in [raw, &once, &twice] {
        assert_eq!(
            world::rule(path, method),
            rule,
            "{said} comes to another rule"
        );
        assert!(
            !path.starts_with(b"/auth/") && path != b"/auth",
            "{said} hides a path of menshen's own"
        );
        let text = std::str::from_utf8(path).expect("UTF-8");
        assert!(!text.contains(char::is_control), "{said}");
        let plain: [Reading; 4] = [
            readers::unslash,
            readers::strip_parameters,
            readers::merge_slashes,
            readers::remove_dots,
        ];
        for reading in plain {
            assert_eq!(reading(path), path, "{said}");
        }
        assert!(
            !path.iter().any(|byte| matches!(byte, b'?' | b'#')),
            "{said} ends early"
        );
        assert_eq!(
            readers::names(&readers::cut_names(path)),
            readers::names(path),
            "{said} has a name of dots and blanks"
        );
    }
    if path::check(&request.forward.target).is_err() {
        assert_eq!(rule, "files", "{said} is allowed nowhere");
    }
}
