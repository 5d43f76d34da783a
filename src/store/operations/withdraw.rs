//! The withdrawal of consent in WeChat, once for each notice.
//!
//! Must stay true: the notice is remembered in the batch that carries it out, whether or not the
//! openid has a user; so a notice about one account is never applied to the next.

use super::{
    accounts,
    layout::{LookupKey, NOTICES},
    outbox,
    records::OpenIdRecord,
    single_use,
    transaction::Transaction,
    user_record,
};
use crate::{
    store::{
        OutboxEvent, OutboxPolicy, Withdrawal, WithdrawalOutcome, WithdrawalScope,
        error::EngineError,
    },
    types::Timestamp,
};

pub(in crate::store) fn withdraw(
    tx: &mut Transaction<'_>,
    withdrawal: &Withdrawal,
    outbox: OutboxPolicy,
    now: Timestamp,
) -> Result<WithdrawalOutcome, EngineError> {
    let Withdrawal {
        app_id,
        openid,
        scope,
        account_created_until,
        notice: (notice, until),
    } = withdrawal;
    if !single_use::use_up(tx, &NOTICES, notice, (*until, now))? {
        return Ok(WithdrawalOutcome::Repeated);
    }
    let Some(owner) = tx.find::<OpenIdRecord>(LookupKey::OpenId(app_id, openid))? else {
        return Ok(WithdrawalOutcome::UnknownOpenId);
    };
    let mut record = user_record::owner(tx, &owner.user)?;
    if *account_created_until < record.user.created_at {
        return Ok(WithdrawalOutcome::Outdated);
    }
    match scope {
        WithdrawalScope::Account => {
            let user = owner.user;
            let revoked = accounts::erase(tx, &user, None, outbox, now)?;
            Ok(revoked.map_or(WithdrawalOutcome::UnknownOpenId, |revoked| {
                WithdrawalOutcome::Erased { user, revoked }
            }))
        }
        WithdrawalScope::Data {
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
                tx.remove_under(LookupKey::Phone(&bound));
            }
            user_record::put_user(tx, &record)?;
            if outbox.withdrawn {
                let (user, app) = (record.user.id.clone(), app_id.clone());
                outbox::put(
                    tx,
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
