//! menshen (门神, the gods painted on Chinese doors): a login gate for WeChat Mini Programs.
//!
//! One process in front of an existing backend. It answers the login API itself, checks a token on
//! every other request, and forwards what passes with the caller's identity in headers.
//! ARCHITECTURE.md walks through both kinds of request.
//!
//! The modules, in reading order:

// Words of the domain.
pub mod clock;
pub mod crypto;
pub mod entropy;
pub mod error;
pub mod types;

// Configuration and what operators see.
pub mod audit;
pub mod config;
pub mod console;
pub mod metrics;
pub mod telemetry;

// Other servers and disks.
pub mod outbound;
pub mod provider;
pub mod single_flight;
pub mod store;
pub mod token;

// What the program does.
pub mod api;
pub mod auth;
pub mod dialect;
pub mod explain;
pub mod gate;
pub mod http1;
pub mod policy;

// The platform.
pub mod admin;
pub mod app;
pub mod cli;
pub mod dev;
pub mod proxy;
