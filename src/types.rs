//! The types that every module uses: identifiers, instants and secrets, parsed once at the edge.
//!
//! A value of one of these types is valid because nothing else can be built: private fields, one
//! constructor each. What is personal or secret prints as `***` in `Debug` and has no `Display`.

mod address;
mod digits;
mod extra_claims;
mod identity;
mod instant;
mod named_enum;
mod phone;
mod secret;
mod session;
mod sms;
mod username;

pub use address::{ClientIp, is_public};
pub use digits::{is_visually_empty, normalize_digits};
pub use extra_claims::ExtraClaims;
pub use identity::{AppId, OpenId, UnionId, UserId, UserType};
pub use instant::Timestamp;
pub(crate) use named_enum::named_enum;
pub use phone::{MAINLAND, Phone};
pub use secret::Secret;
pub use session::{ClientType, REVOCATION_RETENTION, SessionId};
pub use sms::{SMS_CODE_DIGITS, SmsCode, SmsPurpose};
pub use username::Username;

/// Why a text is not valid: says what would be, and never repeats what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);
