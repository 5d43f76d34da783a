//! `menshen token inspect`: the type and claims of a token, and whether the gate accepts it.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use serde_json::{Map, Value, json};

use super::{
    command_error::{CommandResult, exit_code},
    console::{Console, TextRows, read_token},
    explain::revocation_note,
    run::runtime,
};
use crate::{
    app::{self, OfflineGate},
    clock::Clock,
    config::{Config, EscapeControls},
    explain::{self, TokenReport},
    token::{JwtKind, TokenInfo},
    types::{Secret, Timestamp},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print the kind and the claims of a token, and whether the gate accepts it. Exit code 1 if not
    Inspect(Inspect),
}

#[derive(clap::Args)]
pub(super) struct Inspect {
    /// The token. `-`, the default, reads it from standard input, so that no process list shows it
    #[arg(
        value_name = "TOKEN|-",
        default_value = "-",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    token: String,
    /// Only decode the token: no keys are fetched, nothing is verified, and no config is needed
    #[arg(long)]
    offline: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `Debug` prints no token.
impl std::fmt::Debug for Inspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspect")
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// Claims that are times (RFC 7519 section 4.1), and their names.
const TIMES: [(&str, &str); 3] = [("iat", "issued"), ("nbf", "not before"), ("exp", "expires")];

pub(super) fn run(console: &mut Console<'_>, command: &Command) -> CommandResult {
    let Command::Inspect(args) = command;
    let token = token(args, &mut io::stdin())?;
    let info = TokenInfo::decode(token.expose());
    let mut report = Report {
        now: Clock::System.now(),
        info,
        verdict: None,
    };
    if !args.offline && matches!(report.info, TokenInfo::Jwt { .. }) {
        let config = console.load()?;
        report.verdict = Some(verdict(&config, &token, report.now)?);
    }
    if args.json {
        writeln!(console.out, "{:#}", report.to_json())?;
    } else {
        report.print_text(console.out)?;
    }
    Ok(exit_code(report.is_good(args.offline)))
}

/// The token alone; people paste a whole header, too.
fn token(args: &Inspect, input: &mut impl Read) -> io::Result<Secret<String>> {
    let text = read_token(&args.token, input)?;
    let mut token = text.trim();
    for before in ["authorization:", "bearer "] {
        token = token
            .split_at_checked(before.len())
            .filter(|(start, _)| start.eq_ignore_ascii_case(before))
            .map_or(token, |(_, rest)| rest.trim_start());
    }
    Ok(Secret::new(token.to_owned()))
}

/// The decision of the gate.
enum Verdict {
    Checked {
        report: TokenReport,
        keys: Option<String>,
        revocation: Option<&'static str>,
    },
    /// No keys are available.
    NoKeys(String),
}

/// Asks the gate itself, with a request with this token.
fn verdict(config: &Config, token: &Secret<String>, now: Timestamp) -> io::Result<Verdict> {
    let runtime = runtime()?;
    let offline_gate: OfflineGate = match runtime.block_on(app::offline_gate(config, true)) {
        Ok(offline_gate) => offline_gate,
        Err(error) => return Ok(Verdict::NoKeys(format!("{error:#}"))),
    };
    let head = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
        token.expose()
    );
    let head = Secret::new(head.into_bytes());
    let report = explain::explain(
        &offline_gate.gate,
        config,
        head.expose(),
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        now,
    )
    .token;
    Ok(Verdict::Checked {
        report,
        revocation: revocation_note(&offline_gate),
        keys: offline_gate.keys,
    })
}

struct Report {
    now: Timestamp,
    info: TokenInfo,
    verdict: Option<Verdict>,
}

impl Report {
    fn is_good(&self, offline: bool) -> bool {
        match (&self.info, &self.verdict) {
            (TokenInfo::Nothing(_), _) | (_, Some(Verdict::NoKeys(_))) => false,
            (_, None) => offline,
            (_, Some(Verdict::Checked { report, .. })) => report.state == "valid",
        }
    }

    fn kind(&self) -> String {
        match &self.info {
            TokenInfo::Refresh { .. } => {
                "refresh token: opaque, for POST /auth/refresh alone; no request passes with it"
                    .to_owned()
            }
            TokenInfo::Handle { .. } => {
                "session handle of a dialect; no request passes with it".to_owned()
            }
            TokenInfo::Jwt { kind, .. } => kind.as_str().to_owned(),
            TokenInfo::Nothing(why) => format!("not a token: {why}"),
        }
    }

    /// A time and its distance from now: `2026-01-01T00:00:00Z, 3m ago`.
    fn when(&self, value: &Value) -> Option<String> {
        let at = Timestamp::from_secs(value.as_u64()?);
        let (past, ahead) = (self.now.since(at), at.since(self.now));
        let span = if past.is_zero() {
            format!("in {}", format_span(ahead))
        } else {
            format!("{} ago", format_span(past))
        };
        Some(format!("{}, {span}", at.rfc3339()))
    }

    fn print_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut rows = TextRows::new(out, "", 11);
        rows.row("kind", self.kind())?;
        match &self.info {
            TokenInfo::Refresh { session, counter } => {
                rows.row("session", session)?;
                rows.row("counter", counter)?;
                let only_the_store =
                    "not checked: only the store knows which one counts (menshen sessions list)";
                rows.row("verdict", only_the_store)?;
            }
            TokenInfo::Handle { session } => rows.row("session", session)?,
            TokenInfo::Nothing(_) => {}
            TokenInfo::Jwt { header, claims, .. } => {
                let member = |(name, value): (&String, &Value)| {
                    EscapeControls(&format!("{name}: {value}")).to_string()
                };
                rows.rows("header", header.iter().map(member))?;
                let claim = |(name, value): (&String, &Value)| {
                    let time = TIMES.iter().find(|(known, _)| known == name);
                    let time =
                        time.and_then(|(_, what)| Some(format!(" ({what} {})", self.when(value)?)));
                    format!("{}{}", member((name, value)), time.unwrap_or_default())
                };
                rows.rows("says", claims.iter().map(claim))?;
            }
        }
        match &self.verdict {
            None => Ok(()),
            Some(Verdict::NoKeys(why)) => rows.row(
                "verdict",
                format_args!("not checked, so nothing above is proven: {why}"),
            ),
            Some(Verdict::Checked {
                report,
                keys,
                revocation,
            }) => {
                rows.rows("keys", keys)?;
                rows.rows("revocation", revocation)?;
                rows.row("verdict", self.verdict_text(report))
            }
        }
    }

    fn verdict_text(&self, report: &TokenReport) -> String {
        if report.state == "valid" {
            let of = report
                .issuer
                .as_ref()
                .map_or_else(String::new, |issuer| format!(", by issuer {issuer}"));
            return format!(
                "valid: the gate accepts it for user {}{of}",
                report.user.as_deref().unwrap_or_default()
            );
        }
        let why = report
            .why
            .as_deref()
            .map(|why| format!(": {why}"))
            .unwrap_or_default();
        let kind = match self.info {
            TokenInfo::Jwt {
                kind: JwtKind::Refresh,
                ..
            } => "; a refresh token is never an access token",
            TokenInfo::Jwt {
                kind: JwtKind::Assertion,
                ..
            } => "; an assertion is for the backend, which checks it itself",
            _ => "",
        };
        format!(
            "refused, {}{why}{kind}; nothing above is proven",
            report.state
        )
    }

    fn to_json(&self) -> Value {
        let mut value = match &self.info {
            TokenInfo::Refresh { session, counter } => {
                json!({"session": session.to_string(), "counter": counter})
            }
            TokenInfo::Handle { session } => json!({"session": session.to_string()}),
            TokenInfo::Nothing(why) => json!({"why": why}),
            TokenInfo::Jwt { header, claims, .. } => {
                let times = TIMES.iter().filter_map(|(name, _)| {
                    let secs = claims.get(*name)?.as_u64()?;
                    Some((
                        (*name).to_owned(),
                        Timestamp::from_secs(secs).rfc3339().into(),
                    ))
                });
                json!({"header": header, "claims": claims, "times": times.collect::<Map<_, Value>>()})
            }
        };
        value["kind"] = match &self.info {
            TokenInfo::Refresh { .. } => "refresh_token",
            TokenInfo::Handle { .. } => "session_handle",
            TokenInfo::Jwt { kind, .. } => match kind {
                JwtKind::Refresh => "refresh_token",
                JwtKind::Access => "access_token",
                JwtKind::Assertion => "assertion",
                JwtKind::Other => "jwt",
            },
            TokenInfo::Nothing(_) => "none",
        }
        .into();
        value["verdict"] = match &self.verdict {
            None => Value::Null,
            Some(Verdict::NoKeys(why)) => json!({"state": "not_checked", "why": why}),
            Some(Verdict::Checked {
                report,
                keys,
                revocation,
            }) => json!({
                "state": report.state,
                "why": report.why,
                "user": report.user,
                "issuer": report.issuer,
                "keys": keys,
                "revocation": revocation,
            }),
        };
        value
    }
}

/// A duration in its two largest units: `14m 59s`, `3d 4h`.
fn format_span(span: Duration) -> String {
    let secs = span.as_secs();
    let units = [
        (secs / 86_400, "d"),
        (secs / 3600 % 24, "h"),
        (secs / 60 % 60, "m"),
        (secs % 60, "s"),
    ];
    let largest = units.iter().position(|(count, _)| *count > 0);
    let largest = largest.unwrap_or(units.len() - 1);
    let parts = units.iter().enumerate().skip(largest).take(2);
    parts
        .filter(|(n, (count, _))| *n == largest || *count > 0)
        .map(|(_, (count, unit))| format!("{count}{unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_two_units() {
        for (secs, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (899, "14m 59s"),
            (3600, "1h"),
            (273_600, "3d 4h"),
        ] {
            assert_eq!(format_span(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn a_token_is_found_in_what_people_paste() {
        for pasted in [
            "a.b.c",
            " a.b.c\n",
            "Bearer a.b.c",
            "Authorization: Bearer a.b.c\r\n",
            "authorization:bearer a.b.c",
        ] {
            let args = Inspect {
                token: "-".to_owned(),
                offline: true,
                json: false,
            };
            assert_eq!(
                token(&args, &mut pasted.as_bytes()).unwrap().expose(),
                "a.b.c",
                "{pasted:?}"
            );
        }
    }

    #[test]
    fn nothing_of_a_token_steers_the_terminal() {
        assert_eq!(
            EscapeControls("a\u{1b}[31m\n").to_string(),
            "a\\u{1b}[31m\\n"
        );
    }
}
