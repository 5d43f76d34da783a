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
mod finding;
mod folding;
mod hooks;
mod issuers;
mod running;
mod server_probe;
mod sms;
mod sockets;
mod store;
mod wechat;

use std::{io::Write, process::ExitCode, sync::Arc, time::Duration};

use serde_json::json;

use super::{
    command_error::CommandResult,
    run::{load, runtime},
};
use crate::{
    config::{Config, Source},
    proxy::install_crypto,
};
use finding::{Finding, Status};
use server_probe::ServerProbes;

/// Total time of one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON: `{"ok": bool, "checks": [{"check", "state", "seen", "advice"}]}`
    #[arg(long)]
    json: bool,
    /// A path of the backend that answers the request's headers as JSON, to see how it reads their
    /// names
    #[arg(long, value_name = "PATH")]
    echo: Option<String>,
}

/// What the checks read.
struct DoctorContext {
    config: Config,
    echo: Option<String>,
    probes: ServerProbes,
}

/// Prints the findings of every check. Fails when one of them has failed.
pub(super) fn run(
    source: &Source,
    args: &Args,
    out: &mut impl Write,
    err: &mut impl Write,
) -> CommandResult {
    let config = load(source, err)?;
    install_crypto();
    let runtime = runtime()?;
    let findings = runtime.block_on(examine(config, args.echo.clone()));
    // A DNS lookup that hangs is not waited for.
    runtime.shutdown_background();
    let good = findings
        .iter()
        .all(|finding| finding.state != Status::Failed);
    if args.json {
        writeln!(out, "{:#}", json!({ "ok": good, "checks": findings }))?;
    } else {
        for finding in &findings {
            writeln!(out, "{finding}")?;
        }
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn examine(config: Config, echo: Option<String>) -> Vec<Finding> {
    let probes = ServerProbes::run(&config).await;
    let context = Arc::new(DoctorContext {
        config,
        echo,
        probes,
    });
    macro_rules! start {
        ($($check:ident),*) => {
            [$({
                let context = context.clone();
                let look = async move { $check::check(&context).await };
                (stringify!($check), tokio::spawn(tokio::time::timeout(CHECK_TIMEOUT, look)))
            }),*]
        };
    }
    let checks = start![
        backend,
        bypass,
        folding,
        wechat,
        clock,
        store,
        certificate,
        sockets,
        running,
        issuers,
        hooks,
        sms
    ];
    let mut findings = Vec::new();
    for (name, check) in checks {
        match check.await {
            Ok(Ok(found)) => findings.extend(found),
            Ok(Err(_)) => {
                findings.push(Finding::failed(
                    name,
                    "did not come to an end in 6 s",
                    "ask again; then look at the network",
                ));
            }
            Err(_) => findings.push(Finding::failed(
                name,
                "broke off",
                "this is a mistake in menshen: report it",
            )),
        }
    }
    findings
}
