//! menshen: a login gate for WeChat Mini Programs. See ARCHITECTURE.md.

pub mod api;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod entropy;
pub mod error;
pub mod metrics;
pub mod store;
pub mod types;
