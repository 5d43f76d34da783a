//! What Prometheus reads. Every label value comes from a closed list or from the config, so the
//! number of series is known; none is a path, a user or an address.
//!
//! `catalog` lists the metrics; [`Metrics`] registers them and records what several of them say
//! about one event.

mod catalog;
mod counters;
mod family;
mod readings;
mod reference;

use std::{ops::Deref, sync::Arc, time::Duration};

pub use catalog::MetricFamilies;
pub use counters::CounterFamily;
use prometheus::{Registry, TextEncoder};
pub use readings::{Part, Readings};
pub use reference::markdown;

/// All metrics of one process, created once by `App` and handed down.
#[derive(Clone)]
pub struct Metrics(Arc<Registered>);

struct Registered {
    families: MetricFamilies,
    registry: Registry,
    /// What the operating system says of the process; its names have no prefix.
    system: Registry,
}

impl Metrics {
    /// A registry of its own with every metric in it.
    ///
    /// # Panics
    /// When two metrics have one name: a mistake in `catalog`.
    pub fn new() -> Self {
        let registry =
            Registry::new_custom(Some("menshen".to_owned()), None).expect("a prefix is given");
        let families = MetricFamilies::register(&registry);
        families
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        // What has no value yet is there at zero.
        families.revocation_lag.with_label_values::<&str>(&[]);
        for state in ["in_use", "idle"] {
            families.store_connections.with_label_values(&[state]);
        }
        // What has been read at start is in use.
        families.config_applied.set(1);
        Self(Arc::new(Registered {
            families,
            registry,
            system: system(),
        }))
    }

    /// Everything in the text exposition format 0.0.4.
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.readings().0)
            .unwrap_or_default()
    }

    /// The values of this moment.
    pub fn readings(&self) -> Readings {
        Readings([self.0.registry.gather(), self.0.system.gather()].concat())
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
        &self.0.families
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The metrics of this process that Linux has.
fn system() -> Registry {
    let registry = Registry::new();
    #[cfg(target_os = "linux")]
    {
        let of_this = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(of_this)).expect("the only one");
    }
    registry
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_known_is_there_before_anything_happens() {
        let metrics = Metrics::new();
        metrics.store_errors.initialize(&["sled"]);
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
