//! Digits as people type and paste them, and which characters are invisible.
//!
//! Contacts of iOS wrap a number in U+202D and U+202C, keyboards have a dozen dashes and blanks,
//! and input methods type full-width digits. None of it changes which number is meant, so it is
//! skipped.

/// Digits as they were typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ParsedDigits {
    /// A plus stood before them.
    pub(super) plus: bool,
    /// In ASCII.
    pub(super) digits: String,
}

impl ParsedDigits {
    /// Parses digits with separators between them. `None` for anything else, also where a
    /// dash or a dot stands before the first digit: that is not the same number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Far longer than any number with its separators.
        if text.len() > 256 {
            return None;
        }
        let (mut plus, mut digits) = (false, String::new());
        for char in text.trim().chars() {
            match char {
                '0'..='9' => digits.push(char),
                '０'..='９' => {
                    digits.push(char::from_digit(u32::from(char) - u32::from('０'), 10)?);
                }
                '+' | '＋' | '﹢' if digits.is_empty() && !plus => plus = true,
                '(' | ')' | '（' | '）' => {}
                _ if is_invisible(char) || is_blank_in_line(char) => {}
                _ if is_separator(char) && !digits.is_empty() => {}
                _ => return None,
            }
        }
        Some(Self { plus, digits })
    }
}

/// The digits in ASCII, after a plus where one was typed. `None` where the text is something else.
pub fn normalize_digits(text: &str) -> Option<String> {
    let ParsedDigits { plus, digits } = ParsedDigits::parse(text)?;
    (!digits.is_empty()).then(|| if plus { format!("+{digits}") } else { digits })
}

/// Whether a text is empty, or has only blanks and invisible characters.
pub fn is_visually_empty(text: &str) -> bool {
    text.chars()
        .all(|char| is_invisible(char) || is_blank(char))
}

/// Characters that are not drawn: `Default_Ignorable_Code_Point` of Unicode 16, and the anchors of
/// annotations.
const fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// `White_Space` of Unicode, and the empty pattern of Braille.
fn is_blank(char: char) -> bool {
    char.is_whitespace() || char == '\u{2800}'
}

fn is_blank_in_line(char: char) -> bool {
    is_blank(char)
        && !matches!(
            char,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
}

/// Dashes and dots: `Dash_Punctuation`, minus signs, and what Chinese and Japanese keyboards type
/// instead.
const fn is_separator(char: char) -> bool {
    matches!(
        char,
        '-' | '.'
            | '\u{58a}'
            | '\u{5be}'
            | '\u{1806}'
            | '\u{2010}'..='\u{2015}'
            | '\u{2043}'
            | '\u{207b}'
            | '\u{208b}'
            | '\u{2212}'
            | '\u{2500}'..='\u{2501}'
            | '\u{2e3a}'..='\u{2e3b}'
            | '\u{301c}'
            | '\u{3030}'
            | '\u{30a0}'
            | '\u{30fc}'
            | '\u{fe31}'..='\u{fe32}'
            | '\u{fe58}'
            | '\u{fe63}'
            | '\u{ff0d}'
            | '\u{ff70}'
            | '\u{b7}'
            | '\u{2022}'
            | '\u{2027}'
            | '\u{30fb}'
            | '\u{ff65}'
            | '\u{ff0e}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_signs_dashes_and_blanks_are_passed_over_anywhere() {
        let between = [
            "\u{200b}",
            "\u{200e}",
            "\u{202a}",
            "\u{202d}",
            "\u{202c}",
            "\u{2060}",
            "\u{2066}",
            "\u{2069}",
            "\u{feff}",
            "\u{ad}",
            "\u{fe0f}",
            "\u{3164}",
            " ",
            "\t",
            "\u{a0}",
            "\u{2002}",
            "\u{2007}",
            "\u{2009}",
            "\u{202f}",
            "\u{205f}",
            "\u{3000}",
            "\u{2800}",
            "-",
            "\u{2010}",
            "\u{2011}",
            "\u{2012}",
            "\u{2013}",
            "\u{2014}\u{2014}",
            "\u{2015}",
            "\u{2212}",
            "\u{fe63}",
            "\u{ff0d}",
            "\u{30fc}",
            "\u{ff70}",
            "\u{2500}",
            ".",
            "\u{b7}",
            "\u{30fb}",
            "(",
            "）",
        ];
        for char in between {
            for text in [
                format!("138{char}0013{char}8000"),
                format!("138{char}00138000{char}"),
            ] {
                assert_eq!(
                    normalize_digits(&text).as_deref(),
                    Some("13800138000"),
                    "{text:?}"
                );
            }
        }
        for text in [
            "\u{202d}13800138000\u{202c}",
            "\u{feff}１３８ 0013 8000\n",
            "\u{2068}(138)00138000\u{2069}",
        ] {
            assert_eq!(
                normalize_digits(text).as_deref(),
                Some("13800138000"),
                "{text:?}"
            );
        }
        for text in [
            "\u{202a}+86 138 0013 8000\u{202c}",
            "\u{200b}＋\u{200b}86-13800138000",
            "(+86)13800138000",
        ] {
            assert_eq!(
                normalize_digits(text).as_deref(),
                Some("+8613800138000"),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_number_does_not_begin_with_a_dash() {
        for dash in [
            "-", "\u{2013}", "\u{2014}", "\u{2212}", "\u{ff0d}", "\u{30fc}", ".", "\u{b7}",
        ] {
            for text in [
                format!("{dash}13800138000"),
                format!(" {dash} 138"),
                format!("\u{202d}{dash}138"),
                format!("+{dash}86138"),
            ] {
                assert_eq!(normalize_digits(&text), None, "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_no_digit_is_told_from_one() {
        for text in [
            "",
            " ",
            "\u{200b}",
            "+",
            "++86",
            "1+3",
            "138a",
            "138\n0013",
            "138\u{2028}0013",
            "١٣٨",
            "1\u{fe0f}\u{20e3}",
            "138,0",
            "138/0",
            "138\0",
            "🍧",
        ] {
            assert_eq!(normalize_digits(text), None, "{text:?}");
        }
        assert_eq!(normalize_digits(&"1 ".repeat(200)), None);
    }

    #[test]
    fn what_shows_nothing_is_told_from_what_shows_something() {
        for text in [
            "",
            " ",
            "\u{200b}",
            "\u{3164}",
            "\u{2800}\u{2800}",
            "\u{ffa0}\u{3000}",
            "\u{200d}\u{fe0f}",
            "\u{e0020}",
            "\u{115f}\u{1160}",
        ] {
            assert!(is_visually_empty(text), "{text:?}");
        }
        for text in ["a", "\u{200b}小\u{200b}", "🍧", ".", "\u{301}", "\u{fffd}"] {
            assert!(!is_visually_empty(text), "{text:?}");
        }
    }
}
