//! Hints between processes, by NOTIFY and LISTEN: that the revocation log has something new.
//!
//! A hint only makes a process look at once; it looks in any case after a while. So hints may get
//! lost, as they do where PgBouncer in transaction mode stands in between, which has no sessions to
//! listen on. NOTIFY takes a lock of the whole server at its commit, so it is a statement of its own
//! after the commit that it tells of, and of one process at most one is under way.

use std::{
    sync::atomic::{AtomicBool, Ordering},
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

/// What is known of hints.
#[derive(Default)]
pub(super) struct Hints {
    /// One is to be sent.
    is_due: AtomicBool,
    /// Held while one is sent.
    sending: Mutex<()>,
    /// The session that listens.
    session: Mutex<Option<PooledClient>>,
}

impl Hints {
    /// Sends a hint. Many at once are one, and a failure is no error.
    pub(super) async fn send(&self, pool: &Pool<Connector>) {
        self.is_due.store(true, Ordering::Release);
        let _turn = self.sending.lock().await;
        if !self.is_due.swap(false, Ordering::AcqRel) {
            return;
        }
        let Ok(connection) = database::connection(pool).await else {
            return;
        };
        // Its commit may wait for that of another session; it must not keep a connection of the pool for long.
        let sql =
            format!("SELECT set_config('lock_timeout', '1s', true), pg_notify({CHANNEL}, '')");
        let sent = connection.client().query_typed(&sql, &[] as &[(_, Type)]);
        match timeout(READ_TIMEOUT, sent).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = %describe(&error), "a hint for other replicas was not sent");
            }
            Err(_) => drain(connection),
        }
    }

    /// Waits for a hint, or for a new session, before which one may have been lost.
    pub(super) async fn wait(&self, connector: &Connector) {
        let mut session = self.session.lock().await;
        let mut delay = FIRST_RETRY_DELAY;
        loop {
            let Some(listening) = session.as_ref() else {
                match listen(connector).await {
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
                Err(_) if is_alive(listening).await => {}
                Err(_) => *session = None,
            }
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
