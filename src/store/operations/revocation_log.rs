//! The log from which every process learns of revocations.
//!
//! A line has the entries of one commit, at a key of its time and random bytes: no head record is
//! shared by all that revoke. The time is that of the one clock that all processes share, the
//! engine's. Commits become visible in another order than their keys, so a reader looks again at the
//! last [`WINDOW`] before the newest line that it has seen, and leaves out the lines that it has seen
//! there; its cursor has both. Between two such reads it may look at the last [`RECENT`] alone, as often
//! as it is hinted: what lies further back comes with the next. One that has not read the window for as
//! long as it is starts over: the engine's clock may have been set back meanwhile, and have come to
//! where it was.
//!
//! Must stay true: a line that becomes visible at most [`WINDOW`] after its time is read by all. What
//! is committed later than that is written again (`shared`).

use std::{collections::BTreeSet, time::Duration};

use super::{
    layout::{self, LogLineId},
    transaction::{ReadView, Transaction},
};
use crate::{
    store::{LookBack, RevocationEntry, UnreadableLines, error::EngineError},
    types::{REVOCATION_RETENTION, Timestamp},
};

/// How far a line may come behind others.
pub(in crate::store) const WINDOW: Duration = Duration::from_secs(30);
/// How far a hurried reader looks: within it nearly all lines are visible.
const RECENT: Duration = Duration::from_secs(1);
/// Most entries of a line: more of one commit are several lines.
const MAX_LINE_ENTRIES: usize = 128;
/// How long after the time in its key a line is visible at the latest (`shared`).
const MAX_WRITING_TIME: Duration = Duration::from_secs(10);
/// By how much clocks of processes that issue tokens may differ.
const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);
/// Lines that are read at once.
const SCAN_SIZE: usize = 1000;

/// Adds an entry, to the line that this commit has for its time already.
pub(in crate::store) fn append(
    tx: &mut Transaction<'_>,
    entry: RevocationEntry,
) -> Result<RevocationEntry, EngineError> {
    let time = tx.shared_time()?.unwrap_or(entry.at);
    let mut line = None;
    for key in tx.own_keys(&layout::log_lines_at(time)) {
        let entries: Vec<RevocationEntry> = tx.record(&key)?.unwrap_or_default();
        if entries.len() < MAX_LINE_ENTRIES {
            line = Some((key, entries));
        }
    }
    let (key, mut entries) = if let Some(line) = line {
        line
    } else {
        let id = LogLineId::new(time, tx.cipher().entropy().bytes()?);
        (layout::log_line(id), Vec::new())
    };
    entries.push(entry.clone());
    tx.put(key, &entries)?;
    Ok(entry)
}

/// All entries that an operation adds. A line that cannot be read, which it moves, has none.
pub(in crate::store) fn appended(
    tx: &Transaction<'_>,
) -> Result<Vec<RevocationEntry>, EngineError> {
    let mut entries = Vec::new();
    for key in tx.own_keys(layout::LOG) {
        match tx.record::<Vec<_>>(&key) {
            Ok(line) => entries.extend(line.unwrap_or_default()),
            Err(EngineError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

/// The entries of a line.
pub(in crate::store) fn read_line(
    view: &dyn ReadView,
    key: &[u8],
    bytes: &[u8],
) -> Result<Vec<RevocationEntry>, EngineError> {
    view.cipher().read(key, bytes)
}

/// Whether no access token is left that a line rejects.
pub(in crate::store) fn is_over(
    view: &dyn ReadView,
    key: &[u8],
    bytes: &[u8],
    now: Timestamp,
) -> Result<bool, EngineError> {
    let is_over = |at: Timestamp| at.plus(REVOCATION_RETENTION) <= now;
    match read_line(view, key, bytes) {
        Ok(entries) => Ok(entries.iter().all(|entry| is_over(entry.at))),
        // The lines behind it must not wait for it for ever.
        Err(EngineError::Damaged(_)) => {
            Ok(LogLineId::from_key(key).is_none_or(|id| is_over(id.at())))
        }
        Err(error) => Err(error),
    }
}

/// How far a reader is: the time of the newest line that it has seen, and all lines within
/// [`WINDOW`] before it that it has seen.
#[derive(Debug, Default, PartialEq, Eq)]
struct Position {
    newest: Timestamp,
    seen: BTreeSet<LogLineId>,
}

impl Position {
    /// That of a cursor. One of another engine starts over, which repeats lines but skips none.
    fn from_place(place: &[u8]) -> Self {
        let read = || {
            let (newest, seen) = place.split_first_chunk::<8>()?;
            let (seen, rest) = seen.as_chunks::<16>();
            rest.is_empty().then(|| Self {
                newest: Timestamp::from_millis(u64::from_be_bytes(*newest)),
                seen: seen.iter().copied().map(LogLineId).collect(),
            })
        };
        read().unwrap_or_default()
    }

    fn to_place(&self) -> Vec<u8> {
        let mut bytes = self.newest.as_millis().to_be_bytes().to_vec();
        bytes.extend(self.seen.iter().flat_map(|id| id.0));
        bytes
    }

    /// Where the engine's clock was set back, new lines lie before those that were seen: reads them
    /// from `max_age` ago on, like one that starts. Whether that is so.
    fn follow_clock(&mut self, clock: Option<Timestamp>, max_age: Duration) -> bool {
        let set_back = clock.filter(|clock| *clock < self.newest);
        if let Some(clock) = set_back {
            self.newest = clock.minus(max_age);
        }
        set_back.is_some()
    }

    fn window_start(&self) -> Timestamp {
        self.newest.minus(WINDOW)
    }

    /// Takes in a line. One of a time that is still to come does not move the window.
    fn note(&mut self, id: LogLineId, read_at: Timestamp) {
        self.newest = self.newest.max(read_at.min(id.at()));
        self.seen.insert(id);
        let start = self.window_start();
        self.seen.retain(|id| id.at() >= start);
    }
}

/// Until when tokens were issued that a line may reject: its commit was visible by then, and what is
/// issued after that knows of it. Never later than the read, whatever the line's key says.
fn issued_until(id: LogLineId, read_at: Timestamp) -> Timestamp {
    let visible = id.at().plus(MAX_WRITING_TIME);
    read_at.min(visible).plus(MAX_CLOCK_DIFFERENCE)
}

/// Moves lines that cannot be read from a time that is still to come to the present, at most `limit`;
/// how many. There they go on rejecting what they may reject, and are over when no such token is left.
/// Where they were they would be read again at each start, for as long as their keys say.
pub(in crate::store) fn move_unreadable_to_present(
    tx: &mut Transaction<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, EngineError> {
    let now = tx.shared_time()?.unwrap_or(now);
    let ahead = layout::log_lines_at(now.plus(MAX_WRITING_TIME));
    let mut lines = Vec::new();
    {
        let view: &dyn ReadView = tx;
        for (key, bytes) in view.scan(layout::LOG, Some(&ahead), limit)? {
            match read_line(view, &key, &bytes) {
                Ok(_) => {}
                Err(EngineError::Damaged(_)) => lines.push((key, bytes)),
                Err(error) => return Err(error),
            }
        }
    }
    let moved = lines.len();
    for (key, bytes) in lines {
        tx.remove(key);
        put_unreadable(tx, now, bytes)?;
    }
    Ok(moved)
}

/// Writes a line that cannot be read, as one was elsewhere. At its new key nothing opens these bytes.
pub(in crate::store) fn put_unreadable(
    tx: &mut Transaction<'_>,
    at: Timestamp,
    bytes: Vec<u8>,
) -> Result<(), EngineError> {
    let id = LogLineId::new(at, tx.cipher().entropy().bytes()?);
    tx.put_bytes(layout::log_line(id), bytes);
    Ok(())
}

/// Part of the log, and the place of a cursor behind it.
pub(in crate::store) struct LogPage {
    pub(in crate::store) entries: Vec<RevocationEntry>,
    pub(in crate::store) unreadable: Option<UnreadableLines>,
    pub(in crate::store) ages: Vec<Duration>,
    pub(in crate::store) place: Vec<u8>,
    pub(in crate::store) more: bool,
}

/// The log after a cursor, or from `max_age` ago on. A process that is alone reads all of it in place of
/// that: it has no clock but its own (`now`), which may have been set. A line comes whole, so the last one may bring more entries
/// than `limit`. One that cannot be read does not stop the others.
pub(in crate::store) fn page(
    view: &dyn ReadView,
    place: Option<&[u8]>,
    look_back: LookBack,
    max_age: Duration,
    limit: usize,
    now: Timestamp,
) -> Result<LogPage, EngineError> {
    let clock = view.shared_time()?;
    let read_at = clock.unwrap_or(now);
    let mut before = match place {
        Some(place) => Position::from_place(place),
        None => Position {
            newest: clock.unwrap_or_default().minus(max_age),
            seen: BTreeSet::new(),
        },
    };
    let is_reset = before.follow_clock(clock, max_age);
    // A reader that starts needs all: a token that a line rejects may be younger than its key.
    let from = if look_back == LookBack::Recent && place.is_some() && !is_reset {
        before.newest.minus(RECENT)
    } else {
        before.window_start()
    };
    let mut after = layout::log_lines_at(from);
    let (mut entries, mut lines, mut unreadable) = (Vec::new(), Vec::new(), Vec::new());
    let mut more = false;
    'log: loop {
        let pairs = view.scan(layout::LOG, Some(&after), SCAN_SIZE)?;
        for (key, bytes) in &pairs {
            let Some(id) = LogLineId::from_key(key).filter(|id| !before.seen.contains(id)) else {
                continue;
            };
            if entries.len() >= limit {
                more = true;
                break 'log;
            }
            match read_line(view, key, bytes) {
                Ok(line) => entries.extend(line),
                Err(EngineError::Damaged(_)) => unreadable.push(issued_until(id, read_at)),
                Err(error) => return Err(error),
            }
            lines.push(id);
        }
        match pairs.last() {
            Some((last, _)) if pairs.len() >= SCAN_SIZE => after.clone_from(last),
            Some(_) | None => break,
        }
    }
    let age = |id: &LogLineId| Some(clock?.since(id.at()));
    let ages = lines.iter().filter(|_| !is_reset).filter_map(age).collect();
    let mut position = before;
    for id in lines {
        position.note(id, read_at);
    }
    let unreadable = unreadable.iter().max().map(|issued_until| UnreadableLines {
        count: unreadable.len(),
        issued_until: *issued_until,
    });
    Ok(LogPage {
        entries,
        unreadable,
        ages,
        place: position.to_place(),
        more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(secs: u64, random: u8) -> LogLineId {
        LogLineId::new(Timestamp::from_secs(secs), [random; 8])
    }

    #[test]
    fn a_position_reads_back_and_forgets_what_is_before_its_window() {
        let mut position = Position::default();
        let read_at = Timestamp::from_secs(500);
        for id in [line(100, 1), line(100, 2), line(120, 3), line(110, 4)] {
            position.note(id, read_at);
        }
        assert_eq!(position.newest, Timestamp::from_secs(120));
        assert_eq!(Position::from_place(&position.to_place()), position);
        position.note(line(135, 5), read_at);
        let seen: Vec<_> = position.seen.iter().copied().collect();
        assert_eq!(seen, [line(110, 4), line(120, 3), line(135, 5)]);
        // One of a time that is still to come hides none of before it.
        position.note(line(9000, 6), Timestamp::from_secs(136));
        assert_eq!(position.newest, Timestamp::from_secs(136));
        for strange in [b"".to_vec(), b"x".to_vec(), vec![0; 8 + 15]] {
            assert_eq!(Position::from_place(&strange), Position::default());
        }
    }
}
