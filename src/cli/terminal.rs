//! Questions at a terminal: a new password, which is not shown, and a confirmation.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use anyhow::anyhow;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::command_error::CommandError;
use crate::{auth::Password, types::Malformed};

/// Bytes; longer than any valid password.
const MAX_LINE_LEN: u64 = 4096;

/// A new password: typed twice at a terminal, or the first line of standard input.
pub(super) fn new_password(
    from_stdin: bool,
    err: &mut dyn Write,
) -> Result<Password, CommandError> {
    let stdin = io::stdin();
    let typed = if from_stdin || !stdin.is_terminal() {
        line(&stdin)?
    } else {
        // Before the prompt, so that what is typed at once is not shown either.
        let _quiet = EchoOff::start()?;
        let first = ask("New password: ", err)?;
        let second = ask("Once more: ", err)?;
        if first != second {
            return Err(CommandError::Usage("the two passwords differ".to_owned()));
        }
        first
    };
    Password::parse_new(&typed).map_err(|Malformed(_)| {
        CommandError::Usage("a password must be 12 to 256 bytes long".to_owned())
    })
}

/// Asks at the terminal whether to go on, unless `yes` has said so.
///
/// # Errors
/// Where the answer is no, or there is no terminal to ask at.
pub(super) fn confirm(yes: bool, question: &str, err: &mut dyn Write) -> Result<(), CommandError> {
    if yes {
        return Ok(());
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CommandError::Usage(format!(
            "{question} Say --yes if that is wanted"
        )));
    }
    write!(err, "{question} Type yes to continue: ")?;
    err.flush()?;
    if line(&stdin)?.trim() == "yes" {
        Ok(())
    } else {
        Err(CommandError::Failed(anyhow!("nothing was done")))
    }
}

fn ask(prompt: &str, err: &mut dyn Write) -> io::Result<Zeroizing<String>> {
    write!(err, "{prompt}")?;
    err.flush()?;
    let typed = line(&io::stdin())?;
    // The line end that was typed is not shown either.
    writeln!(err)?;
    Ok(typed)
}

/// One line without its end.
fn line(stdin: &io::Stdin) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    stdin.lock().take(MAX_LINE_LEN).read_line(&mut line)?;
    let length = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(length);
    Ok(line)
}

/// Turns the echo of the terminal off until it is dropped.
struct EchoOff(Termios);

impl EchoOff {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // A terminal that went away has nothing left to show.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
