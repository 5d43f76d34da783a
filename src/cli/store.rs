//! `menshen store`: upkeep of the store of a menshen that does not run.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Subcommand;

use super::run::load;
use crate::{
    config::{Source, StoreEngine},
    store::{OpenOptions, compact},
};

/// How often it is told how far it has come, in pairs.
const PROGRESS_INTERVAL: u64 = 100_000;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Write the store anew, so that its files are as small as can be; for a menshen that does not
    /// run
    Compact,
}

pub(super) fn run(
    source: &Source,
    command: &Command,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<ExitCode> {
    let config = match load(source, err)? {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let Command::Compact = command;
    let Ok(StoreEngine::Sled(path)) = config.store.engine() else {
        writeln!(err, "menshen: only a store on sled has files to compact")?;
        return Ok(ExitCode::FAILURE);
    };
    let options = OpenOptions {
        lock_wait: std::time::Duration::from_secs(1),
        ..OpenOptions::default()
    };
    let mut reported = 0;
    let done = compact(&path, &options, |pairs| {
        if pairs - reported >= PROGRESS_INTERVAL {
            reported = pairs;
            // Nobody has to listen.
            let _ = writeln!(io::stderr(), "{pairs} records copied");
        }
    });
    match done {
        Ok(done) => {
            let kib = |bytes: u64| bytes.div_ceil(1024);
            writeln!(
                out,
                "{} records; {} KiB before, {} KiB after",
                done.pairs,
                kib(done.before),
                kib(done.after)
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            writeln!(err, "menshen: {fault}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
