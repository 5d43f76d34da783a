//! The state of the routes of the admin API.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    audit::{Actor, Audit, Event},
    auth::{Administration, AdministrationError},
    clock::Clock,
    crypto::Key,
    entropy::Entropy,
    store::{Store, UserIdentity},
    token::Keyrings,
    types::UserId,
};

/// The parts of the process that the routes call.
pub struct AdminState {
    pub administration: Arc<Administration>,
    pub keyrings: Arc<Keyrings>,
    pub store: Arc<dyn Store>,
    pub audit: Audit,
    pub clock: Clock,
    pub entropy: Entropy,
    /// Encrypts exports. `None`: the store's key is in memory only.
    pub export_key: Option<Key>,
    /// The process serves logins, so the store changes after an export.
    pub is_live: bool,
}

impl AdminState {
    /// The user with an identity. Each search is an event of the audit log, found or not.
    pub async fn find(
        &self,
        identity: &UserIdentity,
        by: Actor,
    ) -> Result<UserId, AdministrationError> {
        let found = self.administration.find(identity).await;
        if matches!(found, Ok(_) | Err(AdministrationError::NoSuchUser)) {
            self.audit.record(&Event::AccountSearched {
                identity: identity.kind(),
                found: found.is_ok(),
                by,
            });
        }
        found
    }
}

/// The state, as a route extracts it.
pub(super) type SharedState = State<Arc<AdminState>>;
