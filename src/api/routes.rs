//! One file for each route.

pub(super) mod jwks;
pub(super) mod logout;
pub(super) mod me;
pub(super) mod openapi;
pub(super) mod refresh;
pub(super) mod sessions;
pub(super) mod wechat_login;
