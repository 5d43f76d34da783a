//! Codes that are sent to phones, and phones that are bound to users.

use std::time::Duration;

use super::{
    IDLE, NOW, Subject, at, later, lives, login_of, moved, opened, rotation, together, whole_log, with_code, with_unionid,
};
use crate::{
    store::{
        BindOutcome, CodeHash, LoginOutcome, LoginProof, NewLogin, NewSession, Opened, PhoneBinding, PhoneProof,
        RefreshSalt, RevocationTarget, Revoke, RightsChange, SmsGuess, SmsId, SmsLimits, SmsReservation, SmsReserved,
        SmsSlots, UnbindOutcome,
    },
    types::{ClientType, Phone, SessionId, SmsPurpose, Timestamp, UserId},
};

const LIMITS: SmsLimits = SmsLimits {
    code_ttl: Duration::from_mins(5),
    resend_after: Duration::from_mins(1),
    per_phone_hour: 5,
    per_phone_day: 10,
    daily_budget: 10_000,
    max_attempts: 5,
};

fn phone(last: u64) -> Phone {
    Phone::from_parts("86", &format!("{}", 13_800_000_000 + last)).expect("a phone")
}

fn code(number: u8) -> CodeHash {
    CodeHash([number; 32])
}

fn message(id: u128, last: u64, number: u8, now: Timestamp) -> SmsReservation {
    SmsReservation {
        id: SmsId(id),
        phone: phone(last),
        purpose: SmsPurpose::Login,
        code: code(number),
        limits: LIMITS,
        is_test: false,
        now,
    }
}

fn for_binding(message: SmsReservation) -> SmsReservation {
    SmsReservation { purpose: SmsPurpose::Bind, ..message }
}

fn guess(last: u64, number: u8, purpose: SmsPurpose) -> SmsGuess {
    SmsGuess { phone: phone(last), purpose, code: code(number), max_attempts: LIMITS.max_attempts }
}

/// A login with a code that was sent to a phone.
fn sms_login(last: u64, number: u8, session: u128, now: Timestamp) -> NewLogin {
    NewLogin { proof: LoginProof::Sms(guess(last, number, SmsPurpose::Login)), now, ..login_of("nobody", session) }
}

async fn reserved(store: &Subject, message: &SmsReservation) -> SmsReserved {
    store.reserve_sms(message).await.expect("works")
}

async fn sent(store: &Subject, message: &SmsReservation) {
    assert_eq!(reserved(store, message).await, SmsReserved::Granted);
}

/// Signs in with a phone that is used for nothing else.
async fn with_phone(store: &Subject, last: u64, session: u128, now: Timestamp) -> Opened {
    sent(store, &message(session, last, 1, now)).await;
    opened(store, &sms_login(last, 1, session, now)).await
}

fn binding(opened: &Opened, last: u64, number: u8, now: Timestamp) -> PhoneBinding {
    PhoneBinding {
        user: opened.user.id.clone(),
        session: opened.session.id,
        proof: PhoneProof::Sms(guess(last, number, SmsPurpose::Bind)),
        merge: None,
        single_per_client_type: false,
        now,
    }
}

fn merging(binding: PhoneBinding, session: u128) -> PhoneBinding {
    let merge = Some(NewSession {
        id: SessionId::from_bits(session),
        client_type: ClientType::MiniProgram,
        salt: RefreshSalt([9; 16]),
        idle_ttl: IDLE,
        absolute_ttl: IDLE,
    });
    PhoneBinding { merge, ..binding }
}

async fn bound(store: &Subject, binding: &PhoneBinding) -> BindOutcome {
    store.bind_phone(binding).await.expect("works")
}

async fn phone_of(store: &Subject, id: &UserId) -> Option<Phone> {
    store.user(id).await.expect("works").expect("a user").phone
}

/// 50 at once: one of them goes out.
pub async fn parallel_sends_send_one(store: Subject) {
    let outcomes = together((1..=50).map(|n| {
        let store = store.clone();
        async move { reserved(&store, &message(n, 1, 1, NOW)).await }
    }))
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == SmsReserved::Granted).count(), 1);
    let wait = SmsReserved::Cooldown(Duration::from_mins(1));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == wait).count(), 49);
}

/// The gap, the hour, the day, and when each ends.
pub async fn messages_to_a_phone_are_counted(store: Subject) {
    let day = Duration::from_hours(24);
    let mut now = NOW;
    let mut id = 0;
    for round in 0..2 {
        for n in 0..5 {
            id += 1;
            sent(&store, &message(id, 1, 1, now)).await;
            let gap = reserved(&store, &message(1000, 1, 1, now.plus(Duration::from_secs(59)))).await;
            let expected = Duration::from_secs(1);
            match (round, n) {
                (_, 0..4) => assert_eq!(gap, SmsReserved::Cooldown(expected), "{round} {n}"),
                _ => assert!(matches!(gap, SmsReserved::Cooldown(_)), "{round} {n}: {gap:?}"),
            }
            now = now.plus(Duration::from_mins(1));
        }
        let over = reserved(&store, &message(1000, 1, 1, now)).await;
        if round == 0 {
            assert_eq!(over, SmsReserved::PhoneQuota(Duration::from_mins(55)));
            now = now.plus(Duration::from_hours(1));
        } else {
            assert!(matches!(over, SmsReserved::PhoneQuota(_)), "{over:?}");
        }
    }
    let tomorrow = NOW.plus(day);
    let just_before = reserved(&store, &message(1000, 1, 1, tomorrow.minus(Duration::from_secs(1)))).await;
    assert_eq!(just_before, SmsReserved::PhoneQuota(Duration::from_secs(1)));
    sent(&store, &message(1001, 1, 1, tomorrow)).await;
    sent(&store, &message(1002, 2, 1, NOW)).await;
}

/// The whole service has a budget for a day of China.
pub async fn the_service_has_a_budget(store: Subject) {
    let small = |id: u128, now| {
        let mut message = message(id, u64::try_from(id).expect("small"), 1, now);
        message.limits.daily_budget = 3;
        message
    };
    let outcomes = together((1..=20).map(|n| {
        let store = store.clone();
        async move { reserved(&store, &small(n, NOW)).await }
    }))
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == SmsReserved::Granted).count(), 3);
    let Some(SmsReserved::Budget(wait)) = outcomes.into_iter().find(|outcome| *outcome != SmsReserved::Granted) else {
        panic!("nothing was over the budget");
    };
    assert!(wait <= Duration::from_hours(24) && !wait.is_zero(), "{wait:?}");
    assert!(matches!(
        reserved(&store, &small(30, NOW.plus(wait).minus(Duration::from_secs(1)))).await,
        SmsReserved::Budget(_)
    ));
    sent(&store, &small(31, NOW.plus(wait))).await;
    let back = reserved(&store, &small(32, NOW)).await;
    assert_eq!(back, SmsReserved::Granted, "a clock that was set back goes on counting on the later day");
    let test = SmsReservation { is_test: true, ..small(33, NOW.plus(wait)) };
    sent(&store, &test).await;
}

/// A clock that was a year ahead for a moment takes neither the budgets of a year nor the phone's.
pub async fn a_clock_that_was_far_ahead_is_got_over(store: Subject) {
    let small = |id: u128, now| {
        let mut message = message(id, 1, 1, now);
        message.limits.daily_budget = 1;
        message
    };
    let ahead = NOW.plus(Duration::from_hours(365 * 24));
    sent(&store, &small(1, ahead)).await;
    for n in 0..6 {
        assert!(matches!(store.login(&sms_login(1, 100, n, ahead)).await, Ok(LoginOutcome::NotProven)));
    }
    sent(&store, &small(2, NOW)).await;
    opened(&store, &sms_login(1, 1, 9, NOW)).await;
    assert!(matches!(reserved(&store, &small(3, later(60))).await, SmsReserved::Budget(_)), "and today's is today's");
}

/// After a lost answer the caller asks again and no second slot is taken.
pub async fn a_repeated_reservation_is_the_same(store: Subject) {
    for _ in 0..3 {
        sent(&store, &message(1, 1, 1, NOW)).await;
    }
    assert_eq!(reserved(&store, &message(2, 1, 1, later(59))).await, SmsReserved::Cooldown(Duration::from_secs(1)));
    sent(&store, &message(2, 1, 1, later(60))).await;
}

/// What surely was not sent costs nothing, and the code before it is good again.
pub async fn a_released_message_was_never_sent(store: Subject) {
    sent(&store, &message(1, 1, 1, NOW)).await;
    for n in 0..20 {
        sent(&store, &message(2, 1, 2, later(60))).await;
        store.release_sms(&phone(1), SmsId(2), SmsSlots::Free, later(60)).await.expect("works");
        store.release_sms(&phone(1), SmsId(2), SmsSlots::Free, later(60)).await.expect("twice is once");
        assert!(n < 20);
    }
    assert!(matches!(store.login(&sms_login(1, 2, 1, later(60))).await, Ok(LoginOutcome::NotProven)));
    opened(&store, &sms_login(1, 1, 1, later(60))).await;
    store.release_sms(&phone(2), SmsId(9), SmsSlots::Free, NOW).await.expect("a phone that nobody knows");
}

/// Where asking has counted, the slot stays taken, and the code before it is good all the same.
pub async fn a_message_that_is_not_sent_leaves_the_code_before_it(store: Subject) {
    sent(&store, &message(1, 1, 1, NOW)).await;
    sent(&store, &message(2, 1, 2, later(60))).await;
    for _ in 0..2 {
        store.release_sms(&phone(1), SmsId(2), SmsSlots::Keep, later(60)).await.expect("works");
    }
    let next = reserved(&store, &message(3, 1, 3, later(61))).await;
    assert_eq!(next, SmsReserved::Cooldown(Duration::from_secs(59)));
    assert!(matches!(store.login(&sms_login(1, 2, 1, later(61))).await, Ok(LoginOutcome::NotProven)));
    opened(&store, &sms_login(1, 1, 2, later(61))).await;
}

/// A number that cannot be reached keeps its own slots, and costs the service nothing.
pub async fn a_number_that_cannot_be_reached_costs_the_service_nothing(store: Subject) {
    let small = |id: u128, last, now| {
        let mut message = message(id, last, 1, now);
        message.limits.daily_budget = 1;
        message
    };
    sent(&store, &small(1, 1, NOW)).await;
    for _ in 0..3 {
        store.release_sms(&phone(1), SmsId(1), SmsSlots::FreeBudget, NOW).await.expect("works");
    }
    let again = reserved(&store, &small(2, 1, later(1))).await;
    assert_eq!(again, SmsReserved::Cooldown(Duration::from_secs(59)));
    sent(&store, &small(3, 2, NOW)).await;
    assert!(matches!(reserved(&store, &small(4, 3, NOW)).await, SmsReserved::Budget(_)), "given back once");
}

/// A code that never changes is guessed at five times an hour, and not five times for each time it is asked for.
pub async fn the_code_of_a_test_phone_is_guessed_at_five_times_an_hour(store: Subject) {
    let test = |id: u128, now| SmsReservation { is_test: true, ..message(id, 1, 1, now) };
    for n in 0..20 {
        sent(&store, &test(n, NOW)).await;
    }
    for n in 0..5 {
        assert!(matches!(store.login(&sms_login(1, 100, n, NOW)).await, Ok(LoginOutcome::NotProven)));
    }
    for after in [0, 301, 3599] {
        let burnt = reserved(&store, &test(50, later(after))).await;
        assert_eq!(burnt, SmsReserved::Cooldown(Duration::from_secs(3600 - after)));
    }
    sent(&store, &test(51, later(3600))).await;
    opened(&store, &sms_login(1, 1, 60, later(3600))).await;
}

/// 50 at once: five are compared, and none of the others is, not even the right one.
pub async fn parallel_guesses_are_counted_together(store: Subject) {
    sent(&store, &message(1, 1, 1, NOW)).await;
    let outcomes = together((1..=50).map(|n| {
        let store = store.clone();
        async move { store.login(&sms_login(1, 100, n, NOW)).await.expect("works") }
    }))
    .await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, LoginOutcome::NotProven)));
    assert!(matches!(store.login(&sms_login(1, 1, 99, NOW)).await, Ok(LoginOutcome::NotProven)), "it is burnt");
}

/// 50 right ones at once: one gets in.
pub async fn a_sms_code_is_used_once(store: Subject) {
    sent(&store, &message(1, 1, 1, NOW)).await;
    let outcomes = together((1..=50).map(|n| {
        let store = store.clone();
        async move { store.login(&sms_login(1, 1, n, NOW)).await.expect("works") }
    }))
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, LoginOutcome::Opened(_))).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, LoginOutcome::NotProven)).count(), 49);
}

/// Four wrong ones, another code, and there is one guess left; none left, and no code is sent until there are again.
pub async fn another_code_brings_no_new_guesses(store: Subject) {
    sent(&store, &message(1, 1, 1, NOW)).await;
    for n in 0..4 {
        assert!(matches!(store.login(&sms_login(1, 100, n, NOW)).await, Ok(LoginOutcome::NotProven)));
    }
    sent(&store, &message(2, 1, 2, later(60))).await;
    assert!(matches!(store.login(&sms_login(1, 100, 5, later(60))).await, Ok(LoginOutcome::NotProven)));
    assert!(matches!(store.login(&sms_login(1, 2, 6, later(60))).await, Ok(LoginOutcome::NotProven)), "the sixth");
    let burnt = reserved(&store, &message(3, 1, 3, later(120))).await;
    assert_eq!(burnt, SmsReserved::Cooldown(Duration::from_mins(4)));
    sent(&store, &message(3, 1, 3, later(360))).await;
    opened(&store, &sms_login(1, 3, 7, later(360))).await;
}

/// A right code frees the guesses before it.
pub async fn a_right_code_frees_the_guesses(store: Subject) {
    sent(&store, &message(1, 1, 1, NOW)).await;
    for n in 0..4 {
        assert!(matches!(store.login(&sms_login(1, 100, n, NOW)).await, Ok(LoginOutcome::NotProven)));
    }
    opened(&store, &sms_login(1, 1, 5, NOW)).await;
    sent(&store, &message(2, 1, 2, later(60))).await;
    for n in 6..10 {
        assert!(matches!(store.login(&sms_login(1, 100, n, later(60))).await, Ok(LoginOutcome::NotProven)));
    }
    opened(&store, &sms_login(1, 2, 11, later(60))).await;
}

/// Too old, of another phone, for another purpose, replaced.
pub async fn a_code_is_good_for_its_phone_purpose_and_time(store: Subject) {
    let refused = |login: NewLogin| {
        let store = store.clone();
        async move { matches!(store.login(&login).await, Ok(LoginOutcome::NotProven)) }
    };
    sent(&store, &message(1, 1, 1, NOW)).await;
    sent(&store, &for_binding(message(2, 2, 2, NOW))).await;
    assert!(refused(sms_login(2, 1, 1, NOW)).await, "of another phone");
    assert!(refused(sms_login(2, 2, 2, NOW)).await, "for another purpose");
    assert!(refused(sms_login(1, 1, 3, later(300))).await, "too old");
    opened(&store, &sms_login(1, 1, 4, later(299))).await;
    sent(&store, &message(3, 1, 3, later(300))).await;
    sent(&store, &message(4, 1, 4, later(360))).await;
    assert!(refused(sms_login(1, 3, 5, later(361))).await, "replaced");
    opened(&store, &sms_login(1, 4, 6, later(361))).await;
}

/// A phone is one user, whenever and however often they sign in.
pub async fn a_phone_is_one_user(store: Subject) {
    let first = with_phone(&store, 1, 1, NOW).await;
    assert!(first.is_new_user);
    assert_eq!(first.user.phone, Some(phone(1)));
    let again = with_phone(&store, 1, 2, later(60)).await;
    assert!(!again.is_new_user);
    assert_eq!(again.user.id, first.user.id);
    assert_ne!(with_phone(&store, 2, 3, NOW).await.user.id, first.user.id);
    let repeat = opened(&store, &sms_login(1, 1, 2, later(60))).await;
    assert_eq!((repeat.session.id, repeat.user.id), (again.session.id, first.user.id), "after a lost answer");
}

/// A stranger's right code is used up, though nobody was signed in.
pub async fn closed_registration_uses_a_code_up(store: Subject) {
    sent(&store, &message(1, 1, 1, NOW)).await;
    let closed = NewLogin { registration_open: false, ..sms_login(1, 1, 1, NOW) };
    assert!(matches!(store.login(&closed).await, Ok(LoginOutcome::RegistrationClosed)));
    assert!(matches!(store.login(&sms_login(1, 1, 2, NOW)).await, Ok(LoginOutcome::NotProven)));
    let by = crate::store::Lookup::Phone(phone(1));
    assert_eq!(store.find_user(&by).await.expect("works"), None);
}

/// Bound, changed, taken away; each phone leads to whom it is bound to.
pub async fn a_phone_is_bound_changed_and_taken_away(store: Subject) {
    let alice = opened(&store, &login_of("alice", 1)).await;
    sent(&store, &for_binding(message(1, 1, 1, NOW))).await;
    assert!(matches!(bound(&store, &binding(&alice, 1, 100, NOW)).await, BindOutcome::CodeWrong));
    let BindOutcome::Bound(user) = bound(&store, &binding(&alice, 1, 1, NOW)).await else { panic!("not bound") };
    assert_eq!(user.phone, Some(phone(1)));
    assert!(matches!(bound(&store, &binding(&alice, 1, 1, NOW)).await, BindOutcome::Bound(_)), "after a lost answer");
    assert!(matches!(bound(&store, &binding(&alice, 1, 100, NOW)).await, BindOutcome::CodeWrong));
    assert_eq!(with_phone(&store, 1, 10, later(60)).await.user.id, alice.user.id);

    sent(&store, &for_binding(message(2, 2, 2, NOW))).await;
    assert!(matches!(bound(&store, &binding(&alice, 2, 2, later(1))).await, BindOutcome::Bound(_)));
    assert_eq!(phone_of(&store, &alice.user.id).await, Some(phone(2)));
    assert_ne!(with_phone(&store, 1, 11, later(120)).await.user.id, alice.user.id, "the old phone is free");

    let unbind = |session| store.unbind_phone(&alice.user.id, session, later(121));
    assert!(matches!(unbind(alice.session.id).await, Ok(UnbindOutcome::Unbound(_))));
    assert!(matches!(unbind(alice.session.id).await, Ok(UnbindOutcome::NotBound(_))));
    assert_eq!(phone_of(&store, &alice.user.id).await, None);
    assert!(with_phone(&store, 2, 12, later(122)).await.is_new_user);
}

/// WeChat's word is as good as a code.
pub async fn a_phone_that_wechat_names_is_bound(store: Subject) {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let by_wechat = PhoneBinding { proof: PhoneProof::Wechat(phone(1)), ..binding(&alice, 1, 1, NOW) };
    for _ in 0..2 {
        assert!(matches!(bound(&store, &by_wechat).await, BindOutcome::Bound(_)));
    }
    assert_eq!(phone_of(&store, &alice.user.id).await, Some(phone(1)));
}

/// Somebody who has nothing but a phone keeps it.
pub async fn the_only_way_in_is_not_taken_away(store: Subject) {
    let by_phone = with_phone(&store, 1, 1, NOW).await;
    let outcome = store.unbind_phone(&by_phone.user.id, by_phone.session.id, NOW).await;
    assert!(matches!(outcome, Ok(UnbindOutcome::OnlyIdentity)));
    assert_eq!(with_phone(&store, 1, 2, later(60)).await.user.id, by_phone.user.id);
}

/// Whoever changes a phone needs a session that lives, and their own.
pub async fn only_a_living_session_binds(store: Subject) {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let bob = opened(&store, &login_of("bob", 2)).await;
    let by_wechat = |user: &Opened, session: &Opened| PhoneBinding {
        session: session.session.id,
        proof: PhoneProof::Wechat(phone(1)),
        ..binding(user, 1, 1, NOW)
    };
    assert!(matches!(bound(&store, &by_wechat(&alice, &bob)).await, BindOutcome::SessionOver));
    let what = Revoke::Session { user: alice.user.id.clone(), session: alice.session.id };
    store.revoke(&what, NOW).await.expect("works");
    assert!(matches!(bound(&store, &by_wechat(&alice, &alice)).await, BindOutcome::SessionOver));
    let unbind = store.unbind_phone(&bob.user.id, alice.session.id, NOW).await;
    assert!(matches!(unbind, Ok(UnbindOutcome::SessionOver)));
    assert_eq!(phone_of(&store, &alice.user.id).await, None);
}

/// Nobody gets a phone that leads to somebody else, and 20 who try at once are one owner.
pub async fn a_phone_of_somebody_else_is_a_conflict(store: Subject) {
    let owner = with_phone(&store, 1, 1, NOW).await;
    let alice = opened(&store, &login_of("alice", 2)).await;
    sent(&store, &for_binding(message(5, 1, 2, later(60)))).await;
    assert!(matches!(bound(&store, &binding(&alice, 1, 2, later(60))).await, BindOutcome::Conflict));
    assert_eq!(phone_of(&store, &owner.user.id).await, Some(phone(1)));
    assert_eq!(phone_of(&store, &alice.user.id).await, None);

    let people = together((10..30).map(|n| {
        let store = store.clone();
        async move { opened(&store, &login_of(&format!("person-{n}"), n)).await }
    }))
    .await;
    let outcomes =
        together(people.into_iter().map(|person| {
            let store = store.clone();
            async move {
                bound(&store, &PhoneBinding { proof: PhoneProof::Wechat(phone(7)), ..binding(&person, 7, 1, NOW) }).await
            }
        }))
        .await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, BindOutcome::Bound(_))).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, BindOutcome::Conflict)).count(), 19);
}

/// The caller is the older one: the other's identities come over, the caller's session lives on.
pub async fn the_older_user_is_left_when_it_is_the_caller(store: Subject) {
    let mut login = login_of("alice", 1);
    login.profile.nickname = None;
    let alice = opened(&store, &login).await;
    let by_phone = with_phone(&store, 1, 2, later(1)).await;
    let log = whole_log(&store).await.len();
    sent(&store, &for_binding(message(5, 1, 2, later(61)))).await;
    let wanted = merging(binding(&alice, 1, 2, later(61)), 50);
    let BindOutcome::Merged(merged) = bound(&store, &wanted).await else { panic!("not merged") };
    assert_eq!((&merged.user.id, &merged.gone), (&alice.user.id, &by_phone.user.id));
    assert!(merged.session.is_none());
    assert_eq!(merged.user.phone, Some(phone(1)));
    let target = RevocationTarget::User { id: by_phone.user.id.clone(), epoch: 1 };
    assert_eq!(merged.revoked.entries.iter().map(|entry| &entry.target).collect::<Vec<_>>(), [&target]);
    assert!(matches!(bound(&store, &wanted).await, BindOutcome::Bound(_)), "after a lost answer");
    assert_eq!(whole_log(&store).await.len(), log + 1);
    assert!(lives(&store, alice.session.id, later(62)).await && !lives(&store, by_phone.session.id, later(62)).await);
    assert_eq!(store.user(&by_phone.user.id).await.expect("works"), None);
    assert_eq!(with_phone(&store, 1, 3, later(122)).await.user.id, alice.user.id);
    let gone = store.known(&by_phone.user.id).await.expect("works");
    assert!(matches!(gone, crate::store::Known::Gone { merged_into: Some(id), .. } if id == alice.user.id));
}

/// The owner of the phone is the older one: the caller's user goes, and a session of the other one is opened.
pub async fn the_older_user_is_left_when_it_is_the_other(store: Subject) {
    let by_phone = with_phone(&store, 1, 1, NOW).await;
    let mut login = login_of("alice", 2);
    login.profile.nickname = Some("Alice".to_owned());
    let alice = opened(&store, &at(login, later(1))).await;
    sent(&store, &for_binding(message(5, 1, 2, later(61)))).await;
    let wanted = merging(binding(&alice, 1, 2, later(61)), 50);
    let BindOutcome::Merged(merged) = bound(&store, &wanted).await else { panic!("not merged") };
    assert_eq!((&merged.user.id, &merged.gone), (&by_phone.user.id, &alice.user.id));
    assert_eq!(merged.user.profile.nickname.as_deref(), Some("Alice"));
    let session = merged.session.expect("a session of the user who is left");
    assert_eq!((session.id, &session.user), (SessionId::from_bits(50), &by_phone.user.id));
    let (since, ends) = (alice.session.created_at, alice.session.absolute_end);
    assert!(session.created_at == since && session.absolute_end <= ends, "it is the same login, no fresh one");
    assert!(lives(&store, session.id, later(62)).await && lives(&store, by_phone.session.id, later(62)).await);
    assert!(!lives(&store, alice.session.id, later(62)).await);
    let BindOutcome::Merged(again) = bound(&store, &wanted).await else { panic!("not the same after a lost answer") };
    assert_eq!(again.session.map(|session| session.id), Some(session.id));
    let back = opened(&store, &at(login_of("alice", 3), later(63))).await;
    assert_eq!(back.user.id, by_phone.user.id, "her openid leads to the one who is left");
    assert!(store.wechat_session(session.id, later(63)).await.expect("works").is_some(), "and so does her session");
    moved(&store, &rotation(session.id, 0, later(64))).await;
}

/// Where there is one session of each kind, a join leaves one.
pub async fn a_join_keeps_to_one_session_of_a_kind(store: Subject) {
    let by_phone = with_phone(&store, 1, 1, NOW).await;
    let alice = opened(&store, &at(login_of("alice", 2), later(1))).await;
    let proof = PhoneProof::Wechat(phone(1));
    let wanted = PhoneBinding { proof, single_per_client_type: true, ..binding(&alice, 1, 1, later(2)) };
    let BindOutcome::Merged(merged) = bound(&store, &merging(wanted, 50)).await else { panic!("not merged") };
    assert!(merged.revoked.sessions.contains(&by_phone.session.id));
    let target = RevocationTarget::Session(by_phone.session.id);
    assert!(merged.revoked.entries.iter().any(|entry| entry.target == target));
    let living = store.sessions(&by_phone.user.id, later(3)).await.expect("works");
    assert_eq!(living.iter().map(|session| session.id.bits()).collect::<Vec<_>>(), [50]);
}

/// What contradicts itself is not joined: two people of one mini program, two unionids, rights, a ban.
pub async fn what_contradicts_itself_is_not_joined(store: Subject) {
    let alice = opened(&store, &login_of("alice", 1)).await;
    let mut n = 1;
    let mut try_with = async |other: &Opened, why: &str| {
        n += 1;
        let own = PhoneBinding { proof: PhoneProof::Wechat(phone(n)), ..binding(other, n, 1, NOW) };
        assert!(matches!(bound(&store, &own).await, BindOutcome::Bound(_)), "{why}");
        (n, merging(PhoneBinding { proof: PhoneProof::Wechat(phone(n)), ..binding(&alice, n, 1, NOW) }, 900 + u128::from(n)))
    };
    let same_app = opened(&store, &login_of("bob", 2)).await;
    let (_, wanted) = try_with(&same_app, "same app").await;
    assert!(matches!(bound(&store, &wanted).await, BindOutcome::Conflict), "two people of one mini program");

    let banned = with_phone(&store, 100, 3, NOW).await;
    store.change_rights(&banned.user.id, &RightsChange::Ban, NOW).await.expect("works");
    let wanted = merging(PhoneBinding { proof: PhoneProof::Wechat(phone(100)), ..binding(&alice, 100, 1, NOW) }, 901);
    assert!(matches!(bound(&store, &wanted).await, BindOutcome::Conflict), "somebody who is banned");

    let admin = with_phone(&store, 101, 4, NOW).await;
    let raise = RightsChange::UserType(crate::types::UserType::admin());
    store.change_rights(&admin.user.id, &raise, NOW).await.expect("works");
    let wanted = merging(PhoneBinding { proof: PhoneProof::Wechat(phone(101)), ..binding(&alice, 101, 1, NOW) }, 902);
    assert!(matches!(bound(&store, &wanted).await, BindOutcome::Conflict), "rights are not joined");
    assert!(lives(&store, alice.session.id, NOW).await);
}

/// The unionid of two users who signed in apart: one person by WeChat's word, joined where that is wanted.
pub async fn a_unionid_that_comes_later_joins_where_that_is_wanted(store: Subject) {
    let first = opened(&store, &login_of("alice-one", 1)).await;
    let under_two = |login: NewLogin| super::under_app(login, "wx2");
    let second = opened(&store, &at(under_two(with_unionid(login_of("alice-two", 2), "union")), later(1))).await;
    assert_ne!(first.user.id, second.user.id);
    let again = with_code(with_unionid(login_of("alice-one", 3), "union"), 3);
    let apart = opened(&store, &at(again, later(2))).await;
    assert_eq!((&apart.user.id, &apart.merged), (&first.user.id, &None), "without the wish the openid wins");

    let wanted = at(NewLogin { merge: true, ..with_unionid(login_of("alice-one", 4), "union") }, later(3));
    let joined = opened(&store, &wanted).await;
    assert_eq!(joined.user.id, first.user.id);
    assert_eq!(joined.merged.map(|(gone, _)| gone), Some(second.user.id.clone()));
    assert!(!lives(&store, second.session.id, later(4)).await);
    let other_app = opened(&store, &at(under_two(with_unionid(login_of("alice-two", 5), "union")), later(5))).await;
    assert_eq!(other_app.user.id, first.user.id);
    let third = super::under_app(with_unionid(login_of("alice-three", 6), "union"), "wx3");
    assert_eq!(opened(&store, &at(third, later(6))).await.user.id, first.user.id);
}

/// Two users who both have a phone are not joined by a unionid: neither phone is proven by it, and one would lead to nobody.
pub async fn a_unionid_does_not_take_a_phone_away(store: Subject) {
    let of = |person: &str, n: u128, app: &str| super::under_app(with_unionid(login_of(person, n), "union"), app);
    let first = opened(&store, &login_of("alice-one", 1)).await;
    let second = opened(&store, &of("alice-two", 2, "wx2")).await;
    for (user, last) in [(&first, 1), (&second, 2)] {
        let own = PhoneBinding { proof: PhoneProof::Wechat(phone(last)), ..binding(user, last, 1, NOW) };
        assert!(matches!(bound(&store, &own).await, BindOutcome::Bound(_)));
    }
    let wanted = NewLogin { merge: true, ..of("alice-one", 3, "wx1") };
    let apart = opened(&store, &wanted).await;
    assert_eq!((&apart.user.id, &apart.merged), (&first.user.id, &None));
    assert_eq!(phone_of(&store, &second.user.id).await, Some(phone(2)));
    assert_eq!(with_phone(&store, 2, 4, later(60)).await.user.id, second.user.id);
}

/// The code of the user's own phone, once; nobody else's.
pub async fn a_user_is_proven_by_the_own_phone(store: Subject) {
    let alice = with_phone(&store, 1, 1, NOW).await;
    let bob = with_phone(&store, 2, 2, NOW).await;
    sent(&store, &message(5, 1, 2, later(60))).await;
    let prove = async |user: &Opened, last, number| {
        let guess = guess(last, number, SmsPurpose::Login);
        store.prove_phone(&user.user.id, &guess, later(61)).await.expect("works")
    };
    assert!(!prove(&alice, 1, 100).await);
    assert!(prove(&alice, 1, 2).await);
    assert!(!prove(&alice, 1, 2).await, "once");
    sent(&store, &message(6, 1, 3, later(120))).await;
    assert!(!prove(&bob, 1, 3).await, "not his phone");
}

/// Messages, codes and guesses go when they say nothing any more, and not before.
pub async fn a_sweep_forgets_messages_in_their_time(store: Subject) {
    sent(&store, &message(1, 1, 1, NOW)).await;
    sent(&store, &message(2, 1, 2, later(60))).await;
    store.sweep(later(3600), 100).await.expect("works");
    let third = reserved(&store, &message(3, 1, 3, later(61))).await;
    assert!(matches!(third, SmsReserved::Cooldown(_)), "still remembered: {third:?}");
    while store.sweep(later(2 * 24 * 3600), 1).await.expect("works") > 0 {}
    sent(&store, &message(3, 1, 3, later(61))).await;
}
