//! `menshen completions` and `menshen man`: what a shell and `man` know about the command line.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

/// Prints the script that completes command lines in a shell.
pub(super) fn completions(
    mut command: Command,
    shell: Shell,
    out: &mut dyn Write,
) -> io::Result<()> {
    // Into memory first, because the generator panics where the output is closed early.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "menshen", &mut script);
    out.write_all(&script)
}

/// Writes a page for each command into a directory, which is made if it is missing.
pub(super) fn pages(command: Command, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command, directory))
        .with_context(|| format!("the pages cannot be written to {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("menshen")
            .subcommand(Command::new("users").subcommand(Command::new("list").about("List them")))
    }

    #[test]
    fn each_command_has_a_page_and_completions_know_it() {
        let directory = tempfile::tempdir().unwrap();
        let pages_directory = directory.path().join("man1");
        pages(command(), &pages_directory).unwrap();
        for page in ["menshen.1", "menshen-users.1", "menshen-users-list.1"] {
            assert!(pages_directory.join(page).exists(), "{page}");
        }
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            completions(command(), shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("users"), "{shell}: {script}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = pages(command(), &file.path().join("man1")).unwrap_err();
        let name = file.path().display().to_string();
        assert!(error.to_string().contains(&name), "{error}");
    }
}
