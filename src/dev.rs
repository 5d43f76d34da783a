//! Simulators of the servers around menshen: WeChat, SMS vendors and a backend.
//!
//! One set, used by `menshen demo` and by the tests, each on a real loopback socket so that real
//! clients and a real gate run against it. Never part of serving real users: only `demo` and tests
//! start them.

pub mod backend;
pub mod call_log;
mod faults;
pub mod listener;
pub mod sms;
pub mod wechat;
