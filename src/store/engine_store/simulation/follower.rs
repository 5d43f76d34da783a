//! A replica's follower of the revocation log.

use std::time::Duration;

use tokio::time::Instant;

use super::server::locked;
use crate::{
    store::{LogCursor, RevocationEntry, Store},
    types::Timestamp,
};

/// How often a replica looks.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// What a replica has read of the log.
#[derive(Debug, Default)]
pub(super) struct Follower {
    cursor: Option<LogCursor>,
    seen: Vec<RevocationEntry>,
    /// How often the server had changed when it last began to read to the end.
    read_at: Option<u64>,
}

impl Follower {
    /// Reads to the end, unless nothing has changed at the server since; says what was acknowledged
    /// before that and is not in what was read.
    pub(super) async fn poll(
        &mut self,
        store: &dyn Store,
        server_changes: u64,
        acknowledged: &std::sync::Mutex<Vec<RevocationEntry>>,
    ) -> Option<RevocationEntry> {
        const LIMIT: usize = 4;
        const MAX_AGE: Duration = Duration::from_mins(15);
        let due = locked(acknowledged).clone();
        if self.read_at == Some(server_changes)
            && let Some(cursor) = &mut self.cursor
        {
            // It would find nothing, and the place would stay.
            cursor.asked_at = Instant::now();
        }
        while self.read_at != Some(server_changes) {
            // A server that is away is asked again at the next turn.
            let page = store
                .revocations(self.cursor.as_ref(), MAX_AGE, LIMIT, Timestamp::default())
                .await
                .ok()?;
            self.seen.extend(page.entries);
            self.cursor = Some(page.next);
            if !page.more {
                self.read_at = Some(server_changes);
            }
        }
        due.into_iter().find(|entry| !self.seen.contains(entry))
    }
}
