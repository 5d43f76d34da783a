//! What the import of users from another system takes and gives.

use super::Profile;
use crate::types::{AppId, OpenId, Phone, Timestamp, UnionId, UserId, UserType};

/// A user of another system, who keeps the id from there. Personal.
#[derive(Debug, Clone)]
pub struct ImportedUser {
    pub id: UserId,
    pub openids: Vec<(AppId, OpenId)>,
    pub unionid: Option<UnionId>,
    pub phone: Option<Phone>,
    /// These four count for a user who is made; one who exists keeps what is known here.
    pub user_type: UserType,
    pub roles: Vec<String>,
    pub profile: Profile,
    pub created_at: Timestamp,
}

/// What became of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// A new user under this id.
    Created,
    /// The user was here already, and identities that were not known lead to them now.
    Linked,
    /// All of it was here already.
    Unchanged,
    /// Nothing was done for this one.
    Refused(ImportConflict),
}

/// Why a user cannot be imported. Nothing in it is personal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportConflict {
    /// The id is that of a user who has none of the identities.
    IdTaken,
    /// The id was that of a user who was erased, or joined to another one.
    IdDeleted,
    /// An identity leads to this other user.
    IdentityTaken {
        identity: IdentityKind,
        owner: UserId,
    },
    /// The user has another one of the kind, and can have one only (of openids, one in each app).
    HasAnother(IdentityKind),
}

/// A kind of identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityKind {
    OpenId,
    UnionId,
    Phone,
}
