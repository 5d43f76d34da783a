//! Frames of HTTP/2 (RFC 9113 section 4.1), for what no library sends on demand.

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Length of what a connection begins with.
pub const PREFACE_LEN: usize = 24;
pub const FRAME_HEAD_LEN: usize = 9;
/// `:status: 200` of HPACK's static table (RFC 7541 appendix A).
pub const STATUS_200: u8 = 0x88;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short payload")
        .to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Length of the payload that follows the head of a frame.
pub fn payload_len(head: &[u8; FRAME_HEAD_LEN]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}
