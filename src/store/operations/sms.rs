//! Codes for phones: the slots of messages, and guesses.
//!
//! All of it is in one record for each phone, so that every rule holds for the phone, for any
//! client, address and purpose.

use std::time::Duration;

use super::{
    bits::Bits,
    layout::{self, LookupKey},
    records::{SmsBudget, SmsCodeRecord, SmsRecord},
    transaction::{ReadView, Transaction},
};
use crate::{
    crypto,
    store::{
        GuessId, SmsGuess, SmsId, SmsLimits, SmsRefund, SmsReservation, SmsReservationOutcome,
        UnknownFields, engine::NumberPool, error::EngineError, record_cipher::RecordCipher,
    },
    types::{Phone, Timestamp},
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Guesses of a phone that are remembered: a repeat follows within seconds.
const MAX_REMEMBERED_GUESSES: usize = 8;
/// China's days begin eight hours before those of UTC.
const UTC_8: Duration = Duration::from_hours(8);

/// What came of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum GuessResult {
    Right,
    Wrong,
    /// There is no code to compare with: none was sent, or it was used, is too old, or was guessed
    /// at too often.
    NoCode,
}

impl GuessResult {
    const fn compared(is_right: bool) -> Self {
        if is_right { Self::Right } else { Self::Wrong }
    }
}

/// Reserves the quota, or returns the limit that is exceeded: the one with the shortest wait first.
pub(in crate::store) fn reserve(
    tx: &mut Transaction<'_>,
    new: &SmsReservation,
) -> Result<SmsReservationOutcome, EngineError> {
    let known = find(tx, &new.phone, new.now)?;
    let mut record = known.unwrap_or_else(|| SmsRecord::new(&new.phone));
    if record.has_code_of(new.id) {
        return Ok(SmsReservationOutcome::Granted);
    }
    let now = &new.now;
    let was_set_back = record.clamp_to_clock(new);
    record.sent.retain(|(_, at)| now.since(*at) < DAY);
    if let Some(refused) = refuse(tx, &record, new)? {
        if was_set_back {
            // Times that lay ahead count from now on, not from each refusal.
            put(tx, &record, *now)?;
        }
        return Ok(refused);
    }
    if !new.is_test {
        record.sent.push((Bits(new.id.0), *now));
    }
    record.start_code(new);
    put(tx, &record, *now)?;
    Ok(SmsReservationOutcome::Granted)
}

/// What is in the way of a message; where nothing is, one is taken out of the day's budget.
fn refuse(
    tx: &mut Transaction<'_>,
    record: &SmsRecord,
    new: &SmsReservation,
) -> Result<Option<SmsReservationOutcome>, EngineError> {
    let SmsReservation { limits, now, .. } = new;
    if let Some(wait) = record.wait_for_attempts(limits.max_attempts, *now) {
        return Ok(Some(SmsReservationOutcome::Cooldown(wait)));
    }
    if new.is_test {
        return Ok(None);
    }
    if let Some(wait) = record.wait(limits.resend_after, 1, *now) {
        return Ok(Some(SmsReservationOutcome::Cooldown(wait)));
    }
    let over = |most, window| record.wait(window, most, *now);
    if let Some(wait) =
        over(limits.per_phone_hour, HOUR).or_else(|| over(limits.per_phone_day, DAY))
    {
        return Ok(Some(SmsReservationOutcome::PhoneQuota(wait)));
    }
    Ok(take_from_budget(tx, limits, *now)?.map(SmsReservationOutcome::Budget))
}

/// Takes back a message that was not sent, once.
pub(in crate::store) fn release(
    tx: &mut Transaction<'_>,
    phone: &Phone,
    id: SmsId,
    refund: SmsRefund,
    now: Timestamp,
) -> Result<(), EngineError> {
    let Some(mut record) = find(tx, phone, now)? else {
        return Ok(());
    };
    // A second time the code is another one.
    let is_first = record.has_code_of(id);
    if refund == SmsRefund::All {
        record.sent.retain(|(sent, _)| sent.0 != id.0);
    }
    if is_first && refund != SmsRefund::Nothing {
        let mut budget: SmsBudget = tx.record(layout::SMS_BUDGET)?.unwrap_or_default();
        if budget.day == day(now) {
            budget.sent = budget.sent.saturating_sub(1);
            tx.put(layout::SMS_BUDGET.to_vec(), &budget)?;
        }
    }
    if is_first {
        record.code = record.replaced.take();
    }
    put(tx, &record, now)
}

/// Counts the guess, then compares. A right one is used up, and frees the guesses that were lost
/// before it. A repeat of a guess has the same result and is not counted again.
///
/// A guess at nothing writes too: how long the answer takes says nothing about whether a code was
/// sent.
pub(in crate::store) fn guess(
    tx: &mut Transaction<'_>,
    guess: &SmsGuess,
    now: Timestamp,
) -> Result<GuessResult, EngineError> {
    let known = find(tx, &guess.phone, now)?;
    let repeated = known.as_ref().and_then(|record| record.result_of(guess.id));
    if let Some(is_right) = repeated {
        return Ok(GuessResult::compared(is_right));
    }
    let open = known.filter(|record| record.is_open(guess.max_attempts, now));
    let Some(mut record) = open else {
        guess_decoy(tx, guess, now)?;
        return Ok(GuessResult::NoCode);
    };
    record.attempts = record.attempts.saturating_add(1);
    let is_right = record
        .code
        .as_ref()
        .is_some_and(|code| is_same(code, guess));
    if is_right {
        record.used = record.code.take();
        record.replaced = None;
        record.attempts = 0;
    }
    record.remember_guess(guess.id, is_right);
    put(tx, &record, now)?;
    Ok(GuessResult::compared(is_right))
}

/// Does what a wrong guess does, to a record that stands for all phones without a code: it is read,
/// and written back as long as a real one. There are few of them, so that guessing at numbers fills
/// nothing.
fn guess_decoy(
    tx: &mut Transaction<'_>,
    guess: &SmsGuess,
    now: Timestamp,
) -> Result<(), EngineError> {
    let day = layout::sms_day(now);
    let candidate_keys = LookupKey::Sms(&guess.phone, day).candidate_keys(tx.cipher());
    let slot = candidate_keys
        .first()
        .and_then(|key| layout::decoy_key(key))
        .ok_or(EngineError::Refused("the store has no key"))?;
    // Nothing depends on it, and many guesses share it.
    let known: Option<SmsRecord> = tx.peek(&slot)?;
    // As with a real one, the time at which it may be swept does not move with every guess.
    let before = known
        .as_ref()
        .map(|record| record.attempts_until)
        .filter(|until| *until > now);
    let until = before.unwrap_or_else(|| now.plus(DAY));
    let code = SmsCodeRecord {
        id: Bits(guess.id.0),
        hash: guess.code.0,
        purpose: guess.purpose,
        until,
        unknown: UnknownFields::default(),
    };
    let is_right =
        known.is_some_and(|record| record.code.is_some_and(|code| is_same(&code, guess)));
    let record = SmsRecord {
        sent: vec![(code.id, now)],
        guesses: vec![(code.id, is_right)],
        code: Some(code),
        attempts: u32::from(is_right),
        attempts_until: until,
        ..SmsRecord::new(&guess.phone)
    };
    tx.put(slot, &record)
}

/// Whether this very code was used for the phone a moment ago.
pub(in crate::store) fn was_used(
    tx: &Transaction<'_>,
    guess: &SmsGuess,
    now: Timestamp,
) -> Result<bool, EngineError> {
    let used = find(tx, &guess.phone, now)?.and_then(|record| record.used);
    Ok(used.is_some_and(|code| now < code.until && is_same(&code, guess)))
}

/// Nothing in the time it takes says how much of the code was right.
fn is_same(code: &SmsCodeRecord, guess: &SmsGuess) -> bool {
    let same_code = crypto::constant_time_eq(&code.hash, &guess.code.0);
    same_code && code.purpose == guess.purpose
}

/// The days in which a record that says something may lie, the latest first.
fn days(now: Timestamp) -> [u64; 3] {
    let today = layout::sms_day(now);
    [today.saturating_add(1), today, today.saturating_sub(1)]
}

/// Where the record of a phone may lie.
pub(in crate::store) fn keys(cipher: &RecordCipher, phone: &Phone, now: Timestamp) -> Vec<Vec<u8>> {
    let of_day = |day| LookupKey::Sms(phone, day).candidate_keys(cipher);
    days(now).into_iter().flat_map(of_day).collect()
}

/// The record of a phone.
fn find(
    tx: &Transaction<'_>,
    phone: &Phone,
    now: Timestamp,
) -> Result<Option<SmsRecord>, EngineError> {
    tx.want(&keys(tx.cipher(), phone, now));
    for day in days(now) {
        if let Some(record) = tx.find(LookupKey::Sms(phone, day))? {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

/// Writes the record of a phone where it is found from now on, there alone.
fn put(tx: &mut Transaction<'_>, record: &SmsRecord, now: Timestamp) -> Result<(), EngineError> {
    let phone = &record.phone;
    let [ahead, today, before] = days(now);
    for day in [ahead, before] {
        for key in LookupKey::Sms(phone, day).candidate_keys(tx.cipher()) {
            if tx.contains(&key)? {
                tx.remove(key);
            }
        }
    }
    tx.put_under(LookupKey::Sms(phone, today), record).map(drop)
}

/// Takes one message out of the day's budget; `Some`: it is spent until then.
fn take_from_budget(
    tx: &mut Transaction<'_>,
    limits: &SmsLimits,
    now: Timestamp,
) -> Result<Option<Duration>, EngineError> {
    let pool = NumberPool {
        key: layout::SMS_BUDGET,
        tag: day(now),
        at_least: 0,
    };
    if tx.source().take_number(pool).is_some() {
        return Ok(None);
    }
    let mut budget: SmsBudget = tx.record(layout::SMS_BUDGET)?.unwrap_or_default();
    // A clock that was set back a little does not bring a second budget; one that had been far
    // ahead does not take them all.
    if day(now) > budget.day || budget.day > day(now) + 1 {
        (budget.day, budget.sent) = (day(now), 0);
    }
    let left = limits.daily_budget.saturating_sub(budget.sent);
    if left == 0 {
        let today = Duration::from_secs(now.plus(UTC_8).as_secs() % DAY.as_secs());
        return Ok(Some(DAY.saturating_sub(today)));
    }
    // What others send may be held by a process that sends less: so not much is taken at once, and
    // less when little is left.
    let taken = tx.source().block_size().min(left.div_ceil(8));
    let first = budget.sent;
    budget.sent += taken;
    tx.put(layout::SMS_BUDGET.to_vec(), &budget)?;
    tx.source().leave_numbers(pool, first + 1..first + taken);
    Ok(None)
}

/// Days since 1970-01-01 in China.
fn day(now: Timestamp) -> u64 {
    now.plus(UTC_8).as_secs() / DAY.as_secs()
}

impl SmsReservation {
    /// Until when guesses at its code are counted.
    fn attempts_counted_until(&self) -> Timestamp {
        let until = self.now.plus(self.limits.code_ttl);
        // A code that never changes has to last against more than one evening of guessing.
        if self.is_test {
            self.now.plus(HOUR).max(until)
        } else {
            until
        }
    }
}

impl SmsRecord {
    fn new(phone: &Phone) -> Self {
        Self {
            phone: phone.clone(),
            sent: Vec::new(),
            code: None,
            replaced: None,
            used: None,
            attempts: 0,
            attempts_until: Timestamp::default(),
            guesses: Vec::new(),
            unknown: UnknownFields::default(),
        }
    }

    /// Whether the code that counts is that of this message.
    fn has_code_of(&self, id: SmsId) -> bool {
        self.code.as_ref().is_some_and(|code| code.id.0 == id.0)
    }

    /// Whether this guess was right; `None`: it has not been compared yet.
    fn result_of(&self, id: GuessId) -> Option<bool> {
        let guess = self.guesses.iter().find(|(guess, _)| guess.0 == id.0);
        guess.map(|(_, is_right)| *is_right)
    }

    fn remember_guess(&mut self, id: GuessId, is_right: bool) {
        self.guesses.push((Bits(id.0), is_right));
        let too_many = self.guesses.len().saturating_sub(MAX_REMEMBERED_GUESSES);
        self.guesses.drain(..too_many);
    }

    /// Brings times that lie ahead, because the clock has been set back since, to what they can be
    /// at most: what was sent, was sent by now, and guesses that are used up come back as soon as
    /// after a new code. What lies more than a day ahead was written under a clock that was wrong,
    /// and does not count at all. `true`: there was something of the kind.
    fn clamp_to_clock(&mut self, new: &SmsReservation) -> bool {
        let (now, before) = (new.now, (self.sent.clone(), self.attempts_until));
        let tomorrow = now.plus(DAY);
        self.sent.retain(|(_, at)| *at <= tomorrow);
        self.sent
            .iter_mut()
            .for_each(|(_, at)| *at = (*at).min(now));
        if self.attempts_until > tomorrow {
            (self.attempts, self.attempts_until) = (0, Timestamp::default());
        }
        self.attempts_until = self.attempts_until.min(new.attempts_counted_until());
        // A code that was good for longer than guesses at it are counted could be guessed at for
        // ever.
        let until = now.plus(new.limits.code_ttl);
        for code in [&mut self.code, &mut self.replaced, &mut self.used]
            .into_iter()
            .flatten()
        {
            code.until = code.until.min(until);
        }
        (&self.sent, self.attempts_until) != (&before.0, before.1)
    }

    /// The code of this message counts from now on. Guesses are counted on while codes follow one
    /// another; they begin anew only when no code has been good for anything any more.
    fn start_code(&mut self, new: &SmsReservation) {
        if new.now >= self.attempts_until {
            self.attempts = 0;
        }
        let until = new.now.plus(new.limits.code_ttl);
        self.attempts_until = self.attempts_until.max(new.attempts_counted_until());
        let code = SmsCodeRecord {
            id: Bits(new.id.0),
            hash: new.code.0,
            purpose: new.purpose,
            until,
            unknown: UnknownFields::default(),
        };
        self.replaced = self.code.replace(code);
    }

    /// How long until another message fits: at most `most` within `window`.
    fn wait(&self, window: Duration, most: u32, now: Timestamp) -> Option<Duration> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let recent: Vec<_> = self
            .sent
            .iter()
            .filter(|(_, at)| now.since(*at) < window)
            .collect();
        let blocking = recent.len().checked_sub(most)?;
        // When the one that has to leave the window does so. With `most` of 0 no message ever fits;
        // the wait is the whole window.
        let left = recent
            .get(blocking)
            .map_or(window, |(_, at)| window.saturating_sub(now.since(*at)));
        Some(left.max(Duration::from_millis(1)))
    }

    /// How long until there are guesses again, where they are used up: a code without guesses is
    /// not worth sending.
    fn wait_for_attempts(&self, most: u32, now: Timestamp) -> Option<Duration> {
        let used_up = self.attempts >= most && now < self.attempts_until;
        used_up.then(|| self.attempts_until.since(now))
    }

    /// Whether a guess can be right.
    fn is_open(&self, most: u32, now: Timestamp) -> bool {
        self.attempts < most && self.code.as_ref().is_some_and(|code| now < code.until)
    }
}
