//! `menshen openapi`: the contract of the auth API, from which `docs/openapi.json` and `docs/errors.md` are made.

use std::io::{self, Write};

use clap::Parser;

use crate::{api, config::AuthConfig};

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Print the error codes as Markdown instead
    #[arg(long)]
    errors: bool,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> io::Result<()> {
    let text = if args.errors { api::errors_markdown() } else { api::openapi_json(&AuthConfig::default().prefix) };
    out.write_all(text.as_bytes())
}
