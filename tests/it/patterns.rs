//! Bodies whose every byte can be checked, written and read at the pace that a test gives.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::endpoints::{BodyReader, BodyWriter, Broken};

/// A prime, so that no chunk, window or buffer is a part of the period.
const PERIOD: usize = 1_048_573;
/// How much is written at once where a test does not care.
const PART: usize = 60_000;
/// What one token of a [`Pace`] is good for.
pub const TOKEN: usize = 1 << 20;

fn period() -> &'static Bytes {
    static ONCE: OnceLock<Bytes> = OnceLock::new();
    ONCE.get_or_init(|| {
        // xorshift64, George Marsaglia.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..PERIOD).map(|_| next()).collect::<Vec<_>>().into()
    })
}

/// The bytes of one body, from some place on. Another place has other bytes.
#[derive(Debug, Clone)]
pub struct Pattern {
    at: usize,
}

impl Pattern {
    /// Bodies with different numbers are different.
    pub const fn of_body(number: usize) -> Self {
        Self { at: number * 7_919 }
    }

    /// The next bytes, so many at most and at least one.
    pub fn take(&mut self, most: usize) -> Bytes {
        let start = self.at % PERIOD;
        let end = PERIOD.min(start + most);
        self.at += end - start;
        period().slice(start..end)
    }

    /// The next bytes have to be these.
    pub fn check(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let place = self.at;
            let expected = self.take(bytes.len());
            let (now, rest) = bytes.split_at(expected.len());
            assert!(now == expected, "other bytes from place {place} on");
            bytes = rest;
        }
    }
}

/// How fast one side of a body goes on: freely, or a mebibyte for each token.
#[derive(Debug, Clone)]
pub struct Pace {
    tokens: Option<Arc<Semaphore>>,
    done: Arc<AtomicUsize>,
}

impl Pace {
    pub fn free() -> Self {
        Self {
            tokens: None,
            done: Arc::default(),
        }
    }

    /// Waits for its first token.
    pub fn slow() -> Self {
        Self {
            tokens: Some(Arc::new(Semaphore::new(0))),
            done: Arc::default(),
        }
    }

    pub fn give(&self, tokens: usize) {
        self.tokens
            .as_ref()
            .expect("a slow one")
            .add_permits(tokens);
    }

    /// Bytes that this side has written or read.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Acquire)
    }

    /// Waits for a token where the next one is needed.
    async fn wait(&self, paid: &mut usize) {
        if let Some(tokens) = &self.tokens
            && self.done() >= *paid
        {
            tokens.acquire().await.expect("an open semaphore").forget();
            *paid += TOKEN;
        }
    }

    fn add(&self, bytes: usize) {
        self.done.fetch_add(bytes, Ordering::AcqRel);
    }
}

/// Writes a body of this length to its end.
pub async fn write_body(
    writer: &mut BodyWriter,
    mut pattern: Pattern,
    length: usize,
    pace: &Pace,
) -> Result<(), Broken> {
    write_part(writer, &mut pattern, length, pace).await?;
    writer.finish().await
}

/// Writes so many bytes of a body.
pub async fn write_part(
    writer: &mut BodyWriter,
    pattern: &mut Pattern,
    length: usize,
    pace: &Pace,
) -> Result<(), Broken> {
    let (mut left, mut paid) = (length, pace.done());
    while left > 0 {
        pace.wait(&mut paid).await;
        let part = pattern.take(left.min(PART));
        left -= part.len();
        let written = part.len();
        writer.write(part).await?;
        pace.add(written);
    }
    Ok(())
}

/// Reads a body, which has to be whole and of this length.
pub async fn read_body(
    reader: &mut BodyReader,
    mut pattern: Pattern,
    length: usize,
    pace: &Pace,
) -> Result<(), Broken> {
    let mut paid = pace.done();
    let mut read = 0;
    loop {
        pace.wait(&mut paid).await;
        let Some(part) = reader.part().await? else {
            break;
        };
        pattern.check(&part);
        read += part.len();
        pace.add(part.len());
    }
    assert_eq!(read, length, "the length of the body");
    Ok(())
}

/// Reads so many bytes of a body that goes on.
pub async fn read_part(
    reader: &mut BodyReader,
    pattern: &mut Pattern,
    length: usize,
) -> Result<(), Broken> {
    let mut read = 0;
    while read < length {
        let part = reader.part().await?.expect("more of the body");
        pattern.check(&part);
        read += part.len();
    }
    assert_eq!(read, length, "no more than that was sent");
    Ok(())
}
