//! What to try while the demo stays up: lines to paste, with real addresses and a real token.

use std::{io, net::SocketAddr, path::Path};

use super::{printer::TourPrinter, session::DemoSession};

/// The addresses, and a session to use.
pub(super) struct NextSteps<'a> {
    pub(super) http: &'a str,
    pub(super) admin: &'a str,
    pub(super) page: SocketAddr,
    pub(super) session: &'a DemoSession,
    /// The log file, unless the log is printed.
    pub(super) log: Option<&'a Path>,
}

pub(super) fn print(printer: &mut TourPrinter<'_>, next_steps: &NextSteps<'_>) -> io::Result<()> {
    let NextSteps {
        http,
        admin,
        page,
        session,
        log,
    } = next_steps;
    printer.heading("Your turn")?;
    let minutes = session.expires_in / 60;
    printer.text(&format!(
        "All of it is still up. On http://{page} each step is a button, and more of it is shown."
    ))?;
    printer.gap()?;
    printer.text("These lines are ready to paste into another terminal; this one first:")?;
    let token = format!("AUTH='Authorization: Bearer {}'", session.access_token);
    printer.command(
        &format!("Alice's access token, valid for {minutes} minutes"),
        &token,
    )?;
    let auth = r#"-H "$AUTH""#;
    let json = "-H 'Content-Type: application/json'";
    printer.command(
        "what the backend sees of Alice",
        &format!("curl http://{http}/orders {auth}"),
    )?;
    printer.command(
        "try to be another user, in any spelling you like",
        &format!("curl http://{http}/orders {auth} -H 'X-User-Id: 1' -H 'x.user.id: 1'"),
    )?;
    printer.command(
        "no token, no way in",
        &format!("curl -i http://{http}/orders"),
    )?;
    printer.command(
        "Bob signs in",
        &format!("curl http://{http}/auth/wechat/login {json} -d '{{\"code\":\"bob-1\"}}'"),
    )?;
    printer.command(
        "Alice's devices",
        &format!("curl http://{http}/auth/sessions {auth}"),
    )?;
    printer.command(
        "Alice signs out on all of them; her token ends with them",
        &format!("curl -i http://{http}/auth/logout {auth} {json} -d '{{\"scope\":\"global\"}}'"),
    )?;
    printer.command(
        "what Prometheus would read",
        &format!("curl -s http://{admin}/metrics | grep ^menshen_logins"),
    )?;
    printer.gap()?;
    printer.text(
        "The simulated WeChat takes any code, once, as the real one does. What stands before the last dash is the person: \
         alice-1 and alice-2 are both Alice, so Bob comes back as bob-2. A code like busy-1 shows what a client is told while \
         WeChat is overloaded.",
    )?;
    if let Some(log) = log {
        printer.gap()?;
        printer.text(&format!(
            "menshen's own log is in {}; `menshen demo --log` shows it here.",
            log.display()
        ))?;
    }
    printer.gap()?;
    printer.closing("Ctrl-C ends the demo and leaves nothing behind.")
}
