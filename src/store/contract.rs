//! What every engine promises, as cases that each engine runs.
//!
//! A case gets an empty store and panics when the promise is broken.
//! [`store_contract!`](crate::store_contract) makes one test of each. Compiled always, so that
//! integration tests can call it; the binary contains none of it.

pub mod accounts;
pub mod imports;
pub mod logins;
pub mod outbox;
pub mod phones;
pub mod revocations;
pub mod rotations;
pub mod sms;
pub mod transfers;
pub mod upkeep;

use std::{future::Future, sync::Arc, time::Duration};

use super::{
    CodeHash, LoginOutcome, LoginProof, NewLogin, NewSession, NewUserId, OpenedSession,
    OutboxPolicy, Profile, RefreshSalt, RevocationEntry, Rotation, RotationOutcome, Store,
    WechatIdentity,
};
use crate::types::{
    AppId, ClientType, ExtraClaims, OpenId, Secret, SessionId, Timestamp, UnionId, UserId, UserType,
};

/// One test for each case. Takes an expression that makes an empty store, and whatever has to
/// outlive it: `(Arc<dyn Store>, _)`.
#[macro_export]
macro_rules! store_contract {
    ($make:expr) => {
        $crate::store_contract! { @each $make;
            logins::parallel_first_logins_make_one_user,
            logins::a_code_is_spent_once,
            logins::a_code_is_forgotten_after_its_time,
            logins::a_refused_login_spends_nothing,
            logins::a_repeated_login_is_the_same_login,
            logins::a_repeated_login_does_not_revive_its_session,
            logins::integer_ids_are_unique_and_count_up,
            logins::integer_ids_step_over_ids_that_exist,
            logins::a_given_id_is_never_given_twice,
            logins::a_unionid_is_one_user_across_apps,
            logins::a_unionid_that_comes_later_is_linked,
            logins::the_openid_wins_over_a_unionid_of_somebody_else,
            logins::one_openid_of_two_apps_is_two_users,
            logins::a_profile_is_filled_but_not_overwritten,
            logins::a_newer_profile_takes_the_place_of_the_older,
            logins::a_profile_change_leaves_sets_and_clears,
            logins::a_user_is_raised_and_never_lowered,
            logins::closed_registration_refuses_strangers_only,
            logins::one_session_per_client_type_ends_the_others,
            logins::however_many_sessions_a_login_ends_it_works,
            logins::the_oldest_session_ends_for_one_too_many,
            logins::a_session_ends_at_its_idle_and_absolute_end,
            logins::sessions_are_listed_newest_first,
            logins::a_stranger_is_nobody_until_the_id_is_known,
            sms::a_stranger_s_code_is_good_until_the_id_is_known,
            logins::an_id_that_the_backend_chose_is_the_user_s,
            logins::an_id_that_is_taken_makes_nobody,
            outbox::an_erasure_is_told_where_that_is_wanted,
            outbox::a_new_user_is_told_once,
            outbox::users_that_are_joined_are_told,
            outbox::an_event_comes_back_until_it_is_settled,
            outbox::parallel_takers_share_the_events,
            outbox::a_late_answer_leaves_what_another_has_taken,
            outbox::what_is_withdrawn_goes,
            outbox::what_is_taken_back_is_taken_back_once,
            rotations::parallel_rotations_have_one_winner,
            rotations::a_replay_is_answered_until_its_successor_is_used,
            rotations::a_replay_window_closes,
            rotations::reuse_ends_its_session_only,
            rotations::a_revoked_session_never_refreshes,
            rotations::a_session_that_was_ended_for_reuse_stays_ended,
            rotations::a_lost_rotation_is_caught_up,
            rotations::a_renewal_leaves_the_token_as_it_is,
            rotations::a_renewal_gets_past_no_revocation,
            rotations::a_renewal_is_for_the_session_s_own_user,
            rotations::a_token_that_was_rotated_away_renews_nothing,
            rotations::a_counter_from_nowhere_ends_the_session,
            rotations::rotation_moves_the_idle_end_but_not_the_absolute_end,
            rotations::an_expired_session_does_not_refresh,
            rotations::an_unknown_session_does_not_refresh,
            revocations::one_session_is_ended_by_its_user_only,
            revocations::the_others_are_ended,
            revocations::a_user_s_epoch_rises,
            revocations::a_revocation_of_everything_stops_all_refreshing,
            revocations::revoking_twice_is_revoking_once,
            revocations::the_log_is_read_in_pieces,
            revocations::the_log_skips_nothing_under_parallel_writers,
            upkeep::a_sweep_is_bounded_and_complete,
            upkeep::a_sweep_keeps_what_lives,
            upkeep::a_session_in_use_survives_its_first_sweep,
            upkeep::one_of_two_first_keys_wins,
            upkeep::keys_come_newest_first_and_go,
            upkeep::an_added_key_may_be_added_again,
            upkeep::a_closed_store_says_so,
            upkeep::a_healthy_store_says_so,
            sms::parallel_sends_send_one,
            sms::messages_to_a_phone_are_counted,
            sms::the_service_has_a_budget,
            sms::a_clock_that_was_far_ahead_is_got_over,
            sms::a_clock_that_was_set_back_is_not_waited_for,
            sms::a_repeated_reservation_is_the_same,
            sms::a_released_message_was_never_sent,
            sms::a_message_that_is_not_sent_leaves_the_code_before_it,
            sms::a_number_that_cannot_be_reached_costs_the_service_nothing,
            sms::the_code_of_a_test_phone_is_guessed_at_five_times_an_hour,
            sms::parallel_guesses_are_counted_together,
            sms::a_sms_code_is_used_once,
            sms::a_guess_at_no_code_is_told_from_a_wrong_one,
            sms::another_code_brings_no_new_guesses,
            sms::a_right_code_frees_the_guesses,
            sms::a_code_is_good_for_its_phone_purpose_and_time,
            sms::closed_registration_uses_a_code_up,
            sms::a_sweep_forgets_messages_in_their_time,
            phones::a_phone_is_one_user,
            phones::a_phone_is_bound_changed_and_taken_away,
            phones::a_phone_that_wechat_names_is_bound,
            phones::the_only_way_in_is_not_taken_away,
            phones::only_a_living_session_binds,
            phones::a_phone_of_somebody_else_is_a_conflict,
            phones::the_older_user_is_left_when_it_is_the_caller,
            phones::the_older_user_is_left_when_it_is_the_other,
            phones::of_two_phones_the_one_just_proven_is_left,
            phones::a_join_keeps_to_one_session_of_a_kind,
            phones::what_contradicts_itself_is_not_joined,
            phones::a_unionid_that_comes_later_joins_where_that_is_wanted,
            phones::a_unionid_does_not_take_a_phone_away,
            phones::a_user_is_proven_by_the_own_phone,
            accounts::a_name_is_one_account,
            accounts::a_password_is_good_until_it_changes,
            accounts::a_ban_holds_until_it_is_lifted,
            accounts::another_kind_of_user_holds_at_once,
            accounts::users_are_listed_in_pages,
            accounts::identities_lead_to_their_user_and_back,
            accounts::a_session_knows_its_session_keys,
            accounts::an_erased_user_leaves_nothing_but_the_id,
            accounts::an_erased_integer_is_not_given_again,
            accounts::the_store_gets_a_new_key_while_it_is_in_use,
            accounts::nobody_is_lost_while_keys_change,
            imports::an_imported_user_signs_in_under_the_id_from_before,
            imports::a_repeated_import_changes_nothing,
            imports::what_is_known_later_is_linked_later,
            imports::an_import_takes_nothing_from_anybody,
            imports::an_import_in_parallel_with_a_login_makes_one_user,
            imports::integers_go_on_above_what_was_imported,
            imports::a_trial_leaves_nothing,
            transfers::everything_moves_to_another_store,
            transfers::an_export_is_of_one_moment,
        }
    };
    (@each $make:expr; $($group:ident :: $case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (store, _outlives) = $make;
                $crate::store::contract::$group::$case(store).await;
            }
        )*
    };
}

/// The engine on trial.
pub type Subject = Arc<dyn Store>;

/// When the cases begin.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const IDLE: Duration = Duration::from_hours(30 * 24);
const ABSOLUTE: Duration = Duration::from_hours(90 * 24);

/// A login of a person, on a session of this number. A test changes what it is about.
///
/// # Panics
/// When the name is not an openid.
pub fn login_of(person: &str, session: u128) -> NewLogin {
    NewLogin {
        proof: LoginProof::Wechat(WechatIdentity {
            app_id: AppId::parse("wx1").expect("an app id"),
            openid: OpenId::parse(person).expect("an openid"),
            unionid: None,
            session_key: Some(Secret::new("c2Vzc2lvbi1rZXktb2YtdGVzdA==".to_owned())),
        }),
        profile: Profile::default(),
        profile_is_newer: false,
        user_type: UserType::user(),
        new_user: NewUserId::Generated(UserId::parse(&format!("u{session}")).expect("a user id")),
        claims: ExtraClaims::default(),
        outbox: OutboxPolicy::default(),
        registration_open: true,
        code: None,
        merge: false,
        session: NewSession {
            id: SessionId::from_bits(session),
            client_type: ClientType::MiniProgram,
            salt: RefreshSalt(session.to_be_bytes()),
            idle_ttl: IDLE,
            absolute_ttl: ABSOLUTE,
        },
        single_per_client_type: false,
        max_sessions: 1000,
        now: NOW,
    }
}

/// What WeChat said of a person who signs in with it.
///
/// # Panics
/// When the login is of another kind.
pub fn wechat_of(login: &mut NewLogin) -> &mut WechatIdentity {
    match &mut login.proof {
        LoginProof::Wechat(identity) => identity,
        other => panic!("not a login with WeChat: {other:?}"),
    }
}

fn with_unionid(mut login: NewLogin, unionid: &str) -> NewLogin {
    wechat_of(&mut login).unionid = Some(UnionId::parse(unionid).expect("a unionid"));
    login
}

fn under_app(mut login: NewLogin, app_id: &str) -> NewLogin {
    wechat_of(&mut login).app_id = AppId::parse(app_id).expect("an app id");
    login
}

fn with_code(mut login: NewLogin, code: u8) -> NewLogin {
    login.code = Some((CodeHash([code; 32]), NOW.plus(Duration::from_mins(10))));
    login
}

fn at(mut login: NewLogin, now: Timestamp) -> NewLogin {
    login.now = now;
    login
}

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// Signs in; anything but an open session breaks the case.
async fn opened(store: &Subject, login: &NewLogin) -> OpenedSession {
    match store.login(login).await.expect("the store works") {
        LoginOutcome::Opened(opened) => *opened,
        other => panic!("not signed in: {other:?}"),
    }
}

fn rotation(session: SessionId, counter: u64, now: Timestamp) -> Rotation {
    Rotation {
        session,
        counter,
        replay_window: None,
        idle_ttl: IDLE,
        now,
    }
}

async fn rotated(store: &Subject, rotation: &Rotation) -> RotationOutcome {
    store.rotate(rotation).await.expect("the store works")
}

/// The counter after a step that had to succeed.
async fn moved(store: &Subject, rotation: &Rotation) -> u64 {
    match rotated(store, rotation).await {
        RotationOutcome::Rotated(renewed) => renewed.session.counter,
        other => panic!("not rotated: {other:?}"),
    }
}

async fn is_active(store: &Subject, id: SessionId, now: Timestamp) -> bool {
    store
        .session(id, now)
        .await
        .expect("the store works")
        .is_some()
}

/// The whole log, read in pieces.
async fn whole_log(store: &Subject) -> Vec<RevocationEntry> {
    let (mut entries, mut cursor) = (Vec::new(), None);
    loop {
        let page = store
            .revocations(cursor.as_ref(), 7)
            .await
            .expect("the store works");
        entries.extend(page.entries);
        if !page.more {
            return entries;
        }
        cursor = Some(page.next);
    }
}

/// Runs all at once, on real threads; the outcomes in no order.
async fn together<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let set: tokio::task::JoinSet<T> = tasks.into_iter().collect();
    set.join_all().await
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_the_list() {
        let list = include_str!("contract.rs");
        let groups = [
            ("logins", include_str!("contract/logins.rs")),
            ("rotations", include_str!("contract/rotations.rs")),
            ("revocations", include_str!("contract/revocations.rs")),
            ("upkeep", include_str!("contract/upkeep.rs")),
            ("sms", include_str!("contract/sms.rs")),
            ("phones", include_str!("contract/phones.rs")),
            ("accounts", include_str!("contract/accounts.rs")),
            ("outbox", include_str!("contract/outbox.rs")),
            ("imports", include_str!("contract/imports.rs")),
            ("transfers", include_str!("contract/transfers.rs")),
        ];
        let mut cases = 0;
        for (group, text) in groups {
            for part in text.split("pub async fn ").skip(1) {
                let name = part.split('(').next().unwrap();
                assert!(
                    list.contains(&format!("{group}::{name},")),
                    "{group}::{name} is run by no engine"
                );
                cases += 1;
            }
        }
        assert_eq!(cases, 117);
    }
}
