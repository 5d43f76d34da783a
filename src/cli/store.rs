//! `menshen store`: maintenance of the store, past a running menshen.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::anyhow;
use clap::Subcommand;

use super::{
    command_error::{CommandError, CommandResult},
    console::Console,
    run::runtime,
};
use crate::{
    app,
    config::{Config, StoreEngine},
    store::{OpenOptions, compact},
};

/// Records between two lines of progress.
const PROGRESS_INTERVAL: u64 = 100_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create or upgrade the tables of the database. Needed once, with a role that may do so, if the
    /// role of menshen may not
    Migrate,
    /// Empty the database again where an import into it was broken off. Without one this changes nothing
    DiscardImport,
    /// Rewrite the files of the store to their smallest size. menshen must be stopped
    Compact,
}

pub(super) fn run(console: &mut Console<'_>, command: &Command) -> CommandResult {
    let config = console.load()?;
    match command {
        Command::Compact => compact_store(&config, console),
        Command::Migrate => migrate(&config, console),
        Command::DiscardImport => discard_import(&config, console),
    }
}

fn migrate(config: &Config, console: &mut Console<'_>) -> CommandResult {
    let has_tables = runtime()?.block_on(app::migrate_store(&config.store))?;
    if !has_tables {
        return Err(anyhow!("only a store in a database has tables; store.url names none").into());
    }
    writeln!(
        console.out,
        "the tables are there, in the format of this version"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn discard_import(config: &Config, console: &mut Console<'_>) -> CommandResult {
    if config.store.engine() != Ok(StoreEngine::Shared) {
        return Err(anyhow!(
            "only a database can have an import that is not finished: one into a directory leaves nothing"
        )
        .into());
    }
    let mut reported = 0;
    let discarding = app::discard_import(&config.store, |records| {
        if records - reported >= PROGRESS_INTERVAL {
            reported = records;
            // Progress may get lost.
            let _ = writeln!(io::stderr(), "{records} records removed");
        }
    });
    let removed = runtime()?.block_on(discarding)?;
    writeln!(
        console.out,
        "{removed} records of the unfinished import removed: the store is empty"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn compact_store(config: &Config, console: &mut Console<'_>) -> CommandResult {
    let Ok(StoreEngine::Sled(path)) = config.store.engine() else {
        return Err(anyhow!("only a store on sled has files to compact").into());
    };
    let options = OpenOptions {
        lock_wait: std::time::Duration::from_secs(1),
        ..OpenOptions::default()
    };
    let mut reported = 0;
    let done = compact(&path, &options, |pairs| {
        if pairs - reported >= PROGRESS_INTERVAL {
            reported = pairs;
            // Progress may get lost.
            let _ = writeln!(io::stderr(), "{pairs} records copied");
        }
    });
    let done = done.map_err(|error| CommandError::Failed(anyhow!("{error}")))?;
    let kib = |bytes: u64| bytes.div_ceil(1024);
    writeln!(
        console.out,
        "{} records; {} KiB before, {} KiB after",
        done.pairs,
        kib(done.before),
        kib(done.after)
    )?;
    Ok(ExitCode::SUCCESS)
}
