//! `menshen token inspect`: the type and claims of a token, and whether the gate accepts it.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    time::Duration,
};

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    command_error::CommandResult,
    explain::revocation_note,
    run::{load, runtime},
};
use crate::{
    app::{self, OfflineGate},
    clock::Clock,
    config::{Config, Source},
    explain::{self, TokenReport},
    token::{JwtKind, TokenInfo},
    types::{Secret, Timestamp},
};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Say what a token is, what it says, and whether the gate takes it; exit 1 where it does not
    Inspect(Inspect),
}

#[derive(clap::Args)]
pub(super) struct Inspect {
    /// The token; `-`, or nothing, reads it from standard input, where no list of processes shows
    /// it
    #[arg(
        value_name = "TOKEN|-",
        default_value = "-",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    token: String,
    /// Only read it: ask for no keys, and say nothing of whether it counts; needs no config
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

/// Most bytes of the input; the gate's own limit is lower.
const MAX_INPUT_LEN: u64 = 64 * 1024;

/// Claims that are times (RFC 7519 section 4.1), and their names.
const TIMES: [(&str, &str); 3] = [("iat", "issued"), ("nbf", "not before"), ("exp", "expires")];

pub(super) fn run(
    source: &Source,
    command: &Command,
    out: &mut impl Write,
    err: &mut impl Write,
) -> CommandResult {
    let Command::Inspect(args) = command;
    let token = token(args, &mut io::stdin())?;
    let info = TokenInfo::decode(token.expose());
    let mut report = Report {
        now: Clock::System.now(),
        info,
        verdict: None,
    };
    if !args.offline && matches!(report.info, TokenInfo::Jwt { .. }) {
        let config = load(source, err)?;
        report.verdict = Some(verdict(&config, &token, report.now)?);
    }
    if args.json {
        writeln!(out, "{:#}", report.to_json())?;
    } else {
        report.print_text(out)?;
    }
    Ok(if report.is_good(args.offline) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The token alone; people paste a whole header, too.
fn token(args: &Inspect, input: &mut impl Read) -> io::Result<Secret<String>> {
    let mut text = Zeroizing::new(args.token.clone());
    if *text == "-" {
        text.clear();
        input.take(MAX_INPUT_LEN).read_to_string(&mut text)?;
    }
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
            TokenInfo::Nothing(why) => format!("no token: {why}"),
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

    fn print_text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut row = |name: &str, value: &str| writeln!(out, "{name:<11} {value}");
        row("kind", &self.kind())?;
        match &self.info {
            TokenInfo::Refresh { session, counter } => {
                row("session", &session.to_string())?;
                row("counter", &counter.to_string())?;
                row(
                    "verdict",
                    "not checked: only the store knows which one counts (menshen sessions list)",
                )?;
            }
            TokenInfo::Handle { session } => row("session", &session.to_string())?,
            TokenInfo::Nothing(_) => {}
            TokenInfo::Jwt { header, claims, .. } => {
                for (n, (name, value)) in header.iter().enumerate() {
                    row(
                        if n == 0 { "header" } else { "" },
                        &format!(
                            "{}: {}",
                            escape_controls(name),
                            escape_controls(&value.to_string())
                        ),
                    )?;
                }
                for (n, (name, value)) in claims.iter().enumerate() {
                    let time = TIMES.iter().find(|(known, _)| known == name);
                    let time =
                        time.and_then(|(_, what)| Some(format!(" ({what} {})", self.when(value)?)));
                    let line = format!(
                        "{}: {}{}",
                        escape_controls(name),
                        escape_controls(&value.to_string()),
                        time.unwrap_or_default()
                    );
                    row(if n == 0 { "says" } else { "" }, &line)?;
                }
            }
        }
        match &self.verdict {
            None => Ok(()),
            Some(Verdict::NoKeys(why)) => row(
                "verdict",
                &format!("not checked, so nothing above is proven: {why}"),
            ),
            Some(Verdict::Checked {
                report,
                keys,
                revocation,
            }) => {
                for (name, value) in [("keys", keys.as_deref()), ("revocation", *revocation)] {
                    value.map_or(Ok(()), |value| row(name, value))?;
                }
                row("verdict", &self.verdict_text(report))
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
                "good: the gate takes it for user {}{of}",
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
            TokenInfo::Refresh { .. }
            | TokenInfo::Jwt {
                kind: JwtKind::Refresh,
                ..
            } => "refresh_token",
            TokenInfo::Handle { .. } => "session_handle",
            TokenInfo::Jwt {
                kind: JwtKind::Access,
                ..
            } => "access_token",
            TokenInfo::Jwt {
                kind: JwtKind::Assertion,
                ..
            } => "assertion",
            TokenInfo::Jwt {
                kind: JwtKind::Other,
                ..
            } => "jwt",
            TokenInfo::Nothing(_) => "none",
        }
        .into();
        match &self.verdict {
            None => value["verdict"] = Value::Null,
            Some(Verdict::NoKeys(why)) => {
                value["verdict"] = json!({"state": "not_checked", "why": why});
            }
            Some(Verdict::Checked {
                report,
                keys,
                revocation,
            }) => {
                value["verdict"] = json!({
                    "state": report.state,
                    "why": report.why,
                    "user": report.user,
                    "issuer": report.issuer,
                    "keys": keys,
                    "revocation": revocation,
                });
            }
        }
        value
    }
}

/// Text of a token with its control characters escaped, for one line of a terminal.
fn escape_controls(text: &str) -> String {
    text.chars()
        .map(|sign| {
            if sign.is_control() {
                sign.escape_default().to_string()
            } else {
                sign.to_string()
            }
        })
        .collect()
}

/// A duration in its two largest units: `14m 59s`, `3d 4h`.
fn format_span(span: Duration) -> String {
    let secs = span.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let at = units
        .iter()
        .position(|(unit, _)| secs >= *unit)
        .unwrap_or(units.len() - 1);
    let mut left = secs;
    let parts = units[at..].iter().take(2).map(|(unit, name)| {
        let count = left / unit;
        left %= unit;
        (count, *name)
    });
    let parts: Vec<_> = parts
        .enumerate()
        .filter(|(n, (count, _))| *n == 0 || *count > 0)
        .collect();
    parts
        .into_iter()
        .map(|(_, (count, name))| format!("{count}{name}"))
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
        assert_eq!(escape_controls("a\u{1b}[31m\n"), "a\\u{1b}[31m\\n");
    }
}
