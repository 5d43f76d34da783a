//! What the codec promises for every input.

use proptest::prelude::*;

use super::*;

/// What a decoder returned for an input.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    data: Vec<u8>,
    trailers: Option<Trailers>,
    /// Consumed bytes; 0 with an error.
    used: usize,
    /// `None`: more input is needed.
    end: Option<Result<(), InvalidBody>>,
}

/// Decodes `input` in pieces of these lengths, and takes at most `most` bytes of data at once.
fn decode(length: BodyLength, peer: Peer, input: &[u8], pieces: &[usize], most: usize) -> Reading {
    let mut decoder = BodyDecoder::new(length, peer);
    let (mut reading, mut arrived) = (
        Reading {
            data: Vec::new(),
            trailers: None,
            used: 0,
            end: None,
        },
        0,
    );
    for piece in pieces.iter().copied().chain([input.len()]) {
        arrived = input.len().min(arrived + piece);
        loop {
            let rest = &input[reading.used..arrived];
            let Decoded { skip, event } = match decoder.decode(rest) {
                Ok(next) => next,
                // How much framing was consumed before the error depends on the split.
                Err(error) => {
                    return Reading {
                        used: 0,
                        end: Some(Err(error)),
                        ..reading
                    };
                }
            };
            reading.used += skip;
            match event {
                BodyEvent::NeedMore => {
                    assert_eq!(skip, rest.len(), "no byte is looked at twice");
                    break;
                }
                BodyEvent::Data(len) => {
                    assert!(len > 0 && skip + len <= rest.len());
                    let taken = len.min(most);
                    reading.data.extend_from_slice(&rest[skip..skip + taken]);
                    decoder.consume(taken);
                    reading.used += taken;
                }
                BodyEvent::Complete => {
                    assert!(decoder.is_complete());
                    reading.trailers = decoder.take_trailers();
                    reading.end = Some(Ok(()));
                    return reading;
                }
            }
        }
    }
    reading
}

fn whole(length: BodyLength, peer: Peer, input: &[u8]) -> Reading {
    decode(length, peer, input, &[], usize::MAX)
}

fn length() -> impl Strategy<Value = BodyLength> {
    prop_oneof![
        4 => Just(BodyLength::Chunked),
        1 => (0..20_u64).prop_map(BodyLength::Known),
        1 => Just(BodyLength::UntilClose),
        1 => Just(BodyLength::None),
    ]
}

/// Valid and invalid parts of framing.
const BITS: &[&str] = &[
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    ";",
    ";a",
    ";a=b",
    ";a=\"b\\\"c\"",
    "; a = b",
    " ",
    "\t",
    "\"",
    "\\",
    "=",
    "5",
    "0",
    "00",
    "1",
    "a",
    "A: b\r\n",
    "A:\r\n",
    ":",
    "0\r\n\r\n",
    "0\r\n",
    "5\r\nhello\r\n",
    "1\r\nx\r\n",
    "\0",
    "\x7f",
    "é",
    "ffffffffffffffff",
    "-",
    "+",
    "0x",
    "hello",
];

/// Chunked bodies, mostly valid, with invalid bits.
fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let chunk =
        (proptest::collection::vec(any::<u8>(), 1..20), 0..8_usize).prop_map(|(data, style)| {
            let extension = ["", "", "", "", ";a", ";a=\"b\"", " ;a = b", " "][style];
            [
                format!("{:x}{extension}\r\n", data.len()).as_bytes(),
                &data,
                b"\r\n",
            ]
            .concat()
        });
    let bit = proptest::sample::select(BITS).prop_map(|bit| bit.as_bytes().to_vec());
    let end =
        proptest::sample::select(&["0\r\n\r\n", "0\r\nA: b\r\nB:c\r\n\r\n", "0;a\r\n\r\n", ""][..]);
    let part = prop_oneof![6 => chunk, 1 => bit, 1 => proptest::collection::vec(any::<u8>(), 0..4)];
    (proptest::collection::vec(part, 0..8), end)
        .prop_map(|(parts, end)| [parts.concat(), end.as_bytes().to_vec()].concat())
}

fn trailer() -> impl Strategy<Value = (String, String)> {
    (
        "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,8}",
        "([!-~é]([ -~\té]{0,6}[!-~é])?)?",
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_bytes_gives_the_same_body(
        length in length(),
        is_client in any::<bool>(),
        input in chunked(),
        pieces in proptest::collection::vec(0..6_usize, 0..60),
        most in 1..4_usize,
    ) {
        let peer = if is_client { Peer::Client } else { Peer::Backend };
        let expected = whole(length, peer, &input);
        prop_assert_eq!(&decode(length, peer, &input, &pieces, most), &expected);
        let single_bytes = vec![1; input.len()];
        prop_assert_eq!(&decode(length, peer, &input, &single_bytes, 1), &expected);
    }

    #[test]
    fn a_backend_may_write_whatever_a_client_may(length in length(), input in chunked()) {
        let client = whole(length, Peer::Client, &input);
        if client.end == Some(Ok(())) {
            prop_assert_eq!(whole(length, Peer::Backend, &input), client);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
        fields in proptest::collection::vec(trailer(), 0..4),
        kind in 0..3,
        pieces in proptest::collection::vec(0..50_usize, 0..40),
    ) {
        let data = parts.concat();
        let length = match kind {
            0 => BodyLength::Chunked,
            1 => BodyLength::Known(data.len() as u64),
            _ => BodyLength::UntilClose,
        };
        let mut trailers = Trailers::new();
        for (name, value) in &fields {
            prop_assert_eq!(trailers.append(name.as_bytes(), value.as_bytes()), Ok(()));
        }
        let (mut encoder, mut wire) = (BodyEncoder::new(length), Vec::new());
        for part in &parts {
            prop_assert_eq!(encoder.begin_part(part.len(), &mut wire), Ok(()));
            wire.extend_from_slice(part);
            encoder.end_part(&mut wire);
        }
        prop_assert_eq!(encoder.finish(Some(&trailers), &mut wire), Ok(()));
        let expected_end = (length != BodyLength::UntilClose).then_some(Ok(()));
        let expected_trailers = (length == BodyLength::Chunked && !trailers.is_empty()).then_some(trailers);
        let sent = wire.len();
        // The next message of the connection.
        if length != BodyLength::UntilClose {
            wire.extend_from_slice(b"0\r\n\r\n");
        }
        for peer in [Peer::Client, Peer::Backend] {
            let reading = decode(length, peer, &wire, &pieces, usize::MAX);
            prop_assert_eq!(&reading.data, &data);
            prop_assert_eq!(&reading.trailers, &expected_trailers);
            prop_assert_eq!((reading.used, reading.end), (sent, expected_end));
        }
    }

    #[test]
    fn no_bytes_make_the_codec_panic(length in length(), input in proptest::collection::vec(any::<u8>(), 0..200)) {
        for peer in [Peer::Client, Peer::Backend] {
            whole(length, peer, &input);
        }
        let mut bytes = input;
        unfold(&mut bytes);
        let mut slots = [const { std::mem::MaybeUninit::uninit() }; 8];
        if let Ok(Some((head, length))) = parse_response(&bytes, &mut slots) {
            prop_assert!(length <= bytes.len());
            let _ = response_body(&head, false);
        }
    }

    /// Reads folded lines exactly as httparse does, except for additional blanks.
    #[test]
    fn unfolding_reads_as_httparse_does(
        fields in proptest::collection::vec("[A-C]{1,2}[ \t]{0,1}:[ \tx]{0,3}((\r\n|\n)[ \t]{1,2}[x \t:]{0,3}){0,3}(\r\n|\n)", 0..5),
        end in "\r\n|\n",
    ) {
        let bytes = format!("HTTP/1.1 200 OK\r\n{}{end}body\r\n x", fields.concat()).into_bytes();
        let mut config = httparse::ParserConfig::default();
        config.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut headers);
        let expected = config.parse_response(&mut response, &bytes).expect("a head").unwrap();
        let words = |value: &[u8]| {
            let words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).map(<[u8]>::to_vec);
            words.collect::<Vec<_>>()
        };
        let folded: Vec<_> = response.headers.iter().map(|field| (field.name.to_owned(), words(field.value))).collect();
        let mut unfolded = bytes.clone();
        unfold(&mut unfolded);
        let mut slots = [const { std::mem::MaybeUninit::uninit() }; 8];
        let (head, length) = parse_response(&unfolded, &mut slots).expect("a head").expect("a whole one");
        prop_assert_eq!(length, expected);
        prop_assert!(head.fields.iter().all(|field| !field.value.contains(&b'\n')));
        let ours: Vec<_> = head.fields.iter().map(|field| (field.name.to_owned(), words(field.value))).collect();
        prop_assert_eq!(ours, folded);
    }
}
