//! A network between a replica and its database: it passes what comes, and is cut where a test says.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nothing passes, and nobody is told.
    Hold,
    /// The next commit gets half way; then its connection ends.
    CutCommit,
    /// The next commit arrives; then its connection ends, before the answer.
    LoseAnswer,
    /// The next commit arrives after so long, even if nobody waits for it any more.
    DelayCommit(Duration),
}

/// A listener, and what is behind it.
pub struct Link {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: PathBuf,
    mode: Mutex<Mode>,
    /// By their numbers.
    open: Mutex<BTreeMap<u64, (TcpStream, UnixStream)>>,
    is_over: AtomicBool,
    /// Connections that were asked for, and those that the server did not take.
    asked: AtomicU64,
    refused: AtomicU64,
}

/// One direction's end of a connection.
trait End: Read + Write + Send + 'static {
    fn close(&self);
}

impl End for TcpStream {
    fn close(&self) {
        drop(self.shutdown(Shutdown::Both));
    }
}

impl End for UnixStream {
    fn close(&self) {
        drop(self.shutdown(Shutdown::Both));
    }
}

impl Link {
    pub fn to(socket: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            to: socket.to_owned(),
            mode: Mutex::new(Mode::Pass),
            open: Mutex::default(),
            is_over: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.is_over.load(Ordering::Acquire) {
                    return;
                }
                let client = client.expect("a connection: there are enough descriptors");
                let number = accepting.asked.fetch_add(1, Ordering::Relaxed);
                // A server that is away is a connection that ends.
                match UnixStream::connect(&accepting.to) {
                    Ok(server) => accepting.carry(number, client, server),
                    Err(_) => drop(accepting.refused.fetch_add(1, Ordering::Relaxed)),
                }
            }
        });
        Self { address, shared }
    }

    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().expect("a lock") = mode;
    }

    /// Ends all connections.
    pub fn cut(&self) {
        let open = std::mem::take(&mut *self.shared.open.lock().expect("a lock"));
        for (client, server) in open.into_values() {
            client.close();
            server.close();
        }
    }
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Shared {
            to,
            mode,
            open,
            asked,
            refused,
            is_over: _,
        } = &*self.shared;
        write!(
            f,
            "link to {}: {:?}, {} open, {} asked for, of which the server refused {}; it is {} now",
            to.display(),
            mode.lock().expect("a lock"),
            open.lock().expect("a lock").len(),
            asked.load(Ordering::Relaxed),
            refused.load(Ordering::Relaxed),
            if UnixStream::connect(to).is_ok() {
                "there"
            } else {
                "away"
            }
        )
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.set(Mode::Pass);
        drop(TcpStream::connect(self.address));
        self.cut();
    }
}

/// Whether a client wants to commit, on either database.
fn is_commit(bytes: &[u8]) -> bool {
    let has = |word: &[u8]| bytes.windows(word.len()).any(|part| part == word);
    has(b"menshen_commit(") || has(b"COMMIT")
}

impl Shared {
    fn carry(self: &Arc<Self>, number: u64, client: TcpStream, server: UnixStream) {
        drop(client.set_nodelay(true));
        let copies = client.try_clone().and_then(|client| {
            let server = server.try_clone()?;
            Ok((client, server))
        });
        let Ok((client_copy, server_copy)) = copies else {
            return;
        };
        let Ok(kept) = client
            .try_clone()
            .and_then(|client| Ok((client, server.try_clone()?)))
        else {
            return;
        };
        self.open.lock().expect("a lock").insert(number, kept);
        let loses = Arc::new(AtomicBool::new(false));
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        let loses_too = Arc::clone(&loses);
        std::thread::spawn(move || {
            pass(client, server, |bytes| there.request(bytes, &loses));
            drop(there.open.lock().expect("a lock").remove(&number));
        });
        std::thread::spawn(move || {
            pass(server_copy, client_copy, |_| {
                back.wait_while_held();
                if loses_too.load(Ordering::Acquire) {
                    0
                } else {
                    usize::MAX
                }
            });
        });
    }

    fn wait_while_held(&self) {
        while *self.mode.lock().expect("a lock") == Mode::Hold {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How many bytes of a request go on. Fewer than there are: the connection ends.
    fn request(&self, bytes: &[u8], loses: &AtomicBool) -> usize {
        self.wait_while_held();
        if !is_commit(bytes) {
            return usize::MAX;
        }
        let mode = {
            let mut mode = self.mode.lock().expect("a lock");
            std::mem::replace(&mut *mode, Mode::Pass)
        };
        match mode {
            Mode::Pass | Mode::Hold => {}
            Mode::CutCommit => return bytes.len() / 2,
            Mode::LoseAnswer => loses.store(true, Ordering::Release),
            Mode::DelayCommit(span) => std::thread::sleep(span),
        }
        usize::MAX
    }
}

/// Carries bytes until one side ends, or fewer of them may pass than there are.
fn pass<F: End, T: End>(mut from: F, mut to: T, mut permits: impl FnMut(&[u8]) -> usize) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let permitted = permits(&buffer[..read]).min(read);
        if to.write_all(&buffer[..permitted]).is_err() || permitted < read {
            break;
        }
    }
    from.close();
    to.close();
}
