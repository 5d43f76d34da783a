//! `menshen run`: serve until told to stop.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use tokio::signal::unix::{SignalKind, signal};

use super::BAD_USAGE;
use crate::{
    app::{self, App, Reload},
    clock::Clock,
    config::{Config, Loaded, Source},
    telemetry::{self, Sink},
};

/// Loads the config, with every check there is; says what is wrong with it.
pub(super) fn load(source: &Source, err: &mut impl Write) -> io::Result<Result<Config, ExitCode>> {
    Ok(load_all(source, err)?.map(|loaded| loaded.config))
}

fn load_all(source: &Source, err: &mut impl Write) -> io::Result<Result<Loaded, ExitCode>> {
    match Config::load_with(source, app::check) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                writeln!(err, "warning: {warning}")?;
            }
            Ok(Ok(loaded))
        }
        Err(problems) => {
            writeln!(err, "{problems}")?;
            Ok(Err(ExitCode::from(BAD_USAGE)))
        }
    }
}

pub(super) fn run(source: &Source, err: &mut impl Write) -> io::Result<ExitCode> {
    let Loaded {
        config,
        files,
        warnings: _,
    } = match load_all(source, err)? {
        Ok(loaded) => loaded,
        Err(code) => return Ok(code),
    };
    // The allocator asks for huge pages; with them an idle menshen holds twice the memory. Where
    // that fails it just does.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let sink = Sink::stdout()?;
    let log_level = telemetry::init(&config.telemetry, &sink);
    // One thread beside the workers: signals, probes, metrics and upkeep go on while every worker
    // is busy.
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let reload = Reload {
        source: source.clone(),
        files,
        requested: Arc::default(),
        log_level,
    };
    let served = control.block_on(serve(config, reload, &sink));
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

async fn serve(config: Config, reload: Reload, sink: &Sink) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // From here on SIGHUP does not end the process; one that comes while it starts is heard as soon
    // as it serves.
    let (mut hangup, requested) = (signal(SignalKind::hangup())?, reload.requested.clone());
    let app = tokio::select! {
        app = App::build(config, Clock::System, sink) => app?.reloading(reload),
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    telemetry::count_panics(app.metrics());
    let (stop, skip_drain) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let told = async {
        // The first signal stops, the second one does not want to wait.
        for notify in [&stop, &skip_drain] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            notify.notify_one();
        }
        std::future::pending::<()>().await;
    };
    let hung_up = async {
        while hangup.recv().await.is_some() {
            requested.notify_one();
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = app.run(stop.notified(), skip_drain.notified()) => done,
        () = told => Ok(()),
        () = hung_up => Ok(()),
    }
}
