//! `menshen demo`: a tour of two minutes, on this machine and without a network.
//!
//! A sample backend, a simulated WeChat and the real program between them, each on a loopback
//! socket of its own, and a page on which each step of the tour is a button. The tour calls them as a mini program would, and prints no claim that it has
//! not checked. All files are in one temporary directory, which is removed at the end: after
//! Ctrl-C, after SIGTERM, and after a step that failed.

mod call;
mod claims;
mod client;
mod color;
mod error;
mod json;
mod mini_program;
mod next_steps;
mod printer;
mod record;
mod sandbox;
mod session;
mod site;
mod step;
mod step_run;
mod text;
mod tour;

use std::{
    fs::File,
    io::{self, Write},
    pin::pin,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, anyhow};
use clap::Parser;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use super::run::runtime;
use crate::{
    app::App,
    clock::Clock,
    telemetry::{self, Sink},
};
use color::Color;
use error::DemoError;
use printer::TourPrinter;
use sandbox::Sandbox;
use site::DemoSite;
use step_run::StepRunner;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Exit after the tour
    #[arg(long)]
    once: bool,
    /// The port of the demo's page [default: a free one]
    #[arg(long, value_name = "PORT", conflicts_with = "once")]
    port: Option<u16>,
    /// Show menshen's own log, on standard error
    #[arg(long)]
    log: bool,
}

pub(super) fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    let runtime = runtime()?;
    let result = runtime.block_on(run_demo(
        args,
        &mut TourPrinter::new(out, Color::for_stdout()),
    ));
    drop(runtime);
    report_result(result, args, err)
}

/// Prints the error, if there is one.
fn report_result(
    result: Result<(), DemoError>,
    args: &Args,
    err: &mut dyn Write,
) -> io::Result<ExitCode> {
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(DemoError::Output(error)) => Err(error),
        Err(failure @ DemoError::ClaimFailed { .. }) => {
            writeln!(err, "menshen demo: {failure}")?;
            if !args.log {
                writeln!(err, "`menshen demo --log` shows its log.")?;
            }
            Ok(ExitCode::FAILURE)
        }
        Err(DemoError::Other(error)) => {
            writeln!(err, "menshen demo: {error:#}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Starts the sandbox, runs the tour, and removes the sandbox.
async fn run_demo(args: &Args, printer: &mut TourPrinter<'_>) -> Result<(), DemoError> {
    // Signal handlers come first, before there is anything to remove.
    let mut interrupts = Interrupts::new().context("cannot listen for signals")?;
    let sandbox = Sandbox::start().await?;
    let sink = if args.log {
        Sink::to(io::stderr())
    } else {
        File::create(sandbox.log_file()).and_then(Sink::to)
    };
    let sink = sink.context("cannot start the log")?;
    // Boxed, because it holds a whole config.
    let result = Box::pin(serve_with_tour(
        args,
        printer,
        &sandbox,
        &sink,
        &mut interrupts,
    ))
    .await;
    sink.close();
    let path = sandbox.close()?;
    result?;
    printer.print_summary(&path)?;
    Ok(())
}

/// Runs menshen and the tour, until the tour is over or a signal comes.
async fn serve_with_tour(
    args: &Args,
    printer: &mut TourPrinter<'_>,
    sandbox: &Sandbox,
    sink: &Sink,
    interrupts: &mut Interrupts,
) -> Result<(), DemoError> {
    let loaded = sandbox.config()?;
    telemetry::init(&loaded.config.telemetry, sink);
    let app = Box::pin(App::build(loaded, Clock::System, sink)).await?;
    telemetry::count_panics(app.metrics());
    let http = app.addresses().pop().context("menshen has no address")?;
    let admin = app.admin_address();
    let explainer = app.explainer()?;
    let runner = StepRunner::new(sandbox.servers.clone(), &http, Some(explainer));
    let runner = Arc::new(runner);
    // A port that is taken is a surprise before the tour, not after it.
    let site = if args.once {
        None
    } else {
        Some(DemoSite::start(args.port.unwrap_or(0), runner.clone(), &http).await?)
    };
    let page = site.as_ref().map(DemoSite::address);
    let (stop, skip_drain) = (Notify::new(), Notify::new());
    let mut serving = pin!(app.run(stop.notified(), skip_drain.notified()));

    let show = async {
        printer.introduction(&http, sandbox, page)?;
        let session = tour::run(printer, &runner).await?;
        if let Some(page) = page {
            let log = (!args.log).then(|| sandbox.log_file());
            next_steps::print(
                printer,
                &next_steps::NextSteps {
                    http: &http,
                    admin: &admin,
                    page,
                    session: &session,
                    log: log.as_deref(),
                },
            )?;
            std::future::pending::<()>().await;
        }
        Ok(())
    };
    let shown: Result<(), DemoError> = tokio::select! {
        ended = &mut serving => {
            return Err(ended.err().unwrap_or_else(|| anyhow!("menshen stopped by itself")).into());
        }
        shown = show => shown,
        () = interrupts.next() => printer.interrupted().map_err(DemoError::from),
    };
    stop.notify_one();
    let stopped = tokio::select! {
        stopped = &mut serving => stopped,
        () = interrupts.next() => {
            skip_drain.notify_one();
            serving.await
        }
    };
    shown?;
    Ok(stopped.context("menshen did not stop well")?)
}

/// The signals that end the demo.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_and_a_fault_exit_1_and_a_reader_who_left_is_for_the_caller_to_judge() {
        let said = |result, log| {
            let mut err = Vec::new();
            let code = report_result(
                result,
                &Args {
                    once: true,
                    port: None,
                    log,
                },
                &mut err,
            );
            (
                code.map_err(|error| error.kind()),
                String::from_utf8(err).unwrap(),
            )
        };
        let broken = || {
            Err(DemoError::ClaimFailed {
                step: 4,
                claim: "nothing forged arrived".to_owned(),
            })
        };
        let (code, text) = said(broken(), false);
        assert_eq!(code, Ok(ExitCode::FAILURE));
        assert!(
            text.contains("step 4")
                && text.contains("nothing forged arrived")
                && text.contains("--log"),
            "{text}"
        );
        assert!(!said(broken(), true).1.contains("--log"));
        let (code, text) = said(Err(anyhow!("inner").context("outer").into()), false);
        assert_eq!(
            (code, text.as_str()),
            (Ok(ExitCode::FAILURE), "menshen demo: outer: inner\n")
        );
        let left = || Err(DemoError::Output(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(
            said(left(), false),
            (Err(io::ErrorKind::BrokenPipe), String::new())
        );
        assert_eq!(said(Ok(()), false), (Ok(ExitCode::SUCCESS), String::new()));
    }
}
