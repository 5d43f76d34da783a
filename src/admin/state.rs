//! The state of the routes of the admin API.

use std::sync::Arc;

use axum::extract::State;

use crate::{
    audit::Audit, auth::Administration, clock::Clock, crypto::Key, entropy::Entropy, store::Store,
    token::Keyrings,
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

/// The state, as a route extracts it.
pub(super) type SharedState = State<Arc<AdminState>>;
