//! Clients of other servers: WeChat, SMS vendors, and the backend's hooks.

pub mod hooks;
mod signature;
pub mod sms;
pub mod wechat;
