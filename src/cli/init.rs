//! `menshen init`: writes a first config from five answers, and tests it.
//!
//! Must stay true: it overwrites no file, and a config that is there is whole.

use std::{
    fs::Permissions,
    io::{self, BufRead, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::ValueEnum;
use tempfile::NamedTempFile;

use super::{
    check,
    command_error::{CommandError, CommandResult},
    console::Console,
    dialect::Builtin,
    doctor,
};
use crate::{
    config::{Source, UpstreamAddress},
    types::{AppId, Malformed},
};

/// Bytes; longer than any path or URL.
const MAX_ANSWER_LEN: u64 = 4096;
/// For all: the config names files with secrets, and has none.
const CONFIG_MODE: u32 = 0o644;
const DEFAULT_FILE: &str = "config.toml";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// URL of the backend
    #[arg(long, value_name = "URL", value_parser = parse_backend)]
    backend: Option<String>,
    /// AppID of the mini program
    #[arg(long, value_name = "APPID", value_parser = parse_app_id)]
    app_id: Option<String>,
    /// File with its AppSecret; a relative path starts beside the config
    #[arg(long, value_name = "FILE", value_parser = parse_text)]
    secret_file: Option<String>,
    /// API that the mini program calls already: `none`, or a built-in dialect
    #[arg(long, value_parser = parse_dialect)]
    dialect: Option<ChosenDialect>,
    /// Directory for users, sessions and keys
    #[arg(long, value_name = "DIRECTORY", value_parser = parse_text)]
    data: Option<String>,
}

/// The answer to the question about the API; `None` is menshen's own alone.
#[derive(Debug, Clone, Copy)]
struct ChosenDialect(Option<Builtin>);

/// The five answers.
struct Answers {
    backend: String,
    app_id: String,
    secret_file: String,
    dialect: ChosenDialect,
    data: PathBuf,
}

/// Writes the config that `--config` names, or `config.toml`, then runs `check` and `doctor`.
///
/// # Errors
/// When the file exists, an answer is missing, or the file cannot be written. The exit code is that
/// of the checks.
pub(super) fn run(console: &mut Console<'_>, args: Args) -> CommandResult {
    let file = console.source.file.clone();
    let file = file.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    if file.symlink_metadata().is_ok() {
        return Err(exists(&file));
    }
    let answers = ask_all(args, &file, &mut io::stdin().lock(), console.err)?;
    write_new(&file, &render(&answers))?;
    writeln!(console.out, "{}: written", file.display())?;
    let source = &Source {
        file: Some(file),
        environment: console.source.environment.clone(),
    };
    let console = &mut Console {
        source,
        out: console.out,
        err: console.err,
    };
    check::run(console)?;
    doctor::run(console, &doctor::Args::default())
}

fn exists(file: &Path) -> CommandError {
    CommandError::Usage(format!(
        "{} is there already, and `init` overwrites nothing: move it away, or name another file with --config",
        file.display()
    ))
}

/// Takes the answers of the command line, and asks for the others.
fn ask_all(
    args: Args,
    file: &Path,
    input: &mut dyn BufRead,
    err: &mut dyn Write,
) -> Result<Answers, CommandError> {
    let is_system_wide = file.starts_with("/etc");
    let usual_secret = if is_system_wide {
        "secrets/wechat"
    } else {
        "wechat.secret"
    };
    let usual_data = if is_system_wide {
        "/var/lib/menshen"
    } else {
        "menshen-data"
    };
    let mut questions = Questions { input, err };
    let backend = questions.ask(
        args.backend,
        "Where is the backend?",
        ("--backend", Some("http://127.0.0.1:3000")),
        parse_backend,
    )?;
    let app_id = questions.ask(
        args.app_id,
        "Which AppID has the mini program?",
        ("--app-id", None),
        parse_app_id,
    )?;
    let secret_file = questions.ask(
        args.secret_file,
        "Which file has its AppSecret?",
        ("--secret-file", Some(usual_secret)),
        parse_text,
    )?;
    let dialect = questions.ask(
        args.dialect,
        "Which API does the mini program call already? none, simplejwt, nest, success-data or code-data",
        ("--dialect", Some("none")),
        parse_dialect,
    )?;
    let data = questions.ask(
        args.data,
        "Where do users, sessions and keys go?",
        ("--data", Some(usual_data)),
        parse_text,
    )?;
    // The store's path would start in the working directory, those of the keys beside the config.
    let data = std::path::absolute(data)?;
    Ok(Answers {
        backend,
        app_id,
        secret_file,
        dialect,
        data,
    })
}

/// Where questions are printed and their answers come from.
struct Questions<'a> {
    input: &'a mut dyn BufRead,
    err: &'a mut dyn Write,
}

impl Questions<'_> {
    /// The answer of the command line, or one that is read. An invalid one is asked for again, an
    /// empty one is the default.
    fn ask<T>(
        &mut self,
        given: Option<T>,
        question: &str,
        (option, default): (&str, Option<&str>),
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<T, CommandError> {
        if let Some(given) = given {
            return Ok(given);
        }
        loop {
            match default {
                Some(default) => write!(self.err, "{question} [{default}]: ")?,
                None => write!(self.err, "{question}: ")?,
            }
            self.err.flush()?;
            let mut line = String::new();
            let mut input = (&mut *self.input).take(MAX_ANSWER_LEN);
            if input.read_line(&mut line)? == 0 {
                writeln!(self.err)?;
                return Err(CommandError::Usage(format!(
                    "there was no answer: say it with {option}. Nothing was written"
                )));
            }
            let answer = match (line.trim(), default) {
                ("", Some(default)) => default,
                (answer, _) => answer,
            };
            match parse(answer) {
                Ok(answer) => return Ok(answer),
                Err(message) => writeln!(self.err, "That {message}.")?,
            }
        }
    }
}

fn parse_backend(text: &str) -> Result<String, String> {
    match text.parse::<UpstreamAddress>() {
        Ok(_) => Ok(text.to_owned()),
        Err(Malformed(what)) => Err(what.to_owned()),
    }
}

fn parse_app_id(text: &str) -> Result<String, String> {
    match AppId::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(Malformed(what)) => Err(what.to_owned()),
    }
}

fn parse_text(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        Err("is no path".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn parse_dialect(text: &str) -> Result<ChosenDialect, String> {
    if text == "none" {
        return Ok(ChosenDialect(None));
    }
    match Builtin::from_str(text, true) {
        Ok(dialect) => Ok(ChosenDialect(Some(dialect))),
        Err(_) => {
            Err("is none of `none`, `simplejwt`, `nest`, `success-data`, `code-data`".to_owned())
        }
    }
}

/// A text as a TOML string.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

fn render(answers: &Answers) -> String {
    let in_data = |name: &str| answers.data.join(name).display().to_string();
    let mut text = format!(
        "# A first config, by `menshen init`. `menshen config` prints every key with its meaning.\n\
         mode = \"production\"\n\
         \n\
         [server]\n\
         listen = [\"0.0.0.0:8080\"]\n\
         # With nginx or a load balancer in front: its addresses, so that limits and logs are about its clients.\n\
         # trusted_proxies = [\"127.0.0.1/32\"]\n\
         \n\
         [upstream]\n\
         urls = [{backend}]\n\
         \n\
         [store]\n\
         url = {store}\n\
         # Made on first start. Keep a copy where the backups are not.\n\
         encryption_key_file = {key}\n\
         \n\
         [admin]\n\
         # Made on first start: `menshen users`, `sessions`, `keys` and `export` call the running process with it.\n\
         token_file = {token}\n\
         \n\
         [wechat]\n\
         app_id = {app_id}\n\
         secret_file = {secret}\n",
        backend = quoted(&answers.backend),
        store = quoted(&format!("sled:{}", in_data("data"))),
        key = quoted(&in_data("store.key")),
        token = quoted(&in_data("admin.token")),
        app_id = quoted(&answers.app_id),
        secret = quoted(&answers.secret_file),
    );
    if let Some(dialect) = answers.dialect.0.and_then(|kind| kind.to_possible_value()) {
        text += "\n# docs/migrating.md says what the backend has to know.\n[[dialect]]\nkind = ";
        text += &quoted(dialect.get_name());
        text.push('\n');
    }
    text + "\n# A path without a rule needs a token.\n\
            [[rule]]\n\
            name = \"health\"\n\
            path = \"/health\"\n\
            access = \"public\"\n"
}

/// Writes a file aside and gives it its name, unless there is one of this name.
fn write_new(file: &Path, text: &str) -> Result<(), CommandError> {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let failed = || format!("{} cannot be written", file.display());
    let mut aside = NamedTempFile::new_in(directory).with_context(failed)?;
    aside
        .write_all(text.as_bytes())
        .and_then(|()| {
            let mode = Permissions::from_mode(CONFIG_MODE);
            aside.as_file().set_permissions(mode)
        })
        .and_then(|()| aside.as_file().sync_all())
        .with_context(failed)?;
    match aside.persist_noclobber(file) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(file)),
        Err(error) => Err(anyhow::Error::from(error.error).context(failed()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const NO_ANSWERS: Args = Args {
        backend: None,
        app_id: None,
        secret_file: None,
        dialect: None,
        data: None,
    };

    fn answers(input: &str) -> (Result<Answers, CommandError>, String) {
        let mut asked = Vec::new();
        let answers = ask_all(
            NO_ANSWERS,
            Path::new("config.toml"),
            &mut input.as_bytes(),
            &mut asked,
        );
        (answers, String::from_utf8(asked).unwrap())
    }

    #[test]
    fn each_question_has_a_default_but_the_one_about_the_app_id() {
        let (given, asked) = answers("\nwx0123456789abcdef\n\n\n\n");
        let given = given.unwrap();
        assert_eq!(given.backend, "http://127.0.0.1:3000");
        assert_eq!(given.app_id, "wx0123456789abcdef");
        assert_eq!(given.secret_file, "wechat.secret");
        assert!(given.dialect.0.is_none());
        assert!(given.data.is_absolute() && given.data.ends_with("menshen-data"));
        assert_eq!(asked.matches("]: ").count(), 4, "{asked}");
    }

    #[test]
    fn an_answer_that_is_not_valid_is_asked_for_again() {
        let (given, asked) =
            answers("127.0.0.1\nhttp://127.0.0.1:8000\na b\nwx1\n\nnext\nNest\n/srv/m\n");
        let given = given.unwrap();
        assert_eq!(given.backend, "http://127.0.0.1:8000");
        assert!(matches!(given.dialect.0, Some(Builtin::Nest)));
        assert_eq!(asked.matches("That ").count(), 3, "{asked}");
        assert_eq!(asked.matches("Where is the backend?").count(), 2, "{asked}");
    }

    #[test]
    fn without_an_answer_the_option_is_named() {
        for (input, option) in [("", "--backend"), ("\n", "--app-id"), ("\n\n", "--app-id")] {
            let error = answers(input).0.err().unwrap().to_string();
            assert!(error.contains(option), "{error}");
        }
    }

    #[test]
    fn every_answer_makes_a_config_that_is_valid() {
        let directory = tempfile::tempdir().unwrap();
        let secret = directory.path().join("a \"secret\"");
        std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
        for dialect in [None]
            .into_iter()
            .chain(Builtin::value_variants().iter().map(Some))
        {
            let file = directory.path().join(format!("{dialect:?}.toml"));
            let text = render(&Answers {
                backend: "http://[::1]:3000".to_owned(),
                app_id: "wx0123456789abcdef".to_owned(),
                secret_file: secret.display().to_string(),
                dialect: ChosenDialect(dialect.copied()),
                data: directory.path().join("a 'directory'"),
            });
            write_new(&file, &text).unwrap();
            let source = Source {
                file: Some(file),
                environment: Vec::new(),
            };
            let loaded = Config::load(&source).unwrap();
            assert_eq!(loaded.config.dialect.len(), usize::from(dialect.is_some()));
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        }
    }

    #[test]
    fn a_file_that_is_there_keeps_its_text_and_nothing_is_left_aside() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        std::fs::write(&file, "mine").unwrap();
        assert!(matches!(
            write_new(&file, "new"),
            Err(CommandError::Usage(_))
        ));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
        let nowhere = directory.path().join("nowhere/config.toml");
        let error = write_new(&nowhere, "new").unwrap_err().to_string();
        assert!(
            error.contains("nowhere/config.toml cannot be written"),
            "{error}"
        );
    }
}
