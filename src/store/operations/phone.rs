//! Binding a phone to a user, and taking it away.

use super::{
    layout::{self, LookupKey},
    merge::{self, MergeResult},
    open_session::{self, Capacity},
    records::{self, PhoneRecord},
    sms::{self, GuessResult},
    transaction::{ReadView, Transaction},
    user_record::{self, UserRecord},
};
use crate::{
    store::{
        BindOutcome, MergedUser, NewSession, PhoneBinding, PhoneProof, RevocationEntry,
        RevocationOutcome, RevocationTarget, SmsGuess, UnbindOutcome, error::EngineError,
    },
    types::{SessionId, Timestamp, UserId},
};

/// Binds the phone that is proven.
pub(in crate::store) fn bind(
    tx: &mut Transaction<'_>,
    binding: &PhoneBinding,
) -> Result<BindOutcome, EngineError> {
    let PhoneBinding {
        user,
        session,
        proof,
        merge,
        now,
        single_per_client_type: _,
        outbox: _,
    } = binding;
    if let Some(merge) = merge
        && let Some(done) = merged_before(tx, user, merge, *now)?
    {
        return Ok(done);
    }
    let Some(caller) = user_record::caller(tx, user, *session, *now)? else {
        return Ok(BindOutcome::SessionEnded);
    };
    if caller.user.disabled {
        return Ok(BindOutcome::Disabled);
    }
    let has_it = caller.user.phone.as_ref() == Some(proof.phone());
    if let PhoneProof::Sms(guess) = proof {
        let repeated = has_it && sms::was_used(tx, guess, *now)?;
        if !repeated && sms::guess(tx, guess, *now)? != GuessResult::Right {
            return Ok(BindOutcome::CodeWrong);
        }
    }
    if has_it {
        return Ok(BindOutcome::Bound(Box::new(caller.user)));
    }
    let Some(owner) = tx.find::<PhoneRecord>(LookupKey::Phone(proof.phone()))? else {
        return set_phone(tx, caller, proof).map(|user| BindOutcome::Bound(Box::new(user.user)));
    };
    let owner = user_record::owner(tx, &owner.user)?;
    match merge {
        Some(new) if merge::can_merge(&caller, &owner) => join(tx, binding, new, caller, owner),
        Some(_) | None => Ok(BindOutcome::Conflict),
    }
}

/// Sets the user's phone; the one before it is unlinked.
fn set_phone(
    tx: &mut Transaction<'_>,
    mut user: UserRecord,
    proof: &PhoneProof,
) -> Result<UserRecord, EngineError> {
    let phone = proof.phone();
    if let Some(old) = user.user.phone.replace(phone.clone()) {
        tx.remove_under(LookupKey::Phone(&old));
    }
    tx.put_under(
        LookupKey::Phone(phone),
        &PhoneRecord::new(&user.user.id, phone),
    )?;
    user_record::put_user(tx, &user)?;
    Ok(user)
}

/// Merges the caller with the owner of the phone, which the survivor keeps.
fn join(
    tx: &mut Transaction<'_>,
    binding: &PhoneBinding,
    new: &NewSession,
    caller: UserRecord,
    owner: UserRecord,
) -> Result<BindOutcome, EngineError> {
    let now = binding.now;
    // As it is before its user goes, and it with them.
    let before = caller.session(binding.session).cloned();
    let MergeResult {
        survivor,
        merged_id,
        mut revoked,
    } = merge::merge_users(tx, caller, owner, binding.outbox, now)?;
    let mut survivor = if survivor.user.phone.as_ref() == Some(binding.proof.phone()) {
        survivor
    } else {
        set_phone(tx, survivor, &binding.proof)?
    };
    let session = match before {
        Some(before) if merged_id == binding.user => {
            let (single_per_client_type, max_sessions) =
                (binding.single_per_client_type, usize::MAX);
            let capacity = Capacity {
                client_type: new.client_type,
                single_per_client_type,
                max_sessions,
            };
            for id in open_session::evict_sessions(tx, &capacity, &mut survivor, now)? {
                revoked.sessions.push(id);
                revoked.entries.push(RevocationEntry {
                    at: now,
                    target: RevocationTarget::Session(id),
                });
            }
            let session = open_session::resume(tx, before, new, &mut survivor, now);
            user_record::put_user(tx, &survivor)?;
            Some(session)
        }
        Some(_) | None => None,
    };
    let global_epoch = records::global_epoch(tx);
    let merged = MergedUser {
        user: survivor.user,
        merged_id,
        session,
        global_epoch,
        revoked,
    };
    Ok(BindOutcome::Merged(Box::new(merged)))
}

/// The same merge again, after an answer was lost: the caller's user is gone, and its new session is
/// there already.
fn merged_before(
    tx: &Transaction<'_>,
    caller: &UserId,
    new: &NewSession,
    now: Timestamp,
) -> Result<Option<BindOutcome>, EngineError> {
    let gone = user_record::tombstone(tx, caller)?;
    let Some(survivor) = gone.and_then(|gone| gone.merged_into) else {
        return Ok(None);
    };
    let Some(survivor) = user_record::user(tx, &survivor)? else {
        return Ok(None);
    };
    let global_epoch = records::global_epoch(tx);
    let session = survivor.session(new.id);
    let session = session.filter(|session| session.is_active(global_epoch, now));
    let session = session.filter(|session| session.merged.as_ref() == Some(caller));
    Ok(session.cloned().map(|session| {
        BindOutcome::Merged(Box::new(MergedUser {
            user: survivor.user,
            merged_id: caller.clone(),
            session: Some(session.session),
            global_epoch,
            revoked: RevocationOutcome::default(),
        }))
    }))
}

/// Takes the phone away, unless nothing else leads to the user.
pub(in crate::store) fn unbind(
    tx: &mut Transaction<'_>,
    user: &UserId,
    session: SessionId,
    now: Timestamp,
) -> Result<UnbindOutcome, EngineError> {
    let Some(mut caller) = user_record::caller(tx, user, session, now)? else {
        return Ok(UnbindOutcome::SessionEnded);
    };
    let Some(phone) = caller.user.phone.take() else {
        return Ok(UnbindOutcome::NotBound(Box::new(caller.user)));
    };
    if caller.openids.is_empty() && caller.unionids.is_empty() && caller.user.username.is_none() {
        return Ok(UnbindOutcome::OnlyIdentity);
    }
    tx.remove_under(LookupKey::Phone(&phone));
    user_record::put_user(tx, &caller)?;
    Ok(UnbindOutcome::Unbound(Box::new(caller.user)))
}

/// Whether the guess is right, and the phone the user's own. Another user's phone costs the same
/// guess.
pub(in crate::store) fn prove(
    tx: &mut Transaction<'_>,
    user: &UserId,
    guess: &SmsGuess,
    now: Timestamp,
) -> Result<bool, EngineError> {
    tx.want(&[layout::user(user)]);
    let is_right = sms::guess(tx, guess, now)? == GuessResult::Right;
    let phone = user_record::user(tx, user)?.and_then(|record| record.user.phone);
    Ok(is_right && phone.as_ref() == Some(&guess.phone))
}
