//! `menshen keys`: the keys that sign access tokens.
//!
//! A running process holds its embedded store, so it is asked through its admin listener; where none answers, the store is
//! opened here.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Subcommand;

use super::run::load;
use crate::{
    admin::keys::{KeyRotation, Keys},
    app,
    clock::Clock,
    config::{Config, HumanDuration, Source},
    entropy::Entropy,
    outbound::AdminFault,
    token::{Keyrings, Rotated},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Tell which keys sign and verify
    List,
    /// Make a new key that signs from now on; the old one verifies until its last token has expired
    Rotate,
}

/// How long to wait for a process that holds the store but does not answer on its admin listener.
const LOCK_WAIT: HumanDuration = HumanDuration::secs(1);

pub(super) fn run(source: &Source, command: &Command, out: &mut impl Write, err: &mut impl Write) -> io::Result<ExitCode> {
    let config = match load(source, err)? {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(answer(config, command)) {
        Ok(text) => {
            writeln!(out, "{text}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            writeln!(err, "menshen: {fault:#}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn answer(config: Config, command: &Command) -> anyhow::Result<String> {
    if let Some(running) = app::admin_client(&config)? {
        let asked = match command {
            Command::List => running.get::<Keys>("/admin/keys").await.map(|keys| in_words(&keys)),
            Command::Rotate => running.post::<KeyRotation>("/admin/keys/rotate").await.map(|done| rotated(&done.signing)),
        };
        match asked {
            Err(AdminFault::NotThere) => {}
            asked => return asked.context("the running menshen was asked"),
        }
    }
    in_store(config, command).await
}

async fn in_store(mut config: Config, command: &Command) -> anyhow::Result<String> {
    if config.store.url.starts_with("memory:") {
        bail!("the keys of a store in memory are in the running process only: set admin.token_file, and ask it");
    }
    config.store.lock_wait = LOCK_WAIT.min(config.store.lock_wait);
    let (entropy, now) = (Entropy::default(), Clock::System.now());
    let opened = app::open_store(&config, &entropy)
        .context("no running menshen answered on admin.listen (it needs admin.token_file), so its store was tried")?;
    let keyrings = Keyrings::open(&config.tokens, &*opened.store, &entropy, now).await?;
    let text = match command {
        Command::List => in_words(&Keys::of(&keyrings)),
        Command::Rotate => match keyrings.rotate(&*opened.store, &entropy, now).await? {
            Rotated::Added { kid } | Rotated::Overtaken { kid } => rotated(&kid),
        },
    };
    tokio::time::timeout(Duration::from_secs(30), opened.store.close()).await??;
    Ok(text)
}

fn in_words(keys: &Keys) -> String {
    let rows = keys.verifying.iter().map(|kid| {
        let does = if *kid == keys.signing { "signs and verifies" } else { "verifies" };
        format!("{kid}  {does}")
    });
    std::iter::once(format!("algorithm {}", keys.algorithm)).chain(rows).collect::<Vec<_>>().join("\n")
}

fn rotated(kid: &str) -> String {
    format!("{kid} signs from now on")
}
