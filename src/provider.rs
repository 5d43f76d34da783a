//! The servers of others that menshen asks: WeChat, vendors of messages, and the backend as hooks
//! see it.

pub mod hooks;
mod signature;
pub mod sms;
pub mod wechat;
