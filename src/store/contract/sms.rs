//! Codes that are sent to phones: how many, to whom, and how often they are guessed at.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{NOW, Subject, later, login_of, opened, together};
use crate::{
    store::{
        CodeHash, GuessId, LoginOutcome, LoginProof, NewLogin, NewUserId, OpenedSession, SmsGuess,
        SmsId, SmsLimits, SmsRefund, SmsReservation, SmsReservationOutcome,
    },
    types::{Phone, SmsPurpose, Timestamp, UserId},
};

const LIMITS: SmsLimits = SmsLimits {
    code_ttl: Duration::from_mins(5),
    resend_after: Duration::from_mins(1),
    per_phone_hour: 5,
    per_phone_day: 10,
    daily_budget: 10_000,
    max_attempts: 5,
};

pub(super) fn phone(last: u64) -> Phone {
    Phone::from_parts("86", &format!("{}", 13_800_000_000 + last)).expect("a phone")
}

pub(super) fn code(number: u8) -> CodeHash {
    CodeHash([number; 32])
}

pub(super) fn message(id: u128, last: u64, number: u8, now: Timestamp) -> SmsReservation {
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

pub(super) fn for_binding(message: SmsReservation) -> SmsReservation {
    SmsReservation {
        purpose: SmsPurpose::Bind,
        ..message
    }
}

pub(super) fn guess(last: u64, number: u8, purpose: SmsPurpose) -> SmsGuess {
    // Each is another guess.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    SmsGuess {
        id: GuessId(NEXT.fetch_add(1, Ordering::Relaxed).into()),
        phone: phone(last),
        purpose,
        code: code(number),
        max_attempts: LIMITS.max_attempts,
    }
}

/// A login with a code that was sent to a phone.
pub(super) fn sms_login(last: u64, number: u8, session: u128, now: Timestamp) -> NewLogin {
    NewLogin {
        proof: LoginProof::Sms(guess(last, number, SmsPurpose::Login)),
        now,
        ..login_of("nobody", session)
    }
}

pub(super) async fn reserved(store: &Subject, message: &SmsReservation) -> SmsReservationOutcome {
    store.reserve_sms(message).await.expect("works")
}

pub(super) async fn sent(store: &Subject, message: &SmsReservation) {
    assert_eq!(
        reserved(store, message).await,
        SmsReservationOutcome::Granted
    );
}

/// Signs in with a phone that is used for nothing else.
pub(super) async fn with_phone(
    store: &Subject,
    last: u64,
    session: u128,
    now: Timestamp,
) -> OpenedSession {
    sent(store, &message(session, last, 1, now)).await;
    opened(store, &sms_login(last, 1, session, now)).await
}

// 50 at once: one of them goes out.
case!(parallel_sends_send_one, async |store| {
    let outcomes = together((1..=50).map(|n| {
        let store = store.clone();
        async move { reserved(&store, &message(n, 1, 1, NOW)).await }
    }))
    .await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == SmsReservationOutcome::Granted)
            .count(),
        1
    );
    let wait = SmsReservationOutcome::Cooldown(Duration::from_mins(1));
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == wait).count(),
        49
    );
});

// The gap, the hour, the day, and when each ends.
case!(messages_to_a_phone_are_counted, async |store| {
    let day = Duration::from_hours(24);
    let mut now = NOW;
    let mut id = 0;
    for round in 0..2 {
        for n in 0..5 {
            id += 1;
            sent(&store, &message(id, 1, 1, now)).await;
            let gap = reserved(
                &store,
                &message(1000, 1, 1, now.plus(Duration::from_secs(59))),
            )
            .await;
            let expected = Duration::from_secs(1);
            match (round, n) {
                (_, 0..4) => assert_eq!(
                    gap,
                    SmsReservationOutcome::Cooldown(expected),
                    "{round} {n}"
                ),
                _ => assert!(
                    matches!(gap, SmsReservationOutcome::Cooldown(_)),
                    "{round} {n}: {gap:?}"
                ),
            }
            now = now.plus(Duration::from_mins(1));
        }
        let over = reserved(&store, &message(1000, 1, 1, now)).await;
        if round == 0 {
            assert_eq!(
                over,
                SmsReservationOutcome::PhoneQuota(Duration::from_mins(55))
            );
            now = now.plus(Duration::from_hours(1));
        } else {
            assert!(
                matches!(over, SmsReservationOutcome::PhoneQuota(_)),
                "{over:?}"
            );
        }
    }
    let tomorrow = NOW.plus(day);
    let just_before = reserved(
        &store,
        &message(1000, 1, 1, tomorrow.minus(Duration::from_secs(1))),
    )
    .await;
    assert_eq!(
        just_before,
        SmsReservationOutcome::PhoneQuota(Duration::from_secs(1))
    );
    sent(&store, &message(1001, 1, 1, tomorrow)).await;
    sent(&store, &message(1002, 2, 1, NOW)).await;
});

// The whole service has a budget for a day of China.
case!(the_service_has_a_budget, async |store| {
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
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == SmsReservationOutcome::Granted)
            .count(),
        3
    );
    let Some(SmsReservationOutcome::Budget(wait)) = outcomes
        .into_iter()
        .find(|outcome| *outcome != SmsReservationOutcome::Granted)
    else {
        panic!("nothing was over the budget");
    };
    assert!(
        wait <= Duration::from_hours(24) && !wait.is_zero(),
        "{wait:?}"
    );
    assert!(matches!(
        reserved(
            &store,
            &small(30, NOW.plus(wait).minus(Duration::from_secs(1)))
        )
        .await,
        SmsReservationOutcome::Budget(_)
    ));
    sent(&store, &small(31, NOW.plus(wait))).await;
    let back = reserved(&store, &small(32, NOW)).await;
    assert_eq!(
        back,
        SmsReservationOutcome::Granted,
        "a clock that was set back goes on counting on the later day"
    );
    let test = SmsReservation {
        is_test: true,
        ..small(33, NOW.plus(wait))
    };
    sent(&store, &test).await;
});

// A clock that was a year ahead for a moment takes neither the budgets of a year nor the phone's.
case!(a_clock_that_was_far_ahead_is_got_over, async |store| {
    let small = |id: u128, now| {
        let mut message = message(id, 1, 1, now);
        message.limits.daily_budget = 1;
        message
    };
    let ahead = NOW.plus(Duration::from_hours(365 * 24));
    sent(&store, &small(1, ahead)).await;
    for n in 0..6 {
        assert!(matches!(
            store.login(&sms_login(1, 100, n, ahead)).await,
            Ok(LoginOutcome::NotProven { .. })
        ));
    }
    sent(&store, &small(2, NOW)).await;
    opened(&store, &sms_login(1, 1, 9, NOW)).await;
    assert!(
        matches!(
            reserved(&store, &small(3, later(60))).await,
            SmsReservationOutcome::Budget(_)
        ),
        "and today's is today's"
    );
});

// A clock that was set back by hours: each limit of a phone holds for its own time from then on,
// however often the phone asks meanwhile, and not until the clock has caught up.
case!(a_clock_that_was_set_back_is_not_waited_for, async |store| {
    let secs = Duration::from_secs;
    for (last, back) in [
        (1, secs(30)),
        (2, Duration::from_hours(3)),
        (3, Duration::from_hours(23)),
    ] {
        let id = u128::from(last) * 100;
        sent(&store, &message(id, last, 1, NOW)).await;
        let now = NOW.minus(back);
        for (after, left) in [(0, 60), (1, 59), (30, 30), (59, 1)] {
            let asked = reserved(&store, &message(id + 1, last, 2, now.plus(secs(after)))).await;
            assert_eq!(
                asked,
                SmsReservationOutcome::Cooldown(secs(left)),
                "{back:?} {after}"
            );
        }
        sent(&store, &message(id + 1, last, 2, now.plus(secs(60)))).await;
        // The code of before is no better for it, and the new one is good.
        assert!(matches!(
            store
                .login(&sms_login(last, 1, id, now.plus(secs(60))))
                .await,
            Ok(LoginOutcome::NotProven { .. })
        ));
        opened(&store, &sms_login(last, 2, id + 1, now.plus(secs(60)))).await;
    }

    // Guesses that are used up, and the messages of an hour.
    let back = Duration::from_hours(3);
    sent(&store, &message(900, 9, 1, NOW)).await;
    for n in 0..6 {
        assert!(matches!(
            store.login(&sms_login(9, 100, 900 + n, NOW)).await,
            Ok(LoginOutcome::NotProven { .. })
        ));
    }
    let now = NOW.minus(back);
    assert_eq!(
        reserved(&store, &message(901, 9, 2, now)).await,
        SmsReservationOutcome::Cooldown(LIMITS.code_ttl)
    );
    let asked = reserved(&store, &message(901, 9, 2, now.plus(secs(299)))).await;
    assert_eq!(asked, SmsReservationOutcome::Cooldown(secs(1)));
    sent(&store, &message(901, 9, 2, now.plus(secs(300)))).await;

    for n in 0..5 {
        sent(
            &store,
            &message(
                800 + n,
                8,
                1,
                NOW.plus(Duration::from_mins(u64::try_from(n).expect("small"))),
            ),
        )
        .await;
    }
    let hour = reserved(&store, &message(850, 8, 1, now.plus(secs(60)))).await;
    assert_eq!(hour, SmsReservationOutcome::Cooldown(secs(60)));
    let hour = reserved(&store, &message(850, 8, 1, now.plus(secs(120)))).await;
    assert_eq!(
        hour,
        SmsReservationOutcome::PhoneQuota(Duration::from_mins(59))
    );
    sent(
        &store,
        &message(850, 8, 1, now.plus(Duration::from_mins(61))),
    )
    .await;
});

// After a lost answer the caller asks again and no second slot is taken.
case!(a_repeated_reservation_is_the_same, async |store| {
    for _ in 0..3 {
        sent(&store, &message(1, 1, 1, NOW)).await;
    }
    assert_eq!(
        reserved(&store, &message(2, 1, 1, later(59))).await,
        SmsReservationOutcome::Cooldown(Duration::from_secs(1))
    );
    sent(&store, &message(2, 1, 1, later(60))).await;
});

// What surely was not sent costs nothing, and the code before it is good again.
case!(a_released_message_was_never_sent, async |store| {
    sent(&store, &message(1, 1, 1, NOW)).await;
    for n in 0..20 {
        sent(&store, &message(2, 1, 2, later(60))).await;
        store
            .release_sms(&phone(1), SmsId(2), SmsRefund::All, later(60))
            .await
            .expect("works");
        store
            .release_sms(&phone(1), SmsId(2), SmsRefund::All, later(60))
            .await
            .expect("twice is once");
        assert!(n < 20);
    }
    assert!(matches!(
        store.login(&sms_login(1, 2, 1, later(60))).await,
        Ok(LoginOutcome::NotProven { .. })
    ));
    opened(&store, &sms_login(1, 1, 1, later(60))).await;
    store
        .release_sms(&phone(2), SmsId(9), SmsRefund::All, NOW)
        .await
        .expect("a phone that nobody knows");
});

// Where asking has counted, the slot stays taken, and the code before it is good all the same.
case!(
    a_message_that_is_not_sent_leaves_the_code_before_it,
    async |store| {
        sent(&store, &message(1, 1, 1, NOW)).await;
        sent(&store, &message(2, 1, 2, later(60))).await;
        for _ in 0..2 {
            store
                .release_sms(&phone(1), SmsId(2), SmsRefund::Nothing, later(60))
                .await
                .expect("works");
        }
        let next = reserved(&store, &message(3, 1, 3, later(61))).await;
        assert_eq!(
            next,
            SmsReservationOutcome::Cooldown(Duration::from_secs(59))
        );
        assert!(matches!(
            store.login(&sms_login(1, 2, 1, later(61))).await,
            Ok(LoginOutcome::NotProven { .. })
        ));
        opened(&store, &sms_login(1, 1, 2, later(61))).await;
    }
);

// A number that cannot be reached keeps its own slots, and costs the service nothing.
case!(
    a_number_that_cannot_be_reached_costs_the_service_nothing,
    async |store| {
        let small = |id: u128, last, now| {
            let mut message = message(id, last, 1, now);
            message.limits.daily_budget = 1;
            message
        };
        sent(&store, &small(1, 1, NOW)).await;
        for _ in 0..3 {
            store
                .release_sms(&phone(1), SmsId(1), SmsRefund::Budget, NOW)
                .await
                .expect("works");
        }
        let again = reserved(&store, &small(2, 1, later(1))).await;
        assert_eq!(
            again,
            SmsReservationOutcome::Cooldown(Duration::from_secs(59))
        );
        sent(&store, &small(3, 2, NOW)).await;
        assert!(
            matches!(
                reserved(&store, &small(4, 3, NOW)).await,
                SmsReservationOutcome::Budget(_)
            ),
            "given back once"
        );
    }
);

// A code that never changes is guessed at five times an hour, and not five times for each time it
// is asked for.
case!(
    the_code_of_a_test_phone_is_guessed_at_five_times_an_hour,
    async |store| {
        let test = |id: u128, now| SmsReservation {
            is_test: true,
            ..message(id, 1, 1, now)
        };
        for n in 0..20 {
            sent(&store, &test(n, NOW)).await;
        }
        for n in 0..5 {
            assert!(matches!(
                store.login(&sms_login(1, 100, n, NOW)).await,
                Ok(LoginOutcome::NotProven { .. })
            ));
        }
        for after in [0, 301, 3599] {
            let burnt = reserved(&store, &test(50, later(after))).await;
            assert_eq!(
                burnt,
                SmsReservationOutcome::Cooldown(Duration::from_secs(3600 - after))
            );
        }
        sent(&store, &test(51, later(3600))).await;
        opened(&store, &sms_login(1, 1, 60, later(3600))).await;
    }
);

// 50 at once: five are compared, and none of the others is, not even the right one.
case!(parallel_guesses_are_counted_together, async |store| {
    sent(&store, &message(1, 1, 1, NOW)).await;
    let outcomes = together((1..=50).map(|n| {
        let store = store.clone();
        async move {
            store
                .login(&sms_login(1, 100, n, NOW))
                .await
                .expect("works")
        }
    }))
    .await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, LoginOutcome::NotProven { .. }))
    );
    assert!(
        matches!(
            store.login(&sms_login(1, 1, 99, NOW)).await,
            Ok(LoginOutcome::NotProven { .. })
        ),
        "it is burnt"
    );
});

// 50 right ones at once: one gets in.
case!(a_sms_code_is_used_once, async |store| {
    sent(&store, &message(1, 1, 1, NOW)).await;
    let outcomes = together((1..=50).map(|n| {
        let store = store.clone();
        async move { store.login(&sms_login(1, 1, n, NOW)).await.expect("works") }
    }))
    .await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, LoginOutcome::Opened(_)))
            .count(),
        1
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, LoginOutcome::NotProven { .. }))
            .count(),
        49
    );
});

// Whether there was a code to compare with, for who may be told: used, too old and burnt are none.
case!(a_guess_at_no_code_is_told_from_a_wrong_one, async |store| {
    let no_code =
        async |guess: u8, session, now| match store.login(&sms_login(1, guess, session, now)).await
        {
            Ok(LoginOutcome::NotProven { no_code }) => no_code,
            other => panic!("not refused: {other:?}"),
        };
    assert!(no_code(1, 1, NOW).await, "never sent");
    sent(&store, &message(1, 1, 1, NOW)).await;
    assert!(!no_code(100, 2, NOW).await, "wrong");
    opened(&store, &sms_login(1, 1, 3, NOW)).await;
    assert!(no_code(1, 4, NOW).await, "used");
    sent(&store, &message(2, 1, 2, later(60))).await;
    for n in 0..5 {
        assert!(!no_code(100, 10 + n, later(60)).await, "guess {n}");
    }
    assert!(no_code(2, 20, later(60)).await, "burnt");
});

// Four wrong ones, another code, and there is one guess left; none left, and no code is sent until
// there are again.
case!(another_code_brings_no_new_guesses, async |store| {
    sent(&store, &message(1, 1, 1, NOW)).await;
    for n in 0..4 {
        assert!(matches!(
            store.login(&sms_login(1, 100, n, NOW)).await,
            Ok(LoginOutcome::NotProven { .. })
        ));
    }
    sent(&store, &message(2, 1, 2, later(60))).await;
    assert!(matches!(
        store.login(&sms_login(1, 100, 5, later(60))).await,
        Ok(LoginOutcome::NotProven { .. })
    ));
    assert!(
        matches!(
            store.login(&sms_login(1, 2, 6, later(60))).await,
            Ok(LoginOutcome::NotProven { .. })
        ),
        "the sixth"
    );
    let burnt = reserved(&store, &message(3, 1, 3, later(120))).await;
    assert_eq!(
        burnt,
        SmsReservationOutcome::Cooldown(Duration::from_mins(4))
    );
    sent(&store, &message(3, 1, 3, later(360))).await;
    opened(&store, &sms_login(1, 3, 7, later(360))).await;
});

// A right code frees the guesses before it.
case!(a_right_code_frees_the_guesses, async |store| {
    sent(&store, &message(1, 1, 1, NOW)).await;
    for n in 0..4 {
        assert!(matches!(
            store.login(&sms_login(1, 100, n, NOW)).await,
            Ok(LoginOutcome::NotProven { .. })
        ));
    }
    opened(&store, &sms_login(1, 1, 5, NOW)).await;
    sent(&store, &message(2, 1, 2, later(60))).await;
    for n in 6..10 {
        assert!(matches!(
            store.login(&sms_login(1, 100, n, later(60))).await,
            Ok(LoginOutcome::NotProven { .. })
        ));
    }
    opened(&store, &sms_login(1, 2, 11, later(60))).await;
});

// Too old, of another phone, for another purpose, replaced.
case!(
    a_code_is_good_for_its_phone_purpose_and_time,
    async |store| {
        let refused = |login: NewLogin| {
            let store = store.clone();
            async move {
                matches!(
                    store.login(&login).await,
                    Ok(LoginOutcome::NotProven { .. })
                )
            }
        };
        sent(&store, &message(1, 1, 1, NOW)).await;
        sent(&store, &for_binding(message(2, 2, 2, NOW))).await;
        assert!(refused(sms_login(2, 1, 1, NOW)).await, "of another phone");
        assert!(
            refused(sms_login(2, 2, 2, NOW)).await,
            "for another purpose"
        );
        assert!(refused(sms_login(1, 1, 3, later(300))).await, "too old");
        opened(&store, &sms_login(1, 1, 4, later(299))).await;
        sent(&store, &message(3, 1, 3, later(300))).await;
        sent(&store, &message(4, 1, 4, later(360))).await;
        assert!(refused(sms_login(1, 3, 5, later(361))).await, "replaced");
        opened(&store, &sms_login(1, 4, 6, later(361))).await;
    }
);

// A stranger's right code is used up, though nobody was signed in.
case!(closed_registration_uses_a_code_up, async |store| {
    sent(&store, &message(1, 1, 1, NOW)).await;
    let closed = NewLogin {
        registration_open: false,
        ..sms_login(1, 1, 1, NOW)
    };
    assert!(matches!(
        store.login(&closed).await,
        Ok(LoginOutcome::RegistrationClosed)
    ));
    assert!(matches!(
        store.login(&sms_login(1, 1, 2, NOW)).await,
        Ok(LoginOutcome::NotProven { .. })
    ));
    let by = crate::store::UserIdentity::Phone(phone(1));
    assert_eq!(store.find_user(&by).await.expect("works"), None);
});

// Messages, codes and guesses go when they say nothing any more, and not before.
case!(a_sweep_forgets_messages_in_their_time, async |store| {
    sent(&store, &message(1, 1, 1, NOW)).await;
    sent(&store, &message(2, 1, 2, later(60))).await;
    store.sweep(later(3600), 100).await.expect("works");
    let third = reserved(&store, &message(3, 1, 3, later(61))).await;
    assert!(
        matches!(third, SmsReservationOutcome::Cooldown(_)),
        "still remembered: {third:?}"
    );
    while store.sweep(later(2 * 24 * 3600), 1).await.expect("works") > 0 {}
    sent(&store, &message(3, 1, 3, later(61))).await;
});

// Who is asked about first has the same code for the login that follows; wrong guesses count as
// ever.
case!(
    a_stranger_s_code_is_good_until_the_id_is_known,
    async |store| {
        sent(&store, &message(1, 1, 7, NOW)).await;
        let asking = |number, session| NewLogin {
            new_user: NewUserId::Pending,
            ..sms_login(1, number, session, later(1))
        };
        assert!(matches!(
            store.login(&asking(7, 1)).await.expect("works"),
            LoginOutcome::UnknownUser
        ));
        for n in 0..4 {
            let wrong = store.login(&asking(8, 10 + n)).await.expect("works");
            assert!(
                matches!(wrong, LoginOutcome::NotProven { no_code: false }),
                "{wrong:?}"
            );
        }
        let told = NewUserId::FromBackend(UserId::parse("42").expect("an id"));
        let login = NewLogin {
            new_user: told,
            ..sms_login(1, 7, 2, later(2))
        };
        assert_eq!(opened(&store, &login).await.user.id.as_str(), "42");
        let again = store.login(&asking(7, 3)).await.expect("works");
        assert!(
            matches!(again, LoginOutcome::NotProven { .. }),
            "used: {again:?}"
        );
    }
);
