//! One number, one value: whatever its spelling, its digits in their order are what is kept.
//!
//! Input: what a person typed.

use menshen::types::Phone;

/// A panic is a broken promise.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let countries = ["86".to_owned(), "852".to_owned(), "1".to_owned()];
    let served = Phone::parse(text, &countries);
    let any = Phone::parse_any(text);
    assert!(served.is_err() || served == any, "{text:?}");
    let Ok(phone) = any else { return };
    let number = phone.as_str();
    let digits = number
        .strip_prefix('+')
        .unwrap_or_else(|| panic!("{number}"));
    assert!(
        (8..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()),
        "{number}"
    );

    // The digits as a person sees them, in their order.
    let seen: String = text
        .chars()
        .filter_map(|sign| match sign {
            '0'..='9' => Some(sign),
            '０'..='９' => char::from_u32(u32::from(sign) - 0xff10 + 0x30),
            _ => None,
        })
        .collect();
    assert!(
        !text
            .trim_start()
            .starts_with(['-', '\u{2013}', '\u{2014}', '\u{2212}', '\u{ff0d}']),
        "{text:?} begins with a dash"
    );
    let spellings = [
        seen.clone(),
        seen.strip_prefix("00").unwrap_or(&seen).to_owned(),
        format!("86{seen}"),
    ];
    assert!(
        spellings.iter().any(|spelling| spelling == digits),
        "{text:?} became {number}"
    );
    // What is kept reads as itself, typed again or from the store.
    assert_eq!(Phone::parse_any(number).as_ref(), Ok(&phone));
    assert_eq!(Phone::try_from(number.to_owned()).as_ref(), Ok(&phone));
    let masked = phone.masked();
    let shown = masked.bytes().filter(u8::is_ascii_digit).count();
    assert!(
        masked.contains("****") && shown < digits.len(),
        "{masked} shows too much"
    );
    assert!(!format!("{phone:?}").contains(digits));
}
