//! Figures as text, and small tables of them.

use maud::{Markup, html};

/// A count: `1234` is `1,234`.
pub(super) fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits.as_str()),
    };
    let mut out = String::from(sign);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate, with as many digits as help.
pub(super) fn rate(value: f64) -> String {
    match value {
        ..0.000_5 => "0".to_owned(),
        ..0.995 => format!("{value:.2}"),
        ..99.5 => format!("{value:.1}"),
        _ => number(value),
    }
}

/// A share of one: `12.3 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Seconds, in the largest unit of which there is one.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        ..1e-9 => "0".to_owned(),
        ..0.001 => format!("{:.1} µs", seconds * 1e6),
        ..1.0 => format!("{:.1} ms", seconds * 1e3),
        ..60.0 => format!("{seconds:.1} s"),
        ..3_600.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// Bytes, in binary units.
pub(super) fn bytes(value: f64) -> String {
    const KIB: f64 = 1024.0;
    match value {
        ..KIB => format!("{value:.0} B"),
        ..1_048_576.0 => format!("{:.1} KiB", value / KIB),
        ..1_073_741_824.0 => format!("{:.1} MiB", value / KIB / KIB),
        _ => format!("{:.2} GiB", value / KIB / KIB / KIB),
    }
}

/// A table of counts, the largest first, each with a bar. `columns` are the names of the labels.
pub(super) fn counts(
    title: &str,
    columns: &[&str],
    mut rows: Vec<(Vec<String>, f64)>,
    count: &str,
    nothing: &str,
) -> Markup {
    rows.sort_by(|one, other| other.1.total_cmp(&one.1));
    let most = rows.first().map_or(1.0, |row| row.1);
    html! {
        section.card {
            h2 { (title) }
            @if rows.is_empty() {
                p.empty { (nothing) }
            } @else {
                table.counts {
                    thead { tr {
                        @for column in columns { th scope="col" { (column) } }
                        th.figure scope="col" { (count) }
                    } }
                    tbody {
                        @for (labels, value) in &rows {
                            tr {
                                @for (n, label) in labels.iter().enumerate() {
                                    @if n == 0 { th scope="row" { code { (label) } } }
                                    @else { td { code { (label) } } }
                                }
                                td.figure {
                                    (number(*value))
                                    progress max="100" value=(format!("{:.0}", value / most * 100.0)) aria-hidden="true" {}
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A text with names between backticks.
pub(super) fn coded(text: &str) -> Markup {
    html! {
        @for (n, part) in text.split('`').enumerate() {
            @if n % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_have_units() {
        for (text, shown) in [
            (number(0.0), "0"),
            (number(1234.0), "1,234"),
            (number(1_234_567.4), "1,234,567"),
            (rate(0.0), "0"),
            (rate(0.25), "0.25"),
            (rate(12.34), "12.3"),
            (rate(1234.0), "1,234"),
            (percent(0.123), "12.3 %"),
            (duration(0.0), "0"),
            (duration(0.000_001_5), "1.5 µs"),
            (duration(0.25), "250.0 ms"),
            (duration(90.0 * 60.0), "1.5 h"),
            (duration(3.0 * 86_400.0), "3.0 d"),
            (bytes(16.0 * 1_048_576.0), "16.0 MiB"),
        ] {
            assert_eq!(text, shown);
        }
    }
}
