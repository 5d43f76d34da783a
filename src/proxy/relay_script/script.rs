//! Scripts. Any bytes are a valid script.

/// Most steps in a script.
const MAX_OPS: usize = 48;
/// Sizes of parts and of announced lengths.
const SIZES: [usize; 8] = [1, 0, 100, 4096, 16 * 1024, 64 * 1024, 300_000, 1 << 20];

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(usize),
    Chunked,
    /// For a request: chunked.
    UntilClose,
}

/// One step, for the request with its number. It does nothing if it makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// The client starts its next request.
    Begin(Framing),
    Upload(usize, usize),
    EndUpload(usize),
    /// The client reads this many bytes more, and then none.
    ClientReads(usize),
    /// The client resets the stream; over HTTP/1 it disconnects.
    ClientResets(usize),
    ClientLeaves,
    ClientGarbage(usize),
    Inform(usize),
    Respond(usize, Framing),
    Download(usize, usize),
    EndDownload(usize),
    BackendReads(usize),
    BackendCloses(usize),
    BackendGarbage(usize, usize),
    /// Runs until nothing moves.
    Settle,
    /// Seconds pass.
    Wait(u64),
}

/// What happens in one run.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Debug)]
pub(super) struct Script {
    pub(super) client_http2: bool,
    pub(super) backend_http2: bool,
    /// In the end both sides finish.
    pub(super) in_peace: bool,
    /// The socket buffers of the client, or of the backend, are small.
    pub(super) small_client: bool,
    pub(super) small_backend: bool,
    pub(super) ops: Vec<Op>,
}

impl Script {
    /// The first byte selects protocols and ending. In the byte of a step, four bits are the
    /// action, two the request, and two the framing; the size, if it has one, is the next byte.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let (&flags, mut rest) = bytes.split_first().unwrap_or((&0, &[]));
        let mut next = || rest.split_off_first().copied();
        let mut ops = Vec::new();
        while let Some(byte) = next() {
            let n = usize::from(byte >> 4 & 3) % super::REQUESTS;
            let mut size = || SIZES[usize::from(next().unwrap_or_default()) % SIZES.len()];
            let mut framing = || match byte >> 6 {
                0 => Framing::Chunked,
                1 => Framing::Length(size()),
                2 => Framing::UntilClose,
                _ => Framing::None,
            };
            ops.push(match byte & 15 {
                0 => Op::Begin(framing()),
                1 => Op::Upload(n, size()),
                2 => Op::EndUpload(n),
                3 => Op::Respond(n, framing()),
                4 => Op::Download(n, size()),
                5 => Op::EndDownload(n),
                6 => Op::Settle,
                7 => Op::ClientReads(reads(byte, &mut size)),
                8 => Op::BackendReads(reads(byte, &mut size)),
                9 => Op::Inform(n),
                10 => Op::Wait(5),
                11 => Op::Wait(70),
                12 if byte >> 6 == 0 => Op::ClientLeaves,
                12 => Op::ClientResets(n),
                13 => Op::BackendCloses(n),
                14 => Op::ClientGarbage(usize::from(byte >> 4)),
                _ => Op::BackendGarbage(n, usize::from(byte >> 6)),
            });
            if ops.len() == MAX_OPS {
                break;
            }
        }
        let flag = |bit: u8| flags >> bit & 1 == 1;
        Self {
            client_http2: flag(0),
            backend_http2: flag(1),
            in_peace: flag(2),
            small_client: flag(3),
            small_backend: flag(4),
            ops,
        }
    }
}

/// Everything, nothing, or this much.
fn reads(byte: u8, size: &mut impl FnMut() -> usize) -> usize {
    match byte >> 6 {
        0 => usize::MAX,
        1 => 0,
        _ => size(),
    }
}
