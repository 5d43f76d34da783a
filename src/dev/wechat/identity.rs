//! Deterministic openids, session keys and token texts.

use crate::crypto::sha256;

/// The openid of a person of this name in a mini program.
pub fn openid(app_id: &str, person: &str) -> String {
    format!(
        "o{}",
        &stable_letters(&format!("openid {app_id} {person}"))[..27]
    )
}

/// The session key of a login with this code.
pub(super) fn session_key(app_id: &str, code: &str) -> [u8; 16] {
    first_16_bytes(&sha256(format!("session key {app_id} {code}").as_bytes()))
}

/// 32 letters and digits that are always the same for the same name.
pub(super) fn stable_letters(name: &str) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    sha256(name.as_bytes())
        .iter()
        .map(|&byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
        .collect()
}

pub(super) fn first_16_bytes(hash: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|at| hash[at])
}
