//! How many bytes of a database users take: for the arithmetic of docs/operations.md. It takes minutes,
//! so it runs only when it is asked for:
//!
//! `cargo test --test it sizes:: -- --ignored --nocapture --test-threads=1`
//!
//! `MENSHEN_SIZES_USERS` says how many users there are; 100,000 otherwise.

use menshen::{
    crypto::Key,
    entropy::Entropy,
    store::{
        self, ExportRecord, ExportedSession, ExportedUser, OpenOptions, Store, Unreadable,
        WrappingKeys, fixture::login_of,
    },
    types::{OpenId, SessionId, UserId},
};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable as _};
use tokio_postgres::NoTls;

use super::{
    databases::{Database, block_on},
    mysql, postgres,
};

/// Users in one call to the store, which commits fifty records at a time.
const CHUNK: usize = 500;
/// Calls at once.
const CALLS: usize = 8;

fn users() -> usize {
    let text = std::env::var("MENSHEN_SIZES_USERS");
    text.map_or(100_000, |text| text.parse().expect("a number"))
}

/// A user and a session as a first login makes them.
struct Person {
    user: ExportedUser,
    session: ExportedSession,
}

impl Person {
    async fn signed_in(store: &dyn Store) -> Self {
        // As long as those of WeChat are.
        let login = login_of("oABCDEFGHIJKLMNOPQRSTUVWXYZ0", 1);
        store.login(&login).await.expect("a login");
        let mut export = store.export(Unreadable::Fails).await.expect("an export");
        let (mut user, mut session) = (None, None);
        while let Some(records) = export.next().await {
            for record in records.expect("records") {
                match record {
                    ExportRecord::User(found) => user = Some(*found),
                    ExportRecord::Session(found) => session = Some(*found),
                    _ => {}
                }
            }
        }
        Self {
            user: user.expect("a user"),
            session: session.expect("a session"),
        }
    }

    /// Another one, with an id as menshen makes them and an openid of the same length.
    fn another(&self, number: usize, random: &mut fastrand::Rng) -> [ExportRecord; 2] {
        let Self { user, session } = self;
        let (mut user, mut session) = (user.clone(), session.clone());
        let text = |random: &mut fastrand::Rng, length| -> String {
            (0..length).map(|_| random.alphanumeric()).collect()
        };
        // As a UUID of version 7: in order of time, and random behind it.
        let id = format!(
            "{:08x}-{:04x}-7{:03x}-a000-{:012x}",
            0x019a_d000 + (number >> 16),
            number & 0xffff,
            random.u16(..0x1000),
            random.u64(..) >> 16
        );
        let id = UserId::parse(&id).expect("an id");
        let openid = OpenId::parse(&format!("o{}", text(random, 27))).expect("an openid");
        user.user.id = id.clone();
        user.openids[0].openid = openid.clone();
        session.session.user = id;
        session.session.id = SessionId::from_bits(random.u128(..));
        random.fill(&mut session.session.salt.0);
        session.openid = Some(openid);
        [
            ExportRecord::User(Box::new(user)),
            ExportRecord::Session(Box::new(session)),
        ]
    }
}

/// Fills an empty store.
async fn fill(url: &str) {
    let keys = WrappingKeys::derive(&Key::new([0x42; 32]), None);
    let options = OpenOptions::default();
    let opened = store::open(url, &options, &keys, Entropy::default()).await;
    let store = opened.expect("the store").store;
    let person = Person::signed_in(&*store).await;
    let mut random = fastrand::Rng::with_seed(1);
    let mut left = users() - 1;
    let mut calls = tokio::task::JoinSet::new();
    while left > 0 || !calls.is_empty() {
        if left > 0 && calls.len() < CALLS {
            let count = left.min(CHUNK);
            left -= count;
            let numbers = left..left + count;
            let records = numbers.flat_map(|number| person.another(users() - number, &mut random));
            let (store, records) = (store.clone(), records.collect());
            calls.spawn(async move { store.restore(records).await });
        } else if let Some(call) = calls.join_next().await {
            call.expect("no panic").expect("written");
        }
    }
    store.close().await.expect("it closes");
}

#[test]
#[ignore = "measures, for minutes"]
fn on_postgres() {
    let url = Database::Postgres.empty();
    let role = postgres::Server::role(&url);
    block_on(async {
        fill(&url).await;
        let server = postgres::Server::shared();
        let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        let kinds = format!(
            "SELECT encode(substring(key FOR 2), 'escape'), count(*), avg(length(key))::float8, avg(length(value))::float8 \
             FROM {role}.menshen_records GROUP BY 1 ORDER BY 1"
        );
        for row in client.query(&kinds, &[]).await.expect("rows") {
            let (kind, count, key, value): (String, i64, f64, f64) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            eprintln!("PostgreSQL, {kind}: {count} rows, key {key:.1}, value {value:.1} bytes");
        }
        let sizes = format!(
            "SELECT pg_relation_size(r), pg_indexes_size(r), pg_total_relation_size(r) FROM (SELECT '{role}.menshen_records'::regclass AS r) AS t"
        );
        for step in ["as it was filled", "after VACUUM FULL"] {
            let row = client.query_one(&sizes, &[]).await.expect("a row");
            let sizes: [i64; 3] = [row.get(0), row.get(1), row.get(2)];
            told("PostgreSQL", step, sizes);
            let vacuum = format!("VACUUM FULL {role}.menshen_records");
            client.batch_execute(&vacuum).await.expect("vacuumed");
        }
    });
}

#[test]
#[ignore = "measures, for minutes"]
fn on_mysql() {
    let url = Database::Mysql.empty();
    let role = mysql::Server::role(&url);
    block_on(async {
        fill(&url).await;
        let socket = url.split(['@', '/']).nth(3).expect("a socket");
        let options = OptsBuilder::default()
            .socket(Some(socket.replace("%2F", "/")))
            .user(Some("root"));
        let mut connection = Conn::new(options).await.expect("a connection");
        let kinds = format!(
            "SELECT CAST(LEFT(record_key, 2) AS CHAR), COUNT(*), AVG(LENGTH(record_key)), AVG(LENGTH(value)) \
             FROM {role}.menshen_records GROUP BY 1 ORDER BY 1"
        );
        let rows: Vec<(String, i64, f64, f64)> = connection.query(kinds).await.expect("rows");
        for (kind, count, key, value) in rows {
            eprintln!("MariaDB, {kind}: {count} rows, key {key:.1}, value {value:.1} bytes");
        }
        for step in ["as it was filled", "after OPTIMIZE TABLE"] {
            let analyze = format!("ANALYZE TABLE {role}.menshen_records");
            connection.query_drop(analyze).await.expect("analyzed");
            let sizes = format!(
                "SELECT data_length, index_length, (SELECT file_size FROM information_schema.innodb_sys_tablespaces \
                 WHERE name = '{role}/menshen_records') FROM information_schema.tables \
                 WHERE table_schema = '{role}' AND table_name = 'menshen_records'"
            );
            let sizes: Option<(i64, i64, i64)> =
                connection.query_first(sizes).await.expect("a row");
            told("MariaDB", step, sizes.expect("a table").into());
            let optimize = format!("OPTIMIZE TABLE {role}.menshen_records");
            connection.query_drop(optimize).await.expect("optimized");
        }
        connection.disconnect().await.expect("no error");
    });
}

/// The bytes of the rows, of their indexes, and of all on disk.
fn told(server: &str, step: &str, [rows, indexes, all]: [i64; 3]) {
    let users = i64::try_from(users()).expect("a number");
    let per_user = all / users;
    eprintln!(
        "{server}, {users} users, {step}: rows {rows}, indexes {indexes}, all {all} bytes; {per_user} for each user"
    );
    assert!((100..10_000).contains(&per_user), "{per_user}");
}
