//! What keeps the store's bytes: one file or folder for each engine. None of them knows anything of
//! the domain.

pub(in crate::store) mod database;
pub(in crate::store) mod memory;
pub(in crate::store) mod mysql;
pub(in crate::store) mod postgres;
pub(in crate::store) mod sled;
#[cfg(test)]
pub(in crate::store) mod versioned;
