//! What is wrong now, by the conditions of the alert rules as far as one process can know them.

use std::time::Duration;

use super::{
    alarm_texts::AlarmKind,
    figures::Figure,
    samples::Samples,
    tables::{duration, number, percent},
};
use crate::types::Timestamp;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alarm {
    pub(super) kind: AlarmKind,
    /// What it is about: a code, a method, a vendor.
    pub(super) label: String,
    pub(super) value: String,
}

/// What the samples do not say.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessFacts {
    pub(super) now: Timestamp,
    /// The state of the store is good.
    pub(super) store_works: bool,
    /// Since when the config is in use.
    pub(super) config_since: Timestamp,
}

const FIVE_MINUTES: Duration = Duration::from_mins(5);
const TEN_MINUTES: Duration = Duration::from_mins(10);
const DAY: Duration = Duration::from_hours(24);
/// Failures of one code in five minutes that can be chance.
const FAILURES_BY_CHANCE: f64 = 5.0;
/// Calls or attempts from which on their share says something.
const ENOUGH: f64 = 20.0;
const ENOUGH_CALLS: f64 = 5.0;
/// Seconds.
const MAX_REVOCATIONS_AGE: f64 = 10.0;
const MAX_BACKLOG_AGE: f64 = 600.0;

/// Codes that say that menshen cannot do its work.
const FAILURES: [&str; 4] = [
    "internal",
    "registration_unavailable",
    "sms_unavailable",
    "store_unavailable",
];
/// Those that are never chance.
const CERTAIN_FAILURES: [&str; 3] = [
    "issuer_unavailable",
    "proof_unavailable",
    "wechat_misconfigured",
];

/// Everything that is wrong, the worst first.
pub(super) fn alarms(samples: &Samples, facts: ProcessFacts) -> Vec<Alarm> {
    let mut found = Found(Vec::new());
    process(samples, facts, &mut found);
    logins(samples, &mut found);
    requests(samples, &mut found);
    providers(samples, &mut found);
    found
        .0
        .sort_by_key(|alarm| (!alarm.kind.is_critical(), alarm.kind));
    found.0
}

/// Whether WeChat or the network fails more than a fifth of the last calls; `None`: too few calls.
pub(super) fn wechat_fails(samples: &Samples) -> Option<bool> {
    let failing = ["busy", "timeout", "unreachable", "unusable"];
    let (all, failed) = shares(samples, Figure::WechatCalls, |labels| {
        failing.contains(&&*labels[0])
    });
    (all >= 1.0).then_some(failed / all > 0.2)
}

struct Found(Vec<Alarm>);

impl Found {
    fn add(&mut self, kind: AlarmKind, label: &str, value: String) {
        self.0.push(Alarm {
            kind,
            label: label.to_owned(),
            value,
        });
    }

    fn add_if(&mut self, is_wrong: bool, kind: AlarmKind) {
        if is_wrong {
            self.add(kind, "", String::new());
        }
    }
}

fn process(samples: &Samples, facts: ProcessFacts, found: &mut Found) {
    found.add_if(!facts.store_works, AlarmKind::StoreFails);
    let gauge = |figure| samples.gauge(figure);
    let is_sampled = samples.last_at().is_some();
    let is_refused = is_sampled && gauge(Figure::ConfigApplied) < 1.0;
    found.add_if(is_refused, AlarmKind::ConfigRefused);
    let is_lasting = facts.now.since(facts.config_since) > DAY;
    let is_reporting = gauge(Figure::ReportOnly) > 0.0 && is_lasting;
    found.add_if(is_reporting, AlarmKind::ReportOnly);
    let expiry = gauge(Figure::CertificateExpiry);
    if expiry > 0.0 {
        // Of this century.
        #[expect(clippy::cast_precision_loss)]
        let days = (expiry - facts.now.as_secs() as f64) / DAY.as_secs_f64();
        match days {
            ..2.0 => found.add_if(true, AlarmKind::CertificateExpiresNow),
            ..14.0 => found.add_if(true, AlarmKind::CertificateExpiresSoon),
            _ => {}
        }
    }
    let failed_polls = samples.increase(Figure::StoreErrors, FIVE_MINUTES, |labels| {
        labels[0] == "revocations"
    });
    let is_late = gauge(Figure::RevocationsAge) > MAX_REVOCATIONS_AGE;
    found.add_if(
        is_late || failed_polls > FAILURES_BY_CHANCE,
        AlarmKind::RevocationsLate,
    );
    let age = gauge(Figure::HookBacklogAge);
    if age > MAX_BACKLOG_AGE {
        found.add(AlarmKind::HookBacklog, "", duration(age));
    }
    for (labels, lost) in samples.increases(Figure::HookEventsLost, Duration::from_hours(1)) {
        found.add(AlarmKind::HookEventsLost, &labels[0], number(lost));
    }
}

fn logins(samples: &Samples, found: &mut Found) {
    for method in ["wechat", "sms"] {
        let of_method = |labels: &[String]| labels[0] == method && labels[1] != "rate_limited";
        let all = samples.increase(Figure::Logins, TEN_MINUTES, of_method);
        let good = samples.increase(Figure::Logins, TEN_MINUTES, |labels| {
            of_method(labels) && labels[1] == "success"
        });
        if all >= ENOUGH && good / all < 0.5 {
            found.add(AlarmKind::LoginsFailing, method, percent(good / all));
        }
    }
    let all = samples.increase(Figure::Refreshes, TEN_MINUTES, |_| true);
    let good = samples.increase(Figure::Refreshes, TEN_MINUTES, |labels| {
        ["rotated", "kept", "replayed"].contains(&&*labels[0])
    });
    if all >= ENOUGH && good / all < 0.5 {
        found.add(AlarmKind::RefreshesFailing, "", percent(good / all));
    }
}

fn requests(samples: &Samples, found: &mut Found) {
    let turned_away = [Figure::ConnectionsRefused, Figure::RequestsOverloaded]
        .map(|figure| samples.increase(figure, FIVE_MINUTES, |_| true))
        .iter()
        .sum::<f64>();
    if turned_away > 0.0 {
        found.add(AlarmKind::Overloaded, "", number(turned_away));
    }
    for (labels, failed) in samples.increases(Figure::Errors, FIVE_MINUTES) {
        let code = labels[0].as_str();
        if CERTAIN_FAILURES.contains(&code)
            || (FAILURES.contains(&code) && failed > FAILURES_BY_CHANCE)
        {
            found.add(AlarmKind::Failing, code, number(failed));
        }
    }
    let decided = |decisions: &'static [&'static str]| {
        samples.increase(Figure::Requests, FIVE_MINUTES, |labels| {
            decisions.is_empty() || decisions.contains(&&*labels[0])
        })
    };
    let (all, refused) = (decided(&[]), decided(&["refused"]));
    if all > FIVE_MINUTES.as_secs_f64() && refused / all > 0.5 {
        found.add(AlarmKind::RequestsRefused, "", percent(refused / all));
    }
    let failures = [
        "connect",
        "connect_timeout",
        "timeout",
        "closed_early",
        "invalid_answer",
    ];
    let forwarded = decided(&["forwarded", "failed"]);
    let failed = samples.increase(Figure::UpstreamErrors, FIVE_MINUTES, |labels| {
        failures.contains(&&*labels[0])
    });
    if forwarded > FIVE_MINUTES.as_secs_f64() * 0.1 && failed / forwarded > 0.05 {
        found.add(AlarmKind::UpstreamFailing, "", percent(failed / forwarded));
    }
    let healthy: Vec<_> = samples.gauges(Figure::UpstreamHealthy).collect();
    let bad = healthy.iter().filter(|(_, healthy)| *healthy < 1.0).count();
    if bad > 0 && bad == healthy.len() {
        found.add_if(true, AlarmKind::AllBackendsUnhealthy);
    } else {
        found.add_if(bad > 0, AlarmKind::BackendUnhealthy);
    }
}

fn providers(samples: &Samples, found: &mut Found) {
    let calls = samples.increase(Figure::WechatCalls, FIVE_MINUTES, |_| true);
    let is_down = calls >= ENOUGH_CALLS && wechat_fails(samples) == Some(true);
    found.add_if(is_down, AlarmKind::WechatDown);
    let unclear = ["timeout", "transient", "unreachable", "unusable"];
    let (all, failed) = shares(samples, Figure::SmsCalls, |labels| {
        unclear.contains(&&*labels[1])
    });
    found.add_if(
        all >= ENOUGH_CALLS && failed / all > 0.2,
        AlarmKind::SmsVendorDown,
    );
    for (labels, _) in samples.increases(Figure::SmsCalls, TEN_MINUTES) {
        if ["config", "balance", "perm", "content"].contains(&&*labels[1]) {
            found.add(AlarmKind::SmsVendorRefuses, &labels[0], labels[1].clone());
        }
    }
    let over_budget = samples.increase(Figure::RateLimited, TEN_MINUTES, |labels| {
        labels[0] == "sms_daily_budget"
    });
    found.add_if(over_budget > 0.0, AlarmKind::SmsBudgetSpent);
}

/// All calls of the last five minutes, and those that failed.
fn shares(samples: &Samples, figure: Figure, is_failed: impl Fn(&[String]) -> bool) -> (f64, f64) {
    (
        samples.increase(figure, FIVE_MINUTES, |_| true),
        samples.increase(figure, FIVE_MINUTES, is_failed),
    )
}
