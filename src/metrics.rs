//! What Prometheus reads. Every label value comes from a closed list or from the config, so the number of series is known;
//! none is a path, a user or an address.

use std::time::Duration;

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Seconds, for what the gate itself adds: 0.5 microseconds to 10 ms.
const GATE_BUCKETS: &[f64] = &[5e-7, 1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2];
/// Seconds, for whole requests and calls: 0.5 ms to 30 s.
const CALL_BUCKETS: &[f64] = &[5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// All metrics of one process, created once by `App` and handed down.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// `menshen_requests_total{rule,decision,status}`.
    pub requests: IntCounterVec,
    /// `menshen_request_duration_seconds{rule}`: the whole of a request, the backend included.
    pub request_duration: HistogramVec,
    /// `menshen_gate_duration_seconds`: the gate's own decision.
    pub gate_duration: Histogram,
    /// `menshen_requests_in_flight`.
    pub in_flight: IntGauge,
    /// `menshen_requests_overloaded_total`: turned away, over `server.max_requests`.
    pub requests_overloaded: IntCounter,
    /// `menshen_connections`: open client connections.
    pub connections: IntGauge,
    /// `menshen_connections_refused_total`: turned away, over `server.max_connections`.
    pub connections_refused: IntCounter,
    /// `menshen_http2_connections_cut_total`: ended because of malformed or abandoned requests.
    pub http2_connections_cut: IntCounter,
    /// `menshen_tls_handshakes_total{result}`: `ok`, or why there is no connection.
    pub tls_handshakes: IntCounterVec,
    /// `menshen_tls_reloads_total{result}`: certificates read anew, `ok` or `failed`.
    pub tls_reloads: IntCounterVec,
    /// `menshen_tls_certificate_expiry_seconds`: when our certificate ends, in Unix time.
    pub tls_certificate_expiry: IntGauge,
    /// `menshen_signing_key_age_seconds`: how long the key that signs has been signing; 0 where keys are given by the config.
    pub signing_key_age: Gauge,
    /// `menshen_token_checks_total{result}`.
    pub token_checks: IntCounterVec,
    /// `menshen_issuer_token_checks_total{issuer,result}`: `passed`, `invalid`, `expired`, `ended`, `revoked` or `no_keys`.
    pub issuer_token_checks: IntCounterVec,
    /// `menshen_jwks_age_seconds{issuer}`: how old the keys of another issuer are.
    pub jwks_age: GaugeVec,
    /// `menshen_logins_total{method,result}`.
    pub logins: IntCounterVec,
    /// `menshen_refresh_total{result}`.
    pub refresh: IntCounterVec,
    /// `menshen_sessions_opened_total`.
    pub sessions_opened: IntCounter,
    /// `menshen_revocations_total{reason}`: sessions that were ended; of everybody at once (`everything`) it counts as one.
    pub revocations: IntCounterVec,
    /// `menshen_revocation_lag_seconds`: age of the newest revocation when the poll found it.
    pub revocation_lag: Gauge,
    /// `menshen_wechat_calls_total{api,class}`.
    pub wechat_calls: IntCounterVec,
    /// `menshen_wechat_call_duration_seconds{api}`.
    pub wechat_call_duration: HistogramVec,
    /// `menshen_wechat_phone_cost_cny_total`: what WeChat takes for phone numbers, by `wechat.phone_price`.
    pub wechat_phone_cost: Counter,
    /// `menshen_sms_sent_total{provider,result}`: calls of SMS providers.
    pub sms_sent: IntCounterVec,
    /// `menshen_sms_codes_verified_total{result}`: `right`, `wrong`, `limited` or `failed`.
    pub sms_codes_verified: IntCounterVec,
    /// `menshen_phone_bindings_total{method,result}`.
    pub phone_bindings: IntCounterVec,
    /// `menshen_sms_cost_cny_total{provider}`: yuan, for messages that were or may have been sent, at the configured price.
    pub sms_cost: CounterVec,
    /// `menshen_sms_call_duration_seconds{provider}`.
    pub sms_call_duration: HistogramVec,
    /// `menshen_wechat_pushes_total{event,result}`: what WeChat pushed, and what became of it.
    pub wechat_pushes: IntCounterVec,
    /// `menshen_hook_calls_total{event,result}`: questions and messages to the backend.
    pub hook_calls: IntCounterVec,
    /// `menshen_hook_call_duration_seconds{event}`, repeats included.
    pub hook_call_duration: HistogramVec,
    /// `menshen_hook_events_lost_total{event}`: of which the backend will not hear.
    pub hook_events_lost: IntCounterVec,
    /// `menshen_hook_backlog`: events that wait in the outbox, counted up to 1000.
    pub hook_backlog: IntGauge,
    /// `menshen_hook_backlog_age_seconds`: age of the oldest of them.
    pub hook_backlog_age: Gauge,
    /// `menshen_store_op_duration_seconds{engine,op}`.
    pub store_op_duration: HistogramVec,
    /// `menshen_store_errors_total{engine,op}`.
    pub store_errors: IntCounterVec,
    /// `menshen_store_resealed_records_total`: records looked at for a change of the store's key.
    pub store_resealed: IntCounter,
    /// `menshen_store_size_bytes`.
    pub store_size: IntGauge,
    /// `menshen_rate_limited_total{limit}`.
    pub rate_limited: IntCounterVec,
    /// `menshen_headers_stripped_total`: headers of clients that did not pass.
    pub headers_stripped: IntCounter,
    /// `menshen_report_only`: 1 while the gate, or a rule, only reports.
    pub report_only: IntGauge,
    /// `menshen_report_only_total{rule,code,backend}`: what the gate would have said (`pass` or a code) and what the backend did.
    pub report_only_requests: IntCounterVec,
    /// `menshen_report_only_headers_total`: headers of clients that passed only because of that.
    pub report_only_headers: IntCounter,
    /// `menshen_upstream_errors_total{kind}`.
    pub upstream_errors: IntCounterVec,
    /// `menshen_streams_open{kind}`: `websocket`, `events`, `answer` for other answers that have been coming for a second, and `call` for
    /// calls of gRPC that have lasted as long.
    pub streams_open: IntGaugeVec,
    /// `menshen_streams_ended_total{reason}`.
    pub streams_ended: IntCounterVec,
    /// `menshen_proof_errors_total{kind}`: what the backend is shown (`assertion`, `mint`) that could not be signed.
    pub proof_errors: IntCounterVec,
    /// `menshen_upstream_healthy{upstream}`: 1 where requests go by turns, 0 where only when no other is left.
    pub upstream_healthy: IntGaugeVec,
    /// `menshen_upstream_ejections_total{upstream}`: backends passed over for failing requests.
    pub upstream_ejections: IntCounterVec,
    /// `menshen_audit_events_total{event}`.
    pub audit_events: IntCounterVec,
    /// `menshen_config_reloads_total{result}`: `applied` or `refused`.
    pub config_reloads: IntCounterVec,
    /// `menshen_config_applied`: 1 while the config in use is the last one that was read, 0 while that one was refused.
    pub config_applied: IntGauge,
    /// `menshen_panics_total`.
    pub panics: IntCounter,
    /// `menshen_log_lines_dropped_total`: log lines given up because the reader of standard output did not keep up.
    pub log_lines_dropped: IntCounter,
}

impl Metrics {
    /// A registry of its own with every metric in it.
    ///
    /// # Panics
    /// When two metrics have one name, which is a mistake in this file.
    pub fn new() -> Self {
        let registry = Registry::new_custom(Some("menshen".to_owned()), None).expect("a prefix is given");
        let new = Registered(&registry);
        let metrics = Self {
            requests: new.counters("requests_total", "Requests.", &["rule", "decision", "status"]),
            request_duration: new.histograms("request_duration_seconds", "Whole requests.", &["rule"], CALL_BUCKETS),
            gate_duration: new.histogram("gate_duration_seconds", "The gate's own decision on a request.", GATE_BUCKETS),
            in_flight: new.gauge("requests_in_flight", "Requests now."),
            requests_overloaded: new.counter("requests_overloaded_total", "Requests over the limit, turned away."),
            connections: new.gauge("connections", "Client connections now."),
            connections_refused: new.counter("connections_refused_total", "Connections over the limit, turned away."),
            http2_connections_cut: new.counter(
                "http2_connections_cut_total",
                "HTTP/2 connections ended because of malformed or abandoned requests.",
            ),
            tls_handshakes: new.counters("tls_handshakes_total", "TLS handshakes of clients.", &["result"]),
            tls_reloads: new.counters("tls_reloads_total", "Changed TLS certificates, read anew.", &["result"]),
            tls_certificate_expiry: new
                .gauge("tls_certificate_expiry_seconds", "When the TLS certificate ends, in Unix time; 0 without TLS."),
            signing_key_age: new
                .seconds("signing_key_age_seconds", "How long the key that signs has been signing; 0 for given keys."),
            token_checks: new.counters("token_checks_total", "Access tokens checked.", &["result"]),
            issuer_token_checks: new.counters(
                "issuer_token_checks_total",
                "Tokens of other issuers checked.",
                &["issuer", "result"],
            ),
            jwks_age: new.ages("jwks_age_seconds", "Age of the keys of another issuer.", &["issuer"]),
            logins: new.counters("logins_total", "Login attempts.", &["method", "result"]),
            refresh: new.counters("refresh_total", "Refresh tokens presented.", &["result"]),
            sessions_opened: new.counter("sessions_opened_total", "Sessions opened."),
            revocations: new.counters("revocations_total", "Revocations.", &["reason"]),
            revocation_lag: new.seconds("revocation_lag_seconds", "Age of the newest revocation when it was found."),
            wechat_calls: new.counters("wechat_calls_total", "Calls of WeChat.", &["api", "class"]),
            wechat_call_duration: new.histograms("wechat_call_duration_seconds", "Calls of WeChat.", &["api"], CALL_BUCKETS),
            wechat_phone_cost: new.amount("wechat_phone_cost_cny_total", "What WeChat takes for phone numbers."),
            sms_sent: new.counters("sms_sent_total", "Calls of SMS providers.", &["provider", "result"]),
            sms_codes_verified: new.counters("sms_codes_verified_total", "SMS codes looked at.", &["result"]),
            phone_bindings: new.counters("phone_bindings_total", "Phones to bind.", &["method", "result"]),
            sms_cost: new.sums("sms_cost_cny_total", "What sending messages has cost, in yuan.", &["provider"]),
            sms_call_duration: new.histograms(
                "sms_call_duration_seconds",
                "Calls of SMS providers.",
                &["provider"],
                CALL_BUCKETS,
            ),
            wechat_pushes: new.counters("wechat_pushes_total", "What WeChat pushed.", &["event", "result"]),
            hook_calls: new.counters("hook_calls_total", "Questions and messages to the backend.", &["event", "result"]),
            hook_call_duration: new.histograms(
                "hook_call_duration_seconds",
                "Questions and messages to the backend.",
                &["event"],
                CALL_BUCKETS,
            ),
            hook_events_lost: new.counters(
                "hook_events_lost_total",
                "Events of which the backend will not hear.",
                &["event"],
            ),
            hook_backlog: new.gauge("hook_backlog", "Events that wait for the backend, counted up to 1000."),
            hook_backlog_age: new.seconds("hook_backlog_age_seconds", "Age of the oldest event that waits."),
            store_op_duration: new.histograms(
                "store_op_duration_seconds",
                "Store operations.",
                &["engine", "op"],
                CALL_BUCKETS,
            ),
            store_errors: new.counters("store_errors_total", "Store operations that failed.", &["engine", "op"]),
            store_resealed: new
                .counter("store_resealed_records_total", "Records looked at for a change of the store's key."),
            store_size: new.gauge("store_size_bytes", "The store on disk."),
            rate_limited: new.counters("rate_limited_total", "Requests over a limit.", &["limit"]),
            headers_stripped: new.counter("headers_stripped_total", "Headers of clients that did not pass."),
            report_only: new.gauge("report_only", "Whether the gate or a rule only reports."),
            report_only_requests: new.counters(
                "report_only_total",
                "What the gate would have said, and what the backend did.",
                &["rule", "code", "backend"],
            ),
            report_only_headers: new
                .counter("report_only_headers_total", "Headers of clients that passed only because the gate reports."),
            upstream_errors: new.counters("upstream_errors_total", "Requests that the backend failed.", &["kind"]),
            streams_open: new.gauges("streams_open", "Streams now.", &["kind"]),
            streams_ended: new.counters("streams_ended_total", "Streams that have ended.", &["reason"]),
            proof_errors: new.counters("proof_errors_total", "Signatures for the backend that failed.", &["kind"]),
            upstream_healthy: new.gauges("upstream_healthy", "Whether a backend is used.", &["upstream"]),
            upstream_ejections: new.counters("upstream_ejections_total", "Backends passed over.", &["upstream"]),
            audit_events: new.counters("audit_events_total", "Lines of the audit log.", &["event"]),
            config_reloads: new.counters("config_reloads_total", "Configs read while running.", &["result"]),
            config_applied: new.gauge("config_applied", "1: the config that was read last is in use. 0: it was refused."),
            panics: new.counter("panics_total", "Panics; each is a bug."),
            log_lines_dropped: new.counter("log_lines_dropped_total", "Log lines given up."),
            registry: registry.clone(),
        };
        let build = new.counters("build_info", "Always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).inc();
        metrics
    }

    /// Everything in the text exposition format 0.0.4.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// One store operation.
    pub fn store_op(&self, engine: &'static str, op: &'static str, took: Duration, failed: bool) {
        self.store_op_duration.with_label_values(&[engine, op]).observe(took.as_secs_f64());
        if failed {
            self.store_errors.with_label_values(&[engine, op]).inc();
        }
    }

    /// One call of an SMS provider. `cost` is in thousandths of a yuan.
    pub fn sms_call(&self, provider: &'static str, result: &'static str, took: Duration, cost: u32) {
        self.sms_sent.with_label_values(&[provider, result]).inc();
        self.sms_call_duration.with_label_values(&[provider]).observe(took.as_secs_f64());
        self.sms_cost.with_label_values(&[provider]).inc_by(f64::from(cost) / 1000.0);
    }

    /// One question or message to the backend.
    pub fn hook_call(&self, event: &'static str, result: &'static str, took: Duration) {
        self.hook_calls.with_label_values(&[event, result]).inc();
        self.hook_call_duration.with_label_values(&[event]).observe(took.as_secs_f64());
    }

    /// One call of WeChat.
    pub fn wechat_call(&self, api: &'static str, class: &'static str, took: Duration) {
        self.wechat_calls.with_label_values(&[api, class]).inc();
        self.wechat_call_duration.with_label_values(&[api]).observe(took.as_secs_f64());
    }

    /// One phone number from WeChat, at so many thousandths of a yuan.
    pub fn wechat_phone(&self, price: u32) {
        self.wechat_phone_cost.inc_by(f64::from(price) / 1000.0);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Makes metrics that are in the registry from the start.
struct Registered<'a>(&'a Registry);

impl Registered<'_> {
    fn add<C: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("a valid metric");
        self.0.register(Box::new(metric.clone())).expect("a name of its own");
        metric
    }
    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::new(name, help))
    }
    fn amount(&self, name: &str, help: &str) -> Counter {
        self.add(Counter::new(name, help))
    }
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(name, help), labels))
    }
    /// Counters that grow by fractions.
    fn sums(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.add(CounterVec::new(Opts::new(name, help), labels))
    }
    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::new(name, help))
    }
    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels))
    }
    fn seconds(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::new(name, help))
    }
    /// Gauges of times and other fractions.
    fn ages(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }
    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }
    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }
}
