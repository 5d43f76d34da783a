//! What `http1::trailers` promises about fields that are appended.

use super::*;

fn fields(trailers: &Trailers) -> Vec<(&[u8], &[u8])> {
    trailers.iter().collect()
}

#[test]
fn what_is_not_one_line_is_no_trailer() {
    let mut trailers = Trailers::new();
    let names: [&[u8]; 9] = [
        b"", b" A", b"A ", b"A:", b"A\r\nB", b"A\n", b"A\0", b"\xe9", b"(A)",
    ];
    for name in names {
        assert_eq!(
            trailers.append(name, b"b"),
            Err(InvalidTrailer),
            "{}",
            name.escape_ascii()
        );
    }
    for byte in (0..=0x1f).chain([0x7f]).filter(|byte| *byte != b'\t') {
        assert_eq!(
            trailers.append(b"A", &[b'b', byte, b'c']),
            Err(InvalidTrailer),
            "{byte}"
        );
    }
    assert_eq!(
        (trailers.is_empty(), trailers.len(), fields(&trailers)),
        (true, 0, vec![])
    );
    assert_eq!(trailers.append(b"A", b" \t b\tc\xe9 \t"), Ok(()));
    assert_eq!(trailers.append(b"A", b" \t "), Ok(()));
    assert_eq!(
        fields(&trailers),
        [(&b"A"[..], &b"b\tc\xe9"[..]), (b"A", b"")]
    );
}

#[test]
fn fields_are_removed_whole() {
    let all = [
        (&b"A"[..], &b"1"[..]),
        (b"Bb", b"22"),
        (b"A", b""),
        (b"Ccc", b"333"),
        (b"Bb", b"4"),
    ];
    let mut seen = 0;
    // Every subset.
    for kept in 0..1_u32 << all.len() {
        let mut trailers = Trailers::new();
        for (name, value) in all {
            trailers.append(name, value).expect("a field");
        }
        let mut at = 0;
        trailers.retain(|name, value| {
            assert_eq!((name, value), all[at]);
            at += 1;
            kept & 1 << (at - 1) != 0
        });
        let expected: Vec<_> = (0..all.len())
            .filter(|at| kept & 1 << at != 0)
            .map(|at| all[at])
            .collect();
        assert_eq!(fields(&trailers), expected);
        trailers.append(b"D", b"5").expect("a field");
        assert_eq!(fields(&trailers).last(), Some(&(&b"D"[..], &b"5"[..])));
        assert_eq!(trailers.len(), expected.len() + 1);
        seen += 1;
    }
    assert_eq!(seen, 32);
}

#[test]
fn values_do_not_print() {
    let mut trailers = Trailers::new();
    trailers
        .append(b"X-Phone", b"13800138000")
        .expect("a field");
    assert!(!format!("{trailers:?}").contains("138"));
}
