//! The other issuers, and whose a token is.
//!
//! Must stay true: a token that names an issuer is that issuer's alone, and ours only with our own
//! `iss`; one that names nobody is checked by those issuers only whose tokens name nobody, and each
//! looks with its own keys.

use std::sync::Arc;

use serde::de::MapAccess;

use super::{
    AcceptedToken, KeyHealth, TokenError, TrustedIssuer,
    jws::{CompactJws, decode},
    strict_json::{self, Member, ObjectReader, Text, read_once},
};
use crate::{config::Config, metrics::Metrics, types::Timestamp};

/// Everybody else whose tokens are accepted, in the order of the config.
#[derive(Debug, Default)]
pub struct TrustedIssuers(Vec<Arc<TrustedIssuer>>);

/// Whose a token claims to be; nothing of it has been checked.
#[derive(Debug)]
pub enum IssuerMatch<'a> {
    Own,
    Candidates(IssuerCandidates<'a>),
    /// Nobody's whom we know.
    NoIssuer(TokenError),
}

/// Who may have issued a token: one, or all whose tokens name nobody.
#[derive(Debug)]
pub struct IssuerCandidates<'a> {
    first: &'a Arc<TrustedIssuer>,
    rest: Vec<&'a Arc<TrustedIssuer>>,
}

impl TrustedIssuers {
    /// Compiles `[[issuer]]`; reads key files, opens no socket. Every problem comes with its key.
    /// `custom_claims`: claims that are asked for.
    pub fn compile(
        config: &Config,
        custom_claims: &Arc<[Arc<str>]>,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut issuers = Vec::with_capacity(config.issuer.len());
        let mut problems = Vec::new();
        for (index, issuer) in config.issuer.iter().enumerate() {
            match TrustedIssuer::compile(issuer, &config.tokens, custom_claims.clone()) {
                Ok(issuer) => issuers.push(Arc::new(issuer)),
                Err((key, message)) => problems.push((format!("issuer[{index}].{key}"), message)),
            }
        }
        if problems.is_empty() {
            Ok(Self(issuers))
        } else {
            Err(problems)
        }
    }

    /// Whether both have the same issuers with keys from the same places.
    pub fn have_same_key_sources(&self, other: &Self) -> bool {
        let pairs = || self.0.iter().zip(&other.0);
        self.0.len() == other.0.len()
            && pairs().all(|(one, other)| one.keys.has_same_source(&other.keys))
    }

    /// The same issuers with the keys that were there before, where both follow the same ones: a
    /// new config is no reason to be without keys.
    #[must_use]
    pub fn with_keys_from(mut self, before: &Self) -> Self {
        for issuer in &mut self.0 {
            if let Some(known) = before
                .0
                .iter()
                .find(|known| known.keys.has_same_source(&issuer.keys))
                && let Some(issuer) = Arc::get_mut(issuer)
            {
                issuer.keys = known.keys.clone();
            }
        }
        self
    }

    /// Starts to follow the keys of each, in a task of its own, which ends when nobody has them any
    /// more.
    pub fn follow(&self, metrics: &Metrics) {
        for issuer in &self.0 {
            issuer.follow(metrics);
        }
    }

    /// Waits until the keys of each have been had, or could not be had, for the first time.
    pub async fn first_attempt(&self) {
        for issuer in &self.0 {
            issuer.keys.first_attempt().await;
        }
    }

    /// Each with the state of its keys.
    pub fn health(&self) -> impl Iterator<Item = (&str, KeyHealth)> {
        self.0.iter().map(|issuer| (&*issuer.name, issuer.health()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.0.iter()
    }

    /// Whose this token claims to be, where `ours` is the `iss` of our own.
    pub fn match_issuer(&self, token: &str, ours: &str) -> IssuerMatch<'_> {
        if self.0.is_empty() {
            return IssuerMatch::Own;
        }
        let iss = match iss(token) {
            Ok(iss) => iss,
            Err(error) => return IssuerMatch::NoIssuer(error),
        };
        if iss.as_deref() == Some(ours) {
            return IssuerMatch::Own;
        }
        let mut theirs = self.0.iter().filter(|issuer| issuer.iss == iss);
        match theirs.next() {
            None => IssuerMatch::NoIssuer(TokenError::IssuerOrAudience),
            Some(first) => IssuerMatch::Candidates(IssuerCandidates {
                first,
                rest: theirs.collect(),
            }),
        }
    }
}

/// What one of them says of a token.
type FromIssuer<'a, T> = (&'a Arc<TrustedIssuer>, T);

impl<'a> IssuerCandidates<'a> {
    /// Asks each in turn; the first whose token it is answers. Where it is nobody's, the refusal
    /// that says most.
    pub fn verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<FromIssuer<'a, AcceptedToken>, FromIssuer<'a, TokenError>> {
        let mut refusal = match self.first.verify(token, now) {
            Ok(accepted) => return Ok((self.first, accepted)),
            Err(error) => (self.first, error),
        };
        for issuer in &self.rest {
            match issuer.verify(token, now) {
                Ok(accepted) => return Ok((issuer, accepted)),
                Err(error) if precedence(error) > precedence(refusal.1) => {
                    refusal = (issuer, error)
                }
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

/// A client that is told that its token has expired does better than one that is told that it is
/// wrong.
const fn precedence(error: TokenError) -> u8 {
    match error {
        TokenError::Expired => 3,
        TokenError::Ended => 2,
        TokenError::NoKeys => 1,
        TokenError::TooLong
        | TokenError::Malformed
        | TokenError::Header
        | TokenError::UnknownKey
        | TokenError::Algorithm
        | TokenError::Kind
        | TokenError::Claims
        | TokenError::IssuerOrAudience
        | TokenError::TooEarly
        | TokenError::Signature => 0,
    }
}

/// `iss` of a token, if it has one.
fn iss(token: &str) -> Result<Option<String>, TokenError> {
    let payload = decode(CompactJws::split(token)?.payload)?;
    let Iss(iss) = strict_json::object(&payload).ok_or(TokenError::Malformed)?;
    Ok(iss.map(|iss| iss.0.into_owned()))
}

#[derive(Default)]
struct Iss<'a>(Option<Text<'a>>);

impl<'de> ObjectReader<'de> for Iss<'de> {
    fn read_member<A: MapAccess<'de>>(
        &mut self,
        name: &str,
        map: &mut A,
    ) -> Result<Member, A::Error> {
        match name {
            "iss" => read_once(&mut self.0, map),
            _ => Ok(Member::Ignored),
        }
    }
}
