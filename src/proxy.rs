//! The reverse proxy: connections of clients, connections to backends, and the exchange between
//! them. The only module that names pingora and h2.
//!
//! `connection` reads a request head before a deadline and asks the gate; `serve` carries out the
//! decision. `client` is the client's side of one request and `upstream::session` the backend's
//! side, each over HTTP/1 or HTTP/2; `exchange` connects the two. `streams` knows the long-lived
//! ones and closes each when its session ends.

mod access_record;
mod auth_api;
mod client;
mod connection;
mod connection_tracker;
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
mod report_only;
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

/// Runs a fuzz input as a script against the relay. Only for `fuzz/targets`.
///
/// # Panics
/// When a promise of the relay is broken.
#[cfg(fuzzing)]
pub fn run_relay_script(bytes: &[u8]) {
    relay_script::run(bytes);
}
