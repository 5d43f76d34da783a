//! A replica's follower of the revocation log.

use std::time::Duration;

use tokio::time::Instant;

use super::server::locked;
use crate::{
    store::{LogCursor, LookBack, RevocationEntry, Store},
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
        let due = locked(acknowledged).clone();
        if self.read_at == Some(server_changes)
            && let Some(cursor) = &mut self.cursor
        {
            // It would find nothing, and the place would stay.
            cursor.asked_at = Instant::now();
        }
        if self.read_at != Some(server_changes) {
            // As after a hint.
            self.read(store, LookBack::Recent).await?;
            self.read(store, LookBack::Window).await?;
            self.read_at = Some(server_changes);
        }
        due.into_iter().find(|entry| !self.seen.contains(entry))
    }

    /// Reads to the end. `None`: the server is away, and is asked again at the next turn.
    async fn read(&mut self, store: &dyn Store, look_back: LookBack) -> Option<()> {
        const LIMIT: usize = 4;
        const MAX_AGE: Duration = Duration::from_mins(15);
        loop {
            let page = store
                .revocations(
                    self.cursor.as_ref(),
                    look_back,
                    MAX_AGE,
                    LIMIT,
                    Timestamp::default(),
                )
                .await
                .ok()?;
            self.seen.extend(page.entries);
            self.cursor = Some(page.next);
            if !page.more {
                return Some(());
            }
        }
    }
}
