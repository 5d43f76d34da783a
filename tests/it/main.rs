//! The system from outside: the real binary, a real backend on a real socket, bytes on the wire.

#![expect(
    unreachable_pub,
    clippy::format_push_string,
    clippy::print_stderr,
    reason = "one program of tests, nobody's library"
)]

mod administration;
mod answer_lengths;
mod backend;
mod backend_floods;
mod backends;
mod bad_answers;
mod bad_bodies;
mod both_bodies;
mod broken_off_messages;
mod byte_backend;
mod certificates;
mod clients;
mod configuration;
mod console;
mod contract;
mod cors;
mod credentials;
mod databases;
mod decided_requests;
mod demo;
mod departures;
mod deploy;
mod dialects;
mod doctor;
mod early_answers;
mod endpoints;
mod explain;
mod failures;
mod files;
mod fire;
mod forged_tokens;
mod forward_auth;
mod forward_auth_proxies;
mod frame_backend;
mod fuzz_corpus;
mod gate;
mod grpc;
mod health_checks;
mod history;
mod hook_snippets;
mod hooks;
mod http1_readers;
mod http1_response_readers;
mod http2;
mod http2_absent_bodies;
mod http2_bounds;
mod http2_frames;
mod http2_unsent;
mod informational;
mod issuers;
mod jwks;
mod keys;
mod legacy;
mod limits;
mod managed_headers;
mod menshen;
mod message_ends;
mod mistakes;
mod monitoring;
mod moving;
#[path = "../../src/store/engines/mysql/tests/server.rs"]
mod mysql;
mod names;
mod older_stores;
mod operator_mistakes;
mod ops;
mod passthrough;
mod patterns;
mod pgbouncer;
mod phones;
#[path = "../../src/store/engines/postgres/tests/server.rs"]
mod postgres;
mod process;
mod proof;
mod random_requests;
mod raw_http2;
mod refused_streams;
mod refused_uploads;
mod reload;
mod replicas;
mod report_only;
mod resilience;
mod rolling_update;
mod rule_book;
mod same_decision;
mod same_decision_for_proxies;
mod side_by_side;
mod sizes;
mod slow_readers;
mod smuggling;
mod store_key_change;
mod story;
mod streamed_bodies;
mod streams;
mod terminal;
mod tls;
mod token;
mod token_headers;
mod trailers;
mod transfer;
mod upstream_tls;
mod upstreams;
mod websocket_departures;
mod websockets;
mod wechat;
mod wire;
mod written_heads;
