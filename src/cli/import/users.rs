//! `menshen import users`: imports users from a file, in batches.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use serde_json::json;

use super::{
    field::Field,
    format::RowFormat,
    row::{RowError, RowOptions},
    rows::{Row, Rows, RowsReadError},
    time::parse_offset,
};
use crate::{
    admin::import::{ImportFieldError, ImportRow, MAX_USERS, RowOutcome, RowOutcomes},
    cli::{
        command_error::{CommandError, CommandResult, exit_code},
        console::{Console, open_input},
        operator::{self, Operator},
    },
    clock::Clock,
    config::Config,
    store::Access,
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
    /// The format of the rows [default: by the file's extension]
    #[arg(long)]
    format: Option<RowFormat>,
    /// The mini program of openids without an `app_id` [default: the only one of the config]
    #[arg(long, value_name = "APPID")]
    app_id: Option<String>,
    /// Read a field from a column with another name, such as `id=_id`; may be repeated
    #[arg(long = "column", value_name = "FIELD=COLUMN", value_parser = parse_column)]
    columns: Vec<(Field, String)>,
    /// Ignore columns that are not fields
    #[arg(long)]
    ignore_other_columns: bool,
    /// The time zone of a `created_at` without one, such as +08:00
    #[arg(long, value_name = "OFFSET", default_value = "+00:00", allow_hyphen_values = true, value_parser = parse_offset)]
    utc_offset: i32,
    /// Report the result of each row, and store nothing
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

pub(super) fn run(console: &mut Console<'_>, args: &UsersArgs) -> CommandResult {
    let format = args
        .format
        .or_else(|| RowFormat::from_extension(&args.file));
    let format = format.ok_or_else(|| {
        let message =
            "give --format csv, mysql-csv, tsv or ndjson: the extension of the file is none of them";
        CommandError::Usage(message.to_owned())
    })?;
    let name = args.file.display();
    let file = open_input(&args.file)
        .map_err(|error| CommandError::Usage(format!("cannot open {name}: {error}")))?;
    let config = console.load()?;
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
    operator::with_operator_for(config, Access::ReadWrite, async |operator| {
        let mut import = Import::new(operator, args.dry_run, &mut report);
        let read = import.all(&mut rows).await;
        refused = import.counts.refused;
        import.summary(&rows, console.out)?;
        Ok(read?)
    })?;
    Ok(exit_code(refused == 0))
}

fn only_app(config: &Config) -> Option<String> {
    match config.wechat.apps().as_slice() {
        [only] => Some(only.app_id.clone()),
        [] | [_, _, ..] => None,
    }
}

#[derive(Default)]
struct ImportCounts {
    rows: u64,
    created: u64,
    linked: u64,
    unchanged: u64,
    refused: u64,
    /// Created users without any identity.
    unreachable: u64,
    left_out: u64,
}

struct Import<'a> {
    operator: &'a Operator,
    is_dry_run: bool,
    report: &'a mut dyn Write,
    counts: ImportCounts,
    batch: Vec<(u64, ImportRow, ImportedUser)>,
    batch_bytes: usize,
    /// In a dry run nothing is stored, so conflicts between rows are found here: the hash of each
    /// identity, with the line of its first row and the hash of that row's id.
    seen: HashMap<u64, (u64, u64)>,
    hasher: RandomState,
    began: Instant,
}

impl<'a> Import<'a> {
    fn new(operator: &'a Operator, is_dry_run: bool, report: &'a mut dyn Write) -> Self {
        Self {
            operator,
            is_dry_run,
            report,
            counts: ImportCounts::default(),
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
        let hash = |field, identity: &str| (field, self.hasher.hash_one((field, identity)));
        let openids = user
            .openids
            .iter()
            .map(|openid| ("openid", self.hasher.hash_one(openid)));
        let unionid = user
            .unionid
            .iter()
            .map(|unionid| hash("unionid", unionid.as_str()));
        let phone = user.phone.iter().map(|phone| hash("phone", phone.as_str()));
        let keys: Vec<_> = openids.chain(unionid).chain(phone).collect();
        // Rows of one user do not conflict.
        let (_, id) = hash("id", user.id.as_str());
        for (field, key) in &keys {
            if let Some((first, owner)) = self.seen.get(key)
                && *owner != id
            {
                return Some((field, *first));
            }
        }
        for (_, key) in keys {
            self.seen.entry(key).or_insert((line, id));
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

    fn summary(&self, rows_read: &Rows<'_>, out: &mut dyn Write) -> io::Result<()> {
        let ImportCounts {
            rows,
            created,
            linked,
            unchanged,
            refused,
            unreachable,
            left_out,
        } = &self.counts;
        let dry_run = if self.is_dry_run {
            " (a dry run: nothing was stored)"
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
                "{unreachable} of those created have no openid, unionid or phone: their ids are taken, but they cannot sign in"
            )?;
        }
        if *left_out > 0 {
            writeln!(
                out,
                "{left_out} nicknames or pictures were left out: not in a form that can be stored"
            )?;
        }
        if let Some(words) = rows_read.null_words().summary() {
            writeln!(out, "read as empty: {words}")?;
        }
        Ok(())
    }
}

/// Why an import ended early. The batches before are stored.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("the file: {0}")]
    File(#[from] RowsReadError),
    #[error(transparent)]
    Admin(#[from] crate::outbound::AdminError),
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
}
