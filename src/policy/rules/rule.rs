//! One rule: which requests it is for, and what it asks of them.

use std::{sync::Arc, time::Duration};

use super::super::{framing::METHODS, path::AllowedDelimiters, pattern::Pattern};
use crate::{config::Access, token::VerifiedClaims, types::UserType};

/// One rule, compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    /// In metrics, logs and `menshen check`.
    pub name: Arc<str>,
    pub access: Access,
    /// With `optional`: an invalid token counts as no token.
    pub bad_token_is_anonymous: bool,
    /// The header that may carry a token. `None`: that of the dialect or of the gate.
    pub token_header: Option<Box<str>>,
    /// The cookie that may carry a token.
    pub token_cookie: Option<Box<str>>,
    /// The query of a WebSocket handshake may carry one.
    pub token_in_query: bool,
    /// User types that pass. Empty: all.
    pub user_types: Vec<UserType>,
    /// A user needs one of these roles. Empty: none.
    pub roles: Vec<String>,
    /// Idle timeout of a stream. `None`: that of the upstream.
    pub idle_timeout: Option<Duration>,
    /// CORS preflights are answered, and pages of allowed origins may read rejections.
    pub cors: bool,
    /// It is in report-only mode. `None`: as [`RuleSet`](super::RuleSet) has it.
    pub report_only: Option<bool>,
    /// Of each of these claims, a token needs one of the values. Empty: none.
    pub claims: Vec<(Arc<str>, Vec<String>)>,
    /// Delimiters that may be percent-encoded in its paths.
    pub allowed_delimiters: AllowedDelimiters,
    /// Index among the rules, from 0; the default rule is the last.
    pub index: usize,
    pub(super) pattern: Pattern,
    pub(super) methods: MethodSet,
}

impl Rule {
    /// Whether the user of this token passes.
    pub(super) fn allows(&self, caller: &VerifiedClaims) -> bool {
        let type_fits = self.user_types.is_empty() || self.user_types.contains(caller.user_type());
        let role_fits = self.roles.is_empty()
            || self
                .roles
                .iter()
                .any(|wanted| caller.roles().contains(wanted));
        let claim_fits = |(name, wanted): &(Arc<str>, Vec<String>)| {
            caller
                .custom_claims()
                .get(name)
                .iter()
                .any(|value| wanted.contains(value))
        };
        type_fits && role_fits && self.claims.iter().all(claim_fits)
    }

    /// Whether the decision depends on the token. If not, the token need not be checked.
    pub const fn needs_token(&self) -> bool {
        match self.access {
            Access::Public | Access::Deny => false,
            Access::Optional | Access::Required => true,
        }
    }

    /// Whether it is for some users only.
    pub(super) const fn is_conditional(&self) -> bool {
        !(self.user_types.is_empty() && self.roles.is_empty() && self.claims.is_empty())
    }

    /// How strict it is, to compare two rules.
    pub(super) const fn strictness(&self) -> u8 {
        match self.access {
            Access::Public => 0,
            Access::Optional => 1,
            Access::Required if self.is_conditional() => 3,
            Access::Required => 2,
            Access::Deny => 4,
        }
    }
}

/// A set of methods, one bit each in the order of [`METHODS`]; the highest bit is any other method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MethodSet(u8);

impl MethodSet {
    pub(super) const ALL: Self = Self(u8::MAX);

    pub(super) fn from_method(method: &str) -> Self {
        Self(
            METHODS
                .iter()
                .position(|known| *known == method)
                .map_or(1 << METHODS.len(), |bit| 1 << bit),
        )
    }

    pub(super) fn parse(names: &[String]) -> Result<Self, String> {
        if names.is_empty() {
            return Ok(Self::ALL);
        }
        if names.iter().any(|name| !METHODS.contains(&name.as_str())) {
            return Err(format!("must be among {}", METHODS.join(", ")));
        }
        Ok(Self(
            names
                .iter()
                .fold(0, |bits, name| bits | Self::from_method(name).0),
        ))
    }

    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
