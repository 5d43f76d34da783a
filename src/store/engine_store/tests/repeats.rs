//! Guesses at codes whose commit got lost, and whose record others have written since: what happened
//! cannot be told by its version any more.

use super::{footprint::shared, *};
use crate::{
    store::{
        GuessId, SmsLimits,
        engine::Version,
        engines::versioned::{SharedFault, VersionedMemory},
    },
    types::{Phone, SmsPurpose},
};

const RIGHT: CodeHash = CodeHash([1; 32]);
const WRONG: CodeHash = CodeHash([2; 32]);

fn phone() -> Phone {
    Phone::from_parts("86", "13800138000").unwrap()
}

fn guess(id: u128, code: CodeHash) -> SmsGuess {
    SmsGuess {
        id: GuessId(id),
        phone: phone(),
        purpose: SmsPurpose::Login,
        code,
        max_attempts: 2,
    }
}

/// A user with this phone, to whom a code was sent.
async fn with_code() -> (EngineStore, Arc<VersionedMemory>) {
    let (store, engine) = shared().await;
    let user = crate::store::ImportedUser {
        id: user_of(1),
        openids: Vec::new(),
        unionid: None,
        phone: Some(phone()),
        user_type: crate::types::UserType::user(),
        roles: Vec::new(),
        profile: crate::store::Profile::default(),
        created_at: NOW,
    };
    store.import_users(&[user], false).await.unwrap();
    let message = SmsReservation {
        id: SmsId(1),
        phone: phone(),
        purpose: SmsPurpose::Login,
        code: RIGHT,
        limits: SmsLimits {
            code_ttl: Duration::from_mins(5),
            resend_after: Duration::from_mins(1),
            per_phone_hour: 5,
            per_phone_day: 10,
            daily_budget: 1000,
            max_attempts: 2,
        },
        is_test: false,
        now: NOW,
    };
    store.reserve_sms(&message).await.unwrap();
    (store, engine)
}

/// The next commit happens, its caller is not told, and what it has written is written by another
/// process before the caller looks. `reads`: how many the call makes before that.
fn lose_and_overwrite(engine: &VersionedMemory, reads: usize) {
    engine.fail_next([SharedFault::HappenUntold]);
    engine.interrupt(reads, |engine| {
        let written = engine.commits().pop().unwrap().changes;
        let version = Version::first(&Entropy::default()).unwrap();
        engine.write(version, written);
    });
}

#[tokio::test(start_paused = true)]
async fn a_wrong_guess_is_counted_once() {
    let (store, engine) = with_code().await;
    lose_and_overwrite(&engine, 1);
    let wrong = guess(1, WRONG);
    assert!(!store.prove_phone(&user_of(1), &wrong, NOW).await.unwrap());
    // Of two guesses one is left.
    let right = guess(2, RIGHT);
    assert!(store.prove_phone(&user_of(1), &right, NOW).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_right_code_is_not_called_wrong() {
    let (store, engine) = with_code().await;
    lose_and_overwrite(&engine, 1);
    let right = guess(1, RIGHT);
    assert!(store.prove_phone(&user_of(1), &right, NOW).await.unwrap());
    let another = guess(2, RIGHT);
    assert!(
        !store.prove_phone(&user_of(1), &another, NOW).await.unwrap(),
        "another guess finds it used"
    );
}

/// The last guess that is left is wrong, not one at a code that is not there.
#[tokio::test(start_paused = true)]
async fn a_last_wrong_guess_stays_a_wrong_one() {
    let (store, engine) = with_code().await;
    store
        .prove_phone(&user_of(1), &guess(1, WRONG), NOW)
        .await
        .unwrap();
    lose_and_overwrite(&engine, 2);
    let mut login = login_of("alice", 2);
    login.proof = crate::store::LoginProof::Sms(guess(2, WRONG));
    let outcome = store.login(&login).await.unwrap();
    assert!(
        matches!(outcome, LoginOutcome::NotProven { no_code: false }),
        "{outcome:?}"
    );
}
