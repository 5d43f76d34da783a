//! The platform: connections of clients, the backends behind, and what passes between them. The
//! only module that names pingora and h2.
//!
//! `connection` reads a head under a deadline and asks the gate; `serve` does what it decided. A
//! `client` is the client of one request, on either protocol; an `upstream` session is one exchange
//! with a backend, on either protocol; `exchange` is the one way between them. What stays open is
//! known to `streams`, and is closed with its session.

mod access_record;
mod auth_api;
mod client;
mod connection;
mod connection_tracker;
mod dry_run;
mod exchange;
mod failure;
mod forward_auth;
mod grpc;
mod http2_stream;
mod listener;
mod local_response;
mod message;
mod rejection;
#[cfg(any(test, fuzzing))]
mod relay_script;
mod request_context;
mod response_head;
mod serve;
mod server;
mod snapshot;
mod socket;
mod stream_tracker;
mod streams;
mod tls;
mod upstream;
mod upstream_request;
mod websocket;

pub use listener::Listener;
pub use server::{ReloadHandle, Server, ServerParts};
pub use snapshot::{Snapshot, SnapshotParts};
pub use streams::Streams;
pub use tls::{Tls, TlsError, install_crypto};
pub use upstream::{
    UpstreamError, Upstreams,
    probe::{Probe, ProbeError, ProbeResponse, Prober},
};

/// Runs the script that these bytes are against the relay; for fuzz/targets alone.
///
/// # Panics
/// When a promise of the relay is broken.
#[cfg(fuzzing)]
pub fn run_relay_script(bytes: &[u8]) {
    relay_script::run(bytes);
}
