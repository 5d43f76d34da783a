//! The fields of a user that can be imported, and what their columns are called.

/// A field of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Id,
    OpenId,
    AppId,
    UnionId,
    Phone,
    Nickname,
    AvatarUrl,
    UserType,
    Roles,
    CreatedAt,
}

impl Field {
    const ALL: [Self; 10] = [
        Self::Id,
        Self::OpenId,
        Self::AppId,
        Self::UnionId,
        Self::Phone,
        Self::Nickname,
        Self::AvatarUrl,
        Self::UserType,
        Self::Roles,
        Self::CreatedAt,
    ];

    /// Its name, also that of its column.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::OpenId => "openid",
            Self::AppId => "app_id",
            Self::UnionId => "unionid",
            Self::Phone => "phone",
            Self::Nickname => "nickname",
            Self::AvatarUrl => "avatar_url",
            Self::UserType => "user_type",
            Self::Roles => "roles",
            Self::CreatedAt => "created_at",
        }
    }

    /// The field of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// All names, for a message.
    pub(super) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}
