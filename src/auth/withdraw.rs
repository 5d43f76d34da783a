//! What WeChat says a user has taken back.

use std::time::Duration;

use super::{Auth, AuthError};
use crate::{
    audit::Event,
    provider::wechat::{AuthorizationChange, AuthorizationEvent},
    store::{Lookup, Withdrawal},
    types::UserId,
};

/// An account that began so much later than the event is another one: the person has come back. It is also how far WeChat's
/// clock may be behind ours.
const COME_BACK: Duration = Duration::from_mins(5);
/// Events that are remembered, so that a repeat does nothing.
pub(super) const REMEMBERED: usize = 4096;
/// How often somebody is looked for who is being joined to somebody else at this very moment.
const LOOKS: usize = 4;
/// Kinds of data, by WeChat's numbers.
const NICKNAME_AND_AVATAR: u16 = 6;
const PHONE: u16 = 8;
const TYPED_NICKNAME: u16 = 19;
const CHOSEN_AVATAR: u16 = 20;

/// What became of it; also a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawn {
    /// Done.
    Done,
    /// It was done before.
    Repeated,
    /// Nobody has this openid.
    Nobody,
    /// It is about an account before this one.
    Outdated,
}

impl Withdrawn {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Repeated => "repeated",
            Self::Nobody => "nobody",
            Self::Outdated => "outdated",
        }
    }
}

impl Auth {
    /// Does what a push asks for. May be repeated; each event is carried out once while this process remembers it.
    pub async fn withdraw(&self, event: &AuthorizationEvent) -> Result<Withdrawn, AuthError> {
        if self.parts.memory.withdrawn.get(&event.digest).is_some() {
            return Ok(Withdrawn::Repeated);
        }
        let done = match &event.change {
            AuthorizationChange::Cancelled | AuthorizationChange::Revoked(None) => self.cancel(event).await?,
            AuthorizationChange::ProfileCleaned => self.take_back(event, vec![NICKNAME_AND_AVATAR]).await?,
            AuthorizationChange::Revoked(Some(kinds)) => self.take_back(event, kinds.clone()).await?,
        };
        self.parts.memory.withdrawn.insert(event.digest, ());
        Ok(done)
    }

    /// Erases the user as they could themselves.
    async fn cancel(&self, event: &AuthorizationEvent) -> Result<Withdrawn, AuthError> {
        let by = Lookup::OpenId(event.app_id.clone(), event.openid.clone());
        for _ in 0..LOOKS {
            let Some(id) = self.parts.store.find_user(&by).await? else { return Ok(Withdrawn::Nobody) };
            let Some(user) = self.parts.store.user(&id).await? else { continue };
            if event.at.plus(COME_BACK) < user.created_at {
                return Ok(Withdrawn::Outdated);
            }
            if self.erase_for_wechat(&id).await? {
                return Ok(Withdrawn::Done);
            }
        }
        Err(AuthError::Interrupted)
    }

    /// `false`: the user is gone since, perhaps to be somebody else.
    async fn erase_for_wechat(&self, id: &UserId) -> Result<bool, AuthError> {
        let Some(revoked) = self.parts.store.erase_user(id, None, self.parts.rules.announce, self.now()).await? else {
            return Ok(false);
        };
        self.bite(&revoked, "erased");
        self.parts.audit.record(&Event::AccountErased { user: id, by: "wechat" });
        self.parts.courier.wake();
        Ok(true)
    }

    async fn take_back(&self, event: &AuthorizationEvent, kinds: Vec<u16>) -> Result<Withdrawn, AuthError> {
        let has = |wanted: &[u16]| wanted.iter().any(|kind| kinds.contains(kind));
        let withdrawal = Withdrawal {
            app_id: event.app_id.clone(),
            openid: event.openid.clone(),
            profile: has(&[NICKNAME_AND_AVATAR, TYPED_NICKNAME, CHOSEN_AVATAR]),
            phone: has(&[PHONE]),
            said_at: event.at,
            kinds,
        };
        let announce = self.parts.rules.announce;
        let Some(user) = self.parts.store.withdraw(&withdrawal, announce, self.now()).await? else {
            return Ok(Withdrawn::Nobody);
        };
        let (profile, phone) = (withdrawal.profile, withdrawal.phone);
        self.parts.audit.record(&Event::DataWithdrawn { user: &user.id, profile, phone });
        self.parts.courier.wake();
        Ok(Withdrawn::Done)
    }
}
