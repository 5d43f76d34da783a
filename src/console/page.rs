//! The frame of every page: its head, the navigation, and where the content stands.

use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

use super::page_context::PageContext;

/// Which page it is, in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Now,
    Why,
    People,
    Audit,
    Config,
    Keys,
    None,
}

/// A whole page.
pub(super) fn page(
    context: &PageContext,
    section: Section,
    title: &str,
    body: &Markup,
) -> Html<String> {
    let texts = context.texts();
    let markup = html! {
        (DOCTYPE)
        html lang=(context.language.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · menshen" }
                link rel="icon" href="/console/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console/style.css";
                script src="/console/console.js" defer {}
            }
            body data-page=[(section == Section::Now).then_some("now")] {
                a.skip href="#content" { (texts.skip_to_content) }
                header.top {
                    (brand())
                    @if context.session.is_some() {
                        nav aria-label=(texts.navigation) {
                            ul {
                                @for (entry, href, name) in [
                                    (Section::Now, "/console", texts.now),
                                    (Section::Why, "/console/why", texts.why),
                                    (Section::People, "/console/people", texts.people),
                                    (Section::Audit, "/console/audit", texts.audit),
                                    (Section::Config, "/console/config", texts.config),
                                    (Section::Keys, "/console/keys", texts.keys),
                                ] {
                                    li {
                                        a href=(href) aria-current=[(entry == section).then_some("page")] { (name) }
                                    }
                                }
                            }
                        }
                    }
                    div.tools {
                        (language_link(context))
                        @if context.session.is_some() {
                            form method="post" action="/console/sign-out" {
                                (token_field(context))
                                button.quiet type="submit" { (texts.sign_out_here) }
                            }
                        }
                    }
                }
                main id="content" tabindex="-1" { (body) }
                footer { "menshen " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    Html(markup.into_string())
}

/// A link to this page in the other language.
fn language_link(context: &PageContext) -> Markup {
    let other = context.language.other();
    // A page that was the response to a form cannot be loaded by its address.
    let path = match context.path.as_str() {
        "/console/sign-in" | "/console/sign-out" => "/console",
        "/console/why/explain" => "/console/why",
        "/console/people/find" => "/console/people",
        "/console/config/check" => "/console/config",
        path => path,
    };
    html! {
        a.language href={ (path) "?lang=" (other.tag()) } hreflang=(other.tag()) lang=(other.tag()) { (other.name()) }
    }
}

fn brand() -> Markup {
    html! {
        a.brand href="/console" {
            svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true" {
                rect x="1" y="1" width="30" height="30" rx="6" class="seal" {}
                path class="seal-sign" d="M9 10v14M9 8.5l2.2 2M14 9.5h9v14.5l-2.5-1M14 13h0" {}
            }
            span { "menshen" }
        }
    }
}

/// The hidden field that every form of the session has.
pub(super) fn token_field(context: &PageContext) -> Markup {
    html! { input type="hidden" name="form_token" value=(context.form_token()); }
}

/// A moment as text; the script shows it in the browser's time zone.
pub(super) fn time(rfc3339: &str) -> Markup {
    let shown = rfc3339.get(..19).unwrap_or(rfc3339).replace('T', " ");
    html! { time datetime=(rfc3339) { (shown) " UTC" } }
}

/// What a term is, in a list of terms.
pub(super) fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}
