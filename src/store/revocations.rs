//! What revocations take and give, and the log that every replica follows.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::types::{SessionId, Timestamp, UserId};

/// What to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationScope {
    /// One session, if it is this user's.
    Session { user: UserId, session: SessionId },
    /// All of the user's sessions but one.
    Others { user: UserId, keep: SessionId },
    /// All of the user's sessions; the user's epoch rises, so every access token made before is
    /// refused.
    User(UserId),
    /// Everybody's; the global epoch rises. Sessions stay in the store but refresh no more.
    Everything,
}

/// What a revocation ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RevocationOutcome {
    /// Sessions that lived and do no more; empty for `Everything`, which counts none.
    pub sessions: Vec<SessionId>,
    /// The entries as the log has them, for the caller's own memory: a revocation bites locally
    /// before any poll.
    pub entries: Vec<RevocationEntry>,
}

/// One line of the revocation log. Kept for [`crate::types::REVOCATION_RETENTION`], longer than any
/// access token lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationEntry {
    pub at: Timestamp,
    pub target: RevocationTarget,
}

/// What is refused from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevocationTarget {
    /// Tokens of this session.
    Session(SessionId),
    /// Tokens of this user whose `ep` is lower.
    User { id: UserId, epoch: u64 },
    /// Tokens of anybody whose `gep` is lower.
    Everything { epoch: u64 },
}

/// A place in the revocation log; means something to the engine that gave it.
#[derive(Debug, Clone)]
pub struct LogCursor {
    pub place: Vec<u8>,
    /// When the window of the log was asked for last, by the steady clock of this process.
    pub asked_at: Instant,
}

/// How far before the newest line that it has seen a reader looks for lines that became visible after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookBack {
    /// As far as a line may lie: none is skipped.
    Window,
    /// A second, in which nearly all lines are. A line that lies further back is left to the next read of
    /// the window. A reader that starts reads as with `Window`.
    Recent,
}

/// Part of the revocation log.
#[derive(Debug, Clone)]
pub struct RevocationPage {
    pub entries: Vec<RevocationEntry>,
    /// Lines that are damaged, or written by a newer version.
    pub unreadable: Option<UnreadableLines>,
    /// How old each line was when it was read, by the clock that all processes share. Empty where a
    /// process is alone, and where that clock was set back.
    pub ages: Vec<Duration>,
    /// Where to go on.
    pub next: LogCursor,
    /// There is more now.
    pub more: bool,
}

/// Lines of the log that say something that cannot be read. Each may reject any token that was issued
/// before it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadableLines {
    pub count: usize,
    /// Tokens that were issued later are not meant.
    pub issued_until: Timestamp,
}
