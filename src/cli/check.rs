//! `menshen check`: is the config right, and what does it say?

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::BAD_USAGE;
use crate::config::{Access, Config, Mode, RuleConfig, Source};

/// Prints a summary to `out`, or every problem to `err`; warnings go to `err` too.
pub(super) fn run(source: &Source, out: &mut impl Write, err: &mut impl Write) -> io::Result<ExitCode> {
    match Config::load(source) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(err, "warning: {warning}")?;
            }
            let name =
                source.file.as_ref().map_or_else(|| "built-in defaults".to_owned(), |file| file.display().to_string());
            writeln!(out, "{name}: ok")?;
            summary(&loaded.config, out)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            writeln!(err, "{problems}")?;
            Ok(ExitCode::from(BAD_USAGE))
        }
    }
}

fn summary(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let mode = match config.mode {
        Mode::Production => "production",
        Mode::Development => "development",
    };
    let apps: Vec<_> = config.wechat.apps().into_iter().map(|app| app.app_id).collect();
    let mut row = |name: &str, value: &str| writeln!(out, "  {name:<9} {value}");
    row("mode", mode)?;
    row("listen", &config.server.listen.join(", "))?;
    row("admin", &config.admin.listen)?;
    row("auth API", &config.auth.prefix)?;
    row("upstream", &config.upstream.urls.join(", "))?;
    row("store", &config.store.url)?;
    row("wechat", &if apps.is_empty() { "simulated".to_owned() } else { apps.join(", ") })?;
    for (n, rule) in config.rule.iter().enumerate() {
        row(if n == 0 { "rules" } else { "" }, &in_words(rule))?;
    }
    row(if config.rule.is_empty() { "rules" } else { "" }, "everything else: required")
}

/// A rule on one line: `back-office: GET /admin/** required, user type admin`.
fn in_words(rule: &RuleConfig) -> String {
    let access = match rule.access {
        Access::Public => "public",
        Access::Optional => "optional",
        Access::Required => "required",
        Access::Deny => "deny",
    };
    let methods = if rule.methods.is_empty() { String::new() } else { format!("{} ", rule.methods.join("|")) };
    let mut words = format!("{}: {methods}{} {access}", rule.name, rule.path);
    for (what, names) in [("user type", &rule.user_types), ("role", &rule.roles)] {
        if !names.is_empty() {
            words.push_str(&format!(", {what} {}", names.join(" or ")));
        }
    }
    words
}
