//! The story of each tap, newest first.

use maud::{Markup, html};

use super::{
    super::{
        record::{Exchange, StepEvent, StepRecord, Vendor},
        step::Step,
        text::Text,
    },
    exchange::{exchange, status},
    tap::{Tap, TapOutcome},
    texts,
    view::PageView,
};
use crate::console::Language;

/// All stories.
pub(super) fn story(view: &PageView<'_>) -> Markup {
    let say = |text: Text| text.in_language(view.language);
    let mut taps = view.taps.iter().rev();
    html! {
        section.story id="story" aria-labelledby="story-title" tabindex="-1" {
            h2 id="story-title" { (say(texts::STORY)) }
            @match taps.next() {
                None => (empty(view)),
                Some(latest) => article.tap id="latest" aria-labelledby="latest-title" {
                    header {
                        h3 id="latest-title" { (heading(latest, view.language)) }
                        (tag(latest, view.language))
                    }
                    (told(latest, view.language))
                },
            }
            @if view.taps.len() > 1 {
                h2.earlier { (say(texts::EARLIER)) }
                @for tap in taps {
                    details.tap {
                        summary {
                            span.title { (heading(tap, view.language)) }
                            (tag(tap, view.language))
                        }
                        (told(tap, view.language))
                    }
                }
            }
        }
    }
}

/// One sentence about the newest tap, for screen readers.
pub(super) fn summary(tap: &Tap, language: Language) -> String {
    let title = tap.step().title_alone().in_language(language);
    match (&tap.outcome, tap.last_exchange()) {
        (TapOutcome::Obstacle { reason, .. }, _) => {
            format!("{title}: {}", reason.in_language(language))
        }
        (TapOutcome::Ran { .. }, Some(exchange)) => {
            format!("{title}: {}", status(&exchange.response))
        }
        (TapOutcome::Ran { .. }, None) => title.to_owned(),
    }
}

fn heading(tap: &Tap, language: Language) -> Markup {
    html! {
        span.count { (tap.number) }
        (tap.step().title_alone().in_language(language))
    }
}

/// The status of the response, or that nothing was sent.
fn tag(tap: &Tap, language: Language) -> Markup {
    let Some(exchange) = tap.last_exchange() else {
        return html! { span.tag { (texts::NOT_POSSIBLE.in_language(language)) } };
    };
    let class = if exchange.response.status().is_success() {
        "tag good"
    } else {
        "tag bad"
    };
    html! { span class=(class) { (status(&exchange.response)) } }
}

fn told(tap: &Tap, language: Language) -> Markup {
    match &tap.outcome {
        TapOutcome::Obstacle { reason, .. } => html! {
            p.notice { (reason.in_language(language)) " " (texts::NOTHING_SENT.in_language(language)) }
        },
        TapOutcome::Ran { record, error } => ran(record, error.as_deref(), language),
    }
}

fn ran(record: &StepRecord, error: Option<&str>, language: Language) -> Markup {
    let exchanges = || {
        record.events.iter().filter_map(|event| match event {
            StepEvent::Exchange(exchange) => Some(&**exchange),
            StepEvent::Claim { .. } => None,
        })
    };
    html! {
        p.why { (record.step.why().in_language(language)) }
        @for one in exchanges() {
            (way(record.step, one, language))
            (exchange(one, language))
        }
        (claims(record, language))
        @if let Some(error) = error {
            p.notice.bad { (texts::BROKE_OFF.in_language(language)) " " span lang="en" { (error) } }
        }
    }
}

fn claims(record: &StepRecord, language: Language) -> Markup {
    let claims: Vec<_> = record
        .events
        .iter()
        .filter_map(|event| match event {
            StepEvent::Claim { claim, holds } => Some((claim.in_language(language), *holds)),
            StepEvent::Exchange(_) => None,
        })
        .collect();
    html! {
        @if !claims.is_empty() {
            section.claims {
                h4 { (texts::WHAT_IS_PROVEN.in_language(language)) }
                ul {
                    @for (claim, holds) in claims {
                        @if holds {
                            li.good { span.mark aria-hidden="true" { "✓" } (claim) }
                        } @else {
                            li.bad {
                                span.mark aria-hidden="true" { "✗" }
                                (texts::NOT_SO.in_language(language)) " " (claim)
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whether an attacker takes this step.
const fn is_attack(step: Step) -> bool {
    matches!(
        step,
        Step::OrdersWithoutToken
            | Step::ForgedHeaders
            | Step::ForgedHeadersOnPublicPage
            | Step::OldToken
            | Step::OddPath
    )
}

/// Which servers took part.
fn way(step: Step, exchange: &Exchange, language: Language) -> Markup {
    let say = |text: Text| text.in_language(language);
    let client = if is_attack(step) {
        (texts::ATTACKER, texts::TRIES)
    } else {
        (texts::MINI_PROGRAM, texts::SENDS)
    };
    let status = exchange.response.status();
    let gate = match (&exchange.received, status.is_success()) {
        (Some(_), _) => texts::PASSES,
        (None, true) => texts::ANSWERS,
        (None, false) => texts::REFUSES,
    };
    let asked = |vendor: Vendor| {
        let mut calls = exchange.vendor_calls.iter();
        calls.any(|call| call.vendor == vendor)
    };
    html! {
        ol.way aria-label=(say(texts::WAY)) {
            li.on { strong { (say(client.0)) } span { (say(client.1)) } }
            li class=(if status.is_success() { "on gate" } else { "on gate refuses" }) {
                strong { "menshen" }
                span { (say(gate)) @if exchange.received.is_none() { " " (status.as_u16()) } }
            }
            @if asked(Vendor::Wechat) {
                li.on.vendor { strong { (say(texts::WECHAT)) } span { (say(texts::WAS_ASKED)) } }
            }
            @if asked(Vendor::Sms) {
                li.on.vendor { strong { (say(texts::SMS_VENDOR)) } span { (say(texts::WAS_ASKED)) } }
            }
            @if exchange.received.is_some() {
                li.on { strong { (say(texts::BACKEND)) } span { (say(texts::WAS_ASKED)) } }
            } @else {
                li.off { strong { (say(texts::BACKEND)) } span { (say(texts::WAS_NOT_ASKED)) } }
            }
        }
    }
}

fn empty(view: &PageView<'_>) -> Markup {
    let say = |text: Text| text.in_language(view.language);
    let addresses = view.addresses;
    html! {
        div.tap.empty {
            p.why { (say(texts::STORY_EMPTY)) }
            ol.tries {
                @for text in [texts::TRY_SIGN_IN, texts::TRY_ORDERS, texts::TRY_ATTACK, texts::TRY_SIGN_OUT, texts::TRY_SMS] {
                    li { (say(text)) }
                }
            }
            h3 { (say(texts::SERVERS)) }
            ol.way {
                li.on { strong { (say(texts::MINI_PROGRAM)) } span { (say(texts::ON_THE_PAGE)) } }
                li.on.gate { strong { "menshen" } span { code { (addresses.menshen) } } }
                li.on { strong { (say(texts::SAMPLE_BACKEND)) } span { code { (addresses.backend) } } }
            }
            p.between { (say(texts::VENDORS)) }
            dl.servers {
                div { dt { (say(texts::SIMULATED_WECHAT)) } dd { code { (addresses.wechat) } } }
                div { dt { (say(texts::SIMULATED_SMS)) } dd { code { (addresses.sms) } } }
            }
        }
    }
}
