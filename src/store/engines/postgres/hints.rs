//! Hints between processes, by NOTIFY and LISTEN: that the revocation log has something new.
//!
//! A hint only makes a process look at once; it looks in any case after a while. So hints may get
//! lost, as they do where PgBouncer in transaction mode stands in between, which takes LISTEN and has no
//! sessions to listen on. So each new session is tried once: a hint that another connection of this
//! process sends has to arrive. NOTIFY takes a lock of the whole server at its commit, so it is a statement of its own
//! after the commit that it tells of, and of one process at most one is under way.

use std::{
    sync::{
        PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool::managed::Pool;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_postgres::{SimpleQueryMessage, types::Type};

use super::connection::{Connector, PooledClient, describe, drain};
use crate::store::engines::database::{self, READ_TIMEOUT};

/// The channel is that of one schema: two stores in one database do not wake each other.
const CHANNEL: &str = "'menshen_log_' || \
    (SELECT relnamespace FROM pg_class WHERE oid = 'menshen_records'::regclass)";
/// The wait before a new session after the first failure; it doubles with each further one.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(1);
const MAX_RETRY_DELAY: Duration = Duration::from_mins(1);
/// How often the session is asked whether it is still there.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How long the hint that tries a session may take: on an idle server some milliseconds.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// So many such hints have to get lost before it is said that none arrives.
const TRIALS: usize = 2;
/// The wait before a new session where hints do not arrive: what stands in between was put there on
/// purpose.
const DEAD_RETRY_DELAY: Duration = Duration::from_mins(5);

/// What is known of hints.
#[derive(Default)]
pub(super) struct Hints {
    /// One is to be sent.
    is_due: AtomicBool,
    /// Held while one is sent.
    sending: Mutex<()>,
    /// The session that listens.
    session: Mutex<Option<PooledClient>>,
    /// Whether they arrive; `None`: not known yet.
    arrive: std::sync::Mutex<Option<bool>>,
}

impl Hints {
    /// Sends a hint. Many at once are one, and a failure is no error.
    pub(super) async fn send(&self, pool: &Pool<Connector>) {
        self.is_due.store(true, Ordering::Release);
        let _turn = self.sending.lock().await;
        if self.is_due.swap(false, Ordering::AcqRel) {
            notify(pool).await;
        }
    }

    /// Whether hints arrive, as it was tried last.
    pub(super) fn arrive(&self) -> Option<bool> {
        *self.arrive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a hint, or for a new session, before which one may have been lost.
    pub(super) async fn wait(&self, pool: &Pool<Connector>) {
        let mut session = self.session.lock().await;
        let mut delay = FIRST_RETRY_DELAY;
        loop {
            let Some(listening) = session.as_ref() else {
                match listen(pool.manager()).await {
                    Ok(listening) if self.try_out(&listening, pool).await == Some(false) => {
                        drop(listening);
                        sleep(DEAD_RETRY_DELAY).await;
                        continue;
                    }
                    Ok(listening) => {
                        *session = Some(listening);
                        return;
                    }
                    Err(why) => {
                        if delay == FIRST_RETRY_DELAY {
                            tracing::info!(
                                why,
                                "the store is polled for revocations, without hints for now"
                            );
                        }
                        sleep(delay).await;
                        delay = (delay * 2).min(MAX_RETRY_DELAY);
                        continue;
                    }
                }
            };
            match timeout(CHECK_INTERVAL, listening.notified()).await {
                Ok(()) if listening.client().is_closed() => *session = None,
                Ok(()) => return,
                Err(_) if !is_alive(listening).await => *session = None,
                Err(_) if self.arrive().is_none() => {
                    if self.try_out(listening, pool).await == Some(false) {
                        *session = None;
                        sleep(DEAD_RETRY_DELAY).await;
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Tries whether hints arrive at a session, and says in the log when that has changed.
    async fn try_out(&self, session: &PooledClient, pool: &Pool<Connector>) -> Option<bool> {
        let arrive = arrives(session, pool, TRIALS).await;
        let mut known = self.arrive.lock().unwrap_or_else(PoisonError::into_inner);
        match (*known, arrive) {
            (None | Some(true), Some(false)) => tracing::warn!(
                "the database takes LISTEN, but no NOTIFY arrives: a pooler in transaction mode stands in between (PgBouncer). Nothing \
                 has to be done: revocations of other replicas arrive by polling (store.revocation_poll). A direct connection, or a \
                 pooler in session mode, brings them at once"
            ),
            (Some(false), Some(true)) => tracing::info!("hints of other replicas arrive now"),
            (_, _) => {}
        }
        *known = arrive.or(*known);
        arrive
    }
}

/// Whether a hint arrives at a session; `None`: it could not be sent, or the session has ended. It is
/// sent on another connection: a pooler that has no sessions would bring it back on the same one.
async fn arrives(session: &PooledClient, pool: &Pool<Connector>, trials: usize) -> Option<bool> {
    for _ in 0..trials {
        if !notify(pool).await {
            return None;
        }
        let arrived = timeout(TRIAL_TIMEOUT, session.notified()).await.is_ok();
        if session.client().is_closed() {
            return None;
        }
        if arrived {
            return Some(true);
        }
    }
    Some(false)
}

/// Whether hints arrive through what stands between this process and the database. In one trial: who asks
/// does not wait for long.
pub(super) async fn try_once(pool: &Pool<Connector>) -> Option<bool> {
    let session = listen(pool.manager()).await.ok()?;
    arrives(&session, pool, 1).await
}

/// Sends a hint; whether it was sent.
async fn notify(pool: &Pool<Connector>) -> bool {
    let Ok(connection) = database::connection(pool).await else {
        return false;
    };
    // Its commit may wait for that of another session; it must not keep a connection of the pool for long.
    let sql = format!("SELECT set_config('lock_timeout', '1s', true), pg_notify({CHANNEL}, '')");
    let sent = connection.client().query_typed(&sql, &[] as &[(_, Type)]);
    match timeout(READ_TIMEOUT, sent).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::debug!(error = %describe(&error), "a hint for other replicas was not sent");
            false
        }
        Err(_) => {
            drain(connection);
            false
        }
    }
}

/// A session of its own that listens.
async fn listen(connector: &Connector) -> Result<PooledClient, String> {
    let session = connector
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let listening = async {
        let client = session.client();
        let rows = client.simple_query(&format!("SELECT {CHANNEL}")).await?;
        let channel = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        // Letters, digits and underscores.
        let listen = format!("LISTEN {}", channel.unwrap_or_default());
        client.batch_execute(&listen).await
    };
    match timeout(READ_TIMEOUT, listening).await {
        Ok(Ok(())) => Ok(session),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// Whether the session is there, and still on the primary.
async fn is_alive(session: &PooledClient) -> bool {
    let asked = session.client().simple_query("SELECT pg_is_in_recovery()");
    let Ok(Ok(rows)) = timeout(READ_TIMEOUT, asked).await else {
        return false;
    };
    rows.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("f"),
        _ => false,
    })
}
