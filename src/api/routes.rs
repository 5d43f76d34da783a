//! One file for each route, or for a few of one resource.

pub(super) mod jwks;
pub(super) mod logout;
pub(super) mod me;
pub(super) mod openapi;
pub(super) mod password_login;
pub(super) mod phone;
pub(super) mod refresh;
pub(super) mod sessions;
pub(super) mod sms_login;
pub(super) mod sms_send;
pub(super) mod wechat_login;

use crate::types::{ClientType, Malformed};

/// Where somebody signs in, as requests name it.
fn client_type(text: &str) -> Result<ClientType, Malformed> {
    [ClientType::MiniProgram, ClientType::App, ClientType::Web]
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or(Malformed("must be miniprogram, app or web"))
}
