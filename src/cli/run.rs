//! `menshen run`: serves until SIGTERM or SIGINT.

use std::{io, process::ExitCode, sync::Arc};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use super::{command_error::CommandResult, console::Console};
use crate::{
    app::{App, Reload},
    clock::Clock,
    config::Loaded,
    telemetry::{self, Sink},
};

/// One thread with I/O and timers.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

pub(super) fn run(console: &mut Console<'_>) -> CommandResult {
    let loaded = console.load_all()?;
    // The allocator requests huge pages; with them an idle menshen uses twice the memory. Failure
    // is harmless.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let sink = Sink::stdout()?;
    let log_level = telemetry::init(&loaded.config.telemetry, &sink);
    // One thread beside the workers: signals, probes, metrics and maintenance run while every
    // worker is busy.
    let control = runtime()?;
    let reload = Reload {
        requested: Arc::default(),
        log_level,
    };
    let served = control.block_on(serve(loaded, reload, &sink));
    // A stop while it waits for the store ends the waiting.
    control.shutdown_background();
    sink.close();
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(loaded: Loaded, reload: Reload, sink: &Sink) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // From here on SIGHUP does not end the process; one during the start reloads as soon as it
    // serves.
    let (mut hangup, requested) = (signal(SignalKind::hangup())?, reload.requested.clone());
    let app = tokio::select! {
        app = App::build(loaded, Clock::System, sink) => app?.reloading(reload),
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    telemetry::count_panics(app.metrics());
    let (stop, skip_drain) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
    let signalled = async {
        // The first signal stops, the second one skips the drain.
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
        () = signalled => Ok(()),
        () = hung_up => Ok(()),
    }
}
