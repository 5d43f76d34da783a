//! The sessions of the console.
//!
//! A session is a random id in a cookie; the process keeps its hash, so that a dump of the memory
//! signs nobody in. It ends 30 minutes after the last request of a person, or 12 hours after the
//! sign-in, or with the admin token that opened it, or with the process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::Clock,
    crypto,
    entropy::{Entropy, NoEntropy},
    types::{Secret, Timestamp},
};

/// Sessions at a time; another one ends the one that was quiet longest.
const MAX_SESSIONS: usize = 16;
/// How long a session may be quiet.
const IDLE_TIMEOUT: Duration = Duration::from_mins(30);
const MAX_LIFETIME: Duration = Duration::from_hours(12);

/// The sessions of the process.
pub(super) struct ConsoleSessions {
    open: Mutex<HashMap<SessionKey, OpenSession>>,
    clock: Clock,
}

/// The hash of a session's id.
pub(super) type SessionKey = [u8; 32];

struct OpenSession {
    form_token: String,
    /// The hash of the admin token that opened it.
    opened_with: [u8; 32],
    opened_at: Timestamp,
    last_used_at: Timestamp,
}

/// A session that is open.
#[derive(Debug, Clone)]
pub(super) struct SignedIn {
    pub(super) key: SessionKey,
    /// What each form has to send along.
    pub(super) form_token: String,
}

impl ConsoleSessions {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            open: Mutex::default(),
            clock,
        }
    }

    /// Opens a session, and returns its id.
    pub(super) fn open(
        &self,
        admin_token: &Secret<String>,
        entropy: &Entropy,
    ) -> Result<Secret<String>, NoEntropy> {
        let id = hex::encode(entropy.bytes::<32>()?);
        let now = self.clock.monotonic();
        let session = OpenSession {
            form_token: hex::encode(entropy.bytes::<16>()?),
            opened_with: crypto::sha256(admin_token.expose().as_bytes()),
            opened_at: now,
            last_used_at: now,
        };
        let mut open = self.lock();
        open.retain(|_, session| session.is_open(now));
        if open.len() >= MAX_SESSIONS {
            let quietest = open.iter().min_by_key(|(_, session)| session.last_used_at);
            if let Some(key) = quietest.map(|(key, _)| *key) {
                open.remove(&key);
            }
        }
        open.insert(crypto::sha256(id.as_bytes()), session);
        Ok(Secret::new(id))
    }

    /// The session of this id, if it is open; a request of a person (`is_use`) keeps it so.
    pub(super) fn find(
        &self,
        id: &str,
        admin_token: &Secret<String>,
        is_use: bool,
    ) -> Option<SignedIn> {
        self.find_by_key(crypto::sha256(id.as_bytes()), admin_token, is_use)
    }

    /// The same by the hash of the id.
    pub(super) fn find_by_key(
        &self,
        key: SessionKey,
        admin_token: &Secret<String>,
        is_use: bool,
    ) -> Option<SignedIn> {
        let now = self.clock.monotonic();
        let mut open = self.lock();
        let session = open.get_mut(&key)?;
        let token = crypto::sha256(admin_token.expose().as_bytes());
        if !session.is_open(now) || !crypto::constant_time_eq(&session.opened_with, &token) {
            open.remove(&key);
            return None;
        }
        if is_use {
            session.last_used_at = now;
        }
        Some(SignedIn {
            key,
            form_token: session.form_token.clone(),
        })
    }

    /// Ends a session.
    pub(super) fn close(&self, key: &SessionKey) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, OpenSession>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenSession {
    fn is_open(&self, now: Timestamp) -> bool {
        now.since(self.last_used_at) < IDLE_TIMEOUT && now.since(self.opened_at) < MAX_LIFETIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> (ConsoleSessions, Clock, Secret<String>) {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let token = Secret::new("token".repeat(8));
        (ConsoleSessions::new(clock.clone()), clock, token)
    }

    #[test]
    fn a_session_ends_after_half_an_hour_of_quiet() {
        let (sessions, clock, token) = sessions();
        let id = sessions.open(&token, &Entropy::default()).unwrap();
        let find = |is_use| sessions.find(id.expose(), &token, is_use).is_some();
        for _ in 0..3 {
            clock.advance(Duration::from_mins(29));
            assert!(find(true));
        }
        // What updates itself keeps nothing open.
        clock.advance(Duration::from_mins(29));
        assert!(find(false));
        clock.advance(Duration::from_mins(1));
        assert!(!find(false) && !find(true));
    }

    #[test]
    fn a_session_ends_twelve_hours_after_the_sign_in() {
        let (sessions, clock, token) = sessions();
        let id = sessions.open(&token, &Entropy::default()).unwrap();
        let mut minutes = 0;
        while sessions.find(id.expose(), &token, true).is_some() {
            clock.advance(Duration::from_mins(20));
            minutes += 20;
        }
        assert_eq!(minutes, 12 * 60);
    }

    #[test]
    fn a_session_ends_with_its_token() {
        let (sessions, _, token) = sessions();
        let id = sessions.open(&token, &Entropy::default()).unwrap();
        let other = Secret::new("other".repeat(8));
        assert!(sessions.find(id.expose(), &other, true).is_none());
        assert!(
            sessions.find(id.expose(), &token, true).is_none(),
            "for good"
        );
    }

    #[test]
    fn sessions_are_bounded_and_the_quietest_makes_way() {
        let (sessions, clock, token) = sessions();
        let entropy = Entropy::default();
        let ids: Vec<_> = (0..100)
            .map(|_| {
                clock.advance(Duration::from_secs(1));
                sessions.open(&token, &entropy).unwrap()
            })
            .collect();
        let is_open = |id: &Secret<String>| sessions.find(id.expose(), &token, false).is_some();
        assert!(ids[84..].iter().all(is_open) && !ids[..84].iter().any(is_open));
    }
}
