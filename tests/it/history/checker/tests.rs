//! The checker finds what it is there for, and nothing in what is right.

use std::time::Duration;

use super::{
    super::record::{Ask, Disturbance, Event, Tokens, Told},
    BOUND, check,
};

/// A history that is written down by hand: each event takes a second, one after the other.
#[derive(Default)]
struct Story(Vec<Event>);

fn tokens(user: &str, session: &str, generation: usize) -> Told {
    Told::Tokens(Tokens {
        user: user.to_owned(),
        access: format!("access-{session}-{generation}"),
        refresh: format!("refresh-{session}-{generation}"),
    })
}

fn no(status: u16) -> Told {
    Told::Refused(status, String::new())
}

impl Story {
    fn at(mut self, second: usize, replica: usize, ask: Ask, told: Told) -> Self {
        let began = Duration::from_secs(second.try_into().expect("small"));
        self.0.push(Event {
            began,
            ended: began + Duration::from_millis(900),
            replica,
            ask,
            told,
        });
        self
    }

    fn then(self, ask: Ask, told: Told) -> Self {
        let second = self.0.len();
        self.at(second, 0, ask, told)
    }

    /// Alice signs in.
    fn login(self, user: &str, session: &str) -> Self {
        self.login_with(session, user, session)
    }

    fn login_with(self, code: &str, user: &str, session: &str) -> Self {
        let ask = Ask::Login {
            person: "alice".to_owned(),
            code: code.to_owned(),
        };
        self.then(ask, tokens(user, session, 0))
    }

    fn refresh(self, session: &str, generation: usize, told: Told) -> Self {
        let refresh = format!("refresh-{session}-{generation}");
        self.then(Ask::Refresh { refresh }, told)
    }

    fn logout(self, told: Told) -> Self {
        let access = "access-s-0".to_owned();
        self.then(Ask::Logout { access }, told)
    }

    fn erase(self, told: Told) -> Self {
        let user = "u1".to_owned();
        self.then(Ask::Erase { user }, told)
    }

    fn guess(self, is_right: bool, told: Told) -> Self {
        let phone = "+8613900000001".to_owned();
        self.then(Ask::PhoneLogin { phone, is_right }, told)
    }

    #[track_caller]
    fn is_right(&self) {
        let findings = check(&self.0, &[]);
        assert_eq!(findings.violations, [""; 0]);
    }

    #[track_caller]
    fn is_wrong(&self, words: &str) {
        let findings = check(&self.0, &[]);
        let [violation] = &findings.violations[..] else {
            panic!("{:?}", findings.violations)
        };
        assert!(violation.contains(words), "{violation}");
    }
}

fn alice() -> Story {
    Story::default().login("u1", "s")
}

#[test]
fn an_identity_is_one_user_until_it_is_erased() {
    alice().login("u1", "t").is_right();
    alice().login("u2", "t").is_wrong("alice is u2 and u1");
    alice().erase(Told::Unknown).login("u2", "t").is_right();
    alice()
        .erase(Told::Done)
        .login("u1", "t")
        .is_wrong("an erased user");
}

#[test]
fn a_refresh_chain_never_forks() {
    let chain = || alice().refresh("s", 0, tokens("u1", "s", 1));
    chain().refresh("s", 0, tokens("u1", "s", 1)).is_right();
    chain()
        .refresh("s", 0, tokens("u1", "t", 1))
        .is_wrong("two successors");
    alice()
        .refresh("s", 0, tokens("u2", "s", 1))
        .is_wrong("changed its user");
}

#[test]
fn a_login_code_opens_one_session() {
    alice().login_with("s", "u1", "s").is_right();
    alice()
        .login_with("s", "u1", "t")
        .is_wrong("a login code opened two sessions");
}

#[test]
fn a_session_ends_only_with_a_cause_and_then_for_good() {
    alice().refresh("s", 0, no(401)).is_wrong("without a cause");
    alice().refresh("s", 0, Told::Unknown).is_right();
    alice()
        .logout(Told::Unknown)
        .refresh("s", 0, no(401))
        .is_right();
    alice()
        .logout(Told::Done)
        .refresh("s", 0, tokens("u1", "s", 1))
        .is_wrong("goes on after");
    let late = alice()
        .refresh("s", 0, Told::Unknown)
        .refresh("s", 0, tokens("u1", "s", 1))
        .refresh("s", 1, tokens("u1", "s", 2))
        .refresh("s", 2, no(401));
    late.is_right();
    assert_eq!(check(&late.0, &[]).reused_late, 1);
}

#[test]
fn a_banned_user_does_nothing_until_the_ban_is_lifted() {
    let user = || "u1".to_owned();
    let banned = |story: Story| story.then(Ask::Ban { user: user() }, Told::Done);
    let refreshed = || tokens("u1", "s", 1);
    banned(alice())
        .refresh("s", 0, refreshed())
        .is_wrong("a banned user");
    banned(alice()).login("u1", "t").is_wrong("a banned user");
    let lifted = |told| banned(alice()).then(Ask::Unban { user: user() }, told);
    lifted(Told::Unknown).login("u1", "t").is_right();
    lifted(Told::Done).refresh("s", 0, no(401)).is_right();
}

#[test]
fn a_revoked_token_is_refused_in_time_by_a_replica_that_nothing_disturbs() {
    let call = || Ask::Call {
        access: "access-s-0".to_owned(),
    };
    let bound = usize::try_from(BOUND.as_secs()).expect("small");
    let out = || alice().logout(Told::Done);
    alice()
        .then(call(), no(401))
        .is_wrong("refused without a cause");
    out().at(bound, 1, call(), Told::Done).is_right();
    let late = out().at(bound + 3, 1, call(), Told::Done);
    late.is_wrong("accepted");
    let disturbance = |replica| Disturbance {
        replica: Some(replica),
        began: Duration::from_secs(3),
        ended: Duration::from_secs(6),
        what: "stopped".to_owned(),
    };
    assert_eq!(check(&late.0, &[disturbance(1)]).violations, [""; 0]);
    assert_eq!(check(&late.0, &[disturbance(2)]).violations.len(), 1);
    // A token of after the ban is another one.
    let user = || "u1".to_owned();
    alice()
        .then(Ask::Ban { user: user() }, Told::Done)
        .then(Ask::Unban { user: user() }, Told::Done)
        .login("u1", "t")
        .at(
            90,
            1,
            Ask::Call {
                access: "access-t-0".to_owned(),
            },
            Told::Done,
        )
        .is_right();
}

#[test]
fn a_phone_leads_to_who_has_bound_it() {
    let phone = || "+8613800000001".to_owned();
    let bound = || {
        let access = "access-s-0".to_owned();
        let phone = phone();
        alice().then(Ask::Bind { access, phone }, Told::Done)
    };
    let login = || Ask::PhoneLogin {
        phone: phone(),
        is_right: true,
    };
    bound().then(login(), tokens("u1", "t", 0)).is_right();
    bound()
        .then(login(), tokens("u2", "t", 0))
        .is_wrong("is u2 and u1");
}

#[test]
fn a_code_is_right_once_and_after_few_guesses() {
    let sent = || {
        let phone = "+8613900000001".to_owned();
        Story::default().then(Ask::SendCode { phone }, Told::Done)
    };
    let after = |wrong: usize, told: fn() -> Told| {
        let story = (0..wrong).fold(sent(), |story, _| story.guess(false, told()));
        move |right: Told| story.guess(true, right)
    };
    let refused = || no(400);
    after(4, refused)(tokens("u1", "s", 0)).is_right();
    after(5, refused)(tokens("u1", "s", 0)).is_wrong("guess 6 was taken");
    after(5, refused)(no(400)).is_right();
    after(4, refused)(no(400)).is_wrong("a right code after 4 wrong ones");
    after(5, || Told::Unknown)(tokens("u1", "s", 0)).is_right();
    after(0, refused)(tokens("u1", "s", 0))
        .guess(true, tokens("u1", "t", 0))
        .is_wrong("was right twice");
    sent()
        .guess(false, tokens("u1", "s", 0))
        .is_wrong("was right");
}
