//! `menshen sessions`: lists and ends sessions.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    command_error::CommandResult,
    console::Console,
    operator, terminal,
    user_ref::{UserArg, UserSelector},
    users,
};
use crate::{
    admin::{sessions::Sessions, users::EndedSessions},
    store::Access,
    types::SessionId,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List a user's sessions, newest login first
    List {
        #[command(flatten)]
        named: UserArg,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// End sessions: their access tokens and refresh tokens are rejected at once
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    target: RevokeTarget,
    /// End only this session of the user
    #[arg(long, value_name = "ID", value_parser = SessionId::parse, requires = "user")]
    session: Option<SessionId>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct RevokeTarget {
    /// All sessions of a user: an id, phone:+8613800138000, name:NAME or openid:APPID/OPENID
    #[arg(long)]
    user: Option<UserSelector>,
    /// All sessions of all users
    #[arg(long)]
    everything: bool,
}

pub(super) fn run(console: &mut Console<'_>, command: &Command) -> CommandResult {
    match command {
        Command::List {
            named: UserArg { user },
            json,
        } => operator::with_operator(console, Access::ReadOnly, async |operator, out| {
            let id = user.id(operator).await?;
            let found: Sessions = operator.get(&format!("/admin/users/{id}/sessions")).await?;
            for session in &found.sessions {
                if *json {
                    writeln!(out, "{}", serde_json::to_string(session)?)?;
                    continue;
                }
                let app = session.app_id.as_ref().map_or("-", |app| app.as_str());
                let (kind, created, used) = (
                    session.client_type.as_str(),
                    &session.created_at,
                    &session.last_used_at,
                );
                writeln!(
                    out,
                    "{}  {kind:<11}  since {created}  used {used}  {app}",
                    session.id
                )?;
            }
            Ok(())
        }),
        Command::Revoke(what) => revoke(console, what),
    }
}

fn revoke(console: &mut Console<'_>, what: &RevokeArgs) -> CommandResult {
    let RevokeArgs {
        target,
        session,
        yes,
    } = what;
    if target.everything {
        terminal::confirm(*yes, "This signs all users out.", console.err)?;
    }
    operator::with_operator(console, Access::ReadWrite, async |operator, out| {
        let body = match (&target.user, session) {
            (Some(user), None) => json!({ "user": user.id(operator).await? }),
            (Some(user), Some(session)) => {
                json!({ "user": user.id(operator).await?, "session": session })
            }
            (None, _) => json!({ "everything": true }),
        };
        let ended: EndedSessions = operator.post("/admin/sessions/revoke", &body).await?;
        let said = if target.everything {
            "all sessions ended".to_owned()
        } else {
            users::sessions(&ended)
        };
        Ok(writeln!(out, "{said}")?)
    })
}
