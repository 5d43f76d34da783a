//! The command line. One file for each subcommand; this one only parses and dispatches.
//!
//! Exit codes: 0 success; 64 invalid config or usage; 1 failure, or a rejection of `explain`.

mod check;
mod command_error;
mod console;
mod demo;
mod dialect;
mod doctor;
mod explain;
mod export;
mod import;
mod init;
mod keys;
mod manual;
mod operator;
mod run;
mod sessions;
mod store;
mod terminal;
mod token;
mod user_ref;
mod users;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    CommandFactory, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};
use clap_complete::Shell;

use crate::{
    api,
    config::{AuthConfig, SmsConfig, Source},
    metrics,
};
pub use command_error::BAD_USAGE;
use command_error::CommandResult;
use console::Console;

/// A login gate for WeChat Mini Programs: one process in front of an existing backend.
#[derive(Debug, Parser)]
#[command(version = env!("MENSHEN_VERSION"))]
struct Cli {
    /// The config file [default: `config.toml` if there is one, else the built-in defaults and the
    /// environment]
    // clap's own parser of paths rejects an empty one, which a blank variable of a compose file
    // gives.
    #[arg(long, global = true, env = "MENSHEN_CONFIG", value_name = "FILE")]
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C (the default without a subcommand)
    Run,
    /// Show a tour on this machine, without a network: menshen in front of a sample backend, with a
    /// simulated WeChat; in the terminal, and as buttons of a page
    Demo(demo::Args),
    /// Write a first config from five answers, or from options; then check it and run `doctor`.
    /// Overwrites nothing. Exit code 1 if a check of `doctor` fails: the config is written
    Init(init::Args),
    /// List, show, create, ban, promote and erase users
    Users {
        #[command(subcommand)]
        command: users::Command,
    },
    /// List and end sessions
    Sessions {
        #[command(subcommand)]
        command: sessions::Command,
    },
    /// List and rotate the keys that sign access tokens; rotate the key of the store
    Keys {
        #[command(subcommand)]
        command: keys::Command,
    },
    /// Import an export into an empty store, or the users of another system with their ids
    Import(import::Args),
    /// Maintain the store: migrate or compact it
    Store {
        #[command(subcommand)]
        command: store::Command,
    },
    /// Export the whole store into a file, encrypted with its key
    Export(export::Args),
    /// Check the config, and print each problem with its line
    Check,
    /// Explain the decision on a request: its rule, its user, and the headers that the backend gets.
    /// Exit code 1 if the request is rejected
    Explain(explain::Args),
    /// Decode and verify a token
    Token {
        #[command(subcommand)]
        command: token::Command,
    },
    /// Test everything that the config names: backend, WeChat, clocks, store, certificates
    Doctor(doctor::Args),
    /// Print a config file with every key, its meaning and its default
    Config,
    /// Print a built-in dialect as a custom one, to start from
    Dialect { which: dialect::Builtin },
    /// Print the contract of the auth API (OpenAPI 3.1, JSON)
    Openapi,
    /// Print the error codes and their meaning (Markdown)
    Errors,
    /// Print the metrics, their labels and their use (Markdown)
    Metrics,
    /// Print a script that completes command lines in a shell
    Completions { shell: Shell },
    /// Write a manual page for each command into a directory
    Man { directory: PathBuf },
}

/// Runs the command line.
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => finish(execute(cli), &mut io::stderr()),
        Err(error) => print_usage(&error),
    }
}

fn execute(cli: Cli) -> CommandResult {
    let source = Source::new(cli.config, std::env::vars_os());
    // Log lines are written to standard output by another thread, so it is not locked here.
    let console = &mut Console {
        source: &source,
        out: &mut io::stdout(),
        err: &mut io::stderr(),
    };
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run::run(console),
        Command::Demo(args) => Ok(demo::run(&args, console.out, console.err)?),
        Command::Init(args) => init::run(console, args),
        Command::Users { command } => users::run(console, &command),
        Command::Sessions { command } => sessions::run(console, &command),
        Command::Keys { command } => keys::run(console, &command),
        Command::Import(args) => import::run(console, &args),
        Command::Store { command } => store::run(console, &command),
        Command::Export(args) => export::run(console, &args),
        Command::Check => check::run(console),
        Command::Explain(args) => explain::run(console, &args),
        Command::Token { command } => token::run(console, &command),
        Command::Doctor(args) => doctor::run(console, &args),
        Command::Config => print(&crate::config::reference()),
        Command::Dialect { which } => print(which.source()),
        Command::Openapi => print(&openapi()),
        Command::Errors => print(&api::errors_markdown()),
        Command::Metrics => print(&metrics::markdown()),
        Command::Completions { shell } => {
            manual::completions(Cli::command(), shell, console.out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => {
            manual::pages(Cli::command(), &directory)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(text: &str) -> CommandResult {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn openapi() -> String {
    let countries = SmsConfig::default().countries;
    api::openapi_json(&AuthConfig::default().prefix, &countries)
}

/// Prints what `--help` and `--version` ask for, or what is wrong with the usage.
fn print_usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to do when this fails.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(BAD_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// A reader that closes the output early (`menshen config | head`) is no error.
fn finish(result: CommandResult, err: &mut dyn Write) -> ExitCode {
    match result.or_else(|error| error.report(err)) {
        Ok(code) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(err, "cannot write: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_mistake_is_bad_usage_and_help_is_not() {
        for (line, code) in [
            (&["menshen", "--help"][..], ExitCode::SUCCESS),
            (&["menshen", "check", "--help"], ExitCode::SUCCESS),
            (&["menshen", "--version"], ExitCode::SUCCESS),
            (&["menshen", "chekc"], ExitCode::from(BAD_USAGE)),
            (
                &["menshen", "check", "--nonsense"],
                ExitCode::from(BAD_USAGE),
            ),
            (&["menshen", "check", "--config"], ExitCode::from(BAD_USAGE)),
        ] {
            assert_eq!(
                Cli::try_parse_from(line)
                    .map_err(|error| print_usage(&error))
                    .unwrap_err(),
                code,
                "{line:?}"
            );
        }
    }
}
