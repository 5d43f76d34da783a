//! How rows are written.

use std::path::Path;

use clap::ValueEnum;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RowFormat {
    /// Commas and quotes (RFC 4180), the names of the columns first
    Csv,
    /// The same as MySQL's `INTO OUTFILE` writes it with `TERMINATED BY ',' ENCLOSED BY '"'`: `\"`
    /// and `\\` are escapes
    MysqlCsv,
    /// Tabs, as `mysql --batch` prints them: `\t` `\n` `\\` are escapes
    Tsv,
    /// One JSON object a line
    Ndjson,
}

impl RowFormat {
    /// The format that the extension of a file names.
    pub(super) fn from_extension(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "tsv" | "tab" => Some(Self::Tsv),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            _ => None,
        }
    }
}
