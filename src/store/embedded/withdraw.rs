//! What somebody has taken back in WeChat, once.
//!
//! Must stay true: that it was said is remembered in the batch that does it, whoever has the openid
//! or nobody; so what was said about one account is never done to the next.

use super::{
    accounts,
    draft::Draft,
    layout::Handle,
    login, outbox,
    records::{self, OpenIdRecord},
};
use crate::{
    store::{Announce, OutboxEvent, TakenBack, Withdrawal, WithdrawalOutcome, failure::Failure},
    types::Timestamp,
};

pub(super) fn withdraw(
    draft: &mut Draft<'_>,
    withdrawal: &Withdrawal,
    announce: Announce,
    now: Timestamp,
) -> Result<WithdrawalOutcome, Failure> {
    let Withdrawal {
        app_id,
        openid,
        what,
        began_by,
        said: (said, until),
    } = withdrawal;
    if !login::spend(draft, said, *until, now)? {
        return Ok(WithdrawalOutcome::Repeated);
    }
    let Some(owner) = draft.find::<OpenIdRecord>(Handle::OpenId(app_id, openid))? else {
        return Ok(WithdrawalOutcome::Nobody);
    };
    let mut record = records::owner(draft, &owner.user)?;
    if *began_by < record.user.created_at {
        return Ok(WithdrawalOutcome::Outdated);
    }
    match what {
        TakenBack::Everything => {
            let user = owner.user;
            let revoked = accounts::erase(draft, &user, None, announce, now)?;
            Ok(revoked.map_or(WithdrawalOutcome::Nobody, |revoked| {
                WithdrawalOutcome::Erased { user, revoked }
            }))
        }
        TakenBack::Data {
            profile,
            phone,
            kinds,
            key,
        } => {
            if *profile {
                record.user.profile.nickname = None;
                record.user.profile.avatar_url = None;
            }
            // The openid is another way in, so the phone is never the only one.
            if *phone && let Some(bound) = record.user.phone.take() {
                draft.remove_under(Handle::Phone(&bound));
            }
            records::put_user(draft, &record)?;
            if announce.withdrawn {
                let (user, app) = (record.user.id.clone(), app_id.clone());
                outbox::put(
                    draft,
                    OutboxEvent::Withdrawn {
                        user,
                        app,
                        kinds: kinds.clone(),
                        key: key.clone(),
                    },
                    now,
                )?;
            }
            Ok(WithdrawalOutcome::Cleared(Box::new(record.user)))
        }
    }
}
