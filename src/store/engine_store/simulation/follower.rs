//! A replica's follower of the revocation log.

use std::time::Duration;

use super::server::locked;
use crate::store::{LogCursor, RevocationEntry, Store};

/// How often a replica looks.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// What a replica has read of the log.
#[derive(Debug, Default)]
pub(super) struct Follower {
    cursor: Option<LogCursor>,
    seen: Vec<RevocationEntry>,
}

impl Follower {
    /// Reads to the end; says what was acknowledged before that and is not in what was read.
    pub(super) async fn poll(
        &mut self,
        store: &dyn Store,
        acknowledged: &std::sync::Mutex<Vec<RevocationEntry>>,
    ) -> Option<RevocationEntry> {
        const LIMIT: usize = 4;
        const MAX_AGE: Duration = Duration::from_mins(15);
        let due = locked(acknowledged).clone();
        loop {
            // A server that is away is asked again at the next turn.
            let page = store
                .revocations(self.cursor.as_ref(), MAX_AGE, LIMIT)
                .await
                .ok()?;
            self.seen.extend(page.entries);
            self.cursor = Some(page.next);
            if !page.more {
                break;
            }
        }
        due.into_iter().find(|entry| !self.seen.contains(entry))
    }
}
