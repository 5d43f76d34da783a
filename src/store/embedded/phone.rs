//! Binding a phone to a user, and taking it away.

use super::{
    draft::Draft,
    layout::Handle,
    login::{self, Room},
    merge::{self, Joined},
    records::{self, PhoneRecord, UserRecord},
    sms::{self, Guessed},
};
use crate::{
    store::{
        BindOutcome, Merged, NewSession, PhoneBinding, PhoneProof, RevocationEntry,
        RevocationTarget, Revoked, SmsGuess, UnbindOutcome, failure::Failure,
    },
    types::{SessionId, Timestamp, UserId},
};

/// Binds the phone that is proven.
pub(super) fn bind(draft: &mut Draft<'_>, binding: &PhoneBinding) -> Result<BindOutcome, Failure> {
    let PhoneBinding {
        user,
        session,
        proof,
        merge,
        now,
        single_per_client_type: _,
        announce: _,
    } = binding;
    if let Some(merge) = merge
        && let Some(done) = merged_before(draft, merge, *now)?
    {
        return Ok(done);
    }
    let Some(caller) = records::caller(draft, user, *session, *now)? else {
        return Ok(BindOutcome::SessionOver);
    };
    if caller.user.disabled {
        return Ok(BindOutcome::Disabled);
    }
    let has_it = caller.user.phone.as_ref() == Some(proof.phone());
    if let PhoneProof::Sms(guess) = proof {
        let repeated = has_it && sms::was_used(draft, guess, *now)?;
        if !repeated && sms::guess(draft, guess, *now)? != Guessed::Right {
            return Ok(BindOutcome::CodeWrong);
        }
    }
    if has_it {
        return Ok(BindOutcome::Bound(Box::new(caller.user)));
    }
    let Some(owner) = draft.find::<PhoneRecord>(Handle::Phone(proof.phone()))? else {
        return take(draft, caller, proof).map(|user| BindOutcome::Bound(Box::new(user.user)));
    };
    let owner = records::owner(draft, &owner.user)?;
    match merge {
        Some(new) if merge::fits(&caller, &owner) => join(draft, binding, new, caller, owner),
        Some(_) | None => Ok(BindOutcome::Conflict),
    }
}

/// The phone is the user's; the one before it leads to nobody any more.
fn take(
    draft: &mut Draft<'_>,
    mut user: UserRecord,
    proof: &PhoneProof,
) -> Result<UserRecord, Failure> {
    let phone = proof.phone();
    if let Some(old) = user.user.phone.replace(phone.clone()) {
        draft.remove_under(Handle::Phone(&old));
    }
    draft.put_under(
        Handle::Phone(phone),
        &PhoneRecord {
            user: user.user.id.clone(),
            phone: phone.clone(),
        },
    )?;
    records::put_user(draft, &user)?;
    Ok(user)
}

/// Joins the caller with the owner of the phone, which is the phone of whoever is left.
fn join(
    draft: &mut Draft<'_>,
    binding: &PhoneBinding,
    new: &NewSession,
    caller: UserRecord,
    owner: UserRecord,
) -> Result<BindOutcome, Failure> {
    let now = binding.now;
    // As it is before its user goes, and it with them.
    let before = records::session(draft, binding.session)?;
    let Joined {
        left,
        gone,
        mut revoked,
    } = merge::join(draft, caller, owner, binding.announce, now)?;
    let mut left = if left.user.phone.as_ref() == Some(binding.proof.phone()) {
        left
    } else {
        take(draft, left, &binding.proof)?
    };
    let session = match before {
        Some(before) if gone == binding.user => {
            let (single_per_client_type, max_sessions) =
                (binding.single_per_client_type, usize::MAX);
            let room = Room {
                client_type: new.client_type,
                single_per_client_type,
                max_sessions,
            };
            for id in login::displace(draft, &room, &mut left, now)? {
                revoked.sessions.push(id);
                revoked.entries.push(RevocationEntry {
                    at: now,
                    target: RevocationTarget::Session(id),
                });
            }
            records::put_user(draft, &left)?;
            Some(login::reopen(draft, before, new, &left.user.id, now)?)
        }
        Some(_) | None => None,
    };
    let global_epoch = records::global_epoch(draft)?;
    let merged = Merged {
        user: left.user,
        gone,
        session,
        global_epoch,
        revoked,
    };
    Ok(BindOutcome::Merged(Box::new(merged)))
}

/// The same merge again, after an answer was lost: its new session is there already.
fn merged_before(
    draft: &Draft<'_>,
    new: &NewSession,
    now: Timestamp,
) -> Result<Option<BindOutcome>, Failure> {
    let Some(record) = records::session(draft, new.id)? else {
        return Ok(None);
    };
    let global_epoch = records::global_epoch(draft)?;
    let user = records::user(draft, &record.session.user)?;
    Ok(Some(match (user, &record.merged) {
        (Some(user), Some(gone)) if record.lives(global_epoch, now) => {
            BindOutcome::Merged(Box::new(Merged {
                user: user.user,
                gone: gone.clone(),
                session: Some(record.session),
                global_epoch,
                revoked: Revoked::default(),
            }))
        }
        (Some(_) | None, _) => BindOutcome::SessionOver,
    }))
}

/// Takes the phone away, unless nothing else leads to the user.
pub(super) fn unbind(
    draft: &mut Draft<'_>,
    user: &UserId,
    session: SessionId,
    now: Timestamp,
) -> Result<UnbindOutcome, Failure> {
    let Some(mut caller) = records::caller(draft, user, session, now)? else {
        return Ok(UnbindOutcome::SessionOver);
    };
    let Some(phone) = caller.user.phone.take() else {
        return Ok(UnbindOutcome::NotBound(Box::new(caller.user)));
    };
    if caller.openids.is_empty() && caller.unionids.is_empty() && caller.user.username.is_none() {
        return Ok(UnbindOutcome::OnlyIdentity);
    }
    draft.remove_under(Handle::Phone(&phone));
    records::put_user(draft, &caller)?;
    Ok(UnbindOutcome::Unbound(Box::new(caller.user)))
}

/// Whether the guess is right, and the phone the user's own. Somebody else's phone costs the same
/// guess.
pub(super) fn prove(
    draft: &mut Draft<'_>,
    user: &UserId,
    guess: &SmsGuess,
    now: Timestamp,
) -> Result<bool, Failure> {
    let is_right = sms::guess(draft, guess, now)? == Guessed::Right;
    let phone = records::user(draft, user)?.and_then(|record| record.user.phone);
    Ok(is_right && phone.as_ref() == Some(&guess.phone))
}
