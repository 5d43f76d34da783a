//! `menshen import`: an export, or users of another system with their ids.

pub(super) mod field;
mod null_words;
mod quotes;
mod restore;
pub(super) mod rows;
mod users;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Subcommand, ValueEnum};

use crate::config::Source;
use field::Field;

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub(super) struct Args {
    #[command(flatten)]
    file: Option<FileArgs>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to restore from, and how.
#[derive(Debug, clap::Args)]
pub(super) struct FileArgs {
    /// What `menshen export` made, or `-` for standard input; it becomes the store of this config,
    /// which has to be empty
    #[arg(required = true)]
    file: PathBuf,
    /// Everybody stays signed in: for a move, from an export of a stopped menshen. Without it
    /// everybody signs in anew
    #[arg(long)]
    with_sessions: bool,
    /// The encryption key of the store that was exported, where this one has another
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Users of another system, with the ids that they have there
    ///
    /// Columns (or JSON fields): `id`, `openid`, `app_id`, `unionid`, `phone`, `nickname`,
    /// `avatar_url`, `user_type`, `roles`, `created_at`. All but `id` may be absent or mean
    /// nothing: empty, `NULL`, `null` or `\N`; how many of these words there were is told. Each row
    /// is imported whole or not at all, and a repeat changes nothing.
    Users(UsersArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct UsersArgs {
    /// A file, or `-` for standard input
    file: PathBuf,
    /// How the rows are written [default: by the file's name]
    #[arg(long)]
    format: Option<Format>,
    /// The mini program of openids without an `app_id` [default: the only one of the config]
    #[arg(long, value_name = "APPID")]
    app_id: Option<String>,
    /// Take a field from a column of another name, such as `id=_id`; may be repeated
    #[arg(long = "column", value_name = "FIELD=COLUMN", value_parser = parse_column)]
    columns: Vec<(Field, String)>,
    /// Pass over columns that are no field
    #[arg(long)]
    ignore_other_columns: bool,
    /// The zone of a `created_at` that names none, such as +08:00
    #[arg(long, value_name = "OFFSET", default_value = "+00:00", allow_hyphen_values = true, value_parser = rows::parse_offset)]
    utc_offset: i32,
    /// Say what would become of each row, and keep nothing
    #[arg(long)]
    dry_run: bool,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Commas and quotes (RFC 4180), the names of the columns first
    Csv,
    /// The same as MySQL's `INTO OUTFILE` writes it with `TERMINATED BY ',' ENCLOSED BY '"'`: `\"`
    /// and `\\` are escapes
    MysqlCsv,
    /// Tabs, as `mysql --batch` prints them: `\t` `\n` `\\` are escapes
    Tsv,
    /// One JSON object a line
    Ndjson,
}

pub(super) fn run(
    source: &Source,
    args: &Args,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<ExitCode> {
    match (&args.command, &args.file) {
        (Some(Command::Users(args)), _) => users::run(source, args, out, err),
        (None, Some(args)) => restore::run(source, args, out, err),
        (None, None) => Ok(ExitCode::from(super::BAD_USAGE)),
    }
}

fn parse_column(text: &str) -> Result<(Field, String), String> {
    let (field, column) = text
        .split_once('=')
        .filter(|(_, column)| !column.is_empty())
        .ok_or("must be FIELD=COLUMN")?;
    let field = Field::named(field)
        .ok_or_else(|| format!("there is no field {field}: {}", Field::names()))?;
    Ok((field, column.to_owned()))
}

impl Format {
    /// What the name of a file says.
    fn of(file: &std::path::Path) -> Option<Self> {
        match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            _ => None,
        }
    }
}
