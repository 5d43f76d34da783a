//! The engine's name.

use crate::store::engines::database::open_error::EngineName;

/// In errors and metrics.
pub(super) const NAME: EngineName = EngineName("mysql");
