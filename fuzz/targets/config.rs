//! Any text is a config or a list of problems, each on one line and with the place where it was
//! written; none repeats a secret.
//!
//! Input: a config file.

use std::{cell::RefCell, fs, path::Path};

use menshen::{
    app,
    config::{Config, Problem, Source},
};

/// Keys whose values are secrets.
const SECRETS: [&str; 7] = [
    "admin.token",
    "encryption_key",
    "previous_encryption_key",
    "tokens.secret",
    "lend_token",
    "access_key_secret",
    "secret_key",
];

thread_local! {
    /// On shared memory where there is some: a file is written for each input.
    static DIRECTORY: RefCell<tempfile::TempDir> = RefCell::new({
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory")
    });
}

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    DIRECTORY.with_borrow(|directory| {
        let file = directory.path().join("config.toml");
        fs::write(&file, data).expect("a file");
        let source = Source {
            file: Some(file.clone()),
            environment: Vec::new(),
        };
        match Config::load_with(&source, app::check) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    placed(warning, &file, data);
                }
                // What was accepted is accepted again as it is understood.
                let written =
                    serde_json::to_value(&loaded.config).expect("a config that can be written");
                let again: Config = serde_json::from_value(written.clone())
                    .expect("a config that can be read again");
                // Secrets are masked in what is written.
                assert_eq!(
                    serde_json::to_value(&again).expect("a config that can be written"),
                    written
                );
            }
            Err(problems) => {
                assert!(
                    !problems.is_empty() && problems.iter().next().is_some(),
                    "refused without a reason"
                );
                for problem in problems.iter() {
                    placed(problem, &file, data);
                }
            }
        }
    });
}

fn placed(problem: &Problem, file: &Path, data: &[u8]) {
    let said = problem.to_string();
    assert!(!said.chars().any(char::is_control), "{said:?}");
    let place = said
        .strip_prefix(&format!("{}:", file.display()))
        .unwrap_or_else(|| panic!("{said:?} names no file"));
    let line: String = place.chars().take_while(char::is_ascii_digit).collect();
    let lines = data.iter().filter(|&&byte| byte == b'\n').count() + 1;
    if line.is_empty() {
        // Without a line only what was left out, or the file as a whole: its section is nowhere in
        // the text.
        let section = problem.key().split(['.', '[']).next().unwrap_or_default();
        let text = String::from_utf8_lossy(data);
        let stands = text.lines().any(|line| {
            let rest = line
                .trim_start()
                .trim_start_matches('[')
                .trim_start()
                .strip_prefix(section);
            rest.is_some_and(|rest| rest.trim_start().starts_with([']', '.', '=']))
        });
        assert!(
            section.is_empty() || !stands || is_escaped(&text),
            "{said:?} has no line"
        );
    } else {
        let line: usize = line.parse().expect("a line");
        assert!((1..=lines).contains(&line), "{said:?} of {lines} lines");
    }
    for value in secrets(data) {
        assert!(!said.contains(&value), "a secret is told: {said:?}");
    }
}

/// Where a key may be written in more ways than this target understands.
fn is_escaped(text: &str) -> bool {
    text.contains(['\\', '\'', '{']) || text.contains('"')
}

/// Values of secrets that stand on a line of their own and nowhere else.
fn secrets(data: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(data);
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        }
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let whole = format!("{section}.{}", name.trim());
        let is_secret = SECRETS
            .iter()
            .any(|secret| whole == *secret || whole.ends_with(&format!(".{secret}")));
        let value = value.trim().trim_matches('"');
        if is_secret && value.len() >= 8 && text.matches(value).count() == 1 {
            found.push(value.to_owned());
        }
    }
    found
}
