//! Words for NULL in exports of databases whose format has no other way to write it.
//!
//! A user may be called `null`, so the summary counts the values that were taken for NULL.

use std::collections::BTreeMap;

use super::field::Field;

/// Of MySQL and most tools, of `psql` and MySQL's files, and of programs.
const WORDS: [&str; 3] = ["NULL", "\\N", "null"];

/// How often each word was the value of a field.
#[derive(Debug, Default)]
pub(super) struct NullWords(BTreeMap<Field, [u64; WORDS.len()]>);

impl NullWords {
    /// Whether a value is NULL: empty, or one of the words, which is counted.
    pub(super) fn is_null(&mut self, field: Field, text: &str) -> bool {
        let text = text.trim();
        let Some(word) = WORDS.iter().position(|word| *word == text) else {
            return text.is_empty();
        };
        let counts = self.0.entry(field).or_default();
        counts[word] += 1;
        true
    }

    /// The counts by column: `unionid 12 NULL; nickname 1 NULL, 2 null`.
    pub(super) fn summary(&self) -> Option<String> {
        let columns: Vec<_> = self
            .0
            .iter()
            .map(|(field, counts)| format!("{} {}", field.name(), counted(counts)))
            .collect();
        (!columns.is_empty()).then(|| columns.join("; "))
    }
}

fn counted(counts: &[u64; WORDS.len()]) -> String {
    let all = counts.iter().zip(WORDS).filter(|(count, _)| **count > 0);
    all.map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_nothing_are_counted_and_nothing_else_is_one() {
        let mut null_words = NullWords::default();
        assert_eq!(null_words.summary(), None);
        for (field, text, is_null) in [
            (Field::UnionId, "NULL", true),
            (Field::UnionId, " NULL ", true),
            (Field::UnionId, "\\N", true),
            (Field::Nickname, "null", true),
            (Field::Nickname, "", true),
            (Field::Nickname, "  ", true),
            (Field::Nickname, "Null", false),
            (Field::Nickname, "nulla", false),
            (Field::Nickname, "N", false),
            (Field::Nickname, "\\n", false),
            (Field::Nickname, "0", false),
        ] {
            assert_eq!(null_words.is_null(field, text), is_null, "{text:?}");
        }
        assert_eq!(
            null_words.summary().as_deref(),
            Some("unionid 2 NULL, 1 \\N; nickname 1 null")
        );
    }
}
