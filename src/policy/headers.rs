//! Header names that a client may not send, because only menshen or a proxy in front sets them.
//!
//! The backend trusts these headers, so a client that can set one can be any user. Backends fold
//! names (`X_User_Id`, `x.user.id` and `X-User-Id` are the same to WSGI, CGI and PHP), so reserved
//! names are compared folded, and other names with such characters do not pass at all.
//!
//! Must stay true: every header of every request gets a verdict, on public routes too, before
//! menshen sets its own; the verdict does not depend on `Connection`; there is one folding
//! function. A verdict allocates nothing.

mod common;
mod names;
mod verdict;

use std::collections::HashSet;

use http::HeaderName;

use super::{ConfigProblems, head::Head};
use crate::config::{Config, IdentityConfig, UpstreamAuthorization};
use common::CommonNames;
use names::{NameKind, STANDARD};

pub use verdict::{DropReason, HeaderVerdict};

/// Set on every request to the backend: `authenticated` or `anonymous`.
pub const AUTH_STATE: &str = "X-Auth-State";
/// The same as a name.
pub const AUTH_STATE_NAME: HeaderName = HeaderName::from_static("x-auth-state");
/// A signed assertion for the backend, which only menshen sets.
pub const AUTH_ASSERTION: &str = "X-Auth-Assertion";
/// The same as a name.
pub const AUTH_ASSERTION_NAME: HeaderName = HeaderName::from_static("x-auth-assertion");
/// Marks an error response of menshen. A backend cannot set it.
pub const ERROR_HEADER: &str = "X-Menshen-Error";
/// The same as a name.
pub const X_MENSHEN_ERROR: HeaderName = HeaderName::from_static("x-menshen-error");
/// The request id, in requests to the backend, in responses and in the logs.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Folds one byte of a name: to lower case, and to `-` unless it is a letter or digit. The one
/// folding function.
pub const fn fold_byte(byte: u8) -> u8 {
    FOLDED[byte as usize]
}

/// Lookup table of the folding function, which runs on each byte of each header name.
const FOLDED: [u8; 256] = {
    let mut table = [b'-'; 256];
    let mut byte = 0;
    while byte < 128_u8 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// A folded name.
pub fn fold(name: &str) -> String {
    name.bytes()
        .map(|byte| char::from(fold_byte(byte)))
        .collect()
}

/// The verdicts on header names, compiled from the config.
#[derive(Debug, Clone)]
pub struct HeaderPolicy {
    /// Folded names with a verdict of their own, by length.
    by_length: Vec<Vec<(Box<[u8]>, HeaderVerdict)>>,
    /// Folded prefixes that decide.
    prefixes: Vec<(Box<[u8]>, DropReason)>,
    /// The first and the third letters of the prefixes, which exclude nearly all other names.
    prefix_letters: [Letters; 2],
    /// Names with odd characters that pass in this spelling alone, in lower case.
    allowed: Vec<Box<str>>,
    /// Names of token headers, in lower case. Another spelling of one is no credential.
    token_headers: Vec<Box<str>>,
    /// The verdicts on the most frequent names.
    common: CommonNames,
}

impl HeaderPolicy {
    /// Compiles the policy, or reports everything that is wrong.
    pub fn compile(config: &Config) -> Result<Self, ConfigProblems> {
        let (allow_headers, identity) = (&config.server.allow_headers, &config.identity);
        let mut problems = check_names(config);
        let mut policy = Self::build(config);
        let mut token_headers: Vec<&str> = Vec::new();
        for (key, name) in config.token_headers() {
            let message = policy
                .token_header_problem(name, identity)
                .or_else(|| same_folded(name, &token_headers));
            if let Some(message) = message {
                problems.push((key, format!("{name:?} {message}")));
                continue;
            }
            token_headers.push(name);
        }
        for name in token_headers {
            policy.token_headers.push(name.to_ascii_lowercase().into());
            policy.add_name(name, HeaderVerdict::Drop(DropReason::Credential));
        }
        for entry in allow_headers {
            if let Some(message) = policy.allow_problem(entry, identity) {
                let message = format!("{entry:?} {message}");
                problems.push(("server.allow_headers".to_owned(), message));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let names = allow_headers.iter();
        policy.allowed = names
            .map(|entry| entry.to_ascii_lowercase().into_boxed_str())
            .collect();
        let common = CommonNames::new(|name| policy.plain_verdict(name));
        Ok(Self { common, ..policy })
    }

    /// The verdict on a header of the client. A token header is dropped as a credential in its
    /// configured spelling, in any case, and as an odd name in every other spelling: no backend
    /// takes another token than the gate. Only the gate knows the path, and so whether a backend
    /// that gets tokens gets this one.
    pub fn verdict(&self, name: &str) -> HeaderVerdict {
        if let Some(verdict) = self.common.get(name) {
            return verdict;
        }
        if name.bytes().fold(false, |odd, byte| odd | !is_plain(byte)) {
            return self.odd_verdict(name);
        }
        self.plain_verdict(name)
    }

    /// The verdict in report-only mode: a header passes, as it would without menshen, with three
    /// exceptions. A backend could take it for a header of menshen; it is for this connection only;
    /// or it is another spelling of a header that frames, routes or names the client.
    ///
    /// A header that gives the backend another path or method passes only if the mode is on
    /// `everywhere`: otherwise it would evade rules that are enforced.
    pub fn report_only_verdict(
        &self,
        name: &str,
        verdict: HeaderVerdict,
        everywhere: bool,
    ) -> HeaderVerdict {
        let HeaderVerdict::Drop(reason) = verdict else {
            return verdict;
        };
        let passes = match reason {
            DropReason::Reserved | DropReason::HopByHop => false,
            DropReason::Override if !everywhere => false,
            DropReason::Credential => true,
            DropReason::ReservedPrefix
            | DropReason::Forwarding
            | DropReason::ClientAddress
            | DropReason::Override
            | DropReason::WechatCloud => name.bytes().all(is_plain) && backend_may_send(name),
            DropReason::OddName => !is_standard(name.as_bytes()),
        };
        if passes { HeaderVerdict::Pass } else { verdict }
    }

    /// The headers that `Connection` names for removal (RFC 9110 section 7.6.1) and that may be
    /// removed: never one that frames or routes the message or may carry a token, and never one of
    /// menshen's, which are not set yet.
    pub fn nominated<'a>(&self, head: &Head<'a>) -> impl Iterator<Item = &'a str> {
        head.values("connection")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .filter_map(|option| str::from_utf8(option.trim_ascii()).ok())
            .filter(|name| {
                !name.is_empty()
                    && self.verdict(name) == HeaderVerdict::Pass
                    && !is_standard(name.as_bytes())
            })
    }

    /// A name with a character that some backend folds: it passes only if it is allowed by name.
    #[cold]
    fn odd_verdict(&self, name: &str) -> HeaderVerdict {
        match self.plain_verdict(name) {
            HeaderVerdict::Drop(reason) => HeaderVerdict::Drop(reason),
            HeaderVerdict::Pass if is_listed(&self.allowed, name) => HeaderVerdict::Pass,
            HeaderVerdict::Pass | HeaderVerdict::Handshake => {
                HeaderVerdict::Drop(DropReason::OddName)
            }
        }
    }

    /// The verdict on the folded name.
    fn plain_verdict(&self, text: &str) -> HeaderVerdict {
        let name = text.as_bytes();
        let Some(&first) = name.first() else {
            return HeaderVerdict::Drop(DropReason::OddName);
        };
        let own = self.by_length.get(name.len()).into_iter().flatten();
        for (folded, verdict) in own {
            if starts_with_folded(name, folded) {
                let is_other_spelling = *verdict == HeaderVerdict::Drop(DropReason::Credential)
                    && !is_listed(&self.token_headers, text);
                return if is_other_spelling {
                    HeaderVerdict::Drop(DropReason::OddName)
                } else {
                    *verdict
                };
            }
        }
        let [in_first, in_third] = &self.prefix_letters;
        if in_first.has(first) && name.get(2).is_none_or(|&third| in_third.has(third)) {
            for (prefix, reason) in &self.prefixes {
                if starts_with_folded(name, prefix) {
                    return HeaderVerdict::Drop(*reason);
                }
            }
        }
        if is_client_address(name) {
            HeaderVerdict::Drop(DropReason::ClientAddress)
        } else {
            HeaderVerdict::Pass
        }
    }

    fn build(config: &Config) -> Self {
        let Config {
            identity, upstream, ..
        } = config;
        let keep_authorization = upstream.authorization == UpstreamAuthorization::Keep;
        let mut policy = Self {
            by_length: Vec::new(),
            prefixes: Vec::new(),
            prefix_letters: [Letters(0); 2],
            allowed: Vec::new(),
            // It has no other spelling.
            token_headers: vec!["authorization".into()],
            common: CommonNames::default(),
        };
        let others = [AUTH_STATE, AUTH_ASSERTION, &upstream.shared_secret_header];
        let names = identity.headers.keys().map(String::as_str);
        for name in names.chain(others).chain(mint_header(config)) {
            policy.add_name(name, HeaderVerdict::Drop(DropReason::Reserved));
        }
        for prefix in &identity.reserved_prefixes {
            policy.add_prefix(prefix, DropReason::ReservedPrefix);
        }
        for (name, kind) in names::BUILT_IN {
            let verdict = match kind {
                NameKind::Forwarding => HeaderVerdict::Drop(DropReason::Forwarding),
                NameKind::ClientAddress => HeaderVerdict::Drop(DropReason::ClientAddress),
                NameKind::Override => HeaderVerdict::Drop(DropReason::Override),
                NameKind::HopByHop => HeaderVerdict::Drop(DropReason::HopByHop),
                NameKind::Handshake => HeaderVerdict::Handshake,
                NameKind::Credential if keep_authorization => HeaderVerdict::Pass,
                NameKind::Credential => HeaderVerdict::Drop(DropReason::Credential),
            };
            policy.add_name(name, verdict);
        }
        for (prefix, reason) in names::BUILT_IN_PREFIXES {
            policy.add_prefix(prefix, reason);
        }
        if !identity.wechat_cloud_headers {
            policy.add_prefix("X-WX-", DropReason::WechatCloud);
        }
        policy
    }

    fn add_name(&mut self, name: &str, verdict: HeaderVerdict) {
        if self.by_length.len() <= name.len() {
            self.by_length.resize(name.len() + 1, Vec::new());
        }
        self.by_length[name.len()].push((fold(name).into_bytes().into(), verdict));
    }

    fn add_prefix(&mut self, prefix: &str, reason: DropReason) {
        let folded = fold(prefix).into_bytes();
        self.prefix_letters[0].add(folded.first());
        self.prefix_letters[1].add(folded.get(2));
        self.prefixes.push((folded.into(), reason));
    }

    /// Why a header cannot carry a token.
    fn token_header_problem(&self, name: &str, identity: &IdentityConfig) -> Option<String> {
        if !is_header_name(name) || name.len() > 64 {
            return Some("is not a header name of 1 to 64 characters".to_owned());
        }
        let verdict = self.plain_verdict(name);
        if verdict == HeaderVerdict::Drop(DropReason::ReservedPrefix) {
            let mut prefixes = identity.reserved_prefixes.iter();
            let prefix = prefixes
                .find(|prefix| starts_with_folded(name.as_bytes(), fold(prefix).as_bytes()))?;
            return Some(format!(
                "is under {prefix:?} of identity.reserved_prefixes, which clients may not send"
            ));
        }
        let has_meaning = verdict != HeaderVerdict::Pass || is_standard(name.as_bytes());
        has_meaning.then(|| "has another meaning, here, in HTTP or to proxies".to_owned())
    }

    /// Why an entry of `server.allow_headers` is invalid.
    fn allow_problem(&self, entry: &str, identity: &IdentityConfig) -> Option<&'static str> {
        if !is_header_name(entry) {
            return Some("is not a header name");
        }
        let vouched =
            identity.wechat_cloud_headers && starts_with_folded(entry.as_bytes(), b"x-wx-");
        if vouched
            || self.plain_verdict(entry) != HeaderVerdict::Pass
            || is_standard(entry.as_bytes())
        {
            return Some("is, to a backend that folds names, a header that clients may not set");
        }
        None
    }
}

/// Whether a header of the backend's response may go to the client. Only menshen marks its own
/// responses.
pub fn backend_may_send(name: impl AsRef<[u8]>) -> bool {
    !starts_with_folded(name.as_ref(), b"x-menshen-")
}

/// Whether a field of the backend's trailers may go to the client: none that frames or routes a
/// message, controls its processing, caching or response, or belongs to a connection (RFC 9110
/// section 6.5.1). A recipient that merges trailers into the head would apply them too late.
pub fn backend_may_trail(name: &str) -> bool {
    let is = |known: &str| {
        name.len() == known.len() && starts_with_folded(name.as_bytes(), known.as_bytes())
    };
    let of_connection = |kind| {
        matches!(
            kind,
            NameKind::HopByHop | NameKind::Handshake | NameKind::Credential
        )
    };
    backend_may_send(name)
        && !is_standard(name.as_bytes())
        && !names::BUILT_IN
            .iter()
            .any(|(known, kind)| of_connection(*kind) && is(known))
        && !names::NOT_IN_TRAILERS.iter().any(|known| is(known))
}

/// The header for minted tokens, if it is not `Authorization`.
fn mint_header(config: &Config) -> Option<&str> {
    let minting = config.upstream.authorization == UpstreamAuthorization::Mint;
    Some(&*config.mint.header).filter(|name| minting && !name.eq_ignore_ascii_case("authorization"))
}

/// Checks the names of the headers that menshen sets.
fn check_names(config: &Config) -> ConfigProblems {
    let Config {
        identity, upstream, ..
    } = config;
    let mut problems = Vec::new();
    let mut seen = HashSet::from([AUTH_STATE, AUTH_ASSERTION, ERROR_HEADER].map(fold));
    let nothing = IdentityConfig {
        headers: std::collections::BTreeMap::new(),
        reserved_prefixes: Vec::new(),
        wechat_cloud_headers: true,
        ..IdentityConfig::default()
    };
    let built_in = HeaderPolicy::build(&Config {
        identity: nothing,
        ..Config::default()
    });
    let has_meaning = |name: &str| {
        let verdict = built_in.verdict(name);
        !matches!(
            verdict,
            HeaderVerdict::Pass | HeaderVerdict::Drop(DropReason::Reserved)
        ) || is_standard(name.as_bytes())
    };
    let secret = upstream.shared_secret_header.as_str();
    let secret = ("upstream.shared_secret_header", secret);
    let minted = mint_header(config).map(|name| ("mint.header", name));
    let names = identity.headers.keys();
    let of_identity = names.map(|name| ("identity.headers", name.as_str()));
    for (key, name) in [secret].into_iter().chain(minted).chain(of_identity) {
        let plain = name.bytes().all(is_plain)
            && name.starts_with(|first: char| first.is_ascii_alphabetic());
        let message = if !plain || name.len() > 64 {
            "must be 1 to 64 letters, digits and '-', and begin with a letter"
        } else if has_meaning(name) {
            "has a meaning of its own in HTTP or to proxies"
        } else if !seen.insert(fold(name)) {
            "is set already, under this name or one that differs in case only"
        } else {
            continue;
        };
        problems.push((key.to_owned(), format!("{name:?} {message}")));
    }
    for prefix in &identity.reserved_prefixes {
        let covers_standard = || {
            STANDARD
                .iter()
                .any(|name| starts_with_folded(name.as_bytes(), fold(prefix).as_bytes()))
        };
        let message = if prefix.is_empty() || !prefix.bytes().all(is_plain) {
            "must be letters, digits and '-'"
        } else if covers_standard() {
            "would drop headers that every request needs"
        } else {
            continue;
        };
        let key = "identity.reserved_prefixes".to_owned();
        problems.push((key, format!("{prefix:?} {message}")));
    }
    problems
}

/// Why a token header cannot be set beside these: a backend that folds names cannot distinguish
/// them.
fn same_folded(name: &str, others: &[&str]) -> Option<String> {
    let mut others = others.iter();
    let other =
        others.find(|other| fold(other) == fold(name) && !other.eq_ignore_ascii_case(name))?;
    Some(format!(
        "and the token header {other:?} are one header to a backend that folds names"
    ))
}

/// Whether a list has this name, in any case.
fn is_listed(names: &[Box<str>], name: &str) -> bool {
    names.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

/// Whether the text is a token (RFC 9110 section 5.6.2).
fn is_header_name(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(token)
}

/// Whether the folded name has a meaning in HTTP itself.
fn is_standard(name: &[u8]) -> bool {
    STANDARD.iter().any(|standard| {
        name.len() == standard.len() && starts_with_folded(name, standard.as_bytes())
    })
}

/// Letters, digits and `-`, which every server reads alike.
const fn is_plain(byte: u8) -> bool {
    fold_byte(byte) != b'-' || byte == b'-'
}

/// Whether a name, folded, starts with a folded prefix.
fn starts_with_folded(name: &[u8], folded: &[u8]) -> bool {
    name.len() >= folded.len()
        && name
            .iter()
            .zip(folded)
            .all(|(&byte, &wanted)| fold_byte(byte) == wanted)
}

/// Whether the name has the ending of a header for a client's address.
fn is_client_address(name: &[u8]) -> bool {
    // The last letter excludes nearly all other names.
    if !matches!(name.last(), Some(b'p' | b'P' | b'r' | b'R')) {
        return false;
    }
    names::CLIENT_ADDRESS_ENDINGS.iter().any(|ending| {
        let start = name.len().checked_sub(ending.len());
        start.is_some_and(|start| {
            starts_with_folded(&name[start..], ending.as_bytes())
                && (start == 0 || fold_byte(name[start - 1]) == b'-')
        })
    })
}

/// A set of letters, one bit each; all other characters share the highest bit.
#[derive(Debug, Clone, Copy)]
struct Letters(u32);

impl Letters {
    /// Adds a letter. `None`, of a prefix that is too short, adds all.
    fn add(&mut self, byte: Option<&u8>) {
        self.0 |= byte.map_or(u32::MAX, |&byte| Self::bit(byte));
    }

    const fn has(self, byte: u8) -> bool {
        self.0 & Self::bit(byte) != 0
    }

    const fn bit(byte: u8) -> u32 {
        match fold_byte(byte) {
            letter @ b'a'..=b'z' => 1 << (letter - b'a'),
            _ => 1 << 31,
        }
    }
}

#[cfg(test)]
mod tests;
