//! Captures the log of a test, at every level.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::{Dispatch, Level, subscriber::DefaultGuard};

/// Captures the log lines of this thread.
pub(crate) struct LogCapture {
    lines: Lines,
    listening: DefaultGuard,
    _second: Dispatch,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogCapture {
    pub(crate) fn start() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        // `tracing` caches whether a line is enabled. With one subscriber alone it would cache the
        // answer of a thread without any that reaches the line first; with two it asks each time.
        let second = Dispatch::new(tracing_subscriber::registry());
        Self {
            lines,
            listening: tracing::subscriber::set_default(subscriber),
            _second: second,
        }
    }

    /// Stops, and returns the text.
    pub(crate) fn finish(self) -> String {
        drop(self.listening);
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }
}
