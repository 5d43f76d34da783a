//! Vendors: the servers of others that menshen asks, one file each.

pub mod sms;
pub mod wechat;
