//! JSON for people: on one line where it fits, the fields in their order, long tokens shortened.
//!
//! It is formatted from the text, not from a parsed value, which would lose the order.

use super::color::{Color, Style};

/// Words longer than this are tokens; a UUID (36) is not.
const MAX_WORD_LEN: usize = 44;
/// How much of a token is printed at its start and its end: enough to distinguish two.
const HEAD: usize = 10;
const TAIL: usize = 8;

/// The lines of a JSON text, each at most `width` wide where the values allow. Text that is not
/// JSON stays readable.
pub(super) fn lines(text: &str, width: usize, color: Color) -> Vec<String> {
    let flat = lay_out(text, false, Color::Plain);
    if flat.iter().all(|line| line.chars().count() <= width) {
        return lay_out(text, false, color);
    }
    lay_out(text, true, color)
}

/// Shortens every long word, so that no whole token is on a shared screen.
pub(super) fn shorten(text: &str) -> String {
    let cut = |word: &str| {
        let characters: Vec<char> = word.chars().collect();
        if characters.len() <= MAX_WORD_LEN {
            return word.to_owned();
        }
        let (head, tail) = (&characters[..HEAD], &characters[characters.len() - TAIL..]);
        head.iter().chain(&['…']).chain(tail).collect()
    };
    text.split(' ').map(cut).collect::<Vec<String>>().join(" ")
}

fn lay_out(text: &str, spread: bool, color: Color) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut depth = 0_usize;
    let mut rest = text.trim_start();
    let mut just_opened = false;
    let next_line = |lines: &mut Vec<String>, depth: usize| {
        if spread {
            lines.push("  ".repeat(depth));
        }
    };
    while let Some(character) = rest.chars().next() {
        let end = if character == '"' {
            end_of_string(rest)
        } else {
            character.len_utf8()
        };
        let (token, after) = rest.split_at(end);
        rest = after.trim_start();
        let closes = matches!(character, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if closes != just_opened {
            next_line(&mut lines, depth);
        }
        just_opened = matches!(character, '{' | '[');
        let shown = match character {
            '"' if rest.starts_with(':') => color.paint(Style::Name, token),
            '"' if token.len() > 1 && token.ends_with('"') => {
                format!("\"{}\"", shorten(&token[1..token.len() - 1]))
            }
            ':' => ": ".to_owned(),
            ',' if !spread => ", ".to_owned(),
            _ => token.to_owned(),
        };
        if let Some(line) = lines.last_mut() {
            line.push_str(&shown);
        }
        if just_opened {
            depth += 1;
        } else if character == ',' {
            next_line(&mut lines, depth);
        }
    }
    lines
}

/// The end of the string that `text` starts with, after its closing quote.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            '"' if !escaped => return at + 1,
            character => escaped = character == '\\' && !escaped,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_on_one_line_and_the_rest_is_spread_in_order() {
        let text = r#"{"z":1,"a":{"b":[],"c":[true,null]},"d":"x, {y}: \" \\"}"#;
        assert_eq!(
            lines(text, 80, Color::Plain),
            [r#"{"z": 1, "a": {"b": [], "c": [true, null]}, "d": "x, {y}: \" \\"}"#]
        );
        let spread = lines(text, 30, Color::Plain);
        assert_eq!(
            spread,
            [
                "{",
                r#"  "z": 1,"#,
                r#"  "a": {"#,
                r#"    "b": [],"#,
                r#"    "c": ["#,
                "      true,",
                "      null",
                "    ]",
                "  },",
                r#"  "d": "x, {y}: \" \\""#,
                "}",
            ]
        );
    }

    #[test]
    fn what_is_not_json_is_shown_and_ends() {
        for text in ["", "ok", "\"open", "}}]]", "{\"a\":", "门神 …"] {
            assert!(!lines(text, 10, Color::Plain).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn tokens_are_cut_and_words_and_ids_are_not() {
        let token = "a".repeat(30) + &"z".repeat(30);
        assert_eq!(
            shorten(&format!("Bearer {token}")),
            "Bearer aaaaaaaaaa…zzzzzzzz"
        );
        for text in [
            "01a1f96d-b632-7bdb-9e7a-a915801ce0e5",
            "Sign in first: this path needs an access token, and has none",
            "",
        ] {
            assert_eq!(shorten(text), text);
        }
        assert_eq!(
            lines(&format!(r#"{{"t":"{token}"}}"#), 80, Color::Plain),
            [r#"{"t": "aaaaaaaaaa…zzzzzzzz"}"#]
        );
    }
}
