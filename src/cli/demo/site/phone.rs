//! The left of the page: Alice's phone, and the attacker.

use maud::{Markup, html};

use super::{
    super::{session::DemoSession, step::Step, text::Text},
    exchange::status,
    tap::Tap,
    texts,
    view::PageView,
};
use crate::dev::sms;

/// Phone and attacker.
pub(super) fn left(view: &PageView<'_>) -> Markup {
    html! {
        div.left {
            (phone(view))
            (attacker(view))
        }
    }
}

fn phone(view: &PageView<'_>) -> Markup {
    html! {
        section.phone aria-labelledby="phone-title" {
            h2.visually-hidden id="phone-title" { (view.say(texts::PHONE)) }
            div.screen {
                div.status-bar aria-hidden="true" {
                    span.carrier { "menshen" }
                    span.camera {}
                    span.battery { span {} }
                }
                (text_message(view))
                div.program-bar {
                    h3 { (view.say(texts::TEA_HOUSE)) }
                    span.capsule aria-hidden="true" { span.dots { "•••" } span.target { "◎" } }
                }
                div.program {
                    @match &view.program.session {
                        Some(session) => (signed_in(view, session)),
                        None => (signed_out(view)),
                    }
                }
                (toast(view))
                span.home aria-hidden="true" {}
            }
        }
    }
}

/// The text message with a code.
fn text_message(view: &PageView<'_>) -> Markup {
    let Some(message) = &view.program.message else {
        return html! {};
    };
    html! {
        div.message {
            span.app-icon aria-hidden="true" { (icon("message")) }
            p {
                strong { (view.say(texts::TEXT_MESSAGE)) }
                "【" (sms::SIGN_NAME) "】" (view.say(texts::YOUR_CODE_IS)) " " b.digits { (message.code) }
                @if !message.minutes.is_empty() { " · " (message.minutes) " " (view.say(texts::MINUTES)) }
            }
        }
    }
}

fn signed_out(view: &PageView<'_>) -> Markup {
    let first = if view.program.user_id.is_none() {
        Step::SignIn
    } else {
        Step::ComeBack
    };
    let sent = view.program.message.as_ref();
    let typed = sent.map_or("", |message| message.code.as_str());
    html! {
        div.welcome {
            (teapot())
            p.greeting { (view.say(texts::WELCOME)) }
            p.lead { (view.say(texts::WELCOME_LEAD)) }
        }
        (Button { step: first, class: "wide wechat", label: texts::SIGN_IN_WITH_WECHAT, icon: None, hint: None }.form(view))
        p.or { span { (view.say(texts::WITHOUT_WECHAT)) } }
        div.own-number {
            p { span.label { (view.say(texts::NUMBER)) } (view.program.spaced_number()) }
            (Button { step: Step::SendSmsCode, class: "small", label: texts::GET_CODE, icon: None, hint: None }.form(view))
        }
        form.code method="post" action="/tap" {
            input type="hidden" name="step" value=(Step::SignInBySms.id());
            label for="code" { (view.say(texts::CODE)) }
            input id="code" name="code" value=(typed) maxlength="64" autocomplete="one-time-code" inputmode="numeric" disabled[sent.is_none()];
            button.small type="submit" data-step=(Step::SignInBySms.id()) disabled[sent.is_none()]
                aria-describedby=[sent.is_none().then_some("why-not-sign-in-by-sms")] {
                (view.say(texts::SIGN_IN))
            }
            (why_not(view, Step::SignInBySms))
        }
    }
}

fn signed_in(view: &PageView<'_>, session: &DemoSession) -> Markup {
    let tile = |step, label, icon| Button {
        step,
        class: "tile",
        label,
        icon: Some(icon),
        hint: None,
    };
    html! {
        div.profile {
            span.avatar aria-hidden="true" { "A" }
            p {
                strong { "Alice" }
                span { (view.say(texts::USER)) " " code { (short_id(&session.user.id)) } }
                span { (view.program.phone.as_deref().unwrap_or(view.say(texts::NO_NUMBER))) }
            }
        }
        div.tiles {
            (tile(Step::Orders, texts::ORDERS, "orders").form(view))
            (tile(Step::AddPhone, texts::PHONE_BUTTON, "phone").form(view))
            (tile(Step::Refresh, texts::RENEW, "renew").form(view))
            (tile(Step::SignOut, texts::SIGN_OUT, "leave").form(view))
        }
    }
}

/// What came of Alice's last tap, as a mini program would show it.
fn toast(view: &PageView<'_>) -> Markup {
    let mut hers = view.taps.iter().rev().filter(|tap| is_hers(tap));
    let Some((tap, exchange)) = hers.find_map(|tap| Some((tap, tap.last_exchange()?))) else {
        return html! {};
    };
    let class = if exchange.response.status().is_success() {
        "toast good"
    } else {
        "toast bad"
    };
    html! {
        p class=(class) {
            strong { (status(&exchange.response)) }
            @if let Some(user) = exchange.received.as_ref().and_then(|request| request.header("x-user-id").next()) {
                (view.say(texts::ORDERS_OF)) " " code { (short_id(user)) }
            } @else {
                (tap.step().title_alone().in_language(view.language))
            }
        }
    }
}

/// Whether Alice made the tap on her phone.
const fn is_hers(tap: &Tap) -> bool {
    matches!(
        tap.step(),
        Step::SignIn
            | Step::ComeBack
            | Step::Orders
            | Step::Refresh
            | Step::AddPhone
            | Step::SendSmsCode
            | Step::SignInBySms
            | Step::SignOut
    )
}

fn attacker(view: &PageView<'_>) -> Markup {
    let attacks = [
        (Step::ForgedHeaders, texts::ATTACK_FORGED, "X-User-Id: 1"),
        (
            Step::ForgedHeadersOnPublicPage,
            texts::ATTACK_FORGED_PUBLIC,
            "GET /menu · x_user_id: 1",
        ),
        (
            Step::OrdersWithoutToken,
            texts::ATTACK_WITHOUT_TOKEN,
            "GET /orders",
        ),
        (
            Step::OldToken,
            texts::ATTACK_OLD_TOKEN,
            view.say(texts::OLD_TOKEN_HINT),
        ),
        (
            Step::OddPath,
            texts::ATTACK_ODD_PATH,
            "GET /menu/%2e%2e/orders",
        ),
    ];
    html! {
        section.attacker aria-labelledby="attacker-title" {
            p.attacker-head {
                span.mask aria-hidden="true" { (icon("mask")) }
                span { strong id="attacker-title" { (view.say(texts::ATTACKER)) } " " (view.say(texts::ATTACKER_LEAD)) }
            }
            @for (step, label, hint) in attacks {
                (Button { step, class: "attack", label, icon: None, hint: Some(hint) }.form(view))
            }
        }
    }
}

/// A button that takes a step.
struct Button<'a> {
    step: Step,
    class: &'static str,
    label: Text,
    icon: Option<&'static str>,
    /// What stands under the label.
    hint: Option<&'a str>,
}

impl Button<'_> {
    fn form(&self, view: &PageView<'_>) -> Markup {
        let id = self.step.id();
        let obstacle = self.step.obstacle(view.program);
        html! {
            form method="post" action="/tap" {
                input type="hidden" name="step" value=(id);
                button type="submit" class=(self.class) data-step=(id) disabled[obstacle.is_some()]
                    aria-describedby=[obstacle.map(|_| format!("why-not-{id}"))] {
                    @if let Some(name) = self.icon { (icon(name)) }
                    span.label { (view.say(self.label)) }
                    @if let Some(hint) = self.hint { span.hint { (hint) } }
                }
                (why_not(view, self.step))
            }
        }
    }
}

/// Why a step cannot be taken now.
fn why_not(view: &PageView<'_>, step: Step) -> Markup {
    html! {
        @if let Some(obstacle) = step.obstacle(view.program) {
            p.why-not id={ "why-not-" (step.id()) } { (view.say(obstacle)) }
        }
    }
}

/// The end of an id, which is enough to recognise it.
fn short_id(id: &str) -> String {
    let skipped = id.chars().count().saturating_sub(6);
    let end: String = id.chars().skip(skipped).collect();
    format!("…{end}")
}

fn icon(name: &str) -> Markup {
    let path = match name {
        "orders" => "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6",
        "phone" => {
            "M8 2h8a1 1 0 0 1 1 1v18a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1V3a1 1 0 0 1 1-1zM11 18.5h2"
        }
        "renew" => "M20 11a8 8 0 0 0-14-4.5L4 9M4 4v5h5M4 13a8 8 0 0 0 14 4.5l2-2.5M20 20v-5h-5",
        "leave" => "M14 4h5v16h-5M4 12h11M11 8l4 4-4 4",
        "message" => "M4 5h16v11H9l-5 4z",
        _ => "M3 8c6-3 12-3 18 0 0 6-3 10-7 9l-2-2-2 2c-4 1-7-3-7-9zM7 11h3M14 11h3",
    };
    html! {
        svg.icon viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" { path d=(path) {} }
    }
}

fn teapot() -> Markup {
    html! {
        svg.teapot viewBox="0 0 120 84" width="120" height="84" aria-hidden="true" {
            path.steam d="M52 16c-4-5 4-7 0-13M66 16c-4-5 4-7 0-13" {}
            path.pot d="M28 46c0-14 13-22 31-22s31 8 31 22c0 16-12 28-20 28H48c-8 0-20-12-20-28z" {}
            path.line d="M30 40C18 38 12 30 8 26M89 38c14-8 22 2 16 12-4 7-12 10-18 12M40 25c4-5 34-5 38 0M59 20v-2M44 78h30" {}
        }
    }
}
