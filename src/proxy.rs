//! The platform: connections of clients, the backend behind, and pingora between them. The only module that names pingora.
//!
//! A connection belongs to `connection`: it reads a request head under a total deadline, asks the gate, and then answers a
//! refusal itself (`answer`), lets the auth API answer (`bridge`), or sends the request to the backend: the short way
//! (`exchange`) when it has no body, the long way (`forward`) when it has one. A WebSocket leaves the short way for a `tunnel`.
//! What stays open is known to `streams`, and ends with its session. A proxy that only
//! asks is told by `verify`.

mod answer;
mod bridge;
mod connection;
mod connection_tracker;
mod dial;
mod exchange;
mod failure;
mod forward;
mod frames;
mod grpc;
mod health;
mod http2;
mod listener;
mod outgoing;
mod probe;
mod record;
mod server;
mod snapshot;
mod socket;
mod streams;
mod tls;
mod tunnel;
mod upstream;
mod verify;
mod watch;
mod watched;

pub use listener::Listener;
pub use probe::{Probe, ProbeAnswer, ProbeError, Prober};
pub use server::{Parts, Replace, Server};
pub use snapshot::{Snapshot, SnapshotParts};
pub use streams::Streams;
pub use tls::{Tls, TlsError, install_crypto};
pub use upstream::{UpstreamError, Upstreams};
