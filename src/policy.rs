//! What may pass and what the backend is told: pure rules on one request, without I/O.

mod identity;

pub use identity::IdentityHeaders;
