//! Vendors: the servers of others that menshen asks, one file each.

pub mod wechat;
