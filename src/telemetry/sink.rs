//! One thread that writes log lines to standard output in batches.
//!
//! Must stay true: logging never waits. When the reader of standard output falls behind by a whole
//! queue, lines are dropped and counted, whatever they say: a stuck log must not stop logins, nor
//! the shutdown at SIGTERM.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use super::recent::{LineKind, RecentLines};

/// Lines that can wait to be written.
const QUEUE_CAPACITY: usize = 16_384;
/// How many of them can be access lines: a flood of requests leaves room for audit events and
/// warnings.
const ACCESS_LINE_CAPACITY: usize = QUEUE_CAPACITY / 4 * 3;
/// How long the writer sleeps after a batch: waking it is what costs senders most.
const FLUSH_INTERVAL: Duration = Duration::from_millis(5);

/// How long writing the last lines may take when the process ends.
const SHUTDOWN_FLUSH: Duration = Duration::from_secs(2);

/// Takes finished lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sink {
    lines: SyncSender<Message>,
    queued: Arc<AtomicUsize>,
    dropped: Arc<AtomicU64>,
    recent: Arc<RecentLines>,
    /// Disconnected when the thread has ended.
    ended: Arc<Mutex<Receiver<()>>>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>, LineKind),
    Stop,
}

impl Sink {
    /// Starts the thread that writes to standard output.
    pub fn stdout() -> io::Result<Self> {
        Self::to(io::stdout())
    }

    /// Starts the thread that writes to `out`.
    pub fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE_CAPACITY);
        let (ending, ended) = sync_channel::<()>(0);
        let queued = Arc::new(AtomicUsize::new(0));
        let waiting = queued.clone();
        let recent = Arc::<RecentLines>::default();
        let keeping = recent.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                write_all(&queue, &waiting, &keeping, out);
                drop(ending);
            })?;
        Ok(Self {
            lines,
            queued,
            dropped: Arc::default(),
            recent,
            ended: Arc::new(Mutex::new(ended)),
        })
    }

    /// Queues an access line (with its newline), or drops it where the rest of the queue is for
    /// other lines.
    pub(super) fn offer(&self, line: Vec<u8>, kind: LineKind) {
        if self.queued.load(Ordering::Relaxed) < ACCESS_LINE_CAPACITY {
            self.send(line, kind);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Queues a line, or drops it where the queue is full.
    fn send(&self, line: Vec<u8>, kind: LineKind) {
        self.queued.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = self.lines.try_send(Message::Line(line, kind)) {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            // A disconnected queue means that `close` was called: that line is not counted.
            if let TrySendError::Full(_) = refused {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The last lines that were written, of those that the console shows.
    pub fn recent(&self) -> &Arc<RecentLines> {
        &self.recent
    }

    /// How many lines were dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Writes the queue and ends the thread, unless the reader of standard output is stuck: then
    /// the thread is left behind.
    pub fn close(&self) {
        let end = Instant::now() + SHUTDOWN_FLUSH;
        while let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Stop) {
            if Instant::now() >= end {
                return;
            }
            std::thread::sleep(FLUSH_INTERVAL);
        }
        // Both results end the wait: the thread has ended, or it will not.
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn write_all(
    queue: &Receiver<Message>,
    queued: &AtomicUsize,
    recent: &RecentLines,
    mut out: impl Write,
) {
    let mut batch = Vec::with_capacity(64 * 1024);
    while let Ok(first) = queue.recv() {
        let mut stop = false;
        for message in std::iter::once(first).chain(queue.try_iter()) {
            match message {
                Message::Line(line, kind) => {
                    queued.fetch_sub(1, Ordering::Relaxed);
                    recent.keep(&line, kind);
                    batch.extend_from_slice(&line);
                }
                Message::Stop => {
                    stop = true;
                    break;
                }
            }
            if batch.len() > 1024 * 1024 {
                break;
            }
        }
        // Standard output may be closed; there is nowhere else to report it.
        drop(out.write_all(&batch).and_then(|()| out.flush()));
        batch.clear();
        if stop {
            return;
        }
        std::thread::sleep(FLUSH_INTERVAL);
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Line<'a> {
        Line {
            sink: self,
            text: Vec::with_capacity(256),
        }
    }
}

/// Collects one line; queues it when dropped.
#[derive(Debug)]
pub struct Line<'a> {
    sink: &'a Sink,
    text: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            self.sink
                .send(std::mem::take(&mut self.text), LineKind::Other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closing_writes_what_is_queued_in_order() {
        let out = Shared::default();
        let sink = Sink::to(out.clone()).expect("a thread");
        for n in 0..1000 {
            sink.offer(format!("{n}\n").into_bytes(), LineKind::Access);
        }
        sink.close();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).expect("text");
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    /// Blocks its writer until the test lets go.
    struct Stuck(Arc<Mutex<()>>);
    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            drop(self.0.lock());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whoever_logs_never_waits_for_a_reader_that_is_stuck() {
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let sink = Sink::to(Stuck(gate.clone())).expect("a thread");
        let line = vec![b'x'; 1024];
        for _ in 0..3 * QUEUE_CAPACITY {
            sink.offer(line.clone(), LineKind::Access);
            drop(sink.make_writer().write(&line));
        }
        let dropped = sink.take_dropped();
        // The queue is full, and the writer holds a batch of a MiB.
        assert!(dropped >= 4 * QUEUE_CAPACITY as u64, "{dropped}");
        assert_eq!(sink.take_dropped(), 0);
        drop(held);
        sink.close();
    }
}
