//! The platform: connections of clients, the backend behind, and pingora between them. The only module that names pingora.
//!
//! A connection belongs to `connection`: it reads a request head under a total deadline, asks the gate, and then answers a
//! refusal itself (`answer`), lets the auth API answer (`bridge`), or sends the request to the backend: the short way
//! (`exchange`) when it has no body, the long way (`forward`) when it has one or is a WebSocket.

mod answer;
mod bridge;
mod connection;
mod exchange;
mod failure;
mod forward;
mod listener;
mod outgoing;
mod record;
mod server;
mod snapshot;
mod socket;
mod upstream;

pub use listener::Listener;
pub use server::{Parts, Replace, Server};
pub use snapshot::{Snapshot, SnapshotParts};
pub use upstream::{UpstreamError, Upstreams};
