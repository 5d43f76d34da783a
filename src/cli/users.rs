//! `menshen users`: accounts, as operators see and change them.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    command_error::CommandResult,
    console::Console,
    operator::{self, Operator},
    terminal,
    user_ref::{UserArg, UserSelector},
};
use crate::{
    admin::users::{EndedSessions, UserDetails, UserRow, Users},
    store::Access,
    types::{AppId, UserType, Username},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a user with a name and a password, and print the id
    Add(AddArgs),
    /// List all users
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one user
    Show {
        #[command(flatten)]
        named: UserArg,
        /// Show personal data too: phone, profile, openids and unionids
        #[arg(long)]
        personal: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ban a user: end all sessions, and reject every login
    Ban(UserArg),
    /// Allow a banned user to sign in again
    Unban(UserArg),
    /// Change the type of a user. Earlier access tokens are rejected, sessions stay
    Promote {
        #[command(flatten)]
        named: UserArg,
        /// The user type, as in `user_types` of a rule: `user`, `admin`, ...
        #[arg(long = "type", value_name = "TYPE", value_parser = UserType::parse)]
        user_type: UserType,
    },
    /// Set a new password for a user with a name, and end all sessions
    SetPassword {
        #[command(flatten)]
        named: UserArg,
        /// Read the password from the first line of standard input, without asking
        #[arg(long)]
        password_stdin: bool,
    },
    /// Erase a user and all personal data, permanently
    Delete {
        #[command(flatten)]
        named: UserArg,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The name to sign in with: letters, digits, '-', '_', '.' or '@'
    #[arg(value_parser = Username::parse)]
    name: Username,
    #[command(flatten)]
    kind: UserTypeArgs,
    /// Read the password from the first line of standard input, without asking
    #[arg(long)]
    password_stdin: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct UserTypeArgs {
    /// Create an administrator
    #[arg(long)]
    admin: bool,
    /// Create a user of this type, as in `user_types` of a rule
    #[arg(long = "type", value_name = "TYPE", value_parser = UserType::parse)]
    user_type: Option<UserType>,
}

pub(super) fn run(console: &mut Console<'_>, command: &Command) -> CommandResult {
    match command {
        Command::Add(new) => add(console, new),
        Command::List { json } => {
            operator::with_operator(console, Access::ReadOnly, async |operator, out| {
                list(operator, *json, out).await
            })
        }
        Command::Show {
            named,
            personal,
            json,
        } => operator::with_operator(console, Access::ReadOnly, async |operator, out| {
            show(operator, &named.user, *personal, *json, out).await
        }),
        Command::Ban(named) => {
            operator::with_operator(console, Access::ReadWrite, async |operator, out| {
                let ended = post(operator, &named.user, "ban", &json!({})).await?;
                Ok(writeln!(out, "banned, {}", sessions(&ended))?)
            })
        }
        Command::Unban(named) => {
            operator::with_operator(console, Access::ReadWrite, async |operator, out| {
                post(operator, &named.user, "unban", &json!({})).await?;
                Ok(writeln!(out, "may sign in again")?)
            })
        }
        Command::Promote { named, user_type } => {
            operator::with_operator(console, Access::ReadWrite, async |operator, out| {
                let body = json!({ "user_type": user_type });
                post(operator, &named.user, "promote", &body).await?;
                Ok(writeln!(out, "is {user_type} from now on")?)
            })
        }
        Command::SetPassword {
            named,
            password_stdin,
        } => set_password(console, &named.user, *password_stdin),
        Command::Delete { named, yes } => delete(console, &named.user, *yes),
    }
}

fn add(console: &mut Console<'_>, new: &AddArgs) -> CommandResult {
    let password = terminal::new_password(new.password_stdin, console.err)?;
    let user_type = new.kind.user_type.clone().unwrap_or_else(UserType::admin);
    let body =
        json!({ "username": new.name, "password": password.expose(), "user_type": user_type });
    operator::with_operator(console, Access::ReadWrite, async |operator, out| {
        let made: UserRow = operator.post("/admin/users", &body).await?;
        Ok(writeln!(out, "{}", made.id)?)
    })
}

fn set_password(console: &mut Console<'_>, user: &UserSelector, from_stdin: bool) -> CommandResult {
    let password = terminal::new_password(from_stdin, console.err)?;
    operator::with_operator(console, Access::ReadWrite, async |operator, out| {
        let body = json!({ "password": password.expose() });
        let ended = post(operator, user, "password", &body).await?;
        Ok(writeln!(out, "has another password, {}", sessions(&ended))?)
    })
}

fn delete(console: &mut Console<'_>, user: &UserSelector, yes: bool) -> CommandResult {
    let question = "This erases the user and everything personal for good.";
    terminal::confirm(yes, question, console.err)?;
    operator::with_operator(console, Access::ReadWrite, async |operator, out| {
        let id = user.id(operator).await?;
        let ended: EndedSessions = operator.delete(&format!("/admin/users/{id}")).await?;
        Ok(writeln!(out, "erased, {}", sessions(&ended))?)
    })
}

async fn list(operator: &Operator, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut target = "/admin/users".to_owned();
    if !json {
        let names = [
            "ID",
            "TYPE",
            "STATE",
            "CREATED",
            "LAST LOGIN",
            "NAME",
            "PHONE",
        ];
        writeln!(out, "{}", columns(names))?;
    }
    loop {
        let page: Users = operator.get(&target).await?;
        for user in &page.users {
            let line = if json {
                serde_json::to_string(user)?
            } else {
                row(user)
            };
            writeln!(out, "{line}")?;
        }
        let Some(next) = page.next else { return Ok(()) };
        target = format!("/admin/users?after={next}");
    }
}

async fn show(
    operator: &Operator,
    user: &UserSelector,
    personal: bool,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let id = user.id(operator).await?;
    let found: UserDetails = operator
        .get(&format!("/admin/users/{id}?personal={personal}"))
        .await?;
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&found)?)?);
    }
    for (name, value) in details(&found) {
        writeln!(out, "{name:<12}{value}")?;
    }
    Ok(())
}

async fn post(
    operator: &Operator,
    user: &UserSelector,
    what: &str,
    body: &serde_json::Value,
) -> anyhow::Result<EndedSessions> {
    let id = user.id(operator).await?;
    Ok(operator
        .post(&format!("/admin/users/{id}/{what}"), body)
        .await?)
}

/// How many sessions ended, as text.
pub(super) fn sessions(EndedSessions { sessions }: &EndedSessions) -> String {
    match sessions {
        1 => "1 session ended".to_owned(),
        many => format!("{many} sessions ended"),
    }
}

fn row(user: &UserRow) -> String {
    let state = if user.disabled { "banned" } else { "active" };
    let name = user.username.as_ref().map_or("-", Username::as_str);
    let phone = user.phone_masked.as_deref().unwrap_or("-");
    columns([
        user.id.as_str(),
        user.user_type.as_str(),
        state,
        &user.created_at,
        &user.last_login_at,
        name,
        phone,
    ])
}

fn columns([id, kind, state, created, last_login, name, phone]: [&str; 7]) -> String {
    format!("{id:<36}  {kind:<8}  {state:<6}  {created:<20}  {last_login:<20}  {name:<16}  {phone}")
}

/// Names and values, for a person to read.
fn details(found: &UserDetails) -> Vec<(&'static str, String)> {
    let UserDetails {
        user,
        app_ids,
        personal,
    } = found;
    let app_ids: Vec<_> = app_ids.iter().map(AppId::as_str).collect();
    let mut rows = vec![
        ("id", user.id.to_string()),
        ("type", user.user_type.to_string()),
        ("roles", user.roles.join(" ")),
        (
            "state",
            if user.disabled { "banned" } else { "active" }.to_owned(),
        ),
        ("created", user.created_at.clone()),
        ("last login", user.last_login_at.clone()),
        (
            "name",
            user.username
                .as_ref()
                .map(|name| name.as_str().to_owned())
                .unwrap_or_default(),
        ),
        ("phone", user.phone_masked.clone().unwrap_or_default()),
        ("app ids", app_ids.join(" ")),
    ];
    if let Some(personal) = personal {
        let profile = &personal.profile;
        let field = |value: &Option<String>| value.clone().unwrap_or_default();
        rows.extend(
            personal
                .phone
                .iter()
                .map(|phone| ("whole phone", phone.as_str().to_owned())),
        );
        rows.extend([
            ("nickname", field(&profile.nickname)),
            ("avatar", field(&profile.avatar_url)),
            ("bio", field(&profile.bio)),
            ("birthday", field(&profile.birthday)),
        ]);
        let openid =
            |of: &crate::admin::users::AppOpenId| format!("{}/{}", of.app_id, of.openid.as_str());
        rows.extend(personal.openids.iter().map(|of| ("openid", openid(of))));
        rows.extend(
            personal
                .unionids
                .iter()
                .map(|unionid| ("unionid", unionid.as_str().to_owned())),
        );
    }
    rows.retain(|(_, value)| !value.is_empty());
    // Profile texts may hold anything: control characters must not reach the terminal.
    for (_, value) in &mut rows {
        value.retain(|sign| !sign.is_control());
    }
    rows
}
