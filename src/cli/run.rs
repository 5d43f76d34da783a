//! `menshen run`: serve until told to stop.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use tokio::signal::unix::{SignalKind, signal};

use super::BAD_USAGE;
use crate::{
    app::{self, App},
    clock::Clock,
    config::{Config, Loaded, Source},
    telemetry::{self, Sink},
};

/// Loads the config, with every check there is; says what is wrong with it.
pub(super) fn load(source: &Source, err: &mut impl Write) -> io::Result<Result<Config, ExitCode>> {
    match Config::load_with(source, app::check) {
        Ok(Loaded { config, warnings }) => {
            for warning in &warnings {
                writeln!(err, "warning: {warning}")?;
            }
            Ok(Ok(config))
        }
        Err(problems) => {
            writeln!(err, "{problems}")?;
            Ok(Err(ExitCode::from(BAD_USAGE)))
        }
    }
}

pub(super) fn run(source: &Source, err: &mut impl Write) -> io::Result<ExitCode> {
    let config = match load(source, err)? {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    // The allocator asks for huge pages; with them an idle menshen holds twice the memory. Where that fails it just does.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let sink = Sink::stdout()?;
    telemetry::init(&config.telemetry, &sink);
    // One thread beside the workers: signals, probes, metrics and upkeep go on while every worker is busy.
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = control.block_on(serve(config, &sink));
    // Told to stop while it waits for the store, it does not wait any longer.
    control.shutdown_background();
    sink.close();
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(fault) => {
            writeln!(err, "menshen: {fault:#}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn serve(config: Config, sink: &Sink) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let app = tokio::select! {
        app = App::build(config, Clock::System, sink) => app?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    telemetry::count_panics(app.metrics());
    let (stop, hurry) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let told = async {
        // The first signal stops, the second one does not want to wait.
        for notify in [&stop, &hurry] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            notify.notify_one();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = app.run(stop.notified(), hurry.notified()) => done,
        () = told => Ok(()),
    }
}
