//! What `http1::decode` promises: a body has one reading. Each known way to give it two has a row.

mod trailers;

use super::*;
use crate::http1::{MAX_LENGTH, size_line::MAX_EXTENSION_LEN};

const PEERS: [Peer; 2] = [Peer::Client, Peer::Backend];

/// A complete body.
#[derive(Debug, PartialEq, Eq)]
struct Whole {
    data: String,
    trailers: Vec<(String, String)>,
    /// The bytes after it.
    rest: String,
}

/// Reads a body and the end of the connection after it.
fn read(length: BodyLength, peer: Peer, bytes: &[u8]) -> Result<Whole, InvalidBody> {
    let mut decoder = BodyDecoder::new(length, peer);
    let (mut at, mut data) = (0, Vec::new());
    loop {
        let Decoded { skip, event } = decoder.decode(&bytes[at..])?;
        at += skip;
        match event {
            BodyEvent::Data(len) => {
                assert!(len > 0);
                data.extend_from_slice(&bytes[at..at + len]);
                decoder.consume(len);
                at += len;
            }
            BodyEvent::NeedMore => {
                assert_eq!(
                    at,
                    bytes.len(),
                    "all of the input is used up before more is asked for"
                );
                decoder.end_of_input()?;
            }
            BodyEvent::Complete => break,
        }
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let trailers = decoder.take_trailers().unwrap_or_default();
    let trailers = trailers
        .iter()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    Ok(Whole {
        data: text(&data),
        trailers,
        rest: text(&bytes[at..]),
    })
}

fn read_chunked(peer: Peer, bytes: impl AsRef<[u8]>) -> Result<Whole, InvalidBody> {
    read(BodyLength::Chunked, peer, bytes.as_ref())
}

/// The error, which is the same for both peers.
fn both(bytes: impl AsRef<[u8]>) -> InvalidBody {
    let [client, backend] = PEERS.map(|peer| read_chunked(peer, &bytes));
    assert_eq!(client, backend, "{}", bytes.as_ref().escape_ascii());
    client.expect_err(&bytes.as_ref().escape_ascii().to_string())
}

#[test]
fn a_body_ends_where_its_length_says() {
    for peer in PEERS {
        let read = |length, bytes: &str| {
            read(length, peer, bytes.as_bytes()).map(|whole| (whole.data, whole.rest))
        };
        let whole = |data: &str, rest: &str| Ok((data.to_owned(), rest.to_owned()));
        assert_eq!(read(BodyLength::None, "GET"), whole("", "GET"));
        assert_eq!(read(BodyLength::Known(0), "GET"), whole("", "GET"));
        assert_eq!(
            read(BodyLength::Known(5), "helloGET"),
            whole("hello", "GET")
        );
        assert_eq!(read(BodyLength::UntilClose, "hello"), whole("hello", ""));
        assert_eq!(read(BodyLength::UntilClose, ""), whole("", ""));
        assert_eq!(
            read(BodyLength::Chunked, "5\r\nhello\r\n0\r\n\r\nGET"),
            whole("hello", "GET")
        );
        assert_eq!(
            read(BodyLength::Known(6), "hello"),
            Err(InvalidBody::Incomplete)
        );
        assert_eq!(read(BodyLength::Known(1), ""), Err(InvalidBody::Incomplete));
        assert_eq!(
            read(BodyLength::Known(u64::MAX), "hello"),
            Err(InvalidBody::Incomplete)
        );
    }
}

#[test]
fn chunks_are_read_as_the_rfc_writes_them() {
    let table = [
        ("0\r\n\r\n", ""),
        ("0000000000000000\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("a\r\n0123456789\r\n00\r\n\r\n", "0123456789"),
        (
            "000000000000000f\r\n0123456789abcde\r\n0\r\n\r\n",
            "0123456789abcde",
        ),
        // Data may look like framing.
        ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        ("5;name\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;name=value\r\nhello\r\n0;last\r\n\r\n", "hello"),
        ("5 ; name = value ;\tother\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;name=\"a;b\\\"\\\\ \tc\"\r\nhello\r\n0\r\n\r\n", "hello"),
        ("5;name=\"\" ;a\r\nhello\r\n0\r\n\r\n", "hello"),
        (
            "5;chunk-signature=0123456789abcdef\r\nhello\r\n0;chunk-signature=00\r\n\r\n",
            "hello",
        ),
    ];
    for peer in PEERS {
        for (bytes, data) in table {
            let expected = Whole {
                data: data.to_owned(),
                trailers: Vec::new(),
                rest: "GET".to_owned(),
            };
            assert_eq!(
                read_chunked(peer, format!("{bytes}GET")),
                Ok(expected),
                "{bytes:?}"
            );
        }
    }
}

#[test]
fn a_size_is_hexadecimal_digits_and_nothing_else() {
    // CVE-2024-1135 and others: what `int()`, `strtol` and `parse` accept.
    let sizes = [
        "", "zz", "g", "-1", "-0", "+5", "0x5", "0X5", " 5", "\t5", "5_0", "5,5", "5.", "5h",
        "5\x0b", "5\x0c", "5\0", "\0", "5'", "\"5\"", ";a", "=5", "５", "0x", "5\u{a0}", "5-",
        "\x7f", "5\x7f", "5/", "5:", "5@", "5G", "5`", "\r",
    ];
    for size in sizes {
        assert_eq!(
            both(format!("{size}\r\nhello\r\n0\r\n\r\n")),
            InvalidBody::ChunkSize,
            "{size:?}"
        );
    }
    assert_eq!(both("\nhello"), InvalidBody::ChunkSize);
    // No server accepts a second size after blanks.
    for size in ["5 5", "5\t0", "0 5"] {
        assert_eq!(
            both(format!("{size}\r\nhello\r\n0\r\n\r\n")),
            InvalidBody::ChunkExtension,
            "{size:?}"
        );
    }
}

#[test]
fn a_size_that_does_not_fit_is_an_error() {
    // CVE-2021-32714, RUSTSEC-2020-0008.
    let too_large = format!("{:x}", MAX_LENGTH + 1);
    let sizes = [
        &*too_large,
        "ffffffffffffffff",
        "10000000000000000",
        "10000000000000005",
        "fffffffffffffffffffffffffffffffff5",
        "00000000000000005",
        "8000000000000000",
        "7fffffffffffffff",
    ];
    for size in sizes {
        assert_eq!(
            both(format!("{size}\r\nhello\r\n0\r\n\r\n")),
            InvalidBody::ChunkSizeTooLarge,
            "{size:?}"
        );
    }
    for size in [format!("{MAX_LENGTH:x}"), "000000007fffffff".to_owned()] {
        assert_eq!(
            both(format!("{size}\r\nhello")),
            InvalidBody::Incomplete,
            "{size:?}"
        );
    }
}

#[test]
fn every_line_ends_in_crlf() {
    // CVE-2025-22871, CVE-2022-32213 and others: each line end of each body, in each wrong
    // spelling.
    let bodies = [
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a\r\nhello\r\n0;b=\"c\"\r\n\r\n",
        "5;a=b\r\nhello\r\n5;c=\"\\\"d\"\r\nworld\r\n0\r\nA: b\r\nC:\r\n\r\n",
    ];
    let wrong = [
        "\n", "\r", "\n\r", "\r\r\n", "\n\n", "\r\r", "\r \n", " \n", "\r\0\n", "\x0b\n",
    ];
    let mut seen = 0;
    for body in bodies {
        for peer in PEERS {
            assert!(read_chunked(peer, body).is_ok(), "{body:?}");
        }
        for (at, _) in body.match_indices("\r\n") {
            for wrong in wrong {
                let bytes = format!("{}{wrong}{}", &body[..at], &body[at + 2..]);
                for peer in PEERS {
                    assert!(read_chunked(peer, &bytes).is_err(), "{peer:?} {bytes:?}");
                }
                seen += 1;
            }
        }
    }
    assert_eq!(seen, (4 + 4 + 8) * wrong.len());
}

#[test]
fn only_a_line_feed_follows_a_carriage_return() {
    for byte in (0..=u8::MAX).filter(|byte| *byte != b'\n') {
        for before in [
            "5\r",
            "5;a\r",
            "5;a=\"b\"\r",
            "0\r\n\r",
            "0\r\nA:\r",
            "0\r\nA: b\r",
        ] {
            let after: &[u8] = if before.starts_with('5') {
                b"hello\r\n0\r\n\r\n"
            } else {
                b"\r\n\r\n"
            };
            let bytes = [before.as_bytes(), &[byte], after].concat();
            assert_eq!(
                both(&bytes),
                InvalidBody::LineEnd,
                "{}",
                bytes.escape_ascii()
            );
        }
        let bytes = [b"5\r\nhello\r", &[byte][..], b"0\r\n\r\n"].concat();
        assert_eq!(
            both(&bytes),
            InvalidBody::ChunkEnd,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn a_chunk_ends_where_its_size_says() {
    // TERM.SPILL: bytes between a chunk and the next size that a server takes for the CRLF.
    let bodies = [
        "3\r\nabcd\r\n0\r\n\r\n",
        "5\r\nhelloX\r0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\rX0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello \r\n0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        assert_eq!(both(body), InvalidBody::ChunkEnd, "{body:?}");
    }
    assert_eq!(
        both("5\r\nhello\r\n\r\n0\r\n\r\n"),
        InvalidBody::ChunkSize,
        "an empty line in front of a size"
    );
}

#[test]
fn an_extension_of_a_client_is_one_by_the_grammar() {
    // CVE-2025-55315, CVE-2024-52304, CVE-2025-43859, CVE-2025-58056: invalid extensions.
    let extensions = [
        ";",
        "; ",
        ";\t",
        " ",
        "\t",
        " ;",
        ";=",
        ";=b",
        ";\"a\"",
        ";a=",
        ";a= ",
        ";a;",
        ";a; ",
        ";a;;b",
        ";;",
        ";a b",
        ";a=b c",
        ";a ",
        ";a=b ",
        ";a=\"b\" ",
        ";a==b",
        ";a=b=c",
        ";a=\"b",
        ";a=\"b\\",
        ";a=\"b\\\"",
        ";a=\"b\"c",
        ";a=b\"c\"",
        ";a='b c'",
        ";a=(b)",
        ";a,b",
        ";a=b,c",
        ";a/b",
        ";a:b",
        ";a@b",
        ";[a]",
        ";{a}",
        ";a\\b",
        ";a<b>",
        ";a?b",
        ";é",
        ";a=é",
        ";a\x7f",
        " a",
        "\ta=b",
        " =b",
    ];
    for extension in extensions {
        for bytes in [
            format!("5{extension}\r\nhello\r\n0\r\n\r\n"),
            format!("5\r\nhello\r\n0{extension}\r\n\r\n"),
        ] {
            assert_eq!(
                read_chunked(Peer::Client, &bytes),
                Err(InvalidBody::ChunkExtension),
                "{bytes:?}"
            );
        }
    }
}

#[test]
fn a_control_character_is_in_no_extension() {
    let places = [
        ("5;", "a"),
        ("5;a", ""),
        ("5;a=", "b"),
        ("5;a=b", ""),
        ("5;a=\"", "\""),
        ("5;a=\"\\", "\""),
        ("5;a=\"b\"", ""),
    ];
    for (before, after) in places {
        for byte in (0..=0x1f).chain([0x7f]).filter(|byte| *byte != b'\t') {
            let bytes = [
                before.as_bytes(),
                &[byte],
                after.as_bytes(),
                b"\r\nhello\r\n0\r\n\r\n",
            ]
            .concat();
            let expected = match byte {
                b'\n' => vec![InvalidBody::LineEnd],
                // Where a CR may end the line, the error is the missing LF.
                b'\r' => vec![InvalidBody::LineEnd, InvalidBody::ChunkExtension],
                _ => vec![InvalidBody::ChunkExtension],
            };
            for peer in PEERS {
                let error = read_chunked(peer, &bytes).expect_err("a control character");
                assert!(
                    expected.contains(&error),
                    "{peer:?} {error:?}: {}",
                    bytes.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn a_backend_may_write_blanks_and_any_text_after_a_size() {
    let extensions = [
        " ",
        "\t",
        "      ",
        ";",
        "; ",
        " ;",
        ";=b",
        ";a=",
        ";a b",
        ";a=\"b",
        ";a\\",
        ";;;",
        ";a=b c ",
        ";é",
        "; any (text) at all",
    ];
    for extension in extensions {
        for bytes in [
            format!("5{extension}\r\nhello\r\n0\r\n\r\n"),
            format!("5\r\nhello\r\n0{extension}\r\n\r\n"),
        ] {
            assert_eq!(
                read_chunked(Peer::Backend, &bytes).map(|whole| whole.data),
                Ok("hello".to_owned()),
                "{bytes:?}"
            );
        }
    }
    for extension in [" a", "\t=", " \"", ",a", "=", "\"a\"", "h;a"] {
        let bytes = format!("5{extension}\r\nhello\r\n0\r\n\r\n");
        assert!(read_chunked(Peer::Backend, &bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn extensions_are_bounded_in_the_whole_body_of_a_client() {
    // CVE-2023-39326: chunks of one byte with long extensions.
    let max = MAX_EXTENSION_LEN as usize;
    let one = |len: usize| format!("1;{}\r\nx\r\n", "a".repeat(len - 1));
    let many = |each: usize| format!("{}0\r\n\r\n", one(each).repeat(max / each + 1));
    for peer in PEERS {
        assert!(read_chunked(peer, format!("{}0\r\n\r\n", one(max))).is_ok());
        assert_eq!(
            read_chunked(peer, one(max + 1)),
            Err(InvalidBody::ChunkExtensionsTooLong)
        );
        assert!(read_chunked(peer, format!("{}0\r\n\r\n", one(16).repeat(max / 16))).is_ok());
    }
    for each in [2, 16, 1000, max / 2 + 1] {
        assert_eq!(
            read_chunked(Peer::Client, many(each)),
            Err(InvalidBody::ChunkExtensionsTooLong),
            "{each}"
        );
        assert!(
            read_chunked(Peer::Backend, many(each)).is_ok(),
            "{each}: a stream of a backend has no end"
        );
    }
    let blanks = |len: usize| format!("1{}\r\nx\r\n0\r\n\r\n", " ".repeat(len));
    assert!(read_chunked(Peer::Backend, blanks(max)).is_ok());
    assert_eq!(
        read_chunked(Peer::Backend, blanks(max + 1)),
        Err(InvalidBody::ChunkExtensionsTooLong)
    );
    assert_eq!(
        read_chunked(Peer::Client, format!("1{}", " ".repeat(max + 1))),
        Err(InvalidBody::ChunkExtensionsTooLong)
    );
}

#[test]
fn the_beginning_of_a_body_is_never_a_whole_one() {
    let chunked = "5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n";
    let known = "hello";
    for peer in PEERS {
        for (length, body) in [
            (BodyLength::Chunked, chunked),
            (BodyLength::Known(5), known),
        ] {
            assert!(read(length, peer, body.as_bytes()).is_ok());
            for end in 0..body.len() {
                assert_eq!(
                    read(length, peer, &body.as_bytes()[..end]),
                    Err(InvalidBody::Incomplete),
                    "{:?}",
                    &body[..end]
                );
            }
        }
    }
}

#[test]
fn data_is_named_until_it_is_taken() {
    let data = |skip, len| {
        Ok(Decoded {
            skip,
            event: BodyEvent::Data(len),
        })
    };
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, Peer::Client);
    assert_eq!(decoder.decode(b"5\r\nhel"), data(3, 3));
    assert_eq!(decoder.decode(b"hel"), data(0, 3));
    decoder.consume(2);
    assert_eq!(decoder.decode(b"l"), data(0, 1));
    assert_eq!(decoder.decode(b"llo\r\n"), data(0, 3));
}

#[test]
fn an_error_is_final() {
    for bytes in [
        &b"zz"[..],
        b"3\r\nhelloX",
        b"0\r\n\n",
        b"1;\r\n",
        b"0\r\nA: b\r\nzz\r\n",
    ] {
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, Peer::Client);
        let mut next = decoder.decode(bytes);
        if let Ok(Decoded {
            skip,
            event: BodyEvent::Data(_),
        }) = next
        {
            decoder.consume(3);
            next = decoder.decode(&bytes[skip + 3..]);
        }
        let Err(error) = next else {
            panic!("{}: {next:?}", bytes.escape_ascii())
        };
        assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(error));
        assert_eq!(decoder.end_of_input(), Err(error));
        decoder.consume(1);
        assert_eq!(
            (decoder.is_complete(), decoder.take_trailers()),
            (false, None)
        );
    }
    let mut decoder = BodyDecoder::new(BodyLength::Known(2), Peer::Backend);
    assert_eq!(decoder.end_of_input(), Err(InvalidBody::Incomplete));
    assert_eq!(decoder.decode(b"ok"), Err(InvalidBody::Incomplete));
}

#[test]
fn a_body_is_complete_when_its_last_byte_was_taken() {
    let mut decoder = BodyDecoder::new(BodyLength::Known(2), Peer::Client);
    assert_eq!(
        decoder.decode(b"ok"),
        Ok(Decoded {
            skip: 0,
            event: BodyEvent::Data(2)
        })
    );
    assert!(!decoder.is_complete());
    decoder.consume(2);
    assert!(decoder.is_complete());
    assert_eq!(decoder.end_of_input(), Ok(()));
    for length in [BodyLength::None, BodyLength::Known(0)] {
        assert!(BodyDecoder::new(length, Peer::Client).is_complete());
    }
    let mut decoder = BodyDecoder::new(BodyLength::UntilClose, Peer::Backend);
    assert!(!decoder.is_complete());
    assert_eq!(decoder.end_of_input(), Ok(()));
    assert!(decoder.is_complete());
    assert_eq!(
        decoder.decode(b"x"),
        Ok(Decoded {
            skip: 0,
            event: BodyEvent::Complete
        })
    );
}

#[test]
fn a_decoder_is_small() {
    assert!(
        size_of::<BodyDecoder>() <= 64,
        "{}",
        size_of::<BodyDecoder>()
    );
}
