//! A backend that keeps what it received, byte for byte, and answers what a test says.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub line: String,
    /// The head without its first line, as it came.
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn headers(&self) -> Vec<(String, String)> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect()
    }

    /// Every value of a header whose name folds to `name`, as a CGI-style backend reads it.
    pub fn folded(&self, name: &str) -> Vec<String> {
        let fold = |text: &str| {
            text.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
                .to_ascii_lowercase()
        };
        self.headers()
            .into_iter()
            .filter(|(sent, _)| fold(sent) == fold(name))
            .map(|(_, value)| value)
            .collect()
    }
}

type Answering = dyn Fn(&Received, &mut TcpStream) -> bool + Send + Sync;

/// The backend; ends when dropped.
pub struct Backend {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Backend {
    /// Answers every request with 200 and `ok`.
    pub fn start() -> Self {
        Self::answering(|_, stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .is_ok()
        })
    }

    /// Answers as `answer` does; `false` from it ends the connection.
    pub fn answering(
        answer: impl Fn(&Received, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::on("127.0.0.1:0", answer)
    }

    /// The same on this address.
    pub fn on(
        address: &str,
        answer: impl Fn(&Received, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let over = Arc::new(AtomicBool::new(false));
        let answer: Arc<Answering> = Arc::new(answer);
        let (kept, ending) = (received.clone(), over.clone());
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ending.load(Ordering::Acquire) {
                    return;
                }
                let (kept, answer) = (kept.clone(), answer.clone());
                std::thread::spawn(move || {
                    drop(converse(stream.expect("a connection"), &kept, &*answer));
                });
            }
        });
        Self {
            address,
            received,
            over,
            accepting: Some(accepting),
        }
    }

    /// What has arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("a lock").clone()
    }

    /// The last request that arrived.
    pub fn last(&self) -> Received {
        self.received()
            .last()
            .expect("a request at the backend")
            .clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn converse(
    stream: TcpStream,
    kept: &Mutex<Vec<Received>>,
    answer: &Answering,
) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut head = String::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line == "\r\n" || line.is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let mut request = Received {
            line: line.trim_end().to_owned(),
            head,
            body: Vec::new(),
        };
        let value = |name: &str| request.folded(name).first().cloned();
        if let Some(length) = value("content-length") {
            let mut body = vec![0; length.parse().unwrap_or(0)];
            reader.read_exact(&mut body)?;
            request.body = body;
        } else if value("transfer-encoding").is_some() {
            loop {
                let mut size = String::new();
                reader.read_line(&mut size)?;
                let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
                let mut chunk = vec![0; size + 2];
                reader.read_exact(&mut chunk)?;
                if size == 0 {
                    break;
                }
                request.body.extend_from_slice(&chunk[..size]);
            }
        }
        kept.lock().expect("a lock").push(request.clone());
        if !answer(&request, &mut writer) {
            return Ok(());
        }
    }
}
