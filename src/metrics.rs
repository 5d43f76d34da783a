//! What Prometheus reads. Every label value comes from a closed list or from the config, so the
//! number of series is known; none is a path, a user or an address.
//!
//! What each metric is called, means and can have as labels stands in `catalog`; here is what the
//! program holds of it.

mod catalog;
mod counters;
mod reference;

use std::{ops::Deref, sync::Arc, time::Duration};

pub use counters::CounterFamily;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
pub use reference::markdown;

use self::catalog::{MetricFamily, MetricType};

/// Seconds, for what the gate itself adds: 0.5 microseconds to 10 ms.
const GATE_BUCKETS: &[f64] = &[
    5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2,
];
/// Seconds, for whole requests and calls: 0.5 ms to 30 s.
const CALL_BUCKETS: &[f64] = &[
    5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// All metrics of one process, created once by `App` and handed down.
#[derive(Clone)]
pub struct Metrics(Arc<MetricFamilies>);

/// The metrics themselves.
pub struct MetricFamilies {
    registry: Registry,
    /// What the operating system says of the process; its names have no prefix.
    system: Registry,
    /// `menshen_requests_total{rule,decision,status}`.
    pub requests: CounterFamily,
    /// `menshen_errors_total{code}`: answers of menshen's own with an error.
    pub errors: CounterFamily,
    /// `menshen_request_duration_seconds{rule}`: the whole of a request, the backend included.
    pub request_duration: HistogramVec,
    /// `menshen_upstream_response_seconds{upstream}`: until the head of a backend's response came.
    pub upstream_response: HistogramVec,
    /// `menshen_gate_duration_seconds`: the gate's own decision.
    pub gate_duration: Histogram,
    /// `menshen_requests_in_flight`.
    pub in_flight: IntGauge,
    /// `menshen_connections`: open client connections.
    pub connections: IntGauge,
    /// `menshen_connections_refused_total`: turned away, over `server.max_connections`.
    pub connections_refused: IntCounter,
    /// `menshen_requests_overloaded_total`: turned away, over `server.max_requests`.
    pub requests_overloaded: IntCounter,
    /// `menshen_http2_connections_cut_total`: ended because of malformed or abandoned requests.
    pub http2_connections_cut: IntCounter,
    /// `menshen_tls_handshakes_total{result}`: `ok`, or why there is no connection.
    pub tls_handshakes: CounterFamily,
    /// `menshen_tls_reloads_total{result}`: certificates read anew, `ok` or `failed`.
    pub tls_reloads: CounterFamily,
    /// `menshen_tls_certificate_expiry_seconds`: when our certificate ends, in Unix time.
    pub tls_certificate_expiry: IntGauge,
    /// `menshen_token_checks_total{result}`.
    pub token_checks: CounterFamily,
    /// `menshen_issuer_token_checks_total{issuer,result}`: `passed`, `invalid`, `expired`, `ended`,
    /// `revoked` or `no_keys`.
    pub issuer_token_checks: CounterFamily,
    /// `menshen_jwks_age_seconds{issuer}`: how old the keys of another issuer are.
    pub jwks_age: GaugeVec,
    /// `menshen_signing_key_age_seconds`: how long the key that signs has been signing; 0 where
    /// keys are given by the config.
    pub signing_key_age: Gauge,
    /// `menshen_logins_total{method,result}`.
    pub logins: CounterFamily,
    /// `menshen_refresh_total{result}`.
    pub refresh: CounterFamily,
    /// `menshen_sessions_opened_total`.
    pub sessions_opened: IntCounter,
    /// `menshen_revocations_total{reason}`: sessions that were ended; of everybody at once
    /// (`everything`) it counts as one.
    pub revocations: CounterFamily,
    /// `menshen_revocation_lag_seconds`: age of the newest revocation when the poll found it.
    pub revocation_lag: Gauge,
    /// `menshen_wechat_calls_total{api,class}`.
    pub wechat_calls: CounterFamily,
    /// `menshen_wechat_call_duration_seconds{api}`.
    pub wechat_call_duration: HistogramVec,
    /// `menshen_wechat_phone_cost_cny_total`: what WeChat takes for phone numbers, by
    /// `wechat.phone_price`.
    pub wechat_phone_cost: Counter,
    /// `menshen_sms_sent_total{provider,result}`: calls of SMS providers.
    pub sms_sent: CounterFamily,
    /// `menshen_sms_codes_verified_total{result}`: `right`, `wrong`, `limited` or `failed`.
    pub sms_codes_verified: CounterFamily,
    /// `menshen_phone_bindings_total{method,result}`.
    pub phone_bindings: CounterFamily,
    /// `menshen_sms_cost_cny_total{provider}`: yuan, for messages that were or may have been sent,
    /// at the configured price.
    pub sms_cost: CounterVec,
    /// `menshen_sms_daily_budget`: messages a day that the config allows, 0 without a vendor.
    pub sms_daily_budget: IntGauge,
    /// `menshen_sms_call_duration_seconds{provider}`.
    pub sms_call_duration: HistogramVec,
    /// `menshen_wechat_pushes_total{event,result}`: what WeChat pushed, and what became of it.
    pub wechat_pushes: CounterFamily,
    /// `menshen_hook_calls_total{event,result}`: questions and messages to the backend.
    pub hook_calls: CounterFamily,
    /// `menshen_hook_call_duration_seconds{event}`, repeats included.
    pub hook_call_duration: HistogramVec,
    /// `menshen_hook_events_lost_total{event}`: of which the backend will not hear.
    pub hook_events_lost: CounterFamily,
    /// `menshen_hook_backlog`: events that wait in the outbox, counted up to 1000.
    pub hook_backlog: IntGauge,
    /// `menshen_hook_backlog_age_seconds`: age of the oldest of them.
    pub hook_backlog_age: Gauge,
    /// `menshen_store_op_duration_seconds{engine,op}`.
    pub store_op_duration: HistogramVec,
    /// `menshen_store_errors_total{engine,op}`.
    pub store_errors: CounterFamily,
    /// `menshen_store_resealed_records_total`: records looked at for a change of the store's key.
    pub store_resealed: IntCounter,
    /// `menshen_store_size_bytes`.
    pub store_size: IntGauge,
    /// `menshen_rate_limited_total{limit}`.
    pub rate_limited: CounterFamily,
    /// `menshen_headers_stripped_total`: headers of clients that did not pass.
    pub headers_stripped: IntCounter,
    /// `menshen_report_only`: 1 while the gate, or a rule, only reports.
    pub report_only: IntGauge,
    /// `menshen_report_only_total{rule,code,backend}`: what the gate would have said (`pass` or a
    /// code) and what the backend did.
    pub report_only_requests: CounterFamily,
    /// `menshen_report_only_headers_total`: headers of clients that passed only because of that.
    pub report_only_headers: IntCounter,
    /// `menshen_upstream_errors_total{kind}`.
    pub upstream_errors: CounterFamily,
    /// `menshen_streams_open{kind}`: `websocket`, `events`, `answer` for other answers that have
    /// been coming for a second, and `call` for calls of gRPC that have lasted as long.
    pub streams_open: IntGaugeVec,
    /// `menshen_streams_ended_total{reason}`.
    pub streams_ended: CounterFamily,
    /// `menshen_proof_errors_total{kind}`: what the backend is shown (`assertion`, `mint`) that
    /// could not be signed.
    pub proof_errors: CounterFamily,
    /// `menshen_upstream_healthy{upstream}`: 1 where requests go by turns, 0 where only when no
    /// other is left.
    pub upstream_healthy: IntGaugeVec,
    /// `menshen_upstream_ejections_total{upstream}`: backends passed over for failing requests.
    pub upstream_ejections: CounterFamily,
    /// `menshen_audit_events_total{event}`.
    pub audit_events: CounterFamily,
    /// `menshen_config_reloads_total{result}`: `applied` or `refused`.
    pub config_reloads: CounterFamily,
    /// `menshen_config_applied`: 1 while the config in use is the last one that was read, 0 while
    /// that one was refused.
    pub config_applied: IntGauge,
    /// `menshen_ready`: what `/readyz` says, as of the last scrape.
    pub ready: IntGauge,
    /// `menshen_panics_total`.
    pub panics: IntCounter,
    /// `menshen_log_lines_dropped_total`: log lines given up because the reader of standard output
    /// did not keep up.
    pub log_lines_dropped: IntCounter,
}

impl Metrics {
    /// A registry of its own with every metric in it.
    ///
    /// # Panics
    /// When a metric is not in the catalog, or two have one name: mistakes in these files.
    pub fn new() -> Self {
        let registry =
            Registry::new_custom(Some("menshen".to_owned()), None).expect("a prefix is given");
        let new = Registered(&registry);
        let families = MetricFamilies {
            requests: new.counter_family("requests_total"),
            errors: new.counter_family("errors_total"),
            request_duration: new.histograms("request_duration_seconds", CALL_BUCKETS),
            upstream_response: new.histograms("upstream_response_seconds", CALL_BUCKETS),
            gate_duration: new.histogram("gate_duration_seconds", GATE_BUCKETS),
            in_flight: new.gauge("requests_in_flight"),
            connections: new.gauge("connections"),
            connections_refused: new.counter("connections_refused_total"),
            requests_overloaded: new.counter("requests_overloaded_total"),
            http2_connections_cut: new.counter("http2_connections_cut_total"),
            tls_handshakes: new.counter_family("tls_handshakes_total"),
            tls_reloads: new.counter_family("tls_reloads_total"),
            tls_certificate_expiry: new.gauge("tls_certificate_expiry_seconds"),
            token_checks: new.counter_family("token_checks_total"),
            issuer_token_checks: new.counter_family("issuer_token_checks_total"),
            jwks_age: new.ages("jwks_age_seconds"),
            signing_key_age: new.seconds("signing_key_age_seconds"),
            logins: new.counter_family("logins_total"),
            refresh: new.counter_family("refresh_total"),
            sessions_opened: new.counter("sessions_opened_total"),
            revocations: new.counter_family("revocations_total"),
            revocation_lag: new.seconds("revocation_lag_seconds"),
            wechat_calls: new.counter_family("wechat_calls_total"),
            wechat_call_duration: new.histograms("wechat_call_duration_seconds", CALL_BUCKETS),
            wechat_phone_cost: new.amount("wechat_phone_cost_cny_total"),
            sms_sent: new.counter_family("sms_sent_total"),
            sms_codes_verified: new.counter_family("sms_codes_verified_total"),
            phone_bindings: new.counter_family("phone_bindings_total"),
            sms_cost: new.sums("sms_cost_cny_total"),
            sms_daily_budget: new.gauge("sms_daily_budget"),
            sms_call_duration: new.histograms("sms_call_duration_seconds", CALL_BUCKETS),
            wechat_pushes: new.counter_family("wechat_pushes_total"),
            hook_calls: new.counter_family("hook_calls_total"),
            hook_call_duration: new.histograms("hook_call_duration_seconds", CALL_BUCKETS),
            hook_events_lost: new.counter_family("hook_events_lost_total"),
            hook_backlog: new.gauge("hook_backlog"),
            hook_backlog_age: new.seconds("hook_backlog_age_seconds"),
            store_op_duration: new.histograms("store_op_duration_seconds", CALL_BUCKETS),
            store_errors: new.counter_family("store_errors_total"),
            store_resealed: new.counter("store_resealed_records_total"),
            store_size: new.gauge("store_size_bytes"),
            rate_limited: new.counter_family("rate_limited_total"),
            headers_stripped: new.counter("headers_stripped_total"),
            report_only: new.gauge("report_only"),
            report_only_requests: new.counter_family("report_only_total"),
            report_only_headers: new.counter("report_only_headers_total"),
            upstream_errors: new.counter_family("upstream_errors_total"),
            streams_open: new.gauges("streams_open"),
            streams_ended: new.counter_family("streams_ended_total"),
            proof_errors: new.counter_family("proof_errors_total"),
            upstream_healthy: new.gauges("upstream_healthy"),
            upstream_ejections: new.counter_family("upstream_ejections_total"),
            audit_events: new.counter_family("audit_events_total"),
            config_reloads: new.counter_family("config_reloads_total"),
            config_applied: new.gauge("config_applied"),
            ready: new.gauge("ready"),
            panics: new.counter("panics_total"),
            log_lines_dropped: new.counter("log_lines_dropped_total"),
            registry: registry.clone(),
            system: system(),
        };
        new.gauges("build_info")
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        // What has been read at start is in use.
        families.config_applied.set(1);
        Self(Arc::new(families))
    }

    /// Everything in the text exposition format 0.0.4.
    pub fn render(&self) -> String {
        let families = [self.registry.gather(), self.system.gather()].concat();
        TextEncoder::new()
            .encode_to_string(&families)
            .unwrap_or_default()
    }

    /// One store operation.
    pub fn store_op(&self, engine: &'static str, op: &'static str, took: Duration, failed: bool) {
        self.store_op_duration
            .with_label_values(&[engine, op])
            .observe(took.as_secs_f64());
        if failed {
            self.store_errors.with_label_values(&[engine, op]).inc();
        }
    }

    /// One call of an SMS provider. `cost` is in thousandths of a yuan.
    pub fn sms_call(
        &self,
        provider: &'static str,
        result: &'static str,
        took: Duration,
        cost: u32,
    ) {
        self.sms_sent.with_label_values(&[provider, result]).inc();
        self.sms_call_duration
            .with_label_values(&[provider])
            .observe(took.as_secs_f64());
        self.sms_cost
            .with_label_values(&[provider])
            .inc_by(f64::from(cost) / 1000.0);
    }

    /// One question or message to the backend.
    pub fn hook_call(&self, event: &'static str, result: &'static str, took: Duration) {
        self.hook_calls.with_label_values(&[event, result]).inc();
        self.hook_call_duration
            .with_label_values(&[event])
            .observe(took.as_secs_f64());
    }

    /// One call of WeChat.
    pub fn wechat_call(&self, api: &'static str, class: &'static str, took: Duration) {
        self.wechat_calls.with_label_values(&[api, class]).inc();
        self.wechat_call_duration
            .with_label_values(&[api])
            .observe(took.as_secs_f64());
    }

    /// One phone number from WeChat, at so many thousandths of a yuan.
    pub fn wechat_phone(&self, price: u32) {
        self.wechat_phone_cost.inc_by(f64::from(price) / 1000.0);
    }
}

impl Deref for Metrics {
    type Target = MetricFamilies;

    fn deref(&self) -> &MetricFamilies {
        &self.0
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What the operating system says of this process, where it is Linux.
fn system() -> Registry {
    let registry = Registry::new();
    #[cfg(target_os = "linux")]
    {
        let of_this = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(of_this)).expect("the only one");
    }
    registry
}

/// Makes metrics that are in the registry from the start, as the catalog has them.
struct Registered<'a>(&'a Registry);

impl Registered<'_> {
    fn entry(name: &str, kind: MetricType) -> (&'static MetricFamily, Opts) {
        let entry = catalog::find(name)
            .filter(|entry| entry.kind == kind)
            .expect("a metric of the catalog");
        (entry, Opts::new(entry.name, entry.help))
    }
    fn add<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> C {
        let metric = made.expect("a valid metric");
        self.0
            .register(Box::new(metric.clone()))
            .expect("a name of its own");
        metric
    }
    fn counter(&self, name: &str) -> IntCounter {
        self.add(IntCounter::with_opts(
            Self::entry(name, MetricType::Counter).1,
        ))
    }
    fn amount(&self, name: &str) -> Counter {
        self.add(Counter::with_opts(Self::entry(name, MetricType::Counter).1))
    }
    fn counter_family(&self, name: &str) -> CounterFamily {
        let (entry, opts) = Self::entry(name, MetricType::Counter);
        CounterFamily::new(
            entry.name,
            self.add(IntCounterVec::new(opts, &entry.label_names())),
            entry.labels,
        )
    }
    /// Counters that grow by fractions.
    fn sums(&self, name: &str) -> CounterVec {
        let (entry, opts) = Self::entry(name, MetricType::Counter);
        self.add(CounterVec::new(opts, &entry.label_names()))
    }
    fn gauge(&self, name: &str) -> IntGauge {
        self.add(IntGauge::with_opts(Self::entry(name, MetricType::Gauge).1))
    }
    fn gauges(&self, name: &str) -> IntGaugeVec {
        let (entry, opts) = Self::entry(name, MetricType::Gauge);
        self.add(IntGaugeVec::new(opts, &entry.label_names()))
    }
    fn seconds(&self, name: &str) -> Gauge {
        self.add(Gauge::with_opts(Self::entry(name, MetricType::Gauge).1))
    }
    /// Gauges of times and other fractions.
    fn ages(&self, name: &str) -> GaugeVec {
        let (entry, opts) = Self::entry(name, MetricType::Gauge);
        self.add(GaugeVec::new(opts, &entry.label_names()))
    }
    fn histogram(&self, name: &str, buckets: &[f64]) -> Histogram {
        let (_, opts) = Self::entry(name, MetricType::Histogram);
        self.add(Histogram::with_opts(
            HistogramOpts::from(opts).buckets(buckets.to_vec()),
        ))
    }
    fn histograms(&self, name: &str, buckets: &[f64]) -> HistogramVec {
        let (entry, opts) = Self::entry(name, MetricType::Histogram);
        self.add(HistogramVec::new(
            HistogramOpts::from(opts).buckets(buckets.to_vec()),
            &entry.label_names(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_known_is_there_before_anything_happens() {
        let metrics = Metrics::new();
        metrics.store_errors.start(&["sled"]);
        let text = metrics.render();
        for series in [
            "menshen_logins_total{method=\"wechat\",result=\"success\"} 0",
            "menshen_logins_total{method=\"password\",result=\"credentials_invalid\"} 0",
            "menshen_errors_total{code=\"upstream_timeout\"} 0",
            "menshen_refresh_total{result=\"reused\"} 0",
            "menshen_wechat_calls_total{api=\"jscode2session\",class=\"misconfigured\"} 0",
            "menshen_store_errors_total{engine=\"sled\",op=\"rotate\"} 0",
            "menshen_config_applied 1",
            "menshen_panics_total 0",
        ] {
            assert!(
                text.lines().any(|line| line == series),
                "{series} is not there:\n{text}"
            );
        }
        // What depends on the config waits for it.
        assert!(
            !text.contains("menshen_sms_sent_total{") && !text.contains("menshen_requests_total{"),
            "{text}"
        );
    }

    #[test]
    fn every_metric_of_the_catalog_is_made_once() {
        let named: Vec<&str> = catalog::SECTIONS
            .iter()
            .flat_map(|(_, entries)| *entries)
            .map(|entry| entry.name)
            .collect();
        let different: BTreeSet<&str> = named.iter().copied().collect();
        assert_eq!(
            named.len(),
            different.len(),
            "a name stands twice in the catalog"
        );
        // One line for each in this file, and what is not in the catalog cannot be made.
        let (code, _tests) = include_str!("metrics.rs")
            .split_once("#[cfg(test)]")
            .unwrap();
        let made = code
            .lines()
            .filter(|line| line.contains(": new.") || line.contains(" new.gauges(\"build_info"));
        assert_eq!(made.count(), named.len(), "in the catalog, but not made");
    }

    #[test]
    #[should_panic(expected = "is not in src/metrics/catalog.rs")]
    fn a_value_that_the_catalog_does_not_have_stops_a_test() {
        Metrics::new()
            .logins
            .with_label_values(&["wechat", "+8613800138000"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_operating_system_tells_what_the_manual_says() {
        let text = Metrics::new().render();
        let told: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter(|line| line.starts_with("process_"))
            .collect();
        let said: Vec<String> = reference::PROCESS_METRICS
            .iter()
            .map(|(name, kind, _)| format!("{name} {kind}"))
            .collect();
        assert_eq!(told, said.iter().map(String::as_str).collect());
    }
}
