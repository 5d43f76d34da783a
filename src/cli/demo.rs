//! `menshen demo`: a newcomer's first two minutes, on this machine and without a network.
//!
//! A sample backend, a simulated WeChat and the real program between them, each on a loopback
//! socket of its own. The tour calls them as a mini program would, and says nothing that it has not
//! checked. Whatever is written to disk is in one temporary directory, which is gone at the end:
//! after Ctrl-C, after SIGTERM, and after a step that failed.

mod call;
mod ink;
mod invitation;
mod json;
mod page;
mod stage;
mod tour;

use std::{
    fs::File,
    io::{self, Write},
    pin::pin,
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::Parser;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use crate::{
    app::App,
    clock::Clock,
    telemetry::{self, Sink},
};
use ink::Ink;
use page::Page;
use stage::Stage;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// Leave after the tour instead of staying up
    #[arg(long)]
    once: bool,
    /// Show menshen's own log, on standard error
    #[arg(long)]
    log: bool,
}

/// Why the demo ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The page cannot be written; nobody reads it any more.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// What was about to be told did not happen.
    #[error("step {step} did not go as promised: this is not so: {claim}")]
    NotAsPromised { step: usize, claim: String },
    #[error(transparent)]
    Fault(#[from] anyhow::Error),
}

pub(super) fn run(args: &Args, out: &mut impl Write, err: &mut impl Write) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let performed = runtime.block_on(perform(args, &mut Page::new(out, Ink::of_stdout())));
    drop(runtime);
    verdict(performed, args, err)
}

/// Says what went wrong, if anything.
fn verdict(
    performed: Result<(), Failure>,
    args: &Args,
    err: &mut impl Write,
) -> io::Result<ExitCode> {
    match performed {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Failure::Output(fault)) => Err(fault),
        Err(failure @ Failure::NotAsPromised { .. }) => {
            writeln!(err, "menshen demo: {failure}")?;
            if !args.log {
                writeln!(
                    err,
                    "`menshen demo --log` shows what menshen says about it."
                )?;
            }
            Ok(ExitCode::FAILURE)
        }
        Err(Failure::Fault(fault)) => {
            writeln!(err, "menshen demo: {fault:#}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Sets everything up, shows it, and takes everything down again.
async fn perform(args: &Args, page: &mut Page<'_>) -> Result<(), Failure> {
    // Signals are caught before there is anything to remove.
    let mut interrupts = Interrupts::new().context("cannot listen for signals")?;
    let stage = Stage::set().await?;
    let sink = if args.log {
        Sink::to(io::stderr())
    } else {
        File::create(stage.log_file()).and_then(Sink::to)
    };
    let sink = sink.context("cannot start the log")?;
    // On the heap, since it holds a whole config.
    let played = Box::pin(play(args, page, &stage, &sink, &mut interrupts)).await;
    sink.close();
    let place = stage.clear()?;
    played?;
    page.farewell(&place)?;
    Ok(())
}

/// Runs menshen, and the tour before it, until the tour is over or somebody says stop.
async fn play(
    args: &Args,
    page: &mut Page<'_>,
    stage: &Stage,
    sink: &Sink,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let config = stage.config()?;
    telemetry::init(&config.telemetry, sink);
    let app = App::build(config, Clock::System, sink).await?;
    telemetry::count_panics(app.metrics());
    let http = app.addresses().pop().context("menshen has no address")?;
    let admin = app.admin_address();
    let (stop, skip_drain) = (Notify::new(), Notify::new());
    let mut serving = pin!(app.run(stop.notified(), skip_drain.notified()));

    let show = async {
        page.cast(&http, stage)?;
        let session = tour::walk(page, stage, &http).await?;
        if !args.once {
            let log = (!args.log).then(|| stage.log_file());
            invitation::print(
                page,
                &invitation::Offer {
                    http: &http,
                    admin: &admin,
                    session: &session,
                    log: log.as_deref(),
                },
            )?;
            std::future::pending::<()>().await;
        }
        Ok(())
    };
    let shown: Result<(), Failure> = tokio::select! {
        ended = &mut serving => {
            return Err(ended.err().unwrap_or_else(|| anyhow!("menshen stopped by itself")).into());
        }
        shown = show => shown,
        () = interrupts.next() => page.interrupted().map_err(Failure::from),
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

/// The ways in which somebody at a terminal, or a supervisor, says stop.
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
        let said = |performed, log| {
            let mut err = Vec::new();
            let code = verdict(performed, &Args { once: true, log }, &mut err);
            (
                code.map_err(|fault| fault.kind()),
                String::from_utf8(err).unwrap(),
            )
        };
        let broken = || {
            Err(Failure::NotAsPromised {
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
        let left = || Err(Failure::Output(io::ErrorKind::BrokenPipe.into()));
        assert_eq!(
            said(left(), false),
            (Err(io::ErrorKind::BrokenPipe), String::new())
        );
        assert_eq!(said(Ok(()), false), (Ok(ExitCode::SUCCESS), String::new()));
    }
}
