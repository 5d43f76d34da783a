//! The flat XML that WeChat sends: one element with text elements in it.

use std::collections::BTreeMap;

use quick_xml::{Reader, events::Event};

/// Deepest nesting that is accepted: some messages have lists, which are ignored.
const MAX_DEPTH: usize = 8;

/// The texts of the elements directly below the root, each name once. `None` where the XML is not
/// well formed, or has a DTD, an entity of its own or a processing instruction, which WeChat never
/// sends.
pub(super) fn fields(body: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut reader = Reader::from_reader(body);
    reader.config_mut().expand_empty_elements = true;
    let (mut fields, mut path) = (BTreeMap::new(), Vec::<String>::new());
    let (mut text, mut has_ended) = (String::new(), false);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if has_ended || path.len() >= MAX_DEPTH || start.attributes().next().is_some() {
                    return None;
                }
                path.push(std::str::from_utf8(start.name().as_ref()).ok()?.to_owned());
                text.clear();
            }
            // The reader has checked that the names match.
            Event::End(_) => {
                let name = path.pop()?;
                match path.len() {
                    0 => has_ended = true,
                    1 if fields.insert(name, std::mem::take(&mut text)).is_some() => return None,
                    _ => {}
                }
                text.clear();
            }
            Event::Text(part) => text.push_str(std::str::from_utf8(&part).ok()?),
            Event::CData(part) => text.push_str(std::str::from_utf8(&part).ok()?),
            Event::GeneralRef(part) => match part.resolve_char_ref().ok()? {
                Some(sign) => text.push(sign),
                None => text.push_str(quick_xml::escape::resolve_predefined_entity(
                    std::str::from_utf8(&part).ok()?,
                )?),
            },
            Event::Decl(_) | Event::Comment(_) => {}
            Event::Empty(_) | Event::PI(_) | Event::DocType(_) => return None,
            Event::Eof => return (has_ended && path.is_empty()).then_some(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Vec<(String, String)>> {
        fields(text.as_bytes()).map(|fields| fields.into_iter().collect())
    }

    #[test]
    fn texts_are_read_from_flat_xml() {
        let text = "<?xml version=\"1.0\"?>\n<xml>\n <A><![CDATA[a<b]]></A>\n <B>1</B><C/><D>&lt;&#65;</D><E><F>x</F></E></xml>\n";
        let expected = [("A", "a<b"), ("B", "1"), ("C", ""), ("D", "<A"), ("E", "")];
        assert_eq!(
            read(text),
            Some(
                expected
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec()
            )
        );
    }

    #[test]
    fn what_wechat_never_sends_is_not_read() {
        for text in [
            "",
            "x",
            "<xml>",
            "<xml></yml>",
            "<xml><A>1</A><A>2</A></xml>",
            "<!DOCTYPE xml [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><xml><A>&a;</A></xml>",
            "<!DOCTYPE xml><xml><A>1</A></xml>",
            "<xml><A>&a;</A></xml>",
            "<?php x ?><xml><A>1</A></xml>",
            "<xml><A b=\"c\">1</A></xml>",
            "<xml><A>1</A></xml><xml><A>2</A></xml>",
            "<a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a></a>",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(fields(b"<xml><A>\xff</A></xml>"), None);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(body: Vec<u8>, text in "(<[/!?]?[a-zA]{0,3}>?|[a-z&;#\\[\\]]{0,4}){0,12}") {
            let _ = fields(&body);
            let _ = fields(text.as_bytes());
        }
    }
}
