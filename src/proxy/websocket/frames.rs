//! Where a WebSocket frame ends: just enough of RFC 6455 section 5.2 to put a frame of our own
//! between two of somebody else's.
//!
//! Must stay true: what passes is counted, never changed; bytes that are no frames do no harm but
//! that their end is not found.

/// Follows one direction of a connection, byte by byte.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Frames {
    /// The frame's head, as far as it is there.
    head: [u8; MAX_HEAD_LEN],
    /// How much of the head is there. 0 while the payload passes.
    head_read: usize,
    /// Bytes of the payload that are still to come.
    payload: u64,
}

/// Two bytes, eight more of length, four of mask.
const MAX_HEAD_LEN: usize = 14;
/// The opcode of Close with FIN set.
const CLOSE: u8 = 0x88;
/// A control frame carries no more, two bytes of which are the code (sections 5.5 and 5.5.1).
const MAX_REASON_LEN: usize = 123;

impl Frames {
    /// Bytes that certainly belong to the frame under way; 0 between two frames.
    pub(in crate::proxy) fn remaining(&self) -> usize {
        if self.head_read > 0 {
            self.head_length() - self.head_read
        } else {
            usize::try_from(self.payload).unwrap_or(usize::MAX)
        }
    }

    /// Counts bytes that have been passed on.
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

    /// As far as the bytes that are there can tell.
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

/// A Close frame of a server, which is not masked (section 5.1). A reason that is too long is left
/// out.
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

    /// A frame as somebody may send it: `spelling` says how its length is written, which need not
    /// be the shortest way.
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
                // What is owed never reaches beyond the end of this frame.
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
