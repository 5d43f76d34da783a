//! What became of the headers between the client and the backend: sent ones compared with received
//! ones.

use super::super::record::Exchange;

/// A header field, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeaderChange<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    pub(super) change: Change<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// Sent, and not received; with the gate's reason.
    Stripped(Option<&'a str>),
    /// Received, and not sent.
    Set,
    /// Received as it was sent.
    Passed,
}

/// Stripped headers first, then those that were set, then the others.
pub(super) fn header_changes(exchange: &Exchange) -> Vec<HeaderChange<'_>> {
    let Some(received) = &exchange.received else {
        return Vec::new();
    };
    let reason = |name: &str| {
        let stripped = &exchange.explanation.as_ref()?.stripped;
        let note = stripped
            .iter()
            .find(|note| note.name.eq_ignore_ascii_case(name))?;
        Some(note.value.as_str())
    };
    compare(&exchange.sent_headers, &received.headers, reason)
}

fn compare<'a>(
    sent: &'a [(String, String)],
    received: &'a [(String, String)],
    reason: impl Fn(&str) -> Option<&'a str>,
) -> Vec<HeaderChange<'a>> {
    let mut unmatched: Vec<_> = received.iter().collect();
    let (mut changes, mut passed) = (Vec::new(), Vec::new());
    for (name, value) in sent {
        let same =
            |(known, other): &&(String, String)| known.eq_ignore_ascii_case(name) && other == value;
        let change = match unmatched.iter().position(same) {
            Some(at) => {
                unmatched.remove(at);
                passed.push(HeaderChange {
                    name,
                    value,
                    change: Change::Passed,
                });
                continue;
            }
            None => Change::Stripped(reason(name)),
        };
        changes.push(HeaderChange {
            name,
            value,
            change,
        });
    }
    changes.extend(unmatched.into_iter().map(|(name, value)| HeaderChange {
        name,
        value,
        change: Change::Set,
    }));
    changes.extend(passed);
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn a_header_is_stripped_set_or_passed_by_what_arrived() {
        let sent = fields(&[
            ("Host", "a"),
            ("X-User-Id", "1"),
            ("x_user_id", "1"),
            ("A", "1"),
        ]);
        let received = fields(&[("host", "a"), ("x-user-id", "42"), ("a", "2")]);
        let found = compare(&sent, &received, |name| {
            (name == "X-User-Id").then_some("only menshen may set it")
        });
        let found: Vec<_> = found
            .iter()
            .map(|field| (field.name, field.value, field.change))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "X-User-Id",
                    "1",
                    Change::Stripped(Some("only menshen may set it"))
                ),
                ("x_user_id", "1", Change::Stripped(None)),
                // Another value is another field.
                ("A", "1", Change::Stripped(None)),
                ("x-user-id", "42", Change::Set),
                ("a", "2", Change::Set),
                ("Host", "a", Change::Passed),
            ]
        );
    }

    #[test]
    fn a_field_that_was_sent_twice_and_arrived_once_is_stripped_once() {
        let sent = fields(&[("a", "1"), ("a", "1")]);
        let received = fields(&[("a", "1")]);
        let found: Vec<_> = compare(&sent, &received, |_| None)
            .iter()
            .map(|field| field.change)
            .collect();
        assert_eq!(found, [Change::Stripped(None), Change::Passed]);
    }
}
