//! A path that passes has one reading, and the rule that decides on it is the one that a lenient
//! backend has in mind too.
//!
//! Input: a request target.

use std::sync::LazyLock;

use menshen::{
    config::Access,
    policy::{RuleSet, path},
};

use super::{
    readers::{self, READINGS},
    world,
};

static RULES: LazyLock<RuleSet> =
    LazyLock::new(|| RuleSet::compile(&world::config().rule).expect("rules that compile"));

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(target) = path::check(text) else {
        return;
    };
    let raw = target.path.as_bytes();
    assert!(text.starts_with('/') && text.is_ascii(), "{text:?}");
    assert_eq!(
        text,
        target.query.map_or_else(
            || target.path.to_owned(),
            |query| format!("{}?{query}", target.path)
        )
    );

    // One decoding is all there is, and nothing that a server does before or after it leads
    // elsewhere.
    let once = readers::decode(raw);
    assert_eq!(readers::decode(&once), once, "{text:?} decodes twice");
    let decoded = std::str::from_utf8(&once).expect("UTF-8 after decoding");
    assert!(!decoded.contains(char::is_control), "{text:?}");
    for reading in READINGS {
        assert_eq!(reading(raw), raw, "{text:?}");
        let read = reading(&once);
        let spaces = once.contains(&b' ');
        assert!(
            read == once || (spaces && read == readers::cut(&once)),
            "{text:?} decoded"
        );
    }
    assert_eq!(
        readers::names(&readers::cut_names(&once)),
        readers::names(&once),
        "{text:?} has a name of dots and blanks"
    );
    let depth = |path: &[u8]| path.iter().filter(|&&byte| byte == b'/').count();
    assert_eq!(depth(raw), depth(&once), "{text:?} has a hidden separator");
    let carried = http::uri::PathAndQuery::try_from(text).expect("what carries it on takes it");
    assert_eq!(carried.as_str(), text, "carried on as it is");

    for method in ["GET", "HEAD", "POST", "DELETE"] {
        let access = RULES.find(target.path, method).rule.access;
        let exact = world::expected(raw, method);
        let lenient = world::expected(&lenient(&once), method);
        match access {
            // Only what is listed is open, byte by byte, and nothing that a lenient backend reads
            // as closed.
            Access::Public => assert!(
                exact == Access::Public && lenient == Access::Public,
                "{method} {text:?} is open"
            ),
            Access::Optional => panic!("no rule is optional"),
            Access::Required => assert!(
                lenient != Access::Deny,
                "{method} {text:?} passes with a token"
            ),
            Access::Deny => assert!(
                exact == Access::Deny || lenient == Access::Deny,
                "{method} {text:?} is closed"
            ),
        }
    }
}

/// Without case, the slash at the end, and dots and blanks at the end of names.
fn lenient(path: &[u8]) -> Vec<u8> {
    let lower = readers::cut_names(&path.to_ascii_lowercase());
    match lower.strip_suffix(b"/") {
        Some(shorter) if !shorter.is_empty() => shorter.to_vec(),
        _ => lower,
    }
}
