//! What a person sees and types at a terminal.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{
    backend::Backend,
    menshen::{BINARY, Setup},
};

const PASSWORD: &str = "correct horse battery staple";

/// A person at a terminal, at which a command runs.
struct Terminal {
    /// Where the person types, and what the terminal shows of that.
    keyboard: File,
    /// The command's side of it.
    line: File,
    child: Child,
    err: BufReader<ChildStderr>,
}

impl Terminal {
    fn running(setup: &Setup, args: &[&str]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keyboard).expect("a terminal");
        unlockpt(&keyboard).expect("a terminal");
        let name = ptsname(&keyboard, Vec::new())
            .expect("a name")
            .into_string()
            .expect("a name");
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .expect("a terminal");
        let mut child = Command::new(BINARY)
            .args(args)
            .current_dir(setup.directory().path())
            .env_clear()
            .stdin(line.try_clone().expect("a terminal"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let err = BufReader::new(child.stderr.take().expect("stderr"));
        Self {
            keyboard: keyboard.into(),
            line,
            child,
            err,
        }
    }

    /// Waits for a question and answers it.
    fn answer(&mut self, question: &str, with: &str) {
        let mut asked = Vec::new();
        while !asked.ends_with(question.as_bytes()) {
            let end = self
                .err
                .read_until(*question.as_bytes().last().expect("a question"), &mut asked)
                .expect("a question");
            // Every question ends with a colon and waits; another one would wait for ever.
            let is_another = asked.ends_with(b": ") && !asked.ends_with(question.as_bytes());
            assert!(
                end > 0 && !is_another,
                "{question:?} is not asked in {:?}",
                String::from_utf8_lossy(&asked)
            );
        }
        writeln!(self.keyboard, "{with}").expect("a key");
    }

    /// The exit code, what was printed and told, and what the terminal has shown of what was typed.
    fn end(mut self) -> (Option<i32>, String, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.child
            .stdout
            .take()
            .expect("stdout")
            .read_to_string(&mut out)
            .expect("text");
        self.err.read_to_string(&mut err).expect("text");
        let code = self.child.wait().expect("an end").code();
        // Comes last of what is shown.
        self.line.write_all(b"THE END").expect("a terminal");
        let mut shown = Vec::new();
        while !shown.ends_with(b"THE END") {
            let mut byte = [0];
            self.keyboard.read_exact(&mut byte).expect("what is shown");
            shown.extend(byte);
        }
        (code, out, err, String::from_utf8_lossy(&shown).into_owned())
    }
}

#[test]
fn a_password_is_asked_for_twice_and_never_shown() {
    let backend = Backend::start();
    let setup = Setup::before(backend.address);
    setup.config();
    let add = ["users", "add", "root", "--admin"];
    let mut differing = Terminal::running(&setup, &add);
    differing.answer("New password: ", PASSWORD);
    differing.answer("Once more: ", "correct horse battery stable");
    let (code, out, err, shown) = differing.end();
    assert_eq!(
        (code, out.as_str(), shown.as_str()),
        (Some(64), "", "THE END")
    );
    assert!(err.contains("the two passwords differ"), "{err}");

    let mut same = Terminal::running(&setup, &add);
    same.answer("New password: ", PASSWORD);
    same.answer("Once more: ", PASSWORD);
    let (code, id, err, shown) = same.end();
    assert_eq!((code, shown.as_str()), (Some(0), "THE END"), "{err}");
    assert!(!err.contains(PASSWORD) && !err.contains("root"), "{err}");
    assert!(
        err.contains("account.created"),
        "what was done on a stopped one is told there: {err}"
    );

    let delete = ["users", "delete", id.trim()];
    for (says, code, out) in [
        ("no", Some(1), ""),
        ("yes", Some(0), "erased, 0 sessions ended\n"),
    ] {
        let mut asked = Terminal::running(&setup, &delete);
        asked.answer("Type yes to continue: ", says);
        let ended = asked.end();
        assert_eq!((ended.0, ended.1.as_str()), (code, out), "{}", ended.2);
        assert!(ended.3.contains(says), "it is shown again: {:?}", ended.3);
    }
}

#[test]
fn whoever_signs_everybody_out_is_asked_first() {
    let backend = Backend::start();
    let setup = Setup::before(backend.address)
        .with("[server]\nlisten = [\"127.0.0.1:0\"]\nunready_grace = \"1ms\"");
    setup.config();
    let everything = ["sessions", "revoke", "--everything"];
    for (says, code, out) in [
        ("", Some(1), ""),
        ("y", Some(1), ""),
        ("yes", Some(0), "all sessions ended\n"),
    ] {
        let mut asked = Terminal::running(&setup, &everything);
        asked.answer("This signs all users out. Type yes to continue: ", says);
        let ended = asked.end();
        assert_eq!(
            (ended.0, ended.1.as_str()),
            (code, out),
            "{says:?}: {}",
            ended.2
        );
        let is_audited = ended.2.contains("sessions.revoked");
        assert_eq!(
            (is_audited, ended.2.contains("nothing was done")),
            (code == Some(0), code == Some(1)),
            "{}",
            ended.2
        );
    }
}

#[test]
fn a_first_config_is_asked_for_and_overwrites_nothing() {
    let backend = Backend::start();
    let setup = Setup::before(backend.address);
    let dir = setup.directory();
    let url = format!("http://{}", backend.address);
    let mut asked = Terminal::running(&setup, &["init", "--dialect", "nest"]);
    asked.answer("Where is the backend? [http://127.0.0.1:3000]: ", &url);
    asked.answer("Which AppID has the mini program?: ", "not an id");
    asked.answer("Which AppID has the mini program?: ", "wx0123456789abcdef");
    asked.answer("Which file has its AppSecret? [wechat.secret]: ", "");
    asked.answer("Where do users, sessions and keys go? [menshen-data]: ", "");
    let (code, out, err, _) = asked.end();
    // Without the secret `check` fails, so `doctor` does not call WeChat from a test.
    assert_eq!(
        (code, out.as_str()),
        (Some(64), "config.toml: written\n"),
        "{err}"
    );
    assert!(err.contains("wechat.secret_file"), "{err}");
    assert!(!err.contains("urls") && !err.contains("dialect"), "{err}");
    let config = dir.path().join("config.toml");
    let text = std::fs::read_to_string(&config).expect("a config");
    assert!(text.contains(&format!("urls = [\"{url}\"]")), "{text}");
    let (code, out, err, _) = Terminal::running(&setup, &["init"]).end();
    assert_eq!((code, out.as_str()), (Some(64), ""), "{err}");
    assert!(err.contains("overwrites nothing"), "{err}");
    assert_eq!(text, std::fs::read_to_string(&config).expect("a config"));
}
