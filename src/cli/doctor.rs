//! `menshen doctor`: checks that everything that menshen needs works from here. Besides `run` it is
//! the only command that connects to other servers.
//!
//! The servers that the config names are probed at once; then each check judges from those probes
//! or from its own. A check is a file below; all of them run at once, each within
//! [`CHECK_TIMEOUT`].
//!
//! Must stay true: it changes nothing, here or elsewhere; no secret, token or personal data is
//! printed, so of a URL that can hold a secret only the server is.

mod backend;
mod bypass;
mod certificate;
mod clock;
mod context;
mod finding;
mod folding;
mod hooks;
mod issuers;
mod replicas;
mod running;
mod server_probe;
mod sms;
mod sockets;
mod store;
mod wechat;

use std::sync::Arc;

use serde_json::json;
use tokio::{task::JoinHandle, time::timeout};

use super::{
    command_error::{CommandResult, exit_code},
    console::Console,
    run::runtime,
};
use crate::{config::Config, proxy::install_crypto};
use context::{CHECK_TIMEOUT, DoctorContext};
use finding::{Finding, NamedFinding, Status};
use server_probe::ServerProbes;

#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Print JSON: `{"ok": bool, "checks": [{"check", "state", "seen", "advice"}]}`
    #[arg(long)]
    json: bool,
    /// A path of the backend that returns the headers of its request as JSON, to test how it reads
    /// their names
    #[arg(long, value_name = "PATH")]
    echo: Option<String>,
}

/// Prints the findings of every check. Fails when one of them has failed.
pub(super) fn run(console: &mut Console<'_>, args: &Args) -> CommandResult {
    let config = console.load()?;
    install_crypto();
    let runtime = runtime()?;
    let findings = runtime.block_on(examine(config, args.echo.clone()));
    // A DNS lookup that hangs is not waited for.
    runtime.shutdown_background();
    let good = findings
        .iter()
        .all(|found| found.finding.state != Status::Failed);
    if args.json {
        let json = json!({ "ok": good, "checks": findings });
        writeln!(console.out, "{json:#}")?;
    } else {
        for finding in &findings {
            writeln!(console.out, "{finding}")?;
        }
    }
    Ok(exit_code(good))
}

async fn examine(config: Config, echo: Option<String>) -> Vec<NamedFinding> {
    let probes = ServerProbes::run(&config).await;
    let context = &Arc::new(DoctorContext {
        config,
        echo,
        probes,
    });
    let checks = [
        start_sync("backend", backend::check, context),
        start("bypass", bypass::check(context.clone())),
        start("folding", folding::check(context.clone())),
        start("wechat", wechat::check(context.clone())),
        start_sync("clock", clock::check, context),
        start("store", store::check(context.clone())),
        start("replicas", replicas::check(context.clone())),
        start_sync("certificate", certificate::check, context),
        start_sync("sockets", sockets::check, context),
        start("running", running::check(context.clone())),
        start("issuers", issuers::check(context.clone())),
        start_sync("hooks", hooks::check, context),
        start_sync("sms", sms::check, context),
    ];
    let mut findings = Vec::new();
    for (check, task) in checks {
        let found = task.await.unwrap_or_else(|_| {
            let advice = "this is a bug in menshen: report it";
            vec![Finding::failed("the check panicked", advice)]
        });
        findings.extend(
            found
                .into_iter()
                .map(|finding| NamedFinding { check, finding }),
        );
    }
    findings
}

/// The name of a check, and its task.
type StartedCheck = (&'static str, JoinHandle<Vec<Finding>>);

fn start(
    name: &'static str,
    check: impl Future<Output = Vec<Finding>> + Send + 'static,
) -> StartedCheck {
    let in_time = async {
        timeout(CHECK_TIMEOUT, check).await.unwrap_or_else(|_| {
            let advice = "run this again; then check the network";
            vec![Finding::failed("did not finish within 6 s", advice)]
        })
    };
    (name, tokio::spawn(in_time))
}

/// Starts a check that waits for nothing.
fn start_sync(
    name: &'static str,
    check: fn(&DoctorContext) -> Vec<Finding>,
    context: &Arc<DoctorContext>,
) -> StartedCheck {
    let context = context.clone();
    start(name, async move { check(&context) })
}
