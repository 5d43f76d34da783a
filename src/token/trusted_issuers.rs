//! The external issuers, and which of them a token belongs to.
//!
//! Must stay true: a token with an `iss` belongs to that issuer alone, and to menshen only with
//! menshen's own `iss`; one without is verified only by issuers whose tokens have none, each with
//! its own keys.

use std::sync::Arc;

use serde::de::MapAccess;

use super::{
    AcceptedToken, KeyHealth, TokenError, TrustedIssuer,
    jws::{CompactJws, decode},
    strict_json::{self, Member, ObjectReader, Text, read_once},
};
use crate::{config::Config, metrics::Metrics, types::Timestamp};

/// The external issuers in the order of the config.
#[derive(Debug, Default)]
pub struct TrustedIssuers(Vec<Arc<TrustedIssuer>>);

/// The issuer that a token names, unverified.
#[derive(Debug)]
pub enum IssuerMatch<'a> {
    Own,
    Candidates(IssuerCandidates<'a>),
    /// No known issuer.
    NoIssuer(TokenError),
}

/// The issuers that may have issued a token: one, or all whose tokens have no `iss`.
#[derive(Debug)]
pub struct IssuerCandidates<'a> {
    first: &'a Arc<TrustedIssuer>,
    rest: Vec<&'a Arc<TrustedIssuer>>,
}

impl TrustedIssuers {
    /// Compiles `[[issuer]]`; reads key files, opens no socket. Every problem comes with its key.
    /// `custom_claims`: those that are used.
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

    /// Whether both have the same issuers with the same key sources.
    pub fn have_same_key_sources(&self, other: &Self) -> bool {
        let pairs = || self.0.iter().zip(&other.0);
        self.0.len() == other.0.len()
            && pairs().all(|(one, other)| one.keys.has_same_source(&other.keys))
    }

    /// The same issuers with the keys of `before`, where the key sources are the same: a new config
    /// is no reason to be without keys.
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

    /// Starts a task for the keys of each issuer, which ends when the keys are dropped.
    pub fn follow(&self, metrics: &Metrics) {
        for issuer in &self.0 {
            issuer.follow(metrics);
        }
    }

    /// Waits until the first attempt to get the keys of each issuer has ended.
    pub async fn first_attempt(&self) {
        for issuer in &self.0 {
            issuer.keys.first_attempt().await;
        }
    }

    /// The health of the keys of each issuer.
    pub fn health(&self) -> impl Iterator<Item = (&str, KeyHealth)> {
        self.0.iter().map(|issuer| (&*issuer.name, issuer.health()))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.0.iter()
    }

    /// The issuer that this token names, where `ours` is menshen's own `iss`.
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

/// The result of one issuer.
type FromIssuer<'a, T> = (&'a Arc<TrustedIssuer>, T);

impl<'a> IssuerCandidates<'a> {
    /// Tries each in turn and returns the first success, or the most helpful error.
    pub fn verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<FromIssuer<'a, AcceptedToken>, FromIssuer<'a, TokenError>> {
        let mut rejection = match self.first.verify(token, now) {
            Ok(accepted) => return Ok((self.first, accepted)),
            Err(error) => (self.first, error),
        };
        for issuer in &self.rest {
            match issuer.verify(token, now) {
                Ok(accepted) => return Ok((issuer, accepted)),
                Err(error) if precedence(error) > precedence(rejection.1) => {
                    rejection = (issuer, error);
                }
                Err(_) => {}
            }
        }
        Err(rejection)
    }
}

/// "Expired" helps a client more than "invalid".
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

/// The `iss` of a token, if it has one.
fn iss(token: &str) -> Result<Option<String>, TokenError> {
    let payload = decode(CompactJws::split(token)?.payload)?;
    let Iss(iss) = strict_json::object(&payload).ok_or(TokenError::Malformed)?;
    Ok(iss.map(|iss| iss.0.into_owned()))
}

#[derive(Default)]
struct Iss<'a>(Option<Text<'a>>);

impl<'de> ObjectReader<'de> for Iss<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<Member, A::Error> {
        match name {
            "iss" => read_once(&mut self.0, map),
            _ => Ok(Member::Ignored),
        }
    }
}
