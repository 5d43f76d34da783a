//! Turns of the calls of this process that want to change the same records, once they have got in each
//! other's way.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::{Instant, error::Elapsed, timeout_at},
};

/// How many there are.
const QUEUES: usize = 256;
/// A call that changes more records waits for no turn: it would hold up too many queues.
const MAX_QUEUED_RECORDS: usize = 12;

/// Queues of this process.
#[derive(Clone)]
pub(super) struct Queues(Arc<[Arc<Mutex<()>>]>);

/// While it lives, calls that change the same records wait. Empty: it holds nobody up.
pub(super) type Turn = Vec<OwnedMutexGuard<()>>;

impl Queues {
    pub(super) fn new() -> Self {
        Self((0..QUEUES).map(|_| Arc::default()).collect())
    }

    /// Whether a call that changes these records waits for its turn.
    pub(super) fn admit(records: &[Vec<u8>]) -> bool {
        (1..=MAX_QUEUED_RECORDS).contains(&records.len())
    }

    /// Waits for the turn of a call that changes these records: in the order of the queues, so that no
    /// two calls wait for each other.
    pub(super) async fn wait(
        &self,
        records: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<Turn, Elapsed> {
        let queue = |key: &Vec<u8>| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            usize::try_from(hasher.finish() % QUEUES as u64).unwrap_or_default()
        };
        let queues: BTreeSet<_> = records.iter().map(queue).collect();
        let mut turn = Vec::with_capacity(queues.len());
        for queue in queues {
            let mutex = Arc::clone(&self.0[queue]);
            turn.push(timeout_at(deadline, mutex.lock_owned()).await?);
        }
        Ok(turn)
    }
}
