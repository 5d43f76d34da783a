//! Which metrics are sampled, and by which of their labels.

use crate::metrics::Part;

/// Where a figure is read.
pub(super) struct FigureSource {
    /// The metric's name without `menshen_`.
    pub(super) family: &'static str,
    /// The labels that are kept apart; the metric is added up over the others.
    pub(super) labels: &'static [&'static str],
    pub(super) part: Part,
    pub(super) is_gauge: bool,
}

macro_rules! figures {
    ($($figure:ident = $kind:ident $family:literal [$($label:literal),*];)*) => {
        /// A metric that is sampled.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Figure {
            $($figure,)*
        }

        impl Figure {
            pub(super) const ALL: [Self; [$($family),*].len()] = [$(Self::$figure,)*];

            pub(super) const fn source(self) -> FigureSource {
                match self {
                    $(Self::$figure => FigureSource {
                        family: $family,
                        labels: &[$($label),*],
                        part: part!($kind),
                        is_gauge: is_gauge!($kind),
                    },)*
                }
            }
        }
    };
}

macro_rules! part {
    (count) => {
        Part::Count
    };
    (sum) => {
        Part::Sum
    };
    ($other:ident) => {
        Part::Value
    };
}

macro_rules! is_gauge {
    (gauge) => {
        true
    };
    ($other:ident) => {
        false
    };
}

figures! {
    Requests = counter "requests_total" ["decision"];
    Errors = counter "errors_total" ["code"];
    GateSum = sum "gate_duration_seconds" [];
    GateCount = count "gate_duration_seconds" [];
    InFlight = gauge "requests_in_flight" [];
    Connections = gauge "connections" [];
    ConnectionsRefused = counter "connections_refused_total" [];
    RequestsOverloaded = counter "requests_overloaded_total" [];
    RateLimited = counter "rate_limited_total" ["limit"];
    ReportOnly = gauge "report_only" [];
    Streams = gauge "streams_open" ["kind"];
    Logins = counter "logins_total" ["method", "result"];
    Refreshes = counter "refresh_total" ["result"];
    RevocationsAge = gauge "revocations_age_seconds" [];
    SigningKeyAge = gauge "signing_key_age_seconds" [];
    WechatCalls = counter "wechat_calls_total" ["class"];
    WechatSum = sum "wechat_call_duration_seconds" [];
    WechatCount = count "wechat_call_duration_seconds" [];
    SmsCalls = counter "sms_sent_total" ["provider", "result"];
    UpstreamErrors = counter "upstream_errors_total" ["kind"];
    UpstreamSum = sum "upstream_response_seconds" [];
    UpstreamCount = count "upstream_response_seconds" [];
    UpstreamHealthy = gauge "upstream_healthy" ["upstream"];
    HookEventsLost = counter "hook_events_lost_total" ["event"];
    HookBacklogAge = gauge "hook_backlog_age_seconds" [];
    StoreErrors = counter "store_errors_total" ["op"];
    StoreSum = sum "store_op_duration_seconds" [];
    StoreCount = count "store_op_duration_seconds" [];
    StoreSize = gauge "store_size_bytes" [];
    ConfigApplied = gauge "config_applied" [];
    CertificateExpiry = gauge "tls_certificate_expiry_seconds" [];
    Memory = gauge "process_resident_memory_bytes" [];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    /// A metric that is renamed would be an empty chart.
    #[test]
    fn every_figure_is_a_metric_with_these_labels() {
        let text = crate::metrics::markdown();
        for figure in Figure::ALL {
            let source = figure.source();
            let is_system = source.family.starts_with("process_");
            let name = if is_system {
                source.family.to_owned()
            } else {
                format!("menshen_{}", source.family)
            };
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
        let metrics = Metrics::new();
        metrics
            .logins
            .with_label_values(&["sms", "success"])
            .inc_by(2);
        metrics.gate_duration.observe(0.5);
        let readings = metrics.readings();
        let read = |figure: Figure| {
            let source = figure.source();
            readings.sums(source.family, source.labels, source.part)
        };
        let success = vec!["sms".to_owned(), "success".to_owned()];
        assert_eq!(read(Figure::Logins).get(&success), Some(&2.0));
        assert_eq!(read(Figure::GateCount).values().copied().next(), Some(1.0));
        assert_eq!(read(Figure::GateSum).values().copied().next(), Some(0.5));
        assert_eq!(
            read(Figure::ConfigApplied).values().copied().next(),
            Some(1.0)
        );
    }
}
