//! Problems of a config, all at once, each with its position.
//!
//! The position of a key is a line of the file or a variable of the environment; that of a missing
//! key is its section's. Must stay true: no message repeats the value of a secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    path::{Path, PathBuf},
};

/// The position of a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ValueOrigin {
    /// In the file, on this line, counted from 1.
    Line(usize),
    /// In the file, on this line and in this column, both counted from 1: where it stops being
    /// TOML.
    Place(usize, usize),
    /// In the environment, in the variable of this name.
    Variable(String),
    /// Nowhere: the key and all tables around it are missing.
    Nowhere,
}

/// One problem or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    file: Option<PathBuf>,
    origin: ValueOrigin,
    key: String,
    message: String,
}

impl Problem {
    /// The key it is about, as in `wechat.app[0].secret`; empty when it is about the file.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Problem {
    /// `config.toml:12: server.header_timeout: ...` or `environment MENSHEN_SERVER__HEADER_TIMEOUT:
    /// server.header_timeout: ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, &self.origin) {
            (_, ValueOrigin::Variable(name)) => write!(f, "environment {name}: ")?,
            (Some(file), ValueOrigin::Line(line)) => write!(f, "{}:{line}: ", file.display())?,
            (Some(file), ValueOrigin::Place(line, column)) => {
                write!(f, "{}:{line}:{column}: ", file.display())?;
            }
            (Some(file), ValueOrigin::Nowhere) => write!(f, "{}: ", file.display())?,
            (None, ValueOrigin::Line(_) | ValueOrigin::Place(..) | ValueOrigin::Nowhere) => {
                f.write_str("configuration: ")?;
            }
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", EscapeControls(&self.key))?;
        }
        write!(f, "{}", EscapeControls(&self.message))
    }
}

/// A text from outside with its control characters escaped, for one line of a terminal.
pub(crate) struct EscapeControls<'a>(pub(crate) &'a str);

impl fmt::Display for EscapeControls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

/// The position of each key of a config that has one.
#[derive(Debug, Clone, Default)]
pub struct ValueOrigins {
    file: Option<PathBuf>,
    origins: BTreeMap<String, ValueOrigin>,
}

impl ValueOrigins {
    /// `config.toml:12`, or the variable's name; `None`: the key is in neither, so it has its
    /// default.
    pub(super) fn describe(&self, key: &str) -> Option<String> {
        let file = || {
            let file = self.file.as_deref().unwrap_or_else(|| Path::new(""));
            file.display()
        };
        match self.origins.get(key)? {
            ValueOrigin::Line(line) | ValueOrigin::Place(line, _) => {
                Some(format!("{}:{line}", file()))
            }
            ValueOrigin::Variable(name) => Some(name.clone()),
            ValueOrigin::Nowhere => None,
        }
    }
}

/// The problems so far, and the position of each key.
#[derive(Debug, Default)]
pub struct Problems {
    file: Option<PathBuf>,
    origins: BTreeMap<String, ValueOrigin>,
    found: Vec<Problem>,
    warnings: Vec<Problem>,
    suppressed: BTreeSet<String>,
}

impl Problems {
    /// No problems yet, of this file.
    pub(super) fn for_file(file: Option<PathBuf>) -> Self {
        Self {
            file,
            ..Self::default()
        }
    }

    /// Reports that the value of `key` (`rule[2].path`) is invalid, unless problems of that key are
    /// suppressed.
    pub fn add(&mut self, key: &str, message: impl Into<String>) {
        self.add_conflict(key, &[], message);
    }

    /// Reports that the value of `key` conflicts with those of the `others`.
    pub fn add_conflict(&mut self, key: &str, others: &[&str], message: impl Into<String>) {
        if !self.is_suppressed(key) && !others.iter().any(|other| self.is_suppressed(other)) {
            self.push(key, message);
        }
    }

    /// Warns that the value of `key` is risky.
    pub fn warn(&mut self, key: &str, message: impl Into<String>) {
        let problem = self.at(key, message.into());
        self.warnings.push(problem);
    }

    /// Reports a value outside `range`, both ends allowed.
    pub(super) fn check_range<T: PartialOrd + fmt::Display>(
        &mut self,
        key: &str,
        value: &T,
        range: std::ops::RangeInclusive<T>,
    ) {
        if !range.contains(value) {
            self.add(
                key,
                format!(
                    "{value} is not between {} and {}",
                    range.start(),
                    range.end()
                ),
            );
        }
    }

    /// Whether there is no problem; warnings do not count.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All problems: those of the file by line, then those of the environment by name, then missing
    /// keys.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        let mut sorted: Vec<_> = self.found.iter().collect();
        sorted.sort_by_key(|problem| &problem.origin);
        sorted.into_iter()
    }

    /// The warnings, and the position of each key.
    pub(super) fn into_parts(self) -> (Vec<Problem>, ValueOrigins) {
        let origins = ValueOrigins {
            file: self.file,
            origins: self.origins,
        };
        (self.warnings, origins)
    }

    /// Sets the position of `key`.
    pub(super) fn set_origin(&mut self, key: &str, origin: ValueOrigin) {
        self.origins.insert(key.to_owned(), origin);
    }

    /// Gives `key` the position of `other`.
    pub(super) fn copy_origin(&mut self, key: &str, other: &str) {
        if let Some(origin) = self.origins.get(other).cloned() {
            self.set_origin(key, origin);
        }
    }

    /// Reports that the value of `key` is unusable, and suppresses further problems of it.
    pub(super) fn add_unusable(&mut self, key: &str, message: impl Into<String>) {
        self.push(key, message);
        self.suppress(key);
    }

    /// Suppresses further problems of `key`.
    pub(super) fn suppress(&mut self, key: &str) {
        self.suppressed.insert(key.to_owned());
    }

    /// Reports a problem that belongs to no key.
    pub(super) fn push_at(&mut self, origin: ValueOrigin, message: impl Into<String>) {
        self.found.push(Problem {
            file: self.file.clone(),
            origin,
            key: String::new(),
            message: message.into(),
        });
    }

    /// Reports a problem even if those of `key` are suppressed.
    pub(super) fn push(&mut self, key: &str, message: impl Into<String>) {
        let problem = self.at(key, message.into());
        self.found.push(problem);
    }

    fn at(&self, key: &str, message: String) -> Problem {
        let origin = with_ancestors(key)
            .find_map(|key| self.origins.get(key))
            .cloned()
            .unwrap_or(ValueOrigin::Nowhere);
        Problem {
            file: self.file.clone(),
            origin,
            key: key.to_owned(),
            message,
        }
    }

    /// Whether further problems of `key`, or of a table around it, are suppressed.
    pub(super) fn is_suppressed(&self, key: &str) -> bool {
        with_ancestors(key).any(|key| self.suppressed.contains(key))
    }
}

impl fmt::Display for Problems {
    /// One problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.iter().any(|problem| problem.file.is_none()) {
            f.write_str(NO_FILE)?;
        }
        Ok(())
    }
}

/// Printed below the problems of a config without a file.
const NO_FILE: &str = "\nno config file was read: name one with --config, or create one with \
                       `menshen config > config.toml`";

impl std::error::Error for Problems {}

/// The key of `name` in the table `key`.
pub(super) fn within(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_owned()
    } else {
        format!("{key}.{name}")
    }
}

/// The key, then its parents, outwards: `rule[2].path`, `rule[2]`, `rule`.
fn with_ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| {
        key.rfind(['.', '[']).map(|end| &key[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems() -> Problems {
        let mut problems = Problems::for_file(Some("config.toml".into()));
        problems.set_origin("rule", ValueOrigin::Line(10));
        problems.set_origin("rule[1]", ValueOrigin::Line(20));
        problems.set_origin("rule[1].path", ValueOrigin::Line(22));
        problems.set_origin(
            "tokens.leeway",
            ValueOrigin::Variable("MENSHEN_TOKENS__LEEWAY".to_owned()),
        );
        problems
    }

    #[test]
    fn a_problem_stands_where_its_key_or_what_it_is_in_was_written() {
        let mut problems = problems();
        for key in [
            "wechat.secret",
            "tokens.leeway",
            "rule[1].path",
            "rule[1].name",
            "rule[0].name",
        ] {
            problems.add(key, "no");
        }
        problems.push_at(ValueOrigin::Line(3), "not TOML");
        assert_eq!(
            problems.to_string(),
            "config.toml:3: not TOML\n\
             config.toml:10: rule[0].name: no\n\
             config.toml:20: rule[1].name: no\n\
             config.toml:22: rule[1].path: no\n\
             environment MENSHEN_TOKENS__LEEWAY: tokens.leeway: no\n\
             config.toml: wechat.secret: no"
        );
    }

    #[test]
    fn nothing_more_is_said_about_a_value_that_could_not_be_read() {
        let mut problems = problems();
        problems.add_unusable("rule[1]", "is not a table");
        problems.add("rule[1].path", "is empty");
        problems.add("rule[1]", "is never reached");
        problems.add_conflict("server.listen", &["rule[1].name"], "does not fit");
        assert_eq!(
            problems.to_string(),
            "config.toml:20: rule[1]: is not a table"
        );
        problems.add("rule[10].path", "is another one");
        assert_eq!(problems.iter().count(), 2);
    }

    /// Found by fuzzing: a placeholder's name was repeated with the control character that stood in
    /// it.
    #[test]
    fn what_stands_in_the_file_neither_breaks_the_line_nor_steers_the_terminal() {
        let mut problems = Problems::for_file(Some("config.toml".into()));
        problems.push_at(ValueOrigin::Line(1), "has `a\r\nb`");
        problems.set_origin("rule\u{1b}[2J", ValueOrigin::Line(2));
        problems.add("rule\u{1b}[2J", "is no key \u{9b}é");
        assert_eq!(
            problems.to_string(),
            "config.toml:1: has `a\\r\\nb`\nconfig.toml:2: rule\\u{1b}[2J: is no key \\u{9b}é"
        );
    }

    #[test]
    fn a_warning_is_not_a_problem() {
        let mut problems = problems();
        problems.warn("tokens.leeway", "is long");
        assert!(problems.is_empty());
        let warnings: Vec<_> = problems
            .into_parts()
            .0
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            warnings,
            ["environment MENSHEN_TOKENS__LEEWAY: tokens.leeway: is long"]
        );
    }
}
