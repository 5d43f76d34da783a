//! `menshen import users`: imports users from a file, in batches.

use std::{
    collections::HashMap,
    fs::File,
    hash::{BuildHasher, Hash, RandomState},
    io::{self, Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use serde_json::json;

use super::{
    field::Field,
    format::Format,
    row::{RowError, RowOptions},
    rows::{ReadError, Row, Rows},
    time::parse_offset,
};
use crate::{
    admin::import::{ImportFieldError, ImportRow, MAX_USERS, RowOutcome, RowOutcomes},
    cli::{
        command_error::{CommandError, CommandResult},
        operator::{self, Operator},
        run::load,
    },
    clock::Clock,
    config::{Config, Source},
    store::ImportedUser,
};

/// Refused rows that are printed; of more only the number.
const MAX_REPORTED: u64 = 100;
/// Rows between two lines of progress.
const PROGRESS_INTERVAL: u64 = 20_000;
/// Bytes of text after which a batch is sent before it is full.
const MAX_BATCH_BYTES: usize = 1 << 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct UsersArgs {
    /// A file, or `-` for standard input
    file: PathBuf,
    /// How the rows are written [default: by the file's name]
    #[arg(long)]
    format: Option<Format>,
    /// The mini program of openids without an `app_id` [default: the only one of the config]
    #[arg(long, value_name = "APPID")]
    app_id: Option<String>,
    /// Take a field from a column of another name, such as `id=_id`; may be repeated
    #[arg(long = "column", value_name = "FIELD=COLUMN", value_parser = parse_column)]
    columns: Vec<(Field, String)>,
    /// Pass over columns that are no field
    #[arg(long)]
    ignore_other_columns: bool,
    /// The zone of a `created_at` that names none, such as +08:00
    #[arg(long, value_name = "OFFSET", default_value = "+00:00", allow_hyphen_values = true, value_parser = parse_offset)]
    utc_offset: i32,
    /// Say what would become of each row, and keep nothing
    #[arg(long)]
    dry_run: bool,
}

fn parse_column(text: &str) -> Result<(Field, String), String> {
    let (field, column) = text
        .split_once('=')
        .filter(|(_, column)| !column.is_empty())
        .ok_or("must be FIELD=COLUMN")?;
    let field = Field::named(field)
        .ok_or_else(|| format!("there is no field {field}: {}", Field::names()))?;
    Ok((field, column.to_owned()))
}

pub(super) fn run(
    source: &Source,
    args: &UsersArgs,
    out: &mut impl Write,
    err: &mut impl Write,
) -> CommandResult {
    let format = args.format.or_else(|| Format::from_extension(&args.file));
    let format = format.ok_or_else(|| {
        let message =
            "say --format csv, mysql-csv, tsv or ndjson: the name of the file does not tell";
        CommandError::Usage(message.to_owned())
    })?;
    let name = args.file.display();
    let file: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let opened = File::open(&args.file);
        Box::new(
            opened.map_err(|error| CommandError::Usage(format!("cannot open {name}: {error}")))?,
        )
    };
    let config = load(source, err)?;
    let options = RowOptions {
        format,
        app_id: args.app_id.clone().or_else(|| only_app(&config)),
        columns: args.columns.clone(),
        ignore_others: args.ignore_other_columns,
        utc_offset: args.utc_offset,
    };
    let mut rows = Rows::open(file, &options)
        .map_err(|error| CommandError::Usage(format!("{name}: {error}")))?;
    let mut refused = 0;
    let mut report = io::stderr();
    let done = operator::with_operator_for(config, async |operator| {
        let mut import = Import::new(operator, args.dry_run, &mut report);
        let read = import.all(&mut rows).await;
        refused = import.counts.refused;
        import.summary(&rows, out)?;
        Ok(read?)
    })?;
    Ok(if refused > 0 && done == ExitCode::SUCCESS {
        ExitCode::FAILURE
    } else {
        done
    })
}

fn only_app(config: &Config) -> Option<String> {
    match config.wechat.apps().as_slice() {
        [only] => Some(only.app_id.clone()),
        [] | [_, _, ..] => None,
    }
}

#[derive(Default)]
struct Counts {
    rows: u64,
    created: u64,
    linked: u64,
    unchanged: u64,
    refused: u64,
    /// Created users without any identity.
    unreachable: u64,
    left_out: u64,
}

struct Import<'a, W> {
    operator: &'a Operator,
    is_dry_run: bool,
    report: &'a mut W,
    counts: Counts,
    batch: Vec<(u64, ImportRow, ImportedUser)>,
    batch_bytes: usize,
    /// In a dry run nothing is stored, so conflicts between rows are found here: hashes, with the
    /// line of the first.
    seen: HashMap<u64, u64>,
    hasher: RandomState,
    began: Instant,
}

impl<'a, W: Write> Import<'a, W> {
    fn new(operator: &'a Operator, is_dry_run: bool, report: &'a mut W) -> Self {
        Self {
            operator,
            is_dry_run,
            report,
            counts: Counts::default(),
            batch: Vec::with_capacity(MAX_USERS),
            batch_bytes: 0,
            seen: HashMap::new(),
            hasher: RandomState::new(),
            began: Instant::now(),
        }
    }

    async fn all(&mut self, rows: &mut Rows<'_>) -> Result<(), ImportError> {
        while let Some(row) = rows.next()? {
            self.add_row(row)?;
            if self.batch.len() >= MAX_USERS || self.batch_bytes >= MAX_BATCH_BYTES {
                self.send().await?;
            }
        }
        self.send().await
    }

    fn add_row(&mut self, Row { line, read }: Row) -> Result<(), ImportError> {
        self.counts.rows += 1;
        if self.counts.rows.is_multiple_of(PROGRESS_INTERVAL) {
            let second = self.began.elapsed().as_secs().max(1);
            writeln!(
                self.report,
                "{} rows, {} a second",
                self.counts.rows,
                self.counts.rows / second
            )?;
        }
        let row = match read {
            Ok(row) => row,
            Err(RowError { field, message }) => return Ok(self.refuse(line, field, &message)?),
        };
        match row.parse(Clock::System.now()) {
            Err(ImportFieldError { field, message }) => self.refuse(line, Some(field), message)?,
            Ok(read) => {
                if let Some((field, first)) = self
                    .is_dry_run
                    .then(|| self.duplicate_of(line, &read.user))
                    .flatten()
                {
                    self.refuse(line, Some(field), &format!("is that of line {first} too"))?;
                    return Ok(());
                }
                self.counts.left_out += read.left_out as u64;
                self.batch_bytes += row.openids.len() * 300 + 2000;
                self.batch.push((line, row, read.user));
            }
        }
        Ok(())
    }

    /// An earlier row with the same identity under another id, in the same dry run.
    fn duplicate_of(&mut self, line: u64, user: &ImportedUser) -> Option<(&'static str, u64)> {
        let hash = |part: &dyn Fn(&mut std::hash::DefaultHasher)| {
            let mut hasher = self.hasher.build_hasher();
            part(&mut hasher);
            std::hash::Hasher::finish(&hasher)
        };
        let id = hash(&|h| ("id", user.id.as_str()).hash(h));
        let mut keys: Vec<(&'static str, u64)> = Vec::new();
        keys.extend(
            user.openids
                .iter()
                .map(|o| ("openid", hash(&|h| ("openid", o).hash(h)))),
        );
        keys.extend(
            user.unionid
                .iter()
                .map(|u| ("unionid", hash(&|h| ("unionid", u.as_str()).hash(h)))),
        );
        keys.extend(
            user.phone
                .iter()
                .map(|p| ("phone", hash(&|h| ("phone", p.as_str()).hash(h)))),
        );
        // With the id, because rows of one user do not conflict.
        let with_id = |key: u64| hash(&|h| (key, id).hash(h));
        for (field, key) in &keys {
            if let Some(first) = self.seen.get(key)
                && !self.seen.contains_key(&with_id(*key))
            {
                return Some((field, *first));
            }
        }
        for (_, key) in keys {
            self.seen.entry(key).or_insert(line);
            self.seen.entry(with_id(key)).or_insert(line);
        }
        None
    }

    async fn send(&mut self) -> Result<(), ImportError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let users: Vec<&ImportRow> = batch.iter().map(|(_, row, _)| row).collect();
        let body = json!({ "is_trial": self.is_dry_run, "users": users });
        let response: RowOutcomes = self.operator.post("/admin/users/import", &body).await?;
        for ((line, _, user), outcome) in batch.iter().zip(response.outcomes) {
            match outcome {
                RowOutcome::Created => {
                    self.counts.created += 1;
                    let leads =
                        !user.openids.is_empty() || user.unionid.is_some() || user.phone.is_some();
                    self.counts.unreachable += u64::from(!leads);
                }
                RowOutcome::Linked => self.counts.linked += 1,
                RowOutcome::Unchanged => self.counts.unchanged += 1,
                RowOutcome::Rejected { field, message } => {
                    self.refuse(*line, Some(&field), &message)?;
                }
            }
        }
        Ok(())
    }

    fn refuse(&mut self, line: u64, field: Option<&str>, says: &str) -> io::Result<()> {
        self.counts.refused += 1;
        match self.counts.refused {
            1..=MAX_REPORTED => {
                let field = field.map_or_else(|| "row".to_owned(), str::to_owned);
                writeln!(self.report, "line {line}: {field} {says}")
            }
            reported if reported == MAX_REPORTED + 1 => writeln!(self.report, "... and more"),
            _ => Ok(()),
        }
    }

    fn summary(&self, rows_read: &Rows<'_>, out: &mut impl Write) -> io::Result<()> {
        let Counts {
            rows,
            created,
            linked,
            unchanged,
            refused,
            unreachable,
            left_out,
        } = &self.counts;
        let dry_run = if self.is_dry_run {
            " (a trial: nothing was kept)"
        } else {
            ""
        };
        writeln!(
            out,
            "{rows} rows: {created} created, {linked} linked, {unchanged} unchanged, {refused} refused{dry_run}"
        )?;
        if *unreachable > 0 {
            writeln!(
                out,
                "{unreachable} of those created have no openid, unionid or phone: their ids are taken, nobody signs in"
            )?;
        }
        if *left_out > 0 {
            writeln!(
                out,
                "{left_out} nicknames or pictures were left out: not of a form that is kept"
            )?;
        }
        if let Some(words) = rows_read.null_words().summary() {
            writeln!(out, "taken for nothing: {words}")?;
        }
        Ok(())
    }
}

/// Why an import ended early. The batches before are stored.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("the file: {0}")]
    File(#[from] ReadError),
    #[error(transparent)]
    Admin(#[from] crate::outbound::AdminError),
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
}
