//! menshen: a login gate for WeChat Mini Programs. See ARCHITECTURE.md.

pub mod api;
pub mod audit;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod dev;
pub mod entropy;
pub mod error;
pub mod metrics;
pub mod outbound;
pub mod policy;
pub mod provider;
pub mod store;
pub mod token;
pub mod types;
