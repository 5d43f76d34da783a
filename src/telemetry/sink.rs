//! One thread that writes log lines to standard output in batches.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tracing_subscriber::fmt::MakeWriter;

/// Lines that may wait to be written.
const QUEUE: usize = 16_384;
/// How long the writer rests after a batch. Senders then find it awake less often, and waking it is what costs them most.
const REST: Duration = Duration::from_millis(5);

/// Takes finished lines. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sink {
    lines: SyncSender<Message>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Stop,
}

impl Sink {
    /// Starts the thread that writes to standard output.
    pub fn stdout() -> io::Result<Self> {
        Self::to(io::stdout())
    }

    /// Starts the thread that writes to `out`.
    pub fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        let writer = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&queue, out))?;
        Ok(Self { lines, writer: Arc::new(Mutex::new(Some(writer))) })
    }

    /// Gives a line (with its newline) away if there is room; `false` when there is none.
    pub fn offer(&self, line: Vec<u8>) -> bool {
        !matches!(self.lines.try_send(Message::Line(line)), Err(TrySendError::Full(_)))
    }

    /// Gives a line away, waiting for room.
    fn send(&self, line: Vec<u8>) {
        // The thread is gone only after `close`; what is logged then has nowhere to go.
        drop(self.lines.send(Message::Line(line)));
    }

    /// Writes what is queued and ends the thread.
    pub fn close(&self) {
        let writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(writer) = writer {
            drop(self.lines.send(Message::Stop));
            drop(writer.join());
        }
    }
}

fn write_all(queue: &Receiver<Message>, mut out: impl Write) {
    let mut batch = Vec::with_capacity(64 * 1024);
    while let Ok(first) = queue.recv() {
        let mut stop = false;
        for message in std::iter::once(first).chain(queue.try_iter()) {
            match message {
                Message::Line(line) => batch.extend_from_slice(&line),
                Message::Stop => {
                    stop = true;
                    break;
                }
            }
            if batch.len() > 1024 * 1024 {
                break;
            }
        }
        // Standard output may be closed; there is nowhere else to say so.
        drop(out.write_all(&batch).and_then(|()| out.flush()));
        batch.clear();
        if stop {
            return;
        }
        std::thread::sleep(REST);
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Line<'a> {
        Line { sink: self, text: Vec::with_capacity(256) }
    }
}

/// One line in the making; goes to the sink when dropped.
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
            self.sink.send(std::mem::take(&mut self.text));
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
            assert!(sink.offer(format!("{n}\n").into_bytes()));
        }
        sink.close();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).expect("text");
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_gives_up_offered_lines() {
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
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock().unwrap();
        let sink = Sink::to(Stuck(gate.clone())).expect("a thread");
        let taken = (0..3 * QUEUE).filter(|_| sink.offer(b"x\n".to_vec())).count();
        assert!(taken < 3 * QUEUE, "all {taken} lines were taken");
        drop(held);
        sink.close();
    }
}
