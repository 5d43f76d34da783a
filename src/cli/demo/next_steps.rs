//! What to try while the demo stays up: lines to paste, with real addresses and a real token.

use std::{io, path::Path};

use super::{page::DemoPage, session::DemoSession};

/// The addresses, and a session to use.
pub(super) struct NextSteps<'a> {
    pub(super) http: &'a str,
    pub(super) admin: &'a str,
    pub(super) session: &'a DemoSession,
    /// The log file, unless the log is printed.
    pub(super) log: Option<&'a Path>,
}

pub(super) fn print(page: &mut DemoPage<'_>, next_steps: &NextSteps<'_>) -> io::Result<()> {
    let NextSteps {
        http,
        admin,
        session,
        log,
    } = next_steps;
    page.heading("Your turn")?;
    let minutes = session.expires_in / 60;
    page.text("All of it is still up. These lines are ready to paste into another terminal; this one first:")?;
    let token = format!("AUTH='Authorization: Bearer {}'", session.access_token);
    page.command(
        &format!("Alice's access token, valid for {minutes} minutes"),
        &token,
    )?;
    let auth = r#"-H "$AUTH""#;
    let json = "-H 'Content-Type: application/json'";
    page.command(
        "what the backend sees of Alice",
        &format!("curl http://{http}/orders {auth}"),
    )?;
    page.command(
        "try to be another user, in any spelling you like",
        &format!("curl http://{http}/orders {auth} -H 'X-User-Id: 1' -H 'x.user.id: 1'"),
    )?;
    page.command(
        "no token, no way in",
        &format!("curl -i http://{http}/orders"),
    )?;
    page.command(
        "Bob signs in",
        &format!("curl http://{http}/auth/wechat/login {json} -d '{{\"code\":\"bob-1\"}}'"),
    )?;
    page.command(
        "Alice's devices",
        &format!("curl http://{http}/auth/sessions {auth}"),
    )?;
    page.command(
        "Alice signs out on all of them; her token ends with them",
        &format!("curl -i http://{http}/auth/logout {auth} {json} -d '{{\"scope\":\"global\"}}'"),
    )?;
    page.command(
        "what Prometheus would read",
        &format!("curl -s http://{admin}/metrics | grep ^menshen_logins"),
    )?;
    page.gap()?;
    page.text(
        "The simulated WeChat takes any code, once, as the real one does. What stands before the last dash is the person: \
         alice-1 and alice-2 are both Alice, so Bob comes back as bob-2. A code like busy-1 shows what a client is told while \
         WeChat is overloaded.",
    )?;
    if let Some(log) = log {
        page.gap()?;
        page.text(&format!(
            "menshen's own log is in {}; `menshen demo --log` shows it here.",
            log.display()
        ))?;
    }
    page.gap()?;
    page.closing("Ctrl-C ends the demo and leaves nothing behind.")
}
