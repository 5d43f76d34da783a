//! The platform: connections of clients, the backend behind, and pingora between them. The only module that names pingora.
//!
//! A connection belongs to `connection`: it reads a request head under a total deadline, asks the gate, and then answers a
//! refusal itself (`answer`), lets the auth API answer (`bridge`), or hands the same bytes to pingora (`forward`).

mod answer;
mod bridge;
mod connection;
mod forward;
mod listener;
mod record;
mod server;
mod socket;
mod upstream;

pub use listener::Listener;
pub use server::{Parts, Server};
pub use upstream::{UpstreamError, Upstreams};
