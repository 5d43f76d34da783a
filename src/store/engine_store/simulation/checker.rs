//! Makes the calls of a history once more, one after the other, and compares what clients were told.

use std::collections::{HashMap, HashSet};

use super::{
    calls::{Call, Maintenance, SCARCE_MESSAGES, TakenEvent},
    history::{Entry, History},
    server::{Applied, Moment, locked},
};
use crate::{
    crypto::Key,
    entropy::Entropy,
    store::{
        OpenOptions, Store as _, StoreError, UserLookup, WrappingKeys, engine_store::EngineStore,
    },
    types::UserId,
};

/// A call that took effect.
struct Effect<'a> {
    at: Moment,
    entry: &'a Entry,
    role: Role,
}

/// What an effect has to do with what the client was told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The client was told something else, or nothing.
    Unanswered,
    /// The client was told what came of this one.
    Answered,
    /// The client was told what came of the commit, or, because others had overwritten that before
    /// the call could find it, what came of the look after that.
    Overwritten,
    /// That look.
    SecondLook,
}

fn effects(history: &History) -> Result<Vec<Effect<'_>>, String> {
    let mut effects = Vec::new();
    for entry in &history.entries {
        let trace = locked(&entry.trace);
        if trace.repeated {
            return Err(format!("happened twice: {:?}", entry.call));
        }
        if let Some(Err(error @ (StoreError::Damaged(_) | StoreError::Closed))) = &entry.outcome {
            return Err(format!("{error}: {:?}", entry.call));
        }
        let is_answered = matches!(entry.outcome, Some(Ok(_)));
        let commits = trace.commits.iter().filter(|commit| !commit.is_log());
        // A lost attempt that came when the call had read for the last time, and so has nothing to do
        // with its outcome.
        let is_stray = |commit: &&Applied| is_answered && trace.is_stray(commit);
        let (stray, commits): (Vec<_>, Vec<_>) = commits.partition(is_stray);
        if stray.iter().any(|commit| !commit.is_blind) {
            return Err(format!("happened after the answer: {:?}", entry.call));
        }
        if matches!(entry.call, Call::Maintenance(_)) {
            continue;
        }
        effects.extend(stray.into_iter().map(|commit| Effect {
            at: commit.at,
            entry,
            role: Role::Unanswered,
        }));
        let mut moments: Vec<_> = commits.into_iter().map(|commit| commit.at).collect();
        // A call that wrote nothing but a line of the log took effect when that happened, one that only
        // kept its earlier attempts from happening when it did, and one that wrote nothing at all when it
        // read for the last time.
        if moments.is_empty() && is_answered {
            let is_line = |commit: &&Applied| commit.is_log() && !is_stray(commit);
            let line = trace.commits.iter().find(is_line).map(|commit| commit.at);
            moments.extend(line.or(trace.prevented).or(trace.last_read));
        }
        let last = moments.last().copied();
        let second_look = trace.last_read.filter(|read| {
            is_answered && !trace.saw_commit && last.is_some_and(|last| last < *read)
        });
        let role_of_last = match (is_answered, second_look) {
            (false, _) => Role::Unanswered,
            (true, None) => Role::Answered,
            (true, Some(_)) => Role::Overwritten,
        };
        effects.extend(moments.into_iter().map(|at| Effect {
            at,
            entry,
            role: if Some(at) == last {
                role_of_last
            } else {
                Role::Unanswered
            },
        }));
        effects.extend(second_look.map(|at| Effect {
            at,
            entry,
            role: Role::SecondLook,
        }));
    }
    effects.sort_by_key(|effect| effect.at);
    Ok(effects)
}

/// Whether the day's messages were spent, or held by other processes: a store of one process cannot
/// say that.
fn is_out_of_messages(entry: &Entry) -> bool {
    let Some(Ok(told)) = &entry.outcome else {
        return false;
    };
    matches!(entry.call, Call::ReserveSms(_)) && told.text.starts_with("Budget(")
}

/// What is wrong with how many of the few messages of a day were granted. Each is to another phone,
/// so each commit took one.
fn spent_messages(history: &History) -> Option<String> {
    let is_scarce = |entry: &&Entry| match &entry.call {
        Call::ReserveSms(message) => message.limits.daily_budget == SCARCE_MESSAGES,
        _ => false,
    };
    let granted = history.entries.iter().filter(is_scarce).filter(|entry| {
        let trace = locked(&entry.trace);
        !trace.commits.is_empty()
    });
    let ids: HashSet<_> = granted
        .filter_map(|entry| match &entry.call {
            Call::ReserveSms(message) => Some(message.id.0),
            _ => None,
        })
        .collect();
    let most = usize::try_from(SCARCE_MESSAGES).expect("few");
    (ids.len() > most).then(|| format!("{} of {most} messages were granted", ids.len()))
}

/// An event for the backend that was taken after it had been acknowledged.
fn event_that_came_back(history: &History) -> Option<String> {
    let last_commit = |entry: &Entry| locked(&entry.trace).commits.last().map(|one| one.at);
    let acknowledged = history
        .entries
        .iter()
        .filter_map(|entry| match &entry.call {
            // Without a commit it was another one's by then.
            Call::Maintenance(Maintenance::Acknowledge(event, true)) => {
                Some((event.id.as_str(), last_commit(entry)?))
            }
            _ => None,
        });
    let acknowledged: HashMap<_, _> = acknowledged.collect();
    history.entries.iter().find_map(|entry| {
        let taken = &entry.outcome.as_ref()?.as_ref().ok()?.events;
        let at = last_commit(entry)?;
        let came_back = |event: &&TakenEvent| {
            let gone = acknowledged.get(event.id.as_str());
            gone.is_some_and(|gone| *gone < at)
        };
        let event = taken.iter().find(came_back)?;
        Some(format!(
            "{} was taken at {at}, though it had been acknowledged",
            event.id
        ))
    })
}

/// The new user whom a commit made, where ids are integers.
async fn new_user(store: &EngineStore, entry: &Entry, at: Moment) -> Option<UserId> {
    let id = {
        let trace = locked(&entry.trace);
        let commit = trace.commits.iter().find(|commit| commit.at == at)?;
        commit.integer_user()?
    };
    let known = store.lookup_user(&id).await.expect("memory works");
    matches!(known, UserLookup::Unknown).then_some(id)
}

/// How much was judged, so that histories in which nothing succeeds are no success.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Calls whose outcome was compared.
    pub(super) calls: usize,
    /// Of those: sign-ins and renewals.
    pub(super) tokens: usize,
    /// Revocations that had to be in the log.
    pub(super) revocations: usize,
    /// Commits that others had overwritten before their calls found them.
    pub(super) overwritten: usize,
    /// Commits of calls whose client was not told.
    pub(super) unanswered: usize,
    /// Events for the backend that were taken.
    pub(super) events: usize,
}

impl Judged {
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.tokens += other.tokens;
        self.revocations += other.revocations;
        self.overwritten += other.overwritten;
        self.unanswered += other.unanswered;
        self.events += other.events;
    }
}

/// Says how much of a history was judged, or what is wrong with it.
pub(super) async fn check(history: &History, options: &OpenOptions) -> Result<Judged, String> {
    let fail = |what: String| Err(format!("{what}\n{}", history.describe()));
    if let Some(violation) = history.violations.first() {
        return fail(violation.clone());
    }
    let keys = WrappingKeys::derive(&Key::new([7; 32]), None);
    let store = EngineStore::memory(options, &keys, Entropy::default()).expect("a store");
    let effects = match effects(history) {
        Ok(effects) => effects,
        Err(wrong) => return fail(wrong),
    };
    if let Some(wrong) = spent_messages(history) {
        return fail(wrong);
    }
    if let Some(wrong) = event_that_came_back(history) {
        return fail(wrong);
    }
    let events = history
        .entries
        .iter()
        .filter_map(|entry| entry.outcome.as_ref()?.as_ref().ok());
    let mut judged = Judged {
        events: events.map(|told| told.events.len()).sum(),
        ..Judged::default()
    };
    // Of calls whose commit was overwritten: those that were told what came of it.
    let mut is_settled = HashSet::new();
    for Effect { at, entry, role } in effects {
        let of = std::ptr::from_ref(entry);
        if role == Role::SecondLook && is_settled.contains(&of) {
            continue;
        }
        if is_out_of_messages(entry) {
            continue;
        }
        let new_user = new_user(&store, entry, at).await;
        let call = entry.call.for_one_process(new_user.as_ref());
        let expected = call.make(&store).await.expect("memory works").text;
        judged.overwritten += usize::from(role == Role::Overwritten);
        judged.unanswered += usize::from(role == Role::Unanswered);
        let Some(Ok(told)) = &entry.outcome else {
            continue;
        };
        let is_same = told.text == expected;
        match role {
            Role::Answered if is_same => {
                judged.calls += 1;
                judged.tokens += usize::from(told.token.is_some());
                judged.revocations += told.entries.len();
            }
            Role::Overwritten if is_same => drop(is_settled.insert(of)),
            Role::Answered | Role::SecondLook if !is_same => {
                return fail(format!(
                    "at moment {at}, {:?}\nwas told {}\ninstead of {expected}",
                    entry.call, told.text
                ));
            }
            Role::Unanswered | Role::Overwritten | Role::Answered | Role::SecondLook => {}
        }
    }
    Ok(judged)
}
