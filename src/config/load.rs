//! Loads a config from a file and the environment, or reports all problems.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Config, environment,
    problems::{Problem, Problems, ValueOrigin, ValueOrigins},
    schema::Schema,
    toml_tree::{self, TomlNode, TomlValue},
    validator::Validator,
};

/// Where a config comes from.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The file; without one, the defaults.
    pub file: Option<PathBuf>,
    /// Variables laid over the file. Only names that start with `MENSHEN_` are looked at.
    pub environment: Vec<(OsString, OsString)>,
}

impl Source {
    /// The file named, or `config.toml` in the working directory if there is one. An empty name is
    /// none: that is what a variable left blank in a compose file gives.
    pub fn new(
        file: Option<PathBuf>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let usual = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
        Self {
            file: file
                .filter(|file| !file.as_os_str().is_empty())
                .or_else(usual),
            environment: environment.into_iter().collect(),
        }
    }
}

const DEFAULT_FILE: &str = "config.toml";

/// A valid config.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// Values that are allowed but risky.
    pub warnings: Vec<Problem>,
    /// The files and directories that it names.
    pub files: BTreeSet<PathBuf>,
    pub origins: ValueOrigins,
    pub source: Source,
}

impl Config {
    /// Reads and checks a config. Opens no socket.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(source: &Source) -> Result<Loaded, Problems> {
        Self::load_with(source, |_, _| {})
    }

    /// The same, with further checks, whose problems are reported with the rest, each at its line.
    pub fn load_with(
        source: &Source,
        extra_checks: impl FnOnce(&Self, &mut Problems),
    ) -> Result<Loaded, Problems> {
        let mut problems = Problems::for_file(source.file.clone());
        match read(source.file.as_deref(), &mut problems) {
            Some(tree) => Self::from_tree(source, tree, problems, extra_checks),
            None => Err(problems),
        }
    }

    /// Checks `text` as if it stood in the file of `source`.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load_text(
        source: &Source,
        text: &str,
        extra_checks: impl FnOnce(&Self, &mut Problems),
    ) -> Result<Loaded, Problems> {
        let mut problems = Problems::for_file(source.file.clone());
        match parse(text, &mut problems) {
            Some(tree) => Self::from_tree(source, tree, problems, extra_checks),
            None => Err(problems),
        }
    }

    fn from_tree(
        source: &Source,
        mut tree: TomlNode,
        mut problems: Problems,
        extra_checks: impl FnOnce(&Self, &mut Problems),
    ) -> Result<Loaded, Problems> {
        environment::overlay(&mut tree, &source.environment, &mut problems);
        let directory = source
            .file
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or_else(|| Path::new(""));
        let mut validator = Validator {
            problems: &mut problems,
            directory,
            files: BTreeSet::new(),
        };
        let valid = validator.validate(Schema::root(), &tree, "");
        let files = validator.files;
        let Ok(config) = serde_json::from_value::<Self>(valid.unwrap_or_default()) else {
            // The validator accepts what the structs accept; if they ever differ, nothing starts.
            // The error may quote a value, so it is not printed.
            problems.push_at(
                ValueOrigin::Nowhere,
                "has a value that passes its description and still does not fit",
            );
            return Err(problems);
        };
        config.check(&mut problems);
        extra_checks(&config, &mut problems);
        if problems.is_empty() {
            let (warnings, origins) = problems.into_parts();
            Ok(Loaded {
                config,
                warnings,
                files,
                origins,
                source: source.clone(),
            })
        } else {
            Err(problems)
        }
    }
}

/// The file as a tree; an empty one when there is no file.
fn read(file: Option<&Path>, problems: &mut Problems) -> Option<TomlNode> {
    let Some(file) = file else {
        return Some(TomlNode {
            origin: ValueOrigin::Nowhere,
            value: TomlValue::Table(std::collections::BTreeMap::new()),
        });
    };
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            let message = match error.kind() {
                io::ErrorKind::NotFound => "there is no such file".to_owned(),
                kind => format!("cannot be read ({kind})"),
            };
            problems.push_at(ValueOrigin::Nowhere, message);
            return None;
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        problems.push_at(ValueOrigin::Nowhere, "is not UTF-8 text");
        return None;
    };
    parse(&text, problems)
}

fn parse(text: &str, problems: &mut Problems) -> Option<TomlNode> {
    match toml_tree::parse(text) {
        Ok(tree) => Some(tree),
        Err(error) => {
            problems.push_at(ValueOrigin::Place(error.line, error.column), error.message);
            None
        }
    }
}
