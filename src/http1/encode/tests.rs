//! What `http1::encode` promises.

use super::*;

/// The encoding of a body with these parts.
fn encode(length: BodyLength, parts: &[&str], trailers: Option<&Trailers>) -> String {
    let (mut encoder, mut out) = (BodyEncoder::new(length), Vec::new());
    for part in parts {
        encoder
            .begin_part(part.len(), &mut out)
            .expect("not too long");
        out.extend_from_slice(part.as_bytes());
        encoder.end_part(&mut out);
    }
    encoder.finish(trailers, &mut out).expect("whole");
    String::from_utf8(out).expect("text")
}

fn trailers() -> Trailers {
    let mut trailers = Trailers::new();
    trailers.append(b"X-Checksum", b"abc").expect("a field");
    trailers.append(b"x-empty", b"").expect("a field");
    trailers
}

#[test]
fn a_body_is_framed_as_its_head_says() {
    let with = Some(trailers());
    for trailers in [None, with.as_ref()] {
        assert_eq!(encode(BodyLength::None, &[], trailers), "");
        assert_eq!(encode(BodyLength::Known(0), &[], trailers), "");
        assert_eq!(
            encode(BodyLength::Known(5), &["hel", "lo"], trailers),
            "hello"
        );
        assert_eq!(
            encode(BodyLength::UntilClose, &["hel", "lo"], trailers),
            "hello"
        );
    }
    assert_eq!(encode(BodyLength::Chunked, &[], None), "0\r\n\r\n");
    assert_eq!(
        encode(BodyLength::Chunked, &["hel", "lo"], None),
        "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    );
    assert_eq!(
        encode(BodyLength::Chunked, &["hello"], with.as_ref()),
        "5\r\nhello\r\n0\r\nX-Checksum: abc\r\nx-empty: \r\n\r\n"
    );
    assert_eq!(
        encode(BodyLength::Chunked, &[], Some(&Trailers::new())),
        "0\r\n\r\n"
    );
}

#[test]
fn a_part_without_bytes_does_not_end_the_body() {
    assert_eq!(
        encode(BodyLength::Chunked, &["", "hel", "", "lo", ""], None),
        "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    );
    assert_eq!(
        encode(BodyLength::Known(5), &["", "hello", ""], None),
        "hello"
    );
    assert_eq!(encode(BodyLength::None, &[""], None), "");
}

#[test]
fn a_body_ends_once() {
    let (mut encoder, mut out) = (BodyEncoder::new(BodyLength::Chunked), Vec::new());
    assert!(!encoder.is_finished());
    for _ in 0..3 {
        assert_eq!(encoder.finish(None, &mut out), Ok(()));
        assert!(encoder.is_finished());
        encoder.end_part(&mut out);
    }
    for length in [
        BodyLength::None,
        BodyLength::Chunked,
        BodyLength::UntilClose,
    ] {
        let mut encoder = BodyEncoder::new(length);
        assert_eq!(encoder.finish(None, &mut Vec::new()), Ok(()));
        assert_eq!(encoder.begin_part(1, &mut out), Err(TooLong));
        encoder.end_part(&mut out);
    }
    assert_eq!(out, b"0\r\n\r\n");
}

#[test]
fn a_body_is_never_longer_than_announced() {
    for (length, first) in [
        (BodyLength::None, 0),
        (BodyLength::Known(5), 3),
        (BodyLength::Known(5), 5),
    ] {
        let (mut encoder, mut out) = (BodyEncoder::new(length), Vec::new());
        assert_eq!(encoder.begin_part(first, &mut out), Ok(()));
        encoder.end_part(&mut out);
        for len in [6, 3, usize::MAX] {
            assert_eq!(
                encoder.begin_part(len, &mut out),
                Err(TooLong),
                "{length:?}"
            );
        }
        assert_eq!(out, b"");
    }
}

#[test]
fn a_body_does_not_end_before_it_is_whole() {
    let mut out = Vec::new();
    let mut encoder = BodyEncoder::new(BodyLength::Known(5));
    assert_eq!(encoder.finish(None, &mut out), Err(TooShort));
    assert_eq!(encoder.begin_part(4, &mut out), Ok(()));
    encoder.end_part(&mut out);
    assert_eq!(encoder.finish(None, &mut out), Err(TooShort));
    assert_eq!(out, b"");
    // Nor in the middle of a part.
    for length in [
        BodyLength::Known(5),
        BodyLength::Chunked,
        BodyLength::UntilClose,
    ] {
        let (mut encoder, mut out) = (BodyEncoder::new(length), Vec::new());
        assert_eq!(encoder.begin_part(5, &mut out), Ok(()));
        let before = out.clone();
        assert_eq!(encoder.finish(None, &mut out), Err(TooShort));
        assert_eq!(out, before);
    }
}

#[test]
fn sizes_are_written_in_full() {
    for len in [
        1,
        9,
        10,
        15,
        16,
        17,
        255,
        256,
        4095,
        4096,
        65_535,
        65_536,
        0x0123_4567_89ab,
        usize::MAX - 1,
        usize::MAX,
    ] {
        let mut out = Vec::new();
        push_size_line(len, &mut out);
        assert_eq!(out, format!("{len:x}\r\n").as_bytes());
    }
}
