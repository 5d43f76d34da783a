//! The frame of the page.

use maud::{DOCTYPE, Markup, html};

use super::{
    phone::left,
    story::{story, summary},
    texts,
    view::PageView,
};

/// The whole page.
pub(super) fn page(view: &PageView<'_>) -> Markup {
    let (language, other) = (view.language, view.language.other());
    let latest = view.taps.back();
    html! {
        (DOCTYPE)
        html lang=(language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (view.say(texts::TITLE)) }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/demo.css";
                script src="/demo.js" defer {}
            }
            body {
                a.skip href="#story" { (view.say(texts::SKIP)) }
                header.top {
                    span.brand {
                        img src="/icon.svg" width="30" height="30" alt="";
                        span { "menshen demo" }
                    }
                    a.language href={ "/?lang=" (other.tag()) } hreflang=(other.tag()) lang=(other.tag()) { (other.name()) }
                }
                main {
                    h1 { (view.say(texts::TITLE)) }
                    p.lead { (view.say(texts::LEAD)) }
                    p.visually-hidden id="announcement" role="status" {
                        @if let Some(latest) = latest { (summary(latest, language)) }
                    }
                    div id="stage" {
                        (left(view))
                        (story(view))
                    }
                }
                footer { "menshen " (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
}
