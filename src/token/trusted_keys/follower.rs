//! The task that follows the keys of one external issuer, from its URL or its file.
//!
//! A fetch is no [`crate::single_flight`]: no request waits for one. A request that meets an
//! unknown key asks for a fetch and is rejected with the keys there are.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use reqwest::{StatusCode, Url, header};
use tokio::time::Instant;

use super::key_set::{KeySet, KeyState};
use crate::{
    config::Algorithm,
    crypto,
    outbound::Outbound,
    token::trusted_key::{MAX_JWKS_LEN, TrustedKeySet, read_file},
};

/// Total time of a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Fetches are at least so far apart, also on request.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(10);
/// Lower bound of `max-age`.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_mins(1);
/// How often a file is checked for changes.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often the metric of the keys' age is updated.
const AGE_METRIC_INTERVAL: Duration = Duration::from_secs(1);
/// Most unused keys that are logged; a set may have hundreds.
const MAX_LOGGED_KEYS: usize = 8;

/// The task.
pub(super) struct KeyFollower {
    pub(super) name: Arc<str>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) state: Arc<KeyState>,
}

impl KeyFollower {
    pub(super) async fn file(self, path: PathBuf, age: prometheus::Gauge) {
        let mut reported = String::new();
        loop {
            self.update_age(&age);
            tokio::time::sleep(FILE_POLL_INTERVAL).await;
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
            let result = read
                .unwrap_or_else(|_| Err("cannot be read".to_owned()))
                .and_then(|bytes| self.take(&bytes));
            self.report(result, &mut reported);
        }
    }

    pub(super) async fn url(self, url: Url, refresh: Duration, age: prometheus::Gauge) {
        let mut reported = String::new();
        let client = match Outbound::new(&url) {
            Ok(client) => client,
            Err(fault) => {
                self.report(Err(fault.to_string()), &mut reported);
                return;
            }
        };
        let mut failures = 0_u32;
        loop {
            let (fetched, max_age) = self.fetch(&client, &url).await;
            failures = if fetched.is_ok() {
                0
            } else {
                failures.saturating_add(1)
            };
            self.report(fetched, &mut reported);
            let next = match failures {
                0 => max_age.map_or(refresh, |age| age.max(MIN_REFRESH_INTERVAL).min(refresh)),
                // 10 s, 20 s, 40 s, then a minute; without any keys there is nothing to fall back
                // on, so ten seconds at most.
                _ if self.state.current.load().keys.is_empty() => MIN_FETCH_INTERVAL,
                failures => (MIN_FETCH_INTERVAL * (1 << (failures - 1).min(3)))
                    .min(MIN_REFRESH_INTERVAL)
                    .min(refresh),
            };
            self.rest(next, &age).await;
        }
    }

    /// Waits for the next fetch: until it is due or requested.
    async fn rest(&self, next: Duration, age: &prometheus::Gauge) {
        let (due, soonest) = (Instant::now() + next, Instant::now() + MIN_FETCH_INTERVAL);
        let mut is_wanted = false;
        let mut ticks = tokio::time::interval(AGE_METRIC_INTERVAL);
        loop {
            let end = if is_wanted { soonest } else { due };
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                () = self.state.refresh_requested.notified(), if !is_wanted => is_wanted = true,
                _ = ticks.tick() => self.update_age(age),
            }
        }
    }

    fn update_age(&self, age: &prometheus::Gauge) {
        if let Some(fetched) = self.state.current.load().fetched {
            age.set(fetched.elapsed().as_secs_f64());
        }
    }

    /// The result of a fetch, and the `max-age` of the response.
    async fn fetch(&self, client: &Outbound, url: &Url) -> (Result<(), String>, Option<Duration>) {
        match client.fetch(url.clone(), MAX_JWKS_LEN, FETCH_TIMEOUT).await {
            Err(fault) => (Err(fault.to_string()), None),
            Ok(answer) if answer.status() != StatusCode::OK => {
                (Err(format!("answered {}", answer.status().as_u16())), None)
            }
            Ok(answer) => {
                let control = answer
                    .headers()
                    .get(header::CACHE_CONTROL)
                    .and_then(|value| value.to_str().ok());
                (self.take(answer.body()), control.and_then(max_age))
            }
        }
    }

    /// Stores a set, whatever is in it. One without keys is reported as a failure all the same: an
    /// operator should look, and it is fetched again soon.
    fn take(&self, bytes: &[u8]) -> Result<(), String> {
        let (digest, current) = (crypto::sha256(bytes), self.state.current.load());
        let set = TrustedKeySet::parse(bytes, &self.algorithms)?;
        let (problem, is_withdrawn) =
            (set.problem(), set.keys.is_empty() && set.ignored.is_empty());
        let is_known = digest == current.digest;
        if !is_known {
            for (which, why) in set.ignored.iter().take(MAX_LOGGED_KEYS) {
                tracing::warn!(
                    issuer = &*self.name,
                    "key {which} of issuer {} {why}: it is not used",
                    self.name
                );
            }
            if let Some(more) = set
                .ignored
                .len()
                .checked_sub(MAX_LOGGED_KEYS)
                .filter(|&more| more > 0)
            {
                tracing::warn!(
                    issuer = &*self.name,
                    "{more} more keys of issuer {} are not used",
                    self.name
                );
            }
            tracing::info!(
                issuer = &*self.name,
                keys = set.keys.len(),
                "issuer {} has {} keys",
                self.name,
                set.keys.len()
            );
        }
        // An unchanged set keeps its version, and with it the cached tokens; only the age starts
        // again.
        let version = current.version + u64::from(!is_known);
        let set = KeySet {
            version,
            keys: set.keys,
            digest,
            fetched: Some(Instant::now()),
            is_withdrawn,
        };
        self.state.current.store(Arc::new(set));
        problem.map_or(Ok(()), |problem| Err(problem.to_owned()))
    }

    /// Logs a failure once, and its end.
    fn report(&self, outcome: Result<(), String>, reported: &mut String) {
        self.state
            .failing
            .store(outcome.is_err(), Ordering::Relaxed);
        self.state.first_attempt.send_replace(true);
        let why = outcome.err().unwrap_or_default();
        if why == *reported {
            return;
        }
        let name = &*self.name;
        match (why.as_str(), self.state.current.load().keys.is_empty()) {
            ("", _) => tracing::info!(issuer = name, "the keys of issuer {name} can be had again"),
            (why, true) => tracing::warn!(issuer = name, "issuer {name} has no keys: {why}"),
            (why, false) => tracing::warn!(
                issuer = name,
                "the keys of issuer {name} stay as they were: {why}"
            ),
        }
        *reported = why;
    }
}

/// `max-age` of a `Cache-Control` (RFC 9111 section 5.2.2.1); `no-cache` and `no-store` are zero.
fn max_age(control: &str) -> Option<Duration> {
    let mut directives = control
        .split(',')
        .map(|directive| directive.trim().to_ascii_lowercase());
    directives.find_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        other => other
            .strip_prefix("max-age=")?
            .trim_matches('"')
            .parse()
            .ok()
            .map(Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_read_wherever_it_stands() {
        for (control, secs) in [
            ("max-age=300", Some(300)),
            ("public, Max-Age=5, must-revalidate", Some(5)),
            ("max-age=\"7\"", Some(7)),
            ("no-store", Some(0)),
            ("private", None),
            ("max-age=x", None),
            ("", None),
        ] {
            assert_eq!(
                max_age(control),
                secs.map(Duration::from_secs),
                "{control:?}"
            );
        }
    }
}
