//! menshen: a login gate for WeChat Mini Programs. See ARCHITECTURE.md.

pub mod api;
pub mod audit;
pub mod clock;
pub mod config {
    mod identity;
    mod rules;
    pub use identity::IdentityConfig;
    pub use rules::{Access, RuleConfig};
}
pub mod crypto;
pub mod entropy;
pub mod error;
pub mod metrics;
pub mod policy;
pub mod store;
pub mod types;
