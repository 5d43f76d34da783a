//! What the gate checked of a request, as its explanation has it.

use maud::{Markup, html};

use super::{super::json::shorten, texts};
use crate::{console::Language, explain::Explanation};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckResult {
    Good,
    Bad,
    /// It was not made, or nothing depends on it.
    Open,
}

/// The checks in order, and the decision.
pub(super) fn checks(explanation: &Explanation, language: Language) -> Markup {
    html! {
        dl.checks {
            (head(explanation, language))
            (path(explanation, language))
            (rule(explanation, language))
            (token(explanation, language))
            (decision(explanation, language))
        }
    }
}

fn row(name: &str, result: CheckResult, value: &Markup, language: Language) -> Markup {
    let (class, mark, spoken) = match result {
        CheckResult::Good => ("good", "✓", Some(texts::GOOD)),
        CheckResult::Bad => ("bad", "✗", Some(texts::BAD)),
        CheckResult::Open => ("open", "·", None),
    };
    html! {
        div class=(class) {
            dt { span.mark aria-hidden="true" { (mark) } (name) }
            dd {
                @if let Some(spoken) = spoken { span.visually-hidden { (spoken.in_language(language)) " " } }
                (value)
            }
        }
    }
}

/// A text of the gate's explanation, which is in English.
fn english(text: &str) -> Markup {
    html! { span lang="en" { (text) } }
}

fn head(explanation: &Explanation, language: Language) -> Markup {
    let result = if explanation.head == "sound" {
        CheckResult::Good
    } else {
        CheckResult::Bad
    };
    let name = texts::HEAD.in_language(language);
    row(name, result, &english(&explanation.head), language)
}

fn path(explanation: &Explanation, language: Language) -> Markup {
    let name = texts::PATH.in_language(language);
    match &explanation.path_reading {
        None => not_reached(name, language),
        Some(reading) => {
            let is_ambiguous = explanation.code == Some("path_ambiguous");
            let result = if is_ambiguous {
                CheckResult::Bad
            } else {
                CheckResult::Good
            };
            row(name, result, &english(reading), language)
        }
    }
}

fn rule(explanation: &Explanation, language: Language) -> Markup {
    let name = texts::RULE.in_language(language);
    match (&explanation.rule, &explanation.asks) {
        (Some(rule), asks) => {
            let value = html! {
                code { (rule) }
                @if let Some(asks) = asks { " – " (english(asks)) }
            };
            row(name, CheckResult::Good, &value, language)
        }
        (None, _) if explanation.passes => {
            let value = html! { (texts::OWN_ROUTE.in_language(language)) };
            row(name, CheckResult::Open, &value, language)
        }
        (None, _) => not_reached(name, language),
    }
}

fn token(explanation: &Explanation, language: Language) -> Markup {
    let name = texts::TOKEN.in_language(language);
    let token = &explanation.token;
    if explanation.rule.is_none() && !explanation.passes {
        return not_reached(name, language);
    }
    let is_needed = token.matters;
    let (result, state) = match token.state {
        "none" if is_needed => (CheckResult::Bad, texts::TOKEN_NONE.in_language(language)),
        "none" => (
            CheckResult::Open,
            texts::TOKEN_NOT_NEEDED.in_language(language),
        ),
        "valid" => (CheckResult::Good, texts::TOKEN_VALID.in_language(language)),
        "malformed" => (
            CheckResult::Bad,
            texts::TOKEN_MALFORMED.in_language(language),
        ),
        code => (CheckResult::Bad, code),
    };
    let value = html! {
        (state)
        @if let Some(user) = &token.user { ", " (texts::USER.in_language(language)) " " code { (user) } }
        @if let Some(why) = &token.why { ": " (english(why)) }
    };
    row(name, result, &value, language)
}

fn decision(explanation: &Explanation, language: Language) -> Markup {
    let name = texts::DECISION.in_language(language);
    if !explanation.passes {
        let value = html! {
            strong {
                (texts::REFUSED.in_language(language))
                @if let Some(status) = explanation.status { " " (status) }
                @if let Some(code) = explanation.code { " " code { (code) } }
            }
            @if let Some(detail) = &explanation.detail { " – " (english(&shorten(detail))) }
        };
        return row(name, CheckResult::Bad, &value, language);
    }
    let text = match explanation.answered_by {
        "backend" => texts::FORWARDED,
        _ => texts::ANSWERED,
    };
    let value = html! { strong { (text.in_language(language)) } };
    row(name, CheckResult::Good, &value, language)
}

fn not_reached(name: &str, language: Language) -> Markup {
    let value = html! { (texts::NOT_REACHED.in_language(language)) };
    row(name, CheckResult::Open, &value, language)
}
