//! The databases of the tests of this process, by one name each.

use super::{mysql, pgbouncer::PgBouncer, postgres};

/// What several menshens share.
#[derive(Clone, Copy)]
pub enum Database {
    Postgres,
    /// PostgreSQL behind PgBouncer in transaction mode.
    Pgbouncer,
    Mysql,
}

impl Database {
    /// The URL of an empty one.
    pub fn empty(self) -> String {
        block_on(async {
            match self {
                Self::Postgres => postgres::Server::shared().empty().await,
                Self::Pgbouncer => PgBouncer::url(&postgres::Server::shared().empty().await),
                Self::Mysql => mysql::Server::shared().empty().await,
            }
        })
    }

    /// Ends the connections of the URL's role, and lets it make no others.
    pub fn lock_out(self, url: &str) {
        block_on(async {
            match self {
                Self::Postgres | Self::Pgbouncer => {
                    let role = postgres::Server::role(url);
                    postgres::Server::shared().lock_out(role).await;
                }
                Self::Mysql => {
                    let role = mysql::Server::role(url);
                    mysql::Server::shared().lock_out(role).await;
                }
            }
        });
    }

    /// Lets it make connections again.
    pub fn let_in(self, url: &str) {
        block_on(async {
            match self {
                Self::Postgres | Self::Pgbouncer => {
                    let role = postgres::Server::role(url);
                    postgres::Server::shared().let_in(role).await;
                }
                Self::Mysql => {
                    let role = mysql::Server::role(url);
                    mysql::Server::shared().let_in(role).await;
                }
            }
        });
    }

    /// Runs statements as the superuser.
    pub fn execute(self, sql: &str) {
        block_on(async {
            match self {
                Self::Postgres | Self::Pgbouncer => postgres::Server::shared().execute(sql).await,
                Self::Mysql => mysql::Server::shared().execute(sql).await,
            }
        });
    }
}

/// Runs it to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}
