//! `menshen keys`: the keys that sign access tokens, and the key that encrypts the store.

use std::io::{self, Write};

use clap::Subcommand;
use serde_json::json;

use super::{
    command_error::CommandResult,
    console::Console,
    operator::{self, Operator},
};
use crate::{
    admin::{
        keys::{KeyRotation, Keys},
        store::{KeyChange, ResealStep},
    },
    store::Access,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the keys that sign and verify
    List,
    /// Create a new key that signs from now on; the old one verifies until its last token has expired
    Rotate {
        /// Rotate the key of the store instead, and encrypt every record again. Continues a rotation
        /// that was interrupted
        #[arg(long)]
        store: bool,
    },
}

pub(super) fn run(console: &mut Console<'_>, command: &Command) -> CommandResult {
    // Progress has a handle of its own, because the other one is for warnings.
    let mut progress = io::stderr();
    let access = match command {
        Command::List => Access::ReadOnly,
        Command::Rotate { .. } => Access::ReadWrite,
    };
    operator::with_operator(console, access, async |operator, out| {
        let text = match command {
            Command::List => describe(&operator.get::<Keys>("/admin/keys").await?),
            Command::Rotate { store: false } => {
                let done: KeyRotation = operator.post("/admin/keys/rotate", &json!({})).await?;
                format!("{} signs from now on", done.signing)
            }
            Command::Rotate { store: true } => change_store_key(operator, &mut progress).await?,
        };
        Ok(writeln!(out, "{text}")?)
    })
}

/// Begins a change, or continues one, until every record is encrypted with the new key.
async fn change_store_key(
    operator: &Operator,
    progress: &mut impl Write,
) -> anyhow::Result<String> {
    let change: KeyChange = operator.post("/admin/store/rotate-key", &json!({})).await?;
    if !change.begun {
        writeln!(progress, "a change was already in progress: continuing it")?;
    }
    let mut records = 0;
    loop {
        let step: ResealStep = operator.post("/admin/store/reseal", &json!({})).await?;
        records += step.records;
        if step.finished {
            return Ok("everything in the store is under its new key".to_owned());
        }
        writeln!(progress, "{records} records encrypted again")?;
    }
}

fn describe(keys: &Keys) -> String {
    let rows = keys.verifying.iter().map(|kid| match &keys.next {
        _ if *kid == keys.signing => format!("{kid}  signs and verifies"),
        Some(next) if *kid == next.kid => {
            format!("{kid}  verifies, signs from {} on", next.signs_from)
        }
        Some(_) | None => format!("{kid}  verifies"),
    });
    std::iter::once(format!("algorithm {}", keys.algorithm))
        .chain(rows)
        .collect::<Vec<_>>()
        .join("\n")
}
