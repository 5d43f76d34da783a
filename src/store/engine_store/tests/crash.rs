//! A process that is killed while it writes, and one whose disk is full. The test binary runs
//! itself as that process.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use super::*;
use crate::{
    store::{GuessId, LoginProof, NewSession, PhoneProof, SmsLimits},
    types::{Phone, SmsPurpose},
};

/// Tells a child what to be: the directory to write to.
const DIRECTORY: &str = "MENSHEN_TEST_STORE";
/// The number its sessions begin with.
const FIRST: &str = "MENSHEN_TEST_FIRST";

/// Runs one test of this binary as a child, behind a shell that prepares the ground.
fn child(test: &str, prepare: &str, directory: &Path, first: u128) -> Child {
    Command::new("sh")
        .args([
            "-c",
            &format!("{prepare} exec \"$0\" --exact --nocapture --include-ignored \"$1\""),
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(format!(
            "{}::{test}",
            module_path!().split_once("::").unwrap().1
        ))
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The numbers that a child said it has done this to, up to `enough`.
fn acknowledged(child: &mut Child, what: &str, enough: usize) -> Vec<u128> {
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    lines
        .filter_map(|line| line.strip_prefix(what)?.trim().parse().ok())
        .take(enough)
        .collect()
}

/// Signs in as fast as it can, eight at a time, and prints each session once the store has said
/// yes. Prints in one write, so that a line is there whole or not at all.
async fn sign_in(store: &EngineStore, first: u128) -> Result<(), StoreError> {
    for n in (first..).step_by(8) {
        let logins: Vec<_> = (n..n + 8)
            .map(|n| login_of(&format!("person-{n}"), n))
            .collect();
        let outcomes =
            futures::future::join_all(logins.iter().map(|login| store.login(login))).await;
        for (login, outcome) in logins.iter().zip(outcomes) {
            outcome?;
            let line = format!("opened {}\n", login.session.id.bits());
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
    }
    Ok(())
}

#[tokio::test]
#[ignore = "the child of another test"]
async fn child_that_signs_in() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = on_disk(directory.as_ref()).unwrap();
    let failed = sign_in(&store, std::env::var(FIRST).unwrap().parse().unwrap())
        .await
        .unwrap_err();
    assert!(matches!(failed, StoreError::Failed(_)));
    assert!(matches!(store.check().await, Err(StoreError::Failed(_))));
    drop(store.close().await);
    println!("stopped without a panic");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_kill_9() {
    let rounds: u128 =
        std::env::var("MENSHEN_KILL_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for round in 1..=rounds {
        let mut child = child(
            "child_that_signs_in",
            "",
            directory.path(),
            round * 1_000_000,
        );
        let enough = usize::try_from(round % 7 * 40 + 20).unwrap();
        let opened = acknowledged(&mut child, "opened", enough);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(opened.len(), enough, "round {round}");
        all.extend(opened);
        let store = on_disk(directory.path()).unwrap();
        for id in &all {
            let session = session_of(&store, *id, *id).await.unwrap();
            let session = session.unwrap_or_else(|| {
                panic!("session {id} was acknowledged and is lost, round {round}")
            });
            let user = store.user(&session.user).await.unwrap();
            assert!(user.is_some(), "a session without its user, round {round}");
        }
        store.close().await.unwrap();
    }
}

/// A user by WeChat and one by phone, who turn out to be one person.
async fn sign_in_twice_and_merge(store: &EngineStore, n: u128) -> Result<(), StoreError> {
    let by_wechat = login_of(&format!("person-{n}"), 2 * n);
    let by_phone = NewLogin {
        proof: by_own_phone(n),
        now: later(1),
        ..login_of("nobody", 2 * n + 1)
    };
    store.reserve_sms(&message(n)).await?;
    for login in [&by_wechat, &by_phone] {
        assert!(matches!(store.login(login).await?, LoginOutcome::Opened(_)));
    }
    let binding = PhoneBinding {
        user: UserId::parse(&format!("u{}", 2 * n)).unwrap(),
        session: by_wechat.session.id,
        proof: PhoneProof::Wechat(phone(n)),
        merge: Some(NewSession {
            id: SessionId::from_bits(u128::MAX - n),
            ..by_wechat.session
        }),
        single_per_client_type: false,
        outbox: OutboxPolicy::default(),
        now: later(2),
    };
    assert!(matches!(
        store.bind_phone(&binding).await?,
        BindOutcome::Merged(_)
    ));
    let line = format!("merged {n}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    Ok(())
}

fn later(seconds: u64) -> Timestamp {
    Timestamp::from_secs(NOW.as_secs() + seconds)
}

fn phone(n: u128) -> Phone {
    Phone::from_parts("86", &(13_000_000_000 + n).to_string()).unwrap()
}

fn by_own_phone(n: u128) -> LoginProof {
    let (phone, code) = (phone(n), CodeHash([1; 32]));
    LoginProof::Sms(SmsGuess {
        id: GuessId(n),
        phone,
        purpose: SmsPurpose::Login,
        code,
        max_attempts: 5,
    })
}

fn message(n: u128) -> SmsReservation {
    let limits = SmsLimits {
        code_ttl: Duration::from_mins(5),
        resend_after: Duration::from_mins(1),
        per_phone_hour: 5,
        per_phone_day: 10,
        daily_budget: u64::MAX,
        max_attempts: 5,
    };
    let (id, phone, code) = (SmsId(n), phone(n), CodeHash([1; 32]));
    SmsReservation {
        id,
        phone,
        purpose: SmsPurpose::Login,
        code,
        limits,
        is_test: false,
        now: NOW,
    }
}

#[tokio::test]
#[ignore = "the child of another test"]
async fn child_that_merges() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = on_disk(directory.as_ref()).unwrap();
    for n in std::env::var(FIRST).unwrap().parse::<u128>().unwrap().. {
        sign_in_twice_and_merge(&store, n).await.unwrap();
    }
}

#[tokio::test]
async fn a_merge_is_there_whole_or_not_at_all_after_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let (mut merged, mut seen) = (0, 0);
    for round in 1..=6_u128 {
        let first = round * 10_000;
        let mut child = child("child_that_merges", "", directory.path(), first);
        let done = acknowledged(&mut child, "merged", usize::try_from(round * 3).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        let store = on_disk(directory.path()).unwrap();
        for n in first..first + 200 {
            let openid = crate::types::OpenId::parse(&format!("person-{n}")).unwrap();
            let by_openid =
                UserIdentity::OpenId(crate::types::AppId::parse("wx1").unwrap(), openid);
            let by_openid = store.find_user(&by_openid).await.unwrap();
            let by_phone = store
                .find_user(&UserIdentity::Phone(phone(n)))
                .await
                .unwrap();
            for id in by_openid.iter().chain(&by_phone) {
                assert!(
                    store.user(id).await.unwrap().is_some(),
                    "{n} leads to nobody"
                );
                seen += 1;
            }
            let gone = store
                .lookup_user(&UserId::parse(&format!("u{}", 2 * n + 1)).unwrap())
                .await
                .unwrap();
            let is_merged = matches!(gone, UserLookup::Deleted { .. });
            assert_eq!(
                is_merged,
                by_openid.is_some() && by_openid == by_phone,
                "half a merge of {n}"
            );
            assert!(
                is_merged || !done.contains(&n),
                "{n} was acknowledged and is lost"
            );
            merged += usize::from(is_merged);
        }
        store.close().await.unwrap();
    }
    assert!(
        merged >= 63 && seen >= 2 * 63,
        "only {merged} merges and {seen} identities"
    );
}

#[tokio::test]
async fn a_disk_that_fills_up_loses_nothing_and_panics_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    // A file of the child may not grow over 2 MiB (`ulimit -f` counts 512 bytes); the signal that
    // comes with it is ignored, so writing fails as on a full disk.
    let mut child = child(
        "child_that_signs_in",
        "trap '' XFSZ; ulimit -f 4096;",
        directory.path(),
        1,
    );
    let output = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .collect::<Vec<_>>();
    assert!(child.wait().unwrap().success(), "{:?}", output.last());
    let opened: Vec<u128> = output
        .iter()
        .filter_map(|line| line.strip_prefix("opened ")?.parse().ok())
        .collect();
    assert!(opened.len() > 100, "only {} logins fitted", opened.len());
    assert!(
        output
            .iter()
            .any(|line| line.ends_with("stopped without a panic"))
    );
    let store = on_disk(directory.path()).unwrap();
    for id in opened {
        assert!(
            session_of(&store, id, id).await.unwrap().is_some(),
            "{id} is lost"
        );
    }
    store.login(&login_of("after", u128::MAX)).await.unwrap();
}
