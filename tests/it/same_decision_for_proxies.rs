//! The decision that a proxy is told about a request is the one that the gate itself would take.
//!
//! Each difference between an answer to a proxy and a request that is forwarded is named below,
//! once.

use super::{
    decided_requests::{Row, Sent::Nothing, table},
    same_decision::{Outcome, Version, World, difference},
};

/// How a proxy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proxy {
    Nginx,
    Traefik,
    Envoy,
}

impl Proxy {
    const fn dialect(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Traefik => "traefik",
            Self::Envoy => "envoy",
        }
    }

    /// The question about a row, without its body, as these proxies send it: their own fields
    /// replace the client's.
    fn question(self, row: &Row) -> Row {
        let own: &[(&'static str, &str)] = match self {
            Self::Nginx => &[
                ("X-Original-Method", row.method),
                ("X-Original-URI", &row.target),
            ],
            Self::Traefik => &[
                ("X-Forwarded-Method", row.method),
                ("X-Forwarded-Uri", &row.target),
            ],
            Self::Envoy => &[],
        };
        let kept = row
            .fields
            .iter()
            .filter(|(name, _)| own.iter().all(|(own, _)| !own.eq_ignore_ascii_case(name)));
        // What is of the client's own hop stays there.
        let kept = kept
            .filter(|(name, _)| !["TE", "Expect"].contains(name))
            .cloned();
        let fields = own
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .chain(kept)
            .collect();
        let (method, target) = match self {
            Self::Nginx | Self::Traefik => ("GET", "/auth/verify".to_owned()),
            Self::Envoy => (row.method, format!("/auth/verify{}", row.target)),
        };
        Row {
            method,
            target,
            fields,
            sent: Nothing,
        }
    }
}

/// Whether a proxy would come to ask about a row: **what is no request of HTTP it refuses itself,
/// or its question is none either; what menshen answers itself is sent here unasked; and what has
/// to fit into a question with it has less room there.**
fn can_be_asked(proxy: Proxy, row: &Row, direct: &Outcome) -> bool {
    let unreadable = match direct.error() {
        Some("request_malformed") => direct.logged["rule"] == "none",
        // Envoy asks with the method itself.
        Some("method_not_allowed") => proxy == Proxy::Envoy,
        _ => false,
    };
    let limited = row.fields.len() > 80 || row.target.len() > 8000;
    let own = ["auth", "preflight"].contains(&direct.decision());
    !unreadable && !limited && !own && row.target.starts_with('/')
}

/// What a row comes to where a proxy asks, given what it comes to where the gate itself forwards.
fn assert_same_answer(proxy: Proxy, row: &Row, direct: &Outcome, asked: &Outcome) {
    let name = format!("{proxy:?}: {row:?}\n{direct:?}\n{asked:?}");
    assert!(asked.forwarded.is_none(), "{name}");
    // **An answer to a proxy has no body**, and nginx takes a status other than 401 and 403 for a
    // failure.
    assert_eq!(asked.body, "", "{name}");
    // **A path that could be read in two ways is refused to a proxy also where everything reports**
    // (decision record 0016).
    let ambiguous = direct
        .logged
        .get("would_refuse")
        .is_some_and(|code| code == "path_ambiguous");
    if ambiguous {
        assert_eq!(
            (asked.status, asked.error()),
            (403, Some("path_ambiguous")),
            "{name}"
        );
        return;
    }
    if direct.decision() == "forwarded" {
        assert_eq!(
            (asked.status, asked.decision()),
            (200, "verified"),
            "{name}"
        );
        let (_, got, _) = direct.forwarded.as_ref().expect("forwarded");
        for field in [
            "x-user-id",
            "x-user-type",
            "x-session-id",
            "x-client-type",
            "x-auth-state",
        ] {
            // **A proxy forwards what the client sent**, so where the gate itself would let a
            // client's own field pass because it only reports, there is nothing to say.
            assert_eq!(got.get(field), asked.fields.get(field), "{field} {name}");
        }
    } else {
        let status = if direct.status == 401 { 401 } else { 403 };
        assert_eq!(
            (asked.status, asked.decision()),
            (status, "refused"),
            "{name}"
        );
        assert_eq!(direct.error(), asked.error(), "{name}");
        assert_eq!(asked.fields.get("x-user-id"), None, "{name}");
        if status == 401 {
            assert_eq!(
                direct.fields.get("www-authenticate"),
                asked.fields.get("www-authenticate"),
                "{name}"
            );
        }
    }
    // **A question that is refused before any rule was asked** is logged as the question that it
    // is.
    let asked_about: &[_] = if direct.logged["rule"] == "none" {
        &[]
    } else {
        &["path", "method"]
    };
    for key in ["rule", "error", "would_refuse", "user"]
        .iter()
        .chain(asked_about)
    {
        let key = *key;
        assert_eq!(
            direct.logged.get(key),
            asked.logged.get(key),
            "{key} {name}"
        );
    }
}

/// **A proxy that asks may have kept to itself where a request is from**, so a cookie of a page
/// that does not say so counts for less.
fn counts_for_less(row: &Row) -> bool {
    let has = |wanted: &str| row.fields.iter().any(|(name, _)| *name == wanted);
    row.method == "POST" && has("Cookie") && !has("Origin") && !has("Sec-Fetch-Site")
}

/// Each row directly and by the question of this proxy, whether the gate refuses or only reports.
fn is_decided_the_same_for(proxy: Proxy) {
    for (gate, least) in [("", 75), ("[gate]\nreport_only = true", 60)] {
        // Identity fields of clients are the proxy's to remove, which these promise.
        let config = format!(
            "{gate}\n[forward_auth]\nenabled = true\ndialect = \"{}\"\ntrusted_callers = [\"127.0.0.1/32\"]\n\
                 forged_headers = \"ignore\"",
            proxy.dialect()
        );
        let world = World::start(&config, "");
        let mut compared = 0;
        for row in table() {
            let row = world.fill(&row);
            let direct = world.send_over_http1(&row);
            if !can_be_asked(proxy, &row, &direct) {
                continue;
            }
            let question = proxy.question(&row);
            let asked = world.send_over_http1(&question);
            let over_http2 = world.send(&question, Version::Http2).expect("an answer");
            let parts = difference(&asked, &over_http2);
            assert!(
                parts.is_none(),
                "HTTP/1.1 on the left, HTTP/2 on the right: {question:?}: {parts:?}"
            );
            compared += 1;
            if counts_for_less(&row) {
                assert_eq!(
                    gate.is_empty(),
                    asked.status == 403,
                    "{question:?}: {asked:?}"
                );
                continue;
            }
            assert_same_answer(proxy, &row, &direct, &asked);
        }
        assert!(compared >= least, "{proxy:?}: only {compared}");
    }
}

#[test]
fn a_request_is_decided_the_same_where_nginx_asks() {
    is_decided_the_same_for(Proxy::Nginx);
}

#[test]
fn a_request_is_decided_the_same_where_traefik_asks() {
    is_decided_the_same_for(Proxy::Traefik);
}

#[test]
fn a_request_is_decided_the_same_where_envoy_asks() {
    is_decided_the_same_for(Proxy::Envoy);
}
