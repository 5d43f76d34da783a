//! What is asked of a person at a terminal: a password that is not shown, and whether they are
//! sure.

use std::io::{self, BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::{auth::Password, types::Malformed};

/// Longer than any password that is taken.
const MAX_LINE_LEN: u64 = 4096;

/// A new password: typed twice at a terminal, or the first line of standard input. `Err` says what
/// is wrong with it.
pub(super) fn new_password(
    from_stdin: bool,
    err: &mut impl Write,
) -> io::Result<Result<Password, &'static str>> {
    let stdin = io::stdin();
    let typed = if from_stdin || !stdin.is_terminal() {
        line(&stdin)?
    } else {
        // Before the question: whoever answers at once is not shown either.
        let _quiet = EchoOff::start()?;
        let first = ask("New password: ", err)?;
        let second = ask("Once more: ", err)?;
        if first != second {
            return Ok(Err("the two passwords differ"));
        }
        first
    };
    Ok(Password::parse_new(&typed)
        .map_err(|Malformed(_)| "a password must be 12 to 256 bytes long"))
}

/// Whether to go on: they said so beforehand, or say so now. `None`: there is nobody to ask.
pub(super) fn ask_confirmation(
    yes: bool,
    question: &str,
    err: &mut impl Write,
) -> io::Result<Option<bool>> {
    if yes {
        return Ok(Some(true));
    }
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Ok(None);
    }
    write!(err, "{question} Type yes to go on: ")?;
    err.flush()?;
    Ok(Some(line(&stdin)?.trim() == "yes"))
}

fn ask(prompt: &str, err: &mut impl Write) -> io::Result<Zeroizing<String>> {
    write!(err, "{prompt}")?;
    err.flush()?;
    let typed = line(&io::stdin())?;
    // The one that was typed is not shown either.
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

/// While it lives the terminal shows nothing of what is typed.
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
