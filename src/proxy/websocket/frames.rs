//! Finds where WebSocket frames end: just enough of RFC 6455 section 5.2 to insert a frame between
//! two of the backend's.
//!
//! Must stay true: bytes are counted, never changed; bytes that are not frames only make the frame
//! boundary unknown.

/// Tracks the frames in one direction of a connection.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Frames {
    /// The head of the current frame, as far as it has arrived.
    head: [u8; MAX_HEAD_LEN],
    /// Bytes of the head that have arrived. 0 within the payload.
    head_read: usize,
    /// Bytes of the payload that have not arrived.
    payload: u64,
}

/// Two bytes, eight more of length, four of mask.
const MAX_HEAD_LEN: usize = 14;
/// The opcode of Close with FIN set.
const CLOSE: u8 = 0x88;
/// Longest reason in a control frame, whose payload has at most 125 bytes, two of them for the code
/// (sections 5.5 and 5.5.1).
const MAX_REASON_LEN: usize = 123;

impl Frames {
    /// Bytes that certainly still belong to the current frame. 0: between two frames.
    pub(in crate::proxy) fn remaining(&self) -> usize {
        if self.head_read > 0 {
            self.head_length() - self.head_read
        } else {
            usize::try_from(self.payload).unwrap_or(usize::MAX)
        }
    }

    /// Tracks bytes that have been passed on.
    pub(in crate::proxy) fn advance(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            if self.payload > 0 {
                let part = usize::try_from(self.payload)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                self.payload -= part as u64;
                bytes = &bytes[part..];
                continue;
            }
            self.head[self.head_read] = first;
            self.head_read += 1;
            bytes = &bytes[1..];
            if self.head_read == self.head_length() {
                self.payload = self.payload_length();
                self.head_read = 0;
            }
        }
    }

    /// The length of the head, as far as the arrived bytes show.
    const fn head_length(&self) -> usize {
        if self.head_read < 2 {
            return 2;
        }
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + length + mask
    }

    const fn payload_length(&self) -> u64 {
        let [_, short, rest @ ..] = self.head;
        match short & 0x7f {
            126 => u16::from_be_bytes([rest[0], rest[1]]) as u64,
            127 => u64::from_be_bytes([
                rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7],
            ]),
            short => short as u64,
        }
    }
}

/// A server's Close frame, which is not masked (section 5.1). A reason that is too long is omitted.
pub(in crate::proxy) fn close(code: u16, reason: &str) -> Vec<u8> {
    let reason = if reason.len() > MAX_REASON_LEN {
        ""
    } else {
        reason
    };
    let length = u8::try_from(2 + reason.len()).unwrap_or(2);
    [&[CLOSE, length][..], &code.to_be_bytes(), reason.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame whose length is written as `spelling` says, not necessarily in the shortest form.
    fn frame(opcode: u8, masked: bool, spelling: usize, payload: &[u8]) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut out = vec![0x80 | opcode];
        match (spelling, payload.len()) {
            (0, length @ 0..=125) => out.push(mask | u8::try_from(length).unwrap()),
            (0 | 1, length @ 0..=0xffff) => {
                out.push(mask | 0x7e);
                out.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            (_, length) => {
                out.push(mask | 0x7f);
                out.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            out.extend([1, 2, 3, 4]);
        }
        out.extend(payload);
        out
    }

    proptest! {
        #[test]
        fn a_frame_ends_where_it_ends_however_its_bytes_arrive(
            frames in proptest::collection::vec((0_u8..16, any::<bool>(), 0_usize..3, 0_usize..300), 1..8),
            cut in 1_usize..40,
        ) {
            let frames: Vec<_> = frames.into_iter().map(|(op, masked, by, n)| frame(op, masked, by, &vec![0x81; n])).collect();
            let ends: Vec<_> = frames.iter().scan(0, |at, frame| { *at += frame.len(); Some(*at) }).collect();
            let bytes = frames.concat();
            let (mut seen, mut at) = (Frames::default(), 0);
            for part in bytes.chunks(cut) {
                seen.advance(part);
                at += part.len();
                prop_assert_eq!(seen.remaining() == 0, ends.contains(&at), "at {}", at);
                // It never reaches beyond the end of this frame.
                let end = ends.iter().copied().find(|end| *end >= at).unwrap();
                prop_assert!(seen.remaining() <= end - at);
            }
        }

        #[test]
        fn paying_what_is_owed_leads_to_the_end_of_the_frame(n in 0_usize..70_000, start in 1_usize..20, spelling in 0_usize..3) {
            let bytes = frame(2, false, spelling, &vec![7; n]);
            let start = start.min(bytes.len());
            let (mut seen, mut at) = (Frames::default(), start);
            seen.advance(&bytes[..start]);
            while seen.remaining() > 0 {
                let remaining = seen.remaining();
                seen.advance(&bytes[at..at + remaining]);
                at += remaining;
            }
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn any_bytes_at_all_are_followed(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let mut seen = Frames::default();
            seen.advance(&bytes);
            let _ = seen.remaining();
        }
    }

    #[test]
    fn a_close_frame_is_one_whole_frame() {
        for reason in ["", "token_revoked", &"x".repeat(123), &"x".repeat(124)] {
            let bytes = close(1008, reason);
            assert_eq!(
                (bytes[0], &bytes[2..4]),
                (0x88, &[0x03, 0xf0][..]),
                "{reason}"
            );
            assert!(bytes[1] <= 125, "{reason}");
            let mut seen = Frames::default();
            seen.advance(&bytes[..bytes.len() - 1]);
            assert_eq!(seen.remaining(), 1, "{reason}");
            seen.advance(&bytes[bytes.len() - 1..]);
            assert_eq!(seen.remaining(), 0, "{reason}");
        }
    }
}
