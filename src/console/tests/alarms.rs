//! The figures of the last hour: what is wrong by them, and what they take.

use std::time::Duration;

use crate::{
    clock::Clock,
    console::{
        ConsoleMemory,
        alarm::{ProcessFacts, alarms, wechat_fails},
        alarm_texts::AlarmKind,
        figures::Figure,
    },
    error::ErrorCode,
    metrics::Metrics,
    types::Timestamp,
};

struct World {
    memory: ConsoleMemory,
    metrics: Metrics,
    clock: Clock,
    store_works: bool,
}

impl World {
    fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        let world = Self {
            memory: ConsoleMemory::new(clock.clone()),
            metrics: Metrics::new(),
            clock,
            store_works: true,
        };
        world.memory.take_sample(&world.metrics);
        world
    }

    fn sample(&self) {
        self.clock.advance(Duration::from_secs(10));
        self.memory.take_sample(&self.metrics);
    }

    fn alarms(&self) -> Vec<(AlarmKind, String, String)> {
        let facts = ProcessFacts {
            now: self.clock.now(),
            store_works: self.store_works,
            config_since: Timestamp::from_secs(1_800_000_000),
        };
        let found = alarms(&self.memory.samples(), facts);
        let found = found.into_iter();
        found
            .map(|alarm| (alarm.kind, alarm.label, alarm.value))
            .collect()
    }

    fn kinds(&self) -> Vec<AlarmKind> {
        self.alarms().into_iter().map(|(kind, _, _)| kind).collect()
    }
}

fn count(metrics: &Metrics, code: &str, times: u64) {
    metrics.errors.with_label_values(&[code]).inc_by(times);
}

#[test]
fn nothing_is_wrong_with_a_process_that_has_just_started() {
    let world = World::new();
    assert_eq!(world.alarms(), []);
    world.sample();
    assert_eq!(world.alarms(), []);
    assert_eq!(wechat_fails(&world.memory.samples()), None);
}

#[test]
fn each_thing_that_is_wrong_is_an_alarm() {
    type Event = fn(&Metrics);
    let cases: [(AlarmKind, Event); 14] = [
        (AlarmKind::ConfigRefused, |metrics| {
            metrics.config_applied.set(0);
        }),
        (AlarmKind::Overloaded, |metrics| {
            metrics.connections_refused.inc();
        }),
        (AlarmKind::Failing, |metrics| {
            count(metrics, "store_unavailable", 6);
        }),
        (AlarmKind::Failing, |metrics| {
            count(metrics, "wechat_misconfigured", 1);
        }),
        (AlarmKind::LoginsFailing, |metrics| {
            metrics
                .logins
                .with_label_values(&["sms", "code_invalid"])
                .inc_by(20);
        }),
        (AlarmKind::RefreshesFailing, |metrics| {
            metrics.refresh.with_label_values(&["invalid"]).inc_by(20);
        }),
        (AlarmKind::RequestsRefused, |metrics| {
            metrics
                .requests
                .with_label_values(&["default", "refused", "4xx"])
                .inc_by(301);
        }),
        (AlarmKind::UpstreamFailing, |metrics| {
            metrics
                .requests
                .with_label_values(&["default", "failed", "5xx"])
                .inc_by(31);
            metrics
                .upstream_errors
                .with_label_values(&["connect"])
                .inc_by(31);
        }),
        (AlarmKind::WechatDown, |metrics| {
            metrics
                .wechat_calls
                .with_label_values(&["jscode2session", "unreachable"])
                .inc_by(5);
        }),
        (AlarmKind::SmsVendorRefuses, |metrics| {
            metrics
                .sms_sent
                .with_label_values(&["aliyun", "balance"])
                .inc();
        }),
        (AlarmKind::SmsBudgetSpent, |metrics| {
            metrics
                .rate_limited
                .with_label_values(&["sms_daily_budget"])
                .inc();
        }),
        (AlarmKind::AllBackendsUnhealthy, |metrics| {
            metrics
                .upstream_healthy
                .with_label_values(&["http://a"])
                .set(0);
        }),
        (AlarmKind::BackendUnhealthy, |metrics| {
            metrics
                .upstream_healthy
                .with_label_values(&["http://a"])
                .set(0);
            metrics
                .upstream_healthy
                .with_label_values(&["http://b"])
                .set(1);
        }),
        (AlarmKind::HookBacklog, |metrics| {
            metrics.hook_backlog_age.set(601.0);
        }),
    ];
    for (kind, event) in cases {
        let world = World::new();
        event(&world.metrics);
        world.sample();
        assert_eq!(world.kinds(), [kind]);
        // What has happened once is over some time later; what still is so stays.
        for _ in 0..70 {
            world.sample();
        }
        let lasts = [
            AlarmKind::ConfigRefused,
            AlarmKind::AllBackendsUnhealthy,
            AlarmKind::BackendUnhealthy,
            AlarmKind::HookBacklog,
        ];
        let expected: &[AlarmKind] = if lasts.contains(&kind) { &[kind] } else { &[] };
        assert_eq!(world.kinds(), expected, "{kind:?}");
    }
}

#[test]
fn what_may_be_chance_is_no_alarm() {
    let world = World::new();
    let metrics = &world.metrics;
    count(metrics, "internal", 5);
    count(metrics, "token_expired", 1000);
    metrics
        .logins
        .with_label_values(&["sms", "code_invalid"])
        .inc_by(19);
    metrics
        .logins
        .with_label_values(&["password", "credentials_invalid"])
        .inc_by(1000);
    metrics
        .logins
        .with_label_values(&["wechat", "rate_limited"])
        .inc_by(1000);
    metrics.refresh.with_label_values(&["rotated"]).inc_by(20);
    metrics
        .requests
        .with_label_values(&["default", "refused", "4xx"])
        .inc_by(299);
    metrics
        .wechat_calls
        .with_label_values(&["jscode2session", "code_invalid"])
        .inc_by(100);
    world.sample();
    assert_eq!(world.alarms(), []);
    assert_eq!(wechat_fails(&world.memory.samples()), Some(false));
}

#[test]
fn the_store_the_certificate_and_report_only_mode_are_alarms_too() {
    let mut world = World::new();
    let day = 86_400;
    let now = i64::try_from(world.clock.now().as_secs()).unwrap();
    world.metrics.tls_certificate_expiry.set(now + 13 * day);
    world.metrics.report_only.set(1);
    world.sample();
    assert_eq!(world.kinds(), [AlarmKind::CertificateExpiresSoon]);
    world.clock.advance(Duration::from_hours(12 * 24));
    world.store_works = false;
    world.sample();
    assert_eq!(
        world.kinds(),
        [
            AlarmKind::StoreFails,
            AlarmKind::CertificateExpiresNow,
            AlarmKind::ReportOnly
        ]
    );
}

#[test]
fn a_line_is_the_rate_of_each_half_minute_of_an_hour() {
    let world = World::new();
    // Ten a second, then nothing.
    for n in 0..360_i64 {
        if n < 180 {
            let requests = &world.metrics.requests;
            requests
                .with_label_values(&["default", "forwarded", "2xx"])
                .inc_by(100);
        }
        world.metrics.in_flight.set(n);
        world.sample();
    }
    let samples = world.memory.samples();
    let line = samples.line(Figure::Requests, |_| true);
    assert_eq!(line.len(), 120);
    let first: Vec<_> = line[1..58]
        .iter()
        .map(|rate| rate.unwrap().round())
        .collect();
    assert!(
        first.iter().all(|rate| (*rate - 10.0).abs() < 0.1),
        "{first:?}"
    );
    assert!(line[62..].iter().all(|rate| *rate == Some(0.0)), "{line:?}");
    assert_eq!(Some(samples.gauge(Figure::InFlight)), Some(359.0));
    let increase = samples.increase(Figure::Requests, Duration::from_mins(5), |_| true);
    assert_eq!(Some(increase), Some(0.0));
    let gauge = samples.line(Figure::InFlight, |_| true);
    assert_eq!(gauge[119], Some(359.0));
}

#[test]
fn an_hour_of_figures_is_bounded() {
    let world = World::new();
    // Everything that can be counted is, and more backends than anybody has.
    for n in 0..1000 {
        let name = format!("http://10.0.0.{n}:3000");
        world
            .metrics
            .upstream_healthy
            .with_label_values(&[&name])
            .set(1);
    }
    for _ in 0..400 {
        for code in ErrorCode::ALL {
            count(&world.metrics, code.as_str(), 1);
        }
        for result in [
            "success",
            "internal",
            "not_found",
            "rate_limited",
            "user_disabled",
        ] {
            world
                .metrics
                .logins
                .with_label_values(&["sms", result])
                .inc();
        }
        world.sample();
    }
    let memory = world.memory.samples().memory();
    assert!((100_000..1_000_000).contains(&memory), "{memory}");
}

/// A backend that is no longer configured has no line, and no alarm.
#[test]
fn what_is_no_longer_measured_is_forgotten() {
    let world = World::new();
    world
        .metrics
        .upstream_healthy
        .with_label_values(&["http://old"])
        .set(0);
    world.sample();
    assert_eq!(world.kinds(), [AlarmKind::AllBackendsUnhealthy]);
    world
        .metrics
        .upstream_healthy
        .remove_label_values(&["http://old"])
        .unwrap();
    world.sample();
    assert_eq!(world.alarms(), []);
}
