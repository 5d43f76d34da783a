//! `menshen import`: an export, or users of another system with their ids.

mod field;
mod format;
mod json_row;
mod null_words;
mod quotes;
mod restore;
mod row;
mod rows;
mod time;
mod users;

use clap::Subcommand;

use super::{
    command_error::{CommandError, CommandResult},
    console::Console,
};

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub(super) struct Args {
    #[command(flatten)]
    file: Option<restore::FileArgs>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import users of another system, with their ids there
    ///
    /// Columns (or JSON fields): `id`, `openid`, `app_id`, `unionid`, `phone`, `nickname`,
    /// `avatar_url`, `user_type`, `roles`, `created_at`. All but `id` may be absent, empty, `NULL`,
    /// `null` or `\N`; the report counts these words. Each row is imported whole or not at all, and
    /// a repeated import changes nothing.
    Users(users::UsersArgs),
}

pub(super) fn run(console: &mut Console<'_>, args: &Args) -> CommandResult {
    match (&args.command, &args.file) {
        (Some(Command::Users(args)), _) => users::run(console, args),
        (None, Some(args)) => restore::run(console, args),
        (None, None) => Err(CommandError::Usage("name what to import".to_owned())),
    }
}
