//! `menshen explain`: which rule decides on a request, why, and what the backend would get.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
};

use super::{
    command_error::{CommandError, CommandResult, exit_code},
    console::{Console, TextRows, read_token},
    run::runtime,
};
use crate::{
    app::{self, OfflineGate},
    clock::Clock,
    config::Config,
    explain::{self, Explanation, HeaderNote, WrittenRequest},
};

#[derive(clap::Args)]
pub(super) struct Args {
    method: String,
    /// The path as a client sends it, with its query
    path: String,
    /// The access token. `-` reads it from standard input, so that no process list shows it
    #[arg(long, value_name = "TOKEN|-", allow_hyphen_values = true)]
    token: Option<String>,
    /// A header of the client; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address of the peer
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `Debug` prints no tokens and headers.
impl std::fmt::Debug for Args {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Args")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

pub(super) fn run(console: &mut Console<'_>, args: &Args) -> CommandResult {
    let config = console.load()?;
    let token = read_token(args.token.as_deref().unwrap_or_default(), &mut io::stdin())?;
    let written = WrittenRequest {
        method: &args.method,
        target: &args.path,
        headers: &args.headers,
        token: args.token.as_ref().map(|_| token.as_str()),
    };
    let head = written
        .head()
        .map_err(|error| CommandError::Usage(error.to_string()))?;
    let has_credential = args.token.is_some()
        || names(args).any(|name| {
            let own = config.token_headers().map(|(_, own)| own);
            ["authorization", "cookie"]
                .into_iter()
                .chain(own)
                .any(|brings| name.eq_ignore_ascii_case(brings))
        })
        || args.path.contains("access_token=");
    let runtime = runtime()?;
    let offline_gate = runtime.block_on(app::offline_gate(&config, has_credential))?;
    let explanation = explain::explain(
        &offline_gate.gate,
        &config,
        head.expose(),
        Some(args.from),
        Clock::System.now(),
    );
    if args.json {
        let json = to_json(&explanation, &offline_gate)?;
        writeln!(console.out, "{json}")?;
    } else {
        print_text(&explanation, &offline_gate, &config, console.out)?;
    }
    Ok(exit_code(explanation.passes))
}

/// The names of the headers of `--header`.
fn names(args: &Args) -> impl Iterator<Item = &str> {
    args.headers
        .iter()
        .map(|header| header.split(':').next().unwrap_or_default().trim())
}

/// Whether revocation was checked, if a token was.
pub(super) fn revocation_note(offline_gate: &OfflineGate) -> Option<&'static str> {
    offline_gate.keys.as_ref()?;
    Some(if offline_gate.knows_revocation {
        "looked up in the store"
    } else {
        "not checked: only the running menshen knows what has been revoked"
    })
}

fn to_json(explanation: &Explanation, offline_gate: &OfflineGate) -> io::Result<String> {
    let mut value = serde_json::to_value(explanation)?;
    value["token"]["keys"] = offline_gate.keys.clone().into();
    value["token"]["revocation"] = revocation_note(offline_gate).into();
    Ok(serde_json::to_string_pretty(&value)?)
}

fn print_text(
    explanation: &Explanation,
    offline_gate: &OfflineGate,
    config: &Config,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut rows = TextRows::new(out, "", 11);
    let Explanation {
        method,
        path,
        client_ip,
        ..
    } = explanation;
    rows.row("request", format_args!("{method} {path} from {client_ip}"))?;
    rows.row("head", &explanation.head)?;
    let path_reading = explanation.path_reading.as_deref();
    rows.row("path", path_reading.unwrap_or("not read"))?;
    if explanation.forward_auth {
        rows.row("asked by", "a proxy (forward-auth)")?;
    }
    let answered_by = match explanation.answered_by {
        "backend" => "the backend".to_owned(),
        "auth_api" => format!(
            "the auth API under {}; each of its routes has its own requirements",
            config.auth.prefix
        ),
        "dialect" => "a route of a dialect, which has its own requirements".to_owned(),
        _ => "the gate".to_owned(),
    };
    rows.row("answered by", answered_by)?;
    let rules = explanation.rules.iter().map(|rule| {
        let mark = if rule.decides { '>' } else { ' ' };
        format!("{mark} {} {}: {}", rule.index, rule.name, rule.why)
    });
    rows.rows("rules", rules)?;
    rows.rows("access", &explanation.asks)?;
    rows.row("token", token(explanation))?;
    rows.rows("keys", &offline_gate.keys)?;
    rows.rows("revocation", revocation_note(offline_gate))?;
    rows.row("outcome", outcome(explanation))?;
    let note = |note: &HeaderNote| format!("{}: {}", note.name, note.value);
    rows.rows("backend", explanation.backend_gets.iter().map(note))?;
    rows.rows("stripped", explanation.stripped.iter().map(note))
}

fn token(explanation: &Explanation) -> String {
    let token = &explanation.token;
    let mut text = match (token.state, &token.user) {
        ("none", _) => return "none".to_owned(),
        ("valid", Some(user)) => {
            let mut text = format!(
                "valid, of user {user}, type {}",
                token.user_type.as_deref().unwrap_or_default()
            );
            if !token.roles.is_empty() {
                text = format!("{text}, roles {}", token.roles.join(", "));
            }
            if let Some(issuer) = &token.issuer {
                text = format!("{text}, by issuer {issuer}");
            }
            if let Some(expires) = &token.expires {
                text = format!("{text}, until {expires}");
            }
            text
        }
        (state, _) => state.to_owned(),
    };
    if let Some(why) = &token.why {
        text = format!("{text}: {why}");
    }
    if !token.matters && explanation.rule.is_some() {
        text += " (the rule does not ask)";
    }
    text
}

fn outcome(explanation: &Explanation) -> String {
    let as_whom = explanation.user.as_ref().map_or_else(
        || "as anonymous".to_owned(),
        |user| format!("as user {user}"),
    );
    let mut text = match explanation.outcome {
        "forwarded" => format!("passes {as_whom}"),
        "verified" => format!("the proxy may pass it on {as_whom}"),
        "answered" => "is answered here".to_owned(),
        "preflight" => "is answered by menshen: a CORS preflight".to_owned(),
        _ => {
            let why = explanation
                .detail
                .as_ref()
                .map(|why| format!(": {why}"))
                .unwrap_or_default();
            format!(
                "refused, {} {}{why}",
                explanation.status.unwrap_or_default(),
                explanation.code.unwrap_or_default()
            )
        }
    };
    if let Some(code) = explanation.would_refuse {
        text = format!("{text} (report-only mode; it would be refused with {code})");
    }
    text
}
