//! What `http1::decode` promises of trailers.

use super::*;
use crate::http1::trailers::{MAX_TRAILERS_LEN, max_trailers};

#[test]
fn trailers_come_in_order_with_their_names_as_they_came() {
    let section = "X-Checksum: abc\r\nx-CHECKSUM:def\r\nEmpty:\r\nBlank: \t \r\nInner: a \t b \t\r\nLatin: \u{e9}:;,\"\r\n!#$%&'*+-.^_`|~1: :\r\n";
    let expected = [
        ("X-Checksum", "abc"),
        ("x-CHECKSUM", "def"),
        ("Empty", ""),
        ("Blank", ""),
        ("Inner", "a \t b"),
        ("Latin", "é:;,\""),
        ("!#$%&'*+-.^_`|~1", ":"),
    ];
    for peer in PEERS {
        let whole =
            read_chunked(peer, format!("5\r\nhello\r\n0;a\r\n{section}\r\nGET")).expect("a body");
        assert_eq!((&*whole.data, &*whole.rest), ("hello", "GET"));
        assert_eq!(
            whole.trailers,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}

#[test]
fn trailers_are_taken_once_and_only_of_a_whole_body() {
    let bytes = b"0\r\nA: b\r\n\r\n";
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, Peer::Backend);
    for byte in &bytes[..bytes.len() - 1] {
        assert_eq!(
            decoder.decode(&[*byte]),
            Ok(Decoded {
                skip: 1,
                event: BodyEvent::NeedMore
            })
        );
        assert_eq!(decoder.take_trailers(), None);
    }
    assert_eq!(
        decoder.decode(b"\n"),
        Ok(Decoded {
            skip: 1,
            event: BodyEvent::Complete
        })
    );
    assert_eq!(
        decoder.take_trailers().map(|trailers| trailers.len()),
        Some(1)
    );
    assert_eq!(decoder.take_trailers(), None);
    let mut without = BodyDecoder::new(BodyLength::Chunked, Peer::Backend);
    assert_eq!(
        without.decode(b"0\r\n\r\n"),
        Ok(Decoded {
            skip: 5,
            event: BodyEvent::Complete
        })
    );
    assert_eq!(without.take_trailers(), None);
}

#[test]
fn a_trailer_that_is_no_field_line_is_an_error() {
    let lines = [
        "no field",
        "A",
        ":",
        ": b",
        " A: b",
        "\tA: b",
        "A : b",
        "A\t: b",
        "A B: c",
        "é: b",
        "A\0: b",
        "A\x7f: b",
        "\"A\": b",
        "(A): b",
        "A/B: c",
        "A=b",
        "A;b: c",
        "@: b",
        "A: b\0",
        "A: \x01",
        "A: b\x7f",
        "A: b\x1bc",
        "A: b\x0bc",
        "A: \x08",
        // Folded, to a field and to none.
        "A: b\r\n c",
        "A: b\r\n\tc: d",
        "A:\r\n b",
        "A: b\r\n ",
    ];
    for line in lines {
        assert_eq!(
            both(format!("0\r\n{line}\r\n\r\n")),
            InvalidBody::Trailer,
            "{line:?}"
        );
        assert_eq!(
            both(format!("0\r\nX: y\r\n{line}\r\n\r\n")),
            InvalidBody::Trailer,
            "{line:?}"
        );
    }
    for line in [
        "A: b\nC: d",
        "A: b\n",
        "A\n: b",
        "\nA: b",
        "A:\n",
        "A: b\rC: d",
        "A: b\r\rC: d",
        "\rA: b",
    ] {
        assert_eq!(
            both(format!("0\r\n{line}\r\n\r\n")),
            InvalidBody::LineEnd,
            "{line:?}"
        );
    }
}

#[test]
fn trailers_are_bounded() {
    for peer in PEERS {
        let max = max_trailers(peer);
        let read =
            |count: usize| read_chunked(peer, format!("0\r\n{}\r\n", "A: b\r\n".repeat(count)));
        assert_eq!(read(max).map(|whole| whole.trailers.len()), Ok(max));
        assert_eq!(read(max + 1), Err(InvalidBody::TooManyTrailers));
        // The line has five bytes more, the empty line two.
        let read =
            |len: usize| read_chunked(peer, format!("0\r\nA: {}\r\n\r\n", "b".repeat(len - 7)));
        assert!(read(MAX_TRAILERS_LEN as usize).is_ok());
        assert_eq!(
            read(MAX_TRAILERS_LEN as usize + 1),
            Err(InvalidBody::TrailersTooLong)
        );
        // Also where nothing of it would be kept.
        assert_eq!(
            read_chunked(
                peer,
                format!("0\r\nA: {}", " ".repeat(MAX_TRAILERS_LEN as usize))
            ),
            Err(InvalidBody::TrailersTooLong)
        );
    }
}
