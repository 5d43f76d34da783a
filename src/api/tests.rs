//! The auth API through its router, without a socket of its own; WeChat and the SMS vendors are the
//! simulated ones on real sockets, the store is the one in memory.

mod account;
mod bodies;
mod contract;
mod dialects;
mod dialects_custom;
mod hooks;
mod login;
mod logout;
mod logs;
mod password;
mod phone;
mod phone_at_login;
mod phone_wechat;
mod renewals;
mod session;
mod sms;
mod sms_abuse;
mod sms_vendors;
mod wechat_push;
mod world;
