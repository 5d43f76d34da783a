//! A chunked body that is accepted ends in one place for every kind of reader, however its bytes
//! are split; what a client may send is exactly what RFC 9112 writes; what is sent on is read back
//! as it was meant; a response head has one length.
//!
//! Input: a seed for the split, and the bytes of a connection after the head of a message, or of a
//! response.

use std::mem::MaybeUninit;

use menshen::http1::{
    BodyDecoder, BodyEncoder, BodyEvent, BodyLength, Decoded, InvalidBody, InvalidHead, Peer,
    Trailers, parse_response, response_body, unfold,
};

use super::readers::{self, Length};

/// Most digits of a size, largest size, and most trailers of a client.
const MAX_DIGITS: usize = 16;
const MAX_SIZE: u64 = 1 << 53;
const MAX_TRAILERS: usize = 100;

type Field<'a> = (&'a [u8], &'a [u8]);

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let Some((&seed, bytes)) = data.split_first() else {
        return;
    };
    for length in [
        BodyLength::Chunked,
        BodyLength::Known(u64::from(seed)),
        BodyLength::UntilClose,
        BodyLength::None,
    ] {
        let [client, backend] = [Peer::Client, Peer::Backend].map(|peer| {
            let whole = decode(length, peer, bytes, None);
            assert_eq!(
                decode(length, peer, bytes, Some(seed)),
                whole,
                "{length:?} {peer:?}: another split, another body"
            );
            whole
        });
        if client.end == Ok(true) {
            assert_eq!(backend, client, "a backend may send what a client may");
        }
        if length == BodyLength::Chunked {
            one_end(bytes, &client);
            one_end(bytes, &backend);
            to_the_letter(bytes, &client);
            read_back(&backend, seed);
        }
    }
    response(bytes);
}

/// What a decoder makes of bytes.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    data: Vec<u8>,
    trailers: Option<Trailers>,
    /// Bytes of the message; 0 with an error.
    used: usize,
    /// Whether the body is whole.
    end: Result<bool, InvalidBody>,
}

/// Decodes all at once, or in pieces that the seed decides.
fn decode(length: BodyLength, peer: Peer, bytes: &[u8], seed: Option<u8>) -> Reading {
    let mut decoder = BodyDecoder::new(length, peer);
    let mut reading = Reading {
        data: Vec::new(),
        trailers: None,
        used: 0,
        end: Ok(false),
    };
    let mut random = u32::from(seed.unwrap_or_default());
    let mut next = |most: usize| match seed {
        None => most,
        Some(_) => {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            most.min(1 + (random >> 24) as usize % 9)
        }
    };
    let mut arrived = 0;
    loop {
        let rest = &bytes[reading.used..arrived];
        let Decoded { skip, event } = match decoder.decode(rest) {
            Ok(decoded) => decoded,
            Err(error) => {
                assert_eq!(
                    decoder.decode(b"0\r\n\r\n"),
                    Err(error),
                    "an error is final"
                );
                return Reading {
                    used: 0,
                    end: Err(error),
                    ..reading
                };
            }
        };
        reading.used += skip;
        match event {
            BodyEvent::NeedMore => {
                assert_eq!(skip, rest.len(), "a byte is looked at twice");
                if arrived == bytes.len() {
                    assert!(!decoder.is_complete());
                    let ends = decoder.end_of_input();
                    assert_eq!(ends.is_ok(), length == BodyLength::UntilClose, "{ends:?}");
                    return reading;
                }
                arrived += next(bytes.len() - arrived);
            }
            BodyEvent::Data(len) => {
                assert!(len > 0 && skip + len <= rest.len(), "data beyond the input");
                let taken = next(len);
                reading.data.extend_from_slice(&rest[skip..skip + taken]);
                reading.used += taken;
                decoder.consume(taken);
            }
            BodyEvent::Complete => {
                assert!(decoder.is_complete() && decoder.end_of_input().is_ok());
                reading.trailers = decoder.take_trailers();
                reading.end = Ok(true);
                return reading;
            }
        }
    }
}

/// How a reader takes a line to end.
#[derive(Debug, Clone, Copy)]
enum LineEnd {
    CrLf,
    Lf,
    Either,
}

/// Every lenient reader finds the same data and the same end in a body that is accepted.
fn one_end(bytes: &[u8], reading: &Reading) {
    if reading.end != Ok(true) {
        return;
    }
    for line_end in [LineEnd::CrLf, LineEnd::Lf, LineEnd::Either] {
        for reads_line_after_chunk in [false, true] {
            let lenient = lenient(bytes, line_end, reads_line_after_chunk);
            let (data, rest) = lenient
                .unwrap_or_else(|| panic!("{line_end:?} finds no end in {}", bytes.escape_ascii()));
            assert_eq!(data, reading.data, "{line_end:?}: {}", bytes.escape_ascii());
            assert_eq!(
                rest,
                &bytes[reading.used..],
                "{line_end:?}: {}",
                bytes.escape_ascii()
            );
        }
    }
}

/// Reads a chunked body like a server that looks at the digits of a size and forgives the rest: its
/// data, and the bytes behind it.
fn lenient(
    bytes: &[u8],
    line_end: LineEnd,
    reads_line_after_chunk: bool,
) -> Option<(Vec<u8>, &[u8])> {
    let (mut data, mut rest) = (Vec::new(), bytes);
    loop {
        let (line, after) = cut_line(rest, line_end)?;
        let digits = line.trim_ascii_start();
        let digits = &digits[..digits
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count()];
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        rest = after;
        if size == 0 {
            loop {
                let (line, after) = cut_line(rest, line_end)?;
                rest = after;
                if line.is_empty() {
                    return Some((data, rest));
                }
            }
        }
        data.extend_from_slice(rest.get(..size)?);
        rest = &rest[size..];
        rest = if reads_line_after_chunk {
            cut_line(rest, line_end)?.1
        } else {
            rest.get(2..)?
        };
    }
}

fn cut_line(bytes: &[u8], line_end: LineEnd) -> Option<(&[u8], &[u8])> {
    match line_end {
        LineEnd::CrLf => {
            let at = bytes.windows(2).position(|window| window == b"\r\n")?;
            Some((&bytes[..at], &bytes[at + 2..]))
        }
        LineEnd::Lf => {
            let at = bytes.iter().position(|&byte| byte == b'\n')?;
            Some((
                bytes[..at].strip_suffix(b"\r").unwrap_or(&bytes[..at]),
                &bytes[at + 1..],
            ))
        }
        LineEnd::Either => {
            let at = bytes
                .iter()
                .position(|&byte| matches!(byte, b'\r' | b'\n'))?;
            let end = if bytes[at..].starts_with(b"\r\n") {
                at + 2
            } else {
                at + 1
            };
            Some((&bytes[..at], &bytes[end..]))
        }
    }
}

/// What a client may send is what the grammar of RFC 9112 section 7.1 says, no less and no more.
fn to_the_letter(bytes: &[u8], reading: &Reading) {
    match strict(bytes) {
        Some((data, trailers, rest)) => {
            assert_eq!(reading.end, Ok(true), "{} is a body", bytes.escape_ascii());
            assert_eq!((&reading.data, &bytes[reading.used..]), (&data, rest));
            let ours: Vec<Field> = reading.trailers.iter().flat_map(Trailers::iter).collect();
            assert_eq!(ours, trailers);
        }
        None => assert_ne!(reading.end, Ok(true), "{} is no body", bytes.escape_ascii()),
    }
}

/// Reads a body by the grammar, with the limits: data, trailers, and what follows.
fn strict(bytes: &[u8]) -> Option<(Vec<u8>, Vec<Field<'_>>, &[u8])> {
    let (mut data, mut rest) = (Vec::new(), bytes);
    loop {
        let (line, after) = cut_line(rest, LineEnd::CrLf)?;
        let digits = line
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        if !(1..=MAX_DIGITS).contains(&digits) || !are_extensions(&line[digits..]) {
            return None;
        }
        let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16)
            .ok()
            .filter(|size| *size <= MAX_SIZE)?;
        if size == 0 {
            let (trailers, rest) = strict_trailers(after)?;
            return Some((data, trailers, rest));
        }
        let size = usize::try_from(size).ok()?;
        data.extend_from_slice(after.get(..size)?);
        rest = after[size..].strip_prefix(b"\r\n")?;
    }
}

fn strict_trailers(mut rest: &[u8]) -> Option<(Vec<Field<'_>>, &[u8])> {
    let mut trailers = Vec::new();
    loop {
        let (line, after) = cut_line(rest, LineEnd::CrLf)?;
        rest = after;
        if line.is_empty() {
            return Some((trailers, rest));
        }
        let (name, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
        let value = &value[1..];
        if name.is_empty()
            || token(name) != name.len()
            || !value.iter().all(|&byte| is_text(byte))
            || trailers.len() == MAX_TRAILERS
        {
            return None;
        }
        let blanks_after = value
            .iter()
            .rev()
            .take_while(|&&byte| is_blank(byte))
            .count();
        trailers.push((name, after_blanks(&value[..value.len() - blanks_after])));
    }
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = after_blanks(rest).strip_prefix(b";") else {
            return false;
        };
        rest = after_blanks(after);
        let name = token(rest);
        if name == 0 {
            return false;
        }
        rest = &rest[name..];
        let Some(after) = after_blanks(rest).strip_prefix(b"=") else {
            continue;
        };
        rest = after_blanks(after);
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let mut escaped = false;
            let end = quoted.iter().position(|&byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            });
            let Some(end) = end.filter(|end| quoted[..*end].iter().all(|&byte| is_text(byte)))
            else {
                return false;
            };
            rest = &quoted[end + 1..];
        } else {
            let value = token(rest);
            if value == 0 {
                return false;
            }
            rest = &rest[value..];
        }
    }
    true
}

fn token(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
        .count()
}

fn after_blanks(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|&&byte| is_blank(byte)).count()..]
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || !byte.is_ascii_control()
}

/// What is framed anew is to the letter, and reads as it was meant.
fn read_back(reading: &Reading, seed: u8) {
    if reading.end != Ok(true) {
        return;
    }
    let (mut encoder, mut wire) = (BodyEncoder::new(BodyLength::Chunked), Vec::new());
    for part in reading.data.chunks(1 + usize::from(seed)) {
        encoder.begin_part(part.len(), &mut wire).expect("a part");
        wire.extend_from_slice(part);
        encoder.end_part(&mut wire);
    }
    for _ in 0..2 {
        encoder
            .finish(reading.trailers.as_ref(), &mut wire)
            .expect("an end");
    }
    let again = decode(BodyLength::Chunked, Peer::Backend, &wire, Some(seed));
    assert_eq!(
        (&again.data, &again.trailers, again.used, again.end),
        (&reading.data, &reading.trailers, wire.len(), Ok(true))
    );
    one_end(&wire, &again);
    if reading
        .trailers
        .as_ref()
        .is_none_or(|trailers| trailers.len() <= MAX_TRAILERS)
    {
        assert!(strict(&wire).is_some(), "{}", wire.escape_ascii());
    }
}

/// A head has no control characters, is none without its last byte, and every reader of its fields
/// finds the same length.
fn response(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let mut slots = [const { MaybeUninit::uninit() }; 64];
    if let Err(InvalidHead::Folded) = parse_response(&bytes, &mut slots) {
        let before = bytes.clone();
        unfold(&mut bytes);
        let changed = before
            .iter()
            .zip(&bytes)
            .filter(|(before, after)| before != after);
        assert!(changed.clone().count() > 0, "folded, and nothing to unfold");
        assert!(
            changed
                .into_iter()
                .all(|(before, after)| matches!(before, b'\r' | b'\n') && *after == b' ')
        );
    }
    let mut slots = [const { MaybeUninit::uninit() }; 64];
    let (head, length) = match parse_response(&bytes, &mut slots) {
        Ok(Some(whole)) => whole,
        Ok(None) => return,
        Err(error) => {
            assert_ne!(
                error,
                InvalidHead::Folded,
                "unfolded and still folded: {}",
                bytes.escape_ascii()
            );
            return;
        }
    };
    assert!(bytes[..length].ends_with(b"\n") && (100..=999).contains(&head.status));
    for field in head.fields {
        assert!(!field.name.is_empty() && token(field.name.as_bytes()) == field.name.len());
        assert!(
            field.value.iter().all(|&byte| is_text(byte))
                && after_blanks(field.value).len() == field.value.len()
        );
    }
    let mut fewer = [const { MaybeUninit::uninit() }; 64];
    assert!(
        matches!(parse_response(&bytes[..length - 1], &mut fewer), Ok(None)),
        "whole without its last byte"
    );
    let fields: Vec<Field> = head
        .fields
        .iter()
        .map(|field| (field.name.as_bytes(), field.value))
        .collect();
    for request_is_head in [false, true] {
        let Ok(framing) = response_body(&head, request_is_head) else {
            continue;
        };
        let is_bodiless = request_is_head || matches!(head.status, 100..=199 | 204 | 304);
        assert_eq!(framing.body == BodyLength::None, is_bodiless);
        let expected = match framing.body {
            BodyLength::None => continue,
            BodyLength::Known(length) => Length::Bytes(length.into()),
            BodyLength::Chunked => Length::Chunked,
            BodyLength::UntilClose => Length::Bytes(0),
        };
        assert!(framing.body != BodyLength::UntilClose || !framing.keep_alive);
        for (last, coding_wins) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(
                readers::length(&fields, false, last, coding_wins),
                expected,
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
