//! The rules: each operation of the store as a pure function over a `Transaction`, with the records
//! and where they lie.
//!
//! An operation reads records, decides, and leaves a set of changes. It knows neither the engine
//! nor how the changes are committed, so one engine runs it in its turn among the writes, and
//! another runs it again until nothing that it read has changed meanwhile.

pub(in crate::store) mod accounts;
pub(in crate::store) mod bits;
pub(in crate::store) mod ended_session;
pub(in crate::store) mod identity;
pub(in crate::store) mod import;
pub(in crate::store) mod import_mark;
pub(in crate::store) mod layout;
pub(in crate::store) mod lease;
pub(in crate::store) mod login;
pub(in crate::store) mod merge;
pub(in crate::store) mod open_session;
pub(in crate::store) mod outbox;
pub(in crate::store) mod phone;
pub(in crate::store) mod profile;
pub(in crate::store) mod records;
pub(in crate::store) mod reencrypt;
pub(in crate::store) mod replicas;
pub(in crate::store) mod revocation_log;
pub(in crate::store) mod revoke;
pub(in crate::store) mod rotate;
pub(in crate::store) mod sessions;
pub(in crate::store) mod signing_keys;
pub(in crate::store) mod single_use;
pub(in crate::store) mod sms;
pub(in crate::store) mod sweep;
pub(in crate::store) mod transaction;
pub(in crate::store) mod transfer;
pub(in crate::store) mod user_record;
pub(in crate::store) mod withdraw;
