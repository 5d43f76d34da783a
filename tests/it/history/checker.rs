//! Finds in a history what must not be, by what clients were told alone.
//!
//! Must hold, whatever was killed, stopped, cut off or restarted meanwhile:
//! - an identity leads to one user, until that user is erased;
//! - a login code opens one session, and a refresh token has one successor;
//! - a session that was told of goes on, unless something ended it;
//! - what was told to have ended does not go on: a session after a logout, a user after a ban or an
//!   erasure, and at every replica, once it has had the time to hear of it;
//! - a phone that was bound leads to its user;
//! - a code is right once, after at most four wrong guesses, and four wrong guesses do not spend it.

mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use super::record::{Ask, Disturbance, Event, Tokens, Told};

/// How long after a revocation, or after it was disturbed, a replica may go on accepting what was
/// revoked: a poll, and the time-outs of the database that a poll may have to sit through.
const BOUND: Duration = Duration::from_secs(10);
/// Wrong guesses after which a code is no more worth anything.
const MAX_GUESSES: usize = 5;
/// For so long a code is surely good.
const CODE_LIFE: Duration = Duration::from_mins(4);

/// What was found, and how much there was to find it in.
#[derive(Debug, Default)]
pub struct Findings {
    pub violations: Vec<String>,
    pub requests: usize,
    pub unknown: usize,
    pub by_kind: BTreeMap<&'static str, usize>,
    /// Sessions that ended because a refresh was executed that its client had long given up.
    pub reused_late: usize,
    /// The longest time after a revocation for which another replica accepted what was revoked: one
    /// that nothing had disturbed since, and any other.
    pub longest_undisturbed: Duration,
    pub longest: Duration,
}

/// A session as clients were told of it.
#[derive(Default)]
struct Session<'a> {
    user: &'a str,
    /// Which refresh of the session each of its refresh tokens came from.
    generations: HashMap<&'a str, usize>,
    /// Logouts, and refreshes.
    logouts: Vec<&'a Event>,
    refreshes: Vec<&'a Event>,
}

/// What happened, by what it happened to.
struct Index<'a> {
    events: &'a [Event],
    sessions: Vec<Session<'a>>,
    by_refresh: HashMap<&'a str, usize>,
    /// With the event that gave the token.
    by_access: HashMap<&'a str, (usize, &'a Event)>,
    bans: HashMap<&'a str, Vec<&'a Event>>,
    unbans: HashMap<&'a str, Vec<&'a Event>>,
    erasures: HashMap<&'a str, Vec<&'a Event>>,
}

/// Checks a history.
pub fn check(events: &[Event], disturbances: &[Disturbance]) -> Findings {
    let mut events = events.to_vec();
    events.sort_by_key(|event| event.ended);
    let mut findings = Findings {
        requests: events.len(),
        ..Findings::default()
    };
    for event in &events {
        *findings.by_kind.entry(kind(event)).or_default() += 1;
        findings.unknown += usize::from(event.told == Told::Unknown);
    }
    let index = Index::new(&events, &mut findings);
    index.check_identities(&mut findings);
    index.check_sessions(&mut findings);
    index.check_what_ended(&mut findings);
    index.check_calls(disturbances, &mut findings);
    check_guesses(&events, &mut findings);
    findings
}

fn kind(event: &Event) -> &'static str {
    match (&event.ask, &event.told) {
        (Ask::Login { .. }, Told::Tokens(_)) => "logins",
        (Ask::Refresh { .. }, Told::Tokens(_)) => "refreshes",
        (Ask::Call { .. }, Told::Done) => "calls",
        (Ask::Logout { .. }, Told::Done) => "logouts",
        (Ask::Bind { .. }, Told::Done) => "phones bound",
        (Ask::SendCode { .. }, Told::Done) => "codes sent",
        (Ask::PhoneLogin { .. }, Told::Tokens(_)) => "logins by phone",
        (Ask::Ban { .. }, Told::Done) => "bans",
        (Ask::Unban { .. }, Told::Done) => "bans lifted",
        (Ask::Erase { .. }, Told::Done) => "erasures",
        (_, Told::Refused(..)) => "refused",
        (_, Told::Unknown) => "unknown",
        (_, Told::Tokens(_) | Told::Done) => "others",
    }
}

impl<'a> Index<'a> {
    /// Events in the order in which they ended, so that a token is told of before it is used.
    fn new(events: &'a [Event], findings: &mut Findings) -> Self {
        let mut index = Self {
            events,
            sessions: Vec::new(),
            by_refresh: HashMap::new(),
            by_access: HashMap::new(),
            bans: HashMap::new(),
            unbans: HashMap::new(),
            erasures: HashMap::new(),
        };
        let mut successors: HashMap<&str, &str> = HashMap::new();
        for event in events {
            match (&event.ask, &event.told) {
                (Ask::Login { code, .. }, Told::Tokens(tokens)) => {
                    let session = successors.entry(code).or_insert(&tokens.refresh);
                    if *session != tokens.refresh {
                        findings
                            .violations
                            .push(format!("a login code opened two sessions: {event:?}"));
                    }
                    index.add_session(event, tokens);
                }
                (Ask::PhoneLogin { .. }, Told::Tokens(tokens)) => {
                    index.add_session(event, tokens);
                }
                (Ask::Refresh { refresh }, told) => {
                    if let Some(tokens) = told.tokens() {
                        let successor = successors.entry(refresh).or_insert(&tokens.refresh);
                        if *successor != tokens.refresh {
                            findings
                                .violations
                                .push(format!("a refresh token has two successors: {event:?}"));
                        }
                    }
                    index.add_refresh(event, refresh, told.tokens(), findings);
                }
                (Ask::Logout { access }, _) => {
                    if let Some((session, _)) = index.by_access.get(access.as_str()) {
                        index.sessions[*session].logouts.push(event);
                    }
                }
                (Ask::Ban { user }, _) => index.bans.entry(user).or_default().push(event),
                (Ask::Unban { user }, _) => index.unbans.entry(user).or_default().push(event),
                (Ask::Erase { user }, _) => index.erasures.entry(user).or_default().push(event),
                _ => {}
            }
        }
        index
    }

    fn add_session(&mut self, event: &'a Event, tokens: &'a Tokens) {
        if let Some(known) = self.by_refresh.get(tokens.refresh.as_str()) {
            self.by_access.insert(&tokens.access, (*known, event));
            return;
        }
        let number = self.sessions.len();
        self.sessions.push(Session {
            user: &tokens.user,
            generations: [(tokens.refresh.as_str(), 0)].into(),
            ..Session::default()
        });
        self.by_refresh.insert(&tokens.refresh, number);
        self.by_access.insert(&tokens.access, (number, event));
    }

    fn add_refresh(
        &mut self,
        event: &'a Event,
        refresh: &str,
        tokens: Option<&'a Tokens>,
        findings: &mut Findings,
    ) {
        let Some(number) = self.by_refresh.get(refresh).copied() else {
            findings
                .violations
                .push(format!("a token that was never given: {event:?}"));
            return;
        };
        let session = &mut self.sessions[number];
        session.refreshes.push(event);
        let Some(tokens) = tokens else { return };
        let next = session
            .generations
            .get(refresh)
            .copied()
            .unwrap_or_default()
            + 1;
        session.generations.entry(&tokens.refresh).or_insert(next);
        if session.user != tokens.user {
            findings
                .violations
                .push(format!("a session changed its user: {event:?}"));
        }
        self.by_refresh.insert(&tokens.refresh, number);
        self.by_access.insert(&tokens.access, (number, event));
    }

    fn may_be_erased(&self, user: &str, by: Duration) -> bool {
        may_have(&self.erasures, user, by)
    }

    /// One user for each person and phone, until that one is erased.
    fn check_identities(&self, findings: &mut Findings) {
        let mut logins: HashMap<&str, Vec<(&Event, &str)>> = HashMap::new();
        for event in self.events {
            let identity = match &event.ask {
                Ask::Login { person, .. } => person,
                Ask::PhoneLogin { phone, .. } | Ask::Bind { phone, .. } => phone,
                _ => continue,
            };
            let user = match (&event.ask, &event.told) {
                (_, Told::Tokens(tokens)) => tokens.user.as_str(),
                (Ask::Bind { access, .. }, Told::Done) => {
                    let Some((session, _)) = self.by_access.get(access.as_str()) else {
                        continue;
                    };
                    self.sessions[*session].user
                }
                _ => continue,
            };
            logins.entry(identity).or_default().push((event, user));
        }
        for (identity, logins) in logins {
            for (at, (event, user)) in logins.iter().enumerate() {
                let other = logins[..at].iter().find(|(_, other)| {
                    other != user
                        && !self.may_be_erased(user, event.ended)
                        && !self.may_be_erased(other, event.ended)
                });
                if let Some((_, other)) = other {
                    findings
                        .violations
                        .push(format!("{identity} is {user} and {other}: {event:?}"));
                }
            }
        }
    }

    /// A session goes on until something ends it.
    fn check_sessions(&self, findings: &mut Findings) {
        for session in &self.sessions {
            for event in &session.refreshes {
                let Told::Refused(status, code) = &event.told else {
                    continue;
                };
                if !matches!(status, 401 | 403) {
                    findings
                        .violations
                        .push(format!("a refresh was refused as {code}: {event:?}"));
                } else if !self.has_cause(session, event.ended) {
                    if session.was_reused_late(event.ended) {
                        findings.reused_late += 1;
                    } else {
                        findings
                            .violations
                            .push(format!("signed out without a cause: {event:?}"));
                    }
                }
            }
        }
    }

    fn has_cause(&self, session: &Session<'_>, by: Duration) -> bool {
        session.logouts.iter().any(|logout| logout.began < by)
            || may_have(&self.bans, session.user, by)
            || self.may_be_erased(session.user, by)
    }

    /// What was told to have ended gives nothing more.
    fn check_what_ended(&self, findings: &mut Findings) {
        for event in self.events {
            let Some(tokens) = event.told.tokens() else {
                continue;
            };
            let user = tokens.user.as_str();
            let ended_before = |over: &&&Event| over.told == Told::Done && over.ended < event.began;
            if let Ask::Refresh { refresh } = &event.ask
                && let Some(session) = self.by_refresh.get(refresh.as_str())
                && let Some(logout) = self.sessions[*session].logouts.iter().find(ended_before)
            {
                findings
                    .violations
                    .push(format!("goes on after {logout:?}: {event:?}"));
            }
            let erased = self.erasures.get(user).into_iter().flatten();
            if let Some(erased) = erased.clone().find(ended_before) {
                findings
                    .violations
                    .push(format!("an erased user, {erased:?}: {event:?}"));
            }
            let banned = self.bans.get(user).into_iter().flatten();
            let is_lifted = |ban: &Event| {
                let lifted = self.unbans.get(user).into_iter().flatten();
                lifted
                    .clone()
                    .any(|unban| unban.ended > ban.began && unban.began < event.ended)
            };
            let banned = banned.filter(ended_before).find(|ban| !is_lifted(ban));
            if let Some(ban) = banned {
                findings
                    .violations
                    .push(format!("a banned user, {ban:?}: {event:?}"));
            }
        }
    }

    /// Access tokens: accepted until they are revoked, and not much longer.
    fn check_calls(&self, disturbances: &[Disturbance], findings: &mut Findings) {
        for event in self.events {
            let Ask::Call { access } = &event.ask else {
                continue;
            };
            let Some((number, given)) = self.by_access.get(access.as_str()) else {
                continue;
            };
            let session = &self.sessions[*number];
            match &event.told {
                Told::Refused(401, _)
                    if !self.has_cause(session, event.ended)
                        && !session.was_reused_late(event.ended) =>
                {
                    findings
                        .violations
                        .push(format!("a token was refused without a cause: {event:?}"));
                }
                Told::Done => {
                    let first = self
                        .revocations(session, given)
                        .filter(|over| over.ended < event.began)
                        .min_by_key(|over| over.ended);
                    if let Some(first) = first {
                        judge_lateness(event, first, disturbances, findings);
                    }
                }
                _ => {}
            }
        }
    }

    /// What surely revoked a token that this event gave.
    fn revocations(&self, session: &Session<'a>, given: &Event) -> impl Iterator<Item = &'a Event> {
        let of_user = |of_kind: &HashMap<&str, Vec<&'a Event>>| {
            of_kind.get(session.user).cloned().unwrap_or_default()
        };
        let given_at = given.ended;
        let of_user = [of_user(&self.bans), of_user(&self.erasures)].concat();
        let of_user = of_user
            .into_iter()
            .filter(move |over| over.began > given_at);
        let all = session.logouts.clone().into_iter().chain(of_user);
        all.filter(|over| over.told == Told::Done)
    }
}

/// Whether something of this kind was asked for this user, and may have happened by then.
fn may_have(of_kind: &HashMap<&str, Vec<&Event>>, user: &str, by: Duration) -> bool {
    let events = of_kind.get(user);
    events.is_some_and(|events| events.iter().any(|event| event.began < by))
}

impl Session<'_> {
    /// Whether a refresh that was given up may have been executed when its token had been used twice
    /// over: then the session ends, as if the token had been stolen.
    fn was_reused_late(&self, by: Duration) -> bool {
        let generation = |event: &Event| match &event.ask {
            Ask::Refresh { refresh } => self.generations.get(refresh.as_str()).copied(),
            _ => None,
        };
        let before = self.refreshes.iter().filter(|event| event.began < by);
        let newest = before.clone().filter_map(|event| generation(event)).max();
        before
            .filter(|event| event.told == Told::Unknown)
            .filter_map(|event| generation(event))
            .any(|generation| newest.is_some_and(|newest| generation < newest))
    }
}

/// How long after a revocation a call was accepted, and whether that is too long.
fn judge_lateness(
    event: &Event,
    revocation: &Event,
    disturbances: &[Disturbance],
    findings: &mut Findings,
) {
    let concerns = |one: &&Disturbance| one.replica.is_none_or(|replica| replica == event.replica);
    let ours = disturbances.iter().filter(concerns);
    let clear_since = ours
        .filter(|one| one.began < event.ended)
        .map(|one| one.ended.min(event.began))
        .fold(revocation.ended, Duration::max);
    let late = event.began.saturating_sub(revocation.ended);
    findings.longest = findings.longest.max(late);
    if clear_since == revocation.ended {
        findings.longest_undisturbed = findings.longest_undisturbed.max(late);
    }
    if event.began > clear_since + BOUND {
        findings
            .violations
            .push(format!("accepted {late:?} after {revocation:?}: {event:?}"));
    }
}

/// Each code is for a phone of its own, unless the phone is bound.
fn check_guesses(events: &[Event], findings: &mut Findings) {
    let mut phones: HashMap<&str, Vec<&Event>> = HashMap::new();
    for event in events {
        if let Ask::SendCode { phone } | Ask::PhoneLogin { phone, .. } = &event.ask
            && phone.starts_with("+86139")
        {
            phones.entry(phone).or_default().push(event);
        }
    }
    for (phone, events) in phones {
        let guesses = |right: bool| {
            let guesses = events.iter().copied();
            guesses.filter(
                move |event| matches!(&event.ask, Ask::PhoneLogin { is_right, .. } if *is_right == right),
            )
        };
        let sessions: HashSet<_> = guesses(true)
            .filter_map(|event| Some(&event.told.tokens()?.refresh))
            .collect();
        if sessions.len() > 1 {
            findings
                .violations
                .push(format!("a code for {phone} was right twice"));
        }
        if guesses(false).any(|event| event.told.tokens().is_some()) {
            findings
                .violations
                .push(format!("a wrong code for {phone} was right"));
        }
        for right in guesses(true) {
            let told_wrong = guesses(false)
                .filter(|wrong| matches!(wrong.told, Told::Refused(..)))
                .filter(|wrong| wrong.ended < right.began)
                .count();
            let sent = guesses(false)
                .filter(|wrong| wrong.began < right.ended)
                .count();
            let is_young = right.ended.saturating_sub(events[0].began) < CODE_LIFE;
            let is_only = guesses(true).count() == 1;
            match &right.told {
                Told::Tokens(_) if told_wrong >= MAX_GUESSES => findings
                    .violations
                    .push(format!("guess {} was taken: {right:?}", told_wrong + 1)),
                Told::Refused(..) if sent < MAX_GUESSES && is_young && is_only => findings
                    .violations
                    .push(format!("a right code after {sent} wrong ones: {right:?}")),
                _ => {}
            }
        }
    }
}
