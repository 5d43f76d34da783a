//! The first page: what is wrong, and the figures of the last hour.

use std::{sync::Arc, time::Duration};

use axum::{Extension, extract::State, response::Html};
use maud::{Markup, html};

use super::{
    alarm::{self, Alarm, ProcessFacts, alarms},
    chart::{Line, chart, legend},
    figures::Figure,
    memory::ReloadState,
    page::{Section, fact, page as framed, time},
    page_context::PageContext,
    replicas,
    samples::Samples,
    state::{Console, SharedConsole},
    tables::{bytes, coded, counts, duration, number, rate},
    texts::Texts,
};
use crate::admin::ProcessStage;

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

pub(super) async fn page(
    State(console): SharedConsole,
    Extension(context): Extension<PageContext>,
) -> Html<String> {
    let texts = context.texts();
    let figures = figures(&console, &context).await;
    let body = html! {
        h1 { (texts.now) }
        div id="figures" { (figures) }
        p.hint.no-script { a href="/console" { (texts.reload_page) } }
    };
    framed(&context, Section::Now, texts.now, &body)
}

/// What the page shows and updates.
pub(super) async fn figures(console: &Arc<Console>, context: &PageContext) -> Markup {
    let parts = &console.parts;
    let (store_works, store_state) = parts.probes.store_state().await;
    let reload = parts.memory.reload_state();
    let seen = parts.memory.replicas();
    let facts = ProcessFacts {
        now: parts.memory.clock.now(),
        store_works: store_works && store_state == "ok",
        config_since: reload.since,
    };
    let samples = parts.memory.samples();
    let found = alarms(&samples, facts);
    let texts = context.texts();
    html! {
        (alarm_list(&found, context))
        (states(console, &samples, texts, store_state))
        section aria-labelledby="hour" {
            h2 id="hour" { (texts.last_hour) }
            div.charts { (charts(&samples, texts)) }
        }
        div.tables { (hour_tables(&samples, texts)) (backends(&samples, texts)) @if let Some(seen) = &seen { (replicas::table(seen, facts.now, texts)) } (process(&samples, &reload, texts)) }
    }
}

fn alarm_list(found: &[Alarm], context: &PageContext) -> Markup {
    let texts = context.texts();
    html! {
        section.alarms aria-labelledby="alarms" aria-live="polite" {
            h2.visually-hidden id="alarms" { (texts.what_is_wrong) }
            @if found.is_empty() {
                p.all-well { span.mark aria-hidden="true" { "✓" } (texts.nothing_is_wrong) }
            }
            @for alarm in found {
                @let of_alarm = alarm.kind.texts(context.language);
                @let fill = |text: &str| text.replace("{label}", &alarm.label).replace("{value}", &alarm.value);
                article.alarm.critical[alarm.kind.is_critical()] {
                    h3 {
                        span.mark aria-hidden="true" { "!" }
                        (fill(of_alarm.summary))
                        span.severity { (if alarm.kind.is_critical() { texts.critical } else { texts.warning }) }
                    }
                    p { (fill(of_alarm.description)) }
                    p.act { strong { (texts.what_to_do) } " " (coded(&fill(of_alarm.act))) }
                    p.hint { "docs/operations.md: " span lang="en" { (alarm.kind.chapter()) } }
                }
            }
        }
    }
}

/// How good a state is.
#[derive(Clone, Copy)]
enum Mood {
    Good,
    Bad,
    Unknown,
}

fn states(console: &Console, samples: &Samples, texts: &Texts, store: &'static str) -> Markup {
    let stage = *console.parts.probes.stage.borrow();
    let serves = stage == ProcessStage::Serving;
    let wechat = match alarm::wechat_fails(samples) {
        Some(true) => (Mood::Bad, texts.wechat_is_down),
        Some(false) => (Mood::Good, texts.wechat_answers),
        None => (Mood::Unknown, texts.no_calls),
    };
    let backends: Vec<_> = samples.gauges(Figure::UpstreamHealthy).collect();
    let good = backends
        .iter()
        .filter(|(_, healthy)| *healthy > 0.0)
        .count();
    let backend_mood = match (good, backends.len()) {
        (_, 0) => Mood::Unknown,
        (good, all) if good == all => Mood::Good,
        _ => Mood::Bad,
    };
    let is_reporting = console.parts.config.reports_only();
    let gate = if is_reporting {
        texts.gate_reports
    } else {
        texts.gate_refuses
    };
    let sms = samples.increase(Figure::SmsCalls, Duration::from_mins(5), |_| true);
    let sms_good = samples.increase(Figure::SmsCalls, Duration::from_mins(5), |labels| {
        labels[1] == "sent"
    });
    let sms = match (sms, sms_good) {
        (0.0, _) => (Mood::Unknown, texts.no_calls),
        (all, good) if good < all * 0.8 => (Mood::Bad, texts.sms_fails),
        _ => (Mood::Good, texts.sms_works),
    };
    html! {
        section aria-labelledby="states" {
            h2.visually-hidden id="states" { (texts.states) }
            dl.states {
                (state(texts.process, if serves { Mood::Good } else { Mood::Bad }, if serves { texts.serving } else { texts.not_serving }))
                (state(texts.gate, if is_reporting { Mood::Bad } else { Mood::Good }, gate))
                (state(texts.wechat, wechat.0, wechat.1))
                (state(texts.sms, sms.0, sms.1))
                (state(texts.backends, backend_mood, &format!("{good} / {} {}", backends.len(), texts.healthy)))
                (state(texts.store, if store == "ok" { Mood::Good } else { Mood::Bad }, if store == "ok" { texts.store_works } else { texts.store_fails }))
            }
        }
    }
}

fn state(name: &str, mood: Mood, text: &str) -> Markup {
    let (class, sign) = match mood {
        Mood::Good => ("good", "✓"),
        Mood::Bad => ("bad", "!"),
        Mood::Unknown => ("unknown", "–"),
    };
    html! {
        div class=(class) { dt { (name) } dd { span.mark aria-hidden="true" { (sign) } (text) } }
    }
}

/// One figure with its time line.
struct Panel {
    id: &'static str,
    title: &'static str,
    unit: &'static str,
    /// The figure of now.
    now: f64,
    lines: Vec<Line>,
    format: fn(f64) -> String,
}

fn charts(samples: &Samples, texts: &Texts) -> Markup {
    html! {
        @for panel in panels(samples, texts).into_iter().chain(process_panels(samples, texts)) {
            section.card.panel aria-labelledby={ (panel.id) "-name" } {
                h3 id={ (panel.id) "-name" } { (panel.title) }
                p.now { span.value { ((panel.format)(panel.now)) } span.unit { (panel.unit) } span.legends { (legend(&panel.lines)) } }
                @let text = description(&panel, texts);
                (chart(panel.id, panel.title, &text, &panel.lines, [texts.an_hour_ago, texts.this_moment], panel.format))
            }
        }
    }
}

/// The chart in words.
fn description(panel: &Panel, texts: &Texts) -> String {
    let lines = panel.lines.iter().map(|line| {
        let most = line.points.iter().flatten().copied().fold(0.0, f64::max);
        format!("{}: {} {}", line.name, texts.most, (panel.format)(most))
    });
    lines.collect::<Vec<_>>().join("; ")
}

fn panels(samples: &Samples, texts: &Texts) -> Vec<Panel> {
    let line = |name, figure, is_counted: &dyn Fn(&[String]) -> bool| Line {
        name,
        points: samples.line(figure, is_counted),
    };
    let per_minute = |figure, is_counted: &dyn Fn(&[String]) -> bool| {
        samples.increase(figure, MINUTE, is_counted)
    };
    let any = |_: &[String]| true;
    let is_refused = |labels: &[String]| ["refused", "failed"].contains(&&*labels[0]);
    let (is_ok, is_not_ok) = (
        |labels: &[String]| labels[0] == "ok",
        |labels: &[String]| labels[0] != "ok",
    );
    let (is_success, is_failure) = (
        |labels: &[String]| labels[1] == "success",
        |labels: &[String]| labels[1] != "success",
    );
    let (is_sent, is_unsent) = (
        |labels: &[String]| labels[1] == "sent",
        |labels: &[String]| labels[1] != "sent",
    );
    vec![
        Panel {
            id: "requests",
            title: texts.requests,
            unit: texts.per_second,
            now: per_minute(Figure::Requests, &any) / 60.0,
            lines: vec![
                line(texts.all, Figure::Requests, &any),
                line(texts.refused, Figure::Requests, &is_refused),
            ],
            format: rate,
        },
        Panel {
            id: "gate",
            title: texts.gate_adds,
            unit: texts.mean,
            now: mean(samples, Figure::GateSum, Figure::GateCount),
            lines: vec![Line {
                name: texts.mean,
                points: samples.mean_line(Figure::GateSum, Figure::GateCount),
            }],
            format: duration,
        },
        Panel {
            id: "logins",
            title: texts.logins,
            unit: texts.per_minute,
            now: per_minute(Figure::Logins, &any),
            lines: vec![
                line(texts.succeeded, Figure::Logins, &is_success),
                line(texts.failed, Figure::Logins, &is_failure),
            ]
            .into_iter()
            .map(by_minute)
            .collect(),
            format: rate,
        },
        Panel {
            id: "wechat",
            title: texts.wechat_calls,
            unit: texts.per_minute,
            now: per_minute(Figure::WechatCalls, &any),
            lines: vec![
                line(texts.succeeded, Figure::WechatCalls, &is_ok),
                line(texts.failed, Figure::WechatCalls, &is_not_ok),
            ]
            .into_iter()
            .map(by_minute)
            .collect(),
            format: rate,
        },
        Panel {
            id: "wechat-time",
            title: texts.wechat_time,
            unit: texts.mean,
            now: mean(samples, Figure::WechatSum, Figure::WechatCount),
            lines: vec![Line {
                name: texts.mean,
                points: samples.mean_line(Figure::WechatSum, Figure::WechatCount),
            }],
            format: duration,
        },
        Panel {
            id: "sms",
            title: texts.messages,
            unit: texts.per_minute,
            now: per_minute(Figure::SmsCalls, &any),
            lines: vec![
                line(texts.sent, Figure::SmsCalls, &is_sent),
                line(texts.failed, Figure::SmsCalls, &is_unsent),
            ]
            .into_iter()
            .map(by_minute)
            .collect(),
            format: rate,
        },
    ]
}

fn process_panels(samples: &Samples, texts: &Texts) -> Vec<Panel> {
    let gauge = |id, title, name, unit, figure, format| Panel {
        id,
        title,
        unit,
        now: samples.gauge(figure),
        lines: vec![Line {
            name,
            points: samples.line(figure, |_| true),
        }],
        format,
    };
    let means = |id, title, sum, count| Panel {
        id,
        title,
        unit: texts.mean,
        now: mean(samples, sum, count),
        lines: vec![Line {
            name: texts.mean,
            points: samples.mean_line(sum, count),
        }],
        format: duration,
    };
    vec![
        means(
            "backend",
            texts.backend_time,
            Figure::UpstreamSum,
            Figure::UpstreamCount,
        ),
        means(
            "store",
            texts.store_time,
            Figure::StoreSum,
            Figure::StoreCount,
        ),
        gauge(
            "streams",
            texts.streams,
            texts.open,
            texts.open,
            Figure::Streams,
            number,
        ),
        gauge(
            "connections",
            texts.connections,
            texts.open,
            texts.open,
            Figure::Connections,
            number,
        ),
        gauge(
            "memory",
            texts.memory,
            texts.resident,
            texts.resident,
            Figure::Memory,
            bytes,
        ),
        gauge(
            "size",
            texts.store_size,
            texts.on_disk,
            texts.on_disk,
            Figure::StoreSize,
            bytes,
        ),
    ]
}

fn by_minute(line: Line) -> Line {
    let points = line
        .points
        .into_iter()
        .map(|point| point.map(|rate| rate * 60.0));
    Line {
        points: points.collect(),
        ..line
    }
}

/// The mean of the last five minutes.
fn mean(samples: &Samples, sum: Figure, count: Figure) -> f64 {
    let span = Duration::from_mins(5);
    let count = samples.increase(count, span, |_| true);
    if count > 0.0 {
        samples.increase(sum, span, |_| true) / count
    } else {
        0.0
    }
}

fn hour_tables(samples: &Samples, texts: &Texts) -> Markup {
    let table = |title, columns: &[&str], figure| {
        let rows = samples.increases(figure, HOUR);
        let rows = rows
            .map(|(labels, value)| (labels.to_vec(), value))
            .collect();
        counts(title, columns, rows, texts.count, texts.none_this_hour)
    };
    html! {
        (table(texts.errors_by_code, &[texts.code], Figure::Errors))
        (table(texts.logins_by_outcome, &[texts.method, texts.outcome], Figure::Logins))
        (table(texts.wechat_answers_table, &[texts.outcome], Figure::WechatCalls))
        (table(texts.sms_answers_table, &[texts.vendor, texts.outcome], Figure::SmsCalls))
        (table(texts.limits_table, &[texts.limit], Figure::RateLimited))
    }
}

fn backends(samples: &Samples, texts: &Texts) -> Markup {
    html! {
        section.card {
            h2 { (texts.backends) }
            table {
                thead { tr { th scope="col" { (texts.address) } th scope="col" { (texts.state) } } }
                tbody {
                    @for (labels, healthy) in samples.gauges(Figure::UpstreamHealthy) {
                        tr {
                            th scope="row" { code { (labels[0]) } }
                            td { @if healthy > 0.0 { span.tag.good { (texts.healthy) } } @else { span.tag.bad { (texts.unhealthy) } } }
                        }
                    }
                }
            }
        }
    }
}

fn process(samples: &Samples, reload: &ReloadState, texts: &Texts) -> Markup {
    let since = |seconds: f64| {
        if seconds > 0.0 {
            duration(seconds)
        } else {
            "–".to_owned()
        }
    };
    html! {
        section.card {
            h2 { (texts.process) }
            dl.facts {
                (fact(texts.config_generation, &html! { (reload.generation) ", " (texts.since) " " (time(&reload.since.rfc3339())) }))
                (fact(texts.signing_key_age, &html! { (since(samples.gauge(Figure::SigningKeyAge))) }))
                (fact(texts.revocations_age, &html! { (since(samples.gauge(Figure::RevocationsAge))) }))
                (fact(texts.in_flight, &html! { (number(samples.gauge(Figure::InFlight))) }))
                (fact(texts.updated, &html! { @if let Some(at) = samples.last_at() { (time(&at.rfc3339())) } @else { "–" } }))
            }
        }
    }
}
