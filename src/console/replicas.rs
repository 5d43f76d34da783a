//! The processes on the same store: one row each.

use std::time::Duration;

use maud::{Markup, html};

use super::{memory::SeenReplicas, tables::duration, texts::Texts};
use crate::types::Timestamp;

/// `now` is of this process's clock, as is the time at which the others were seen.
pub(super) fn table(seen: &SeenReplicas, now: Timestamp, texts: &Texts) -> Markup {
    let age = |age: Duration| html! { (duration(age.as_secs_f64())) };
    html! {
        section.card {
            h2 { (texts.replicas) " (" (seen.others.len() + 1) ")" }
            p.hint { (texts.replicas_lead) " " (age(now.since(seen.at))) }
            table.stack {
                thead { tr {
                    th scope="col" { (texts.process) }
                    th scope="col" { (texts.version) }
                    th scope="col" { (texts.clock_ahead) }
                    th scope="col" { (texts.differs) }
                } }
                tbody {
                    tr {
                        th scope="row" { (texts.this_process) }
                        td data-label=(texts.version) { (seen.here.version) }
                        td data-label=(texts.clock_ahead) { (clock(seen.clock_ahead_ms)) }
                        td data-label=(texts.differs) { "–" }
                    }
                    @for other in &seen.others {
                        @let differences: Vec<_> = seen.here.differences(&other.facts).collect();
                        tr {
                            th scope="row" { code { (format!("{:032x}", other.id.0)[..8]) } }
                            td data-label=(texts.version) { (other.facts.version) }
                            td data-label=(texts.clock_ahead) { (clock(other.clock_ahead_ms)) }
                            td data-label=(texts.differs) {
                                @if differences.is_empty() { "–" }
                                @for (aspect, here, there) in differences {
                                    p { span.tag.bad { (aspect) } " " code { (there) } " (" (texts.here) " " code { (here) } ")" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn clock(ahead_ms: i64) -> String {
    format!("{ahead_ms:+} ms")
}
