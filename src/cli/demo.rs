//! `menshen demo`.
use clap::Parser;
use std::{
    io::{self, Write},
    process::ExitCode,
};
#[derive(Debug, Parser)]
pub(super) struct Args {}
pub(super) fn run(_args: &Args, _out: &mut impl Write, _err: &mut impl Write) -> io::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
