//! The use cases, one verb a file, and the hot path that every proxied request takes.

mod authorize;
mod denylist;

pub use authorize::{Authorizer, Identity};
pub use denylist::Denylist;
