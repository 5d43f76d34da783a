//! Every metric, once: the field that holds it, its type, name, help text, labels and what to do
//! about it. [`MetricFamilies`] and `docs/metrics.md` are made from this table.
//!
//! Must stay true: a label has a closed list of values here, or its values come from the config.

use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntGauge,
    IntGaugeVec, Registry,
};

use super::{
    counters::CounterFamily,
    family::{Label, LabelValues, Metric, MetricFamily},
};

const fn closed(name: &'static str, values: &'static str) -> Label {
    Label {
        name,
        values: LabelValues::Closed(values),
    }
}

const fn error_codes_and(name: &'static str, more: &'static str) -> Label {
    Label {
        name,
        values: LabelValues::ErrorCodesAnd(more),
    }
}

const fn from_config(name: &'static str, from: &'static str) -> Label {
    Label {
        name,
        values: LabelValues::FromConfig(from),
    }
}

const RULE: Label = from_config(
    "rule",
    "the name of a rule, `default` where none matches, `auth` for the auth API, `none` before any rule",
);
const ISSUER: Label = from_config("issuer", "`name` of an `[[issuer]]`");
const UPSTREAM: Label = from_config("upstream", "an entry of `upstream.urls`");
const VENDOR: Label = from_config(
    "provider",
    "a vendor of `sms.providers`: `aliyun`, `tencent`, `dypns`, `webhook` or `log`",
);
const ENGINE: Label = from_config("engine", "what `store.url` names");
const API: Label = closed("api", "jscode2session stable_token getuserphonenumber");
const HOOK: Label = closed(
    "event",
    "user.created user.deleted user.merged user.withdrawn login.succeeded",
);
const OP: Label = closed("op", OPERATIONS);

/// Operations of the store, as `store/engine_store/store_trait.rs` names them.
const OPERATIONS: &str = "add_key backlog bind_phone change_rights check close code_spent create_account credentials discard_import \
    erase_user export find_user heartbeat hold_lease import import_users keys known login prove_phone prove_wechat release_lease release_sms \
    remove_key renew replicas reseal reserve_sms restore revocations revoke rotate rotate_store_key session sessions \
    settle_outbox shared_time stats sweep take_outbox unbind_phone update_profile user users wechat_session withdraw";

macro_rules! metric_families {
    ($($title:literal {
        $($field:ident: $metric:ty = $name:literal, $help:literal, [$($label:expr),* $(,)?], $advice:literal;)*
    })*) => {
        /// The metrics of one process.
        pub struct MetricFamilies {
            $($(#[doc = concat!("`menshen_", $name, "`: ", $help)] pub $field: $metric,)*)*
        }

        impl MetricFamilies {
            /// Creates every metric in this registry.
            ///
            /// # Panics
            /// When two metrics have one name.
            pub(super) fn register(registry: &Registry) -> Self {
                Self { $($($field: Metric::register(find($name), registry),)*)* }
            }
        }

        /// All metric families, by what they are about.
        pub(super) const SECTIONS: &[(&str, &[MetricFamily])] = &[$(($title, &[$(MetricFamily {
            name: $name,
            metric_type: <$metric as Metric>::TYPE,
            help: $help,
            labels: &[$($label),*],
            advice: $advice,
        }),*])),*];
    };
}

// A `Histogram` has buckets for the gate's decision, a `HistogramVec` for calls.
metric_families! {
    "The process" {
        build_info: IntGaugeVec = "build_info",
            "Always 1.",
            [from_config("version", "the version of the program")],
            "Which versions run, and since when.";
        ready: IntGauge = "ready",
            "Whether /readyz is 200, as of this scrape.",
            [],
            "0 for longer than a start or a drain takes: `/readyz` says what is missing, the log why.";
        config_applied: IntGauge = "config_applied",
            "1: the config that was read last is in use. 0: it was rejected.",
            [],
            "0: `menshen check` names the line. The old config stays in use, but a restart would fail.";
        config_reloads: CounterFamily = "config_reloads_total",
            "Configs read while running.",
            [closed("result", "applied refused")],
            "Whether a change has arrived everywhere.";
        panics: IntCounter = "panics_total",
            "Panics; each is a bug.",
            [],
            "Report it with the log lines around it.";
        log_lines_dropped: IntCounter = "log_lines_dropped_total",
            "Log lines dropped because their reader did not keep up.",
            [],
            "Lines of the audit log may be among them: look at what reads standard output.";
        audit_events: CounterFamily = "audit_events_total",
            "Lines of the audit log.",
            [
                closed("event", "account.created account.erased account.exported account.not_erased account.searched account.shown config.reloaded \
                    console.refused console.signed_in data.withdrawn hook.given_up hook.id_taken key.added key.removed login.failed login.succeeded logout \
                    phone.bound phone.not_unbound phone.refused phone.unbound profile.changed refresh.reused rights.changed \
                    sessions.revoked sms.requested store.exported store_key.changed users.imported users.merged"),
            ],
            "What operators and users did. Look into an unexpected `store.exported` or `rights.changed`.";
        tls_handshakes: CounterFamily = "tls_handshakes_total",
            "TLS handshakes of clients.",
            [
                closed("result", "ok closed timeout certificate_expired certificate_missing certificate_refused refused_by_client \
                    incompatible malformed"),
            ],
            "Many `refused_by_client` after a renewal: the chain is not complete.";
        tls_reloads: CounterFamily = "tls_reloads_total",
            "Reloads of changed TLS certificates.",
            [closed("result", "ok failed")],
            "`failed`: the old certificate stays in use; the log says why.";
        tls_certificate_expiry: IntGauge = "tls_certificate_expiry_seconds",
            "Expiry of the TLS certificate, in Unix time; 0 without TLS.",
            [],
            "Less `time()`: the seconds that are left to renew it.";
    }
    "Requests" {
        requests: CounterFamily = "requests_total",
            "Requests, by what answered them and by the class of the status.",
            [
                RULE,
                closed("decision", "forwarded refused auth failed verified preflight"),
                closed("status", "1xx 2xx 3xx 4xx 5xx none"),
            ],
            "`refused` is the gate's doing, `failed` the backend's; `none`: the client was gone.";
        errors: CounterFamily = "errors_total",
            "Requests that ended with an error of menshen's own, by its code.",
            [error_codes_and("code", "")],
            "What is rejected, and why: [errors.md](errors.md) has the codes. Rejections of the backend are not counted; a stream that ended with its session and a response that broke off are.";
        request_duration: HistogramVec = "request_duration_seconds",
            "Whole requests, the backend included.",
            [RULE],
            "What clients wait for. Streams count with all their time.";
        gate_duration: Histogram = "gate_duration_seconds",
            "The gate's own decision on a request.",
            [],
            "What menshen adds: microseconds. Milliseconds mean that the processor is short.";
        in_flight: IntGauge = "requests_in_flight",
            "Requests now.",
            [],
            "Growing at a steady rate of requests: the backend is slow.";
        connections: IntGauge = "connections",
            "Client connections now.",
            [],
            "Beside `server.max_connections`.";
        connections_refused: IntCounter = "connections_refused_total",
            "Connections rejected because there were too many.",
            [],
            "A flood, or `server.max_connections` is too low.";
        requests_overloaded: IntCounter = "requests_overloaded_total",
            "Requests rejected because too many were in flight.",
            [],
            "The backend is slow and requests pile up, or `server.max_requests` is too low.";
        http2_connections_cut: IntCounter = "http2_connections_cut_total",
            "HTTP/2 connections closed because of malformed or reset requests.",
            [],
            "A rapid reset attack, which this has already stopped.";
        rate_limited: CounterFamily = "rate_limited_total",
            "Requests over a limit.",
            [
                closed("limit", "account_per_user admin_login_per_account admin_login_per_ip api_per_ip login_per_ip \
                    phone_decrypt_per_session refresh_per_ip refresh_per_session sms_daily_budget sms_per_ip sms_per_phone sms_resend \
                    verify_per_ip"),
            ],
            "Steady and high on a `_per_ip` limit without an attack: all clients share the address of a proxy that `server.trusted_proxies` does not name.";
        headers_stripped: IntCounter = "headers_stripped_total",
            "Header fields of clients that were not forwarded.",
            [],
            "Above zero is usual (some clients send odd names); a sudden rise is an attempt to spoof an identity.";
        report_only: IntGauge = "report_only",
            "Whether the gate or a rule is in report-only mode.",
            [],
            "1: requests pass that would be rejected. Not for long.";
        report_only_requests: CounterFamily = "report_only_total",
            "Requests in report-only mode: the decision that was not enforced, and how the backend responded.",
            [
                RULE,
                error_codes_and("code", "pass"),
                closed("backend", "1xx 2xx 3xx 401 403 4xx 5xx failed none unknown"),
            ],
            "A code beside `2xx`: the gate would reject what the backend accepts. `pass` beside `401`: the gate would allow what the backend rejects.";
        report_only_headers: IntCounter = "report_only_headers_total",
            "Header fields of clients that were forwarded only because of report-only mode.",
            [],
            "What clients send that will be removed once the gate enforces its rules.";
        streams_open: IntGaugeVec = "streams_open",
            "Open streams.",
            [closed("kind", "websocket events answer call")],
            "How many a restart cuts. `answer`: a response that has lasted for a second; `call`: a gRPC call that has lasted as long.";
        streams_ended: CounterFamily = "streams_ended_total",
            "Streams that have ended.",
            [closed("reason", "closed idle revoked session_over stopping token_over")],
            "Many `idle`: the rule's `idle_timeout` is shorter than the client's pings.";
    }
    "Tokens" {
        token_checks: CounterFamily = "token_checks_total",
            "Access tokens checked.",
            [
                closed("result", "cached verified invalid expired revoked issuer_ended issuer_without_keys"),
            ],
            "`cached` and `verified` are good ones. Many `invalid`: forged tokens, or keys that are gone.";
        issuer_token_checks: CounterFamily = "issuer_token_checks_total",
            "Tokens of other issuers checked.",
            [ISSUER, closed("result", "passed invalid expired ended revoked no_keys")],
            "How far a migration is: `passed` falls towards zero. `ended`: after the issuer's end date.";
        jwks_age: GaugeVec = "jwks_age_seconds",
            "Age of the keys of another issuer.",
            [ISSUER],
            "Much more than `jwks_refresh`: they cannot be fetched; the old ones hold.";
        signing_key_age: Gauge = "signing_key_age_seconds",
            "How long the signing key has been signing; 0 for keys of the config.",
            [],
            "Beside `tokens.rotate_every`: older than that, and no new key has taken over.";
        refresh: CounterFamily = "refresh_total",
            "Refresh tokens presented.",
            [closed("result", "rotated kept replayed reused expired revoked disabled invalid")],
            "`replayed` is a lost answer and harmless; `reused` is a stolen token or a broken client, and has ended the session.";
        revocations: CounterFamily = "revocations_total",
            "Revoked sessions; a revocation of all sessions counts as one.",
            [
                closed("reason", "ban erased everything logout logout_global logout_others merged operator password reuse session_ended single_session \
                    unban user_type"),
            ],
            "What ends sessions: users, operators, or menshen itself.";
        revocations_age: Gauge = "revocations_age_seconds",
            "How long ago the revocation log was read, as of this scrape.",
            [],
            "Beside `store.revocation_poll`: much more than it, and bans of other replicas do not reach this process.";
        revocation_lag: HistogramVec = "revocation_lag_seconds",
            "Age of lines of the revocation log when this process read them, by the database's clock; none with an embedded store.",
            [],
            "How long a ban takes to reach this process: at most `store.revocation_poll`, on PostgreSQL usually some milliseconds.";
        revocation_lines_unreadable: IntCounter = "revocation_lines_unreadable_total",
            "Lines of the revocation log that could not be read.",
            [],
            "Damaged, or written by a newer version. Access tokens that were issued before such a line count as expired, so clients refresh them.";
        proof_errors: CounterFamily = "proof_errors_total",
            "Signatures for the backend that failed.",
            [closed("kind", "assertion mint")],
            "Those requests got `proof_unavailable`: a signing key is missing.";
    }
    "Logins and sessions" {
        logins: CounterFamily = "logins_total",
            "Login attempts.",
            [
                closed("method", "wechat sms password"),
                closed("result", "success code_invalid credentials_invalid internal not_found rate_limited refresh_invalid \
                    registration_closed registration_unavailable store_unavailable token_revoked user_disabled validation_failed \
                    wechat_blocked wechat_busy wechat_code_invalid wechat_misconfigured"),
            ],
            "Whether people can sign in, and why not: `success`, or the code that the client got.";
        sessions_opened: IntCounter = "sessions_opened_total",
            "Sessions opened.",
            [],
            "Logins, and users joined on a proof of both.";
        phone_bindings: CounterFamily = "phone_bindings_total",
            "Phones to bind.",
            [
                closed("method", "sms wechat wechat_legacy"),
                closed("result", "bound code_invalid forbidden internal not_found phone_code_invalid phone_conflict phone_decrypt_failed \
                    rate_limited reauthentication_required refresh_invalid session_revoked store_unavailable token_revoked \
                    user_disabled validation_failed wechat_blocked wechat_busy wechat_code_invalid wechat_misconfigured"),
            ],
            "Many `phone_conflict`: people have two accounts; see `users.merge`.";
    }
    "WeChat" {
        wechat_calls: CounterFamily = "wechat_calls_total",
            "Calls of WeChat, each attempt counted by itself.",
            [
                API,
                closed("class", "ok blocked busy code_invalid misconfigured rate_limited stale_token timeout unreachable unusable"),
            ],
            "`misconfigured` is in your setup (secret, app id, allowed addresses); `busy`, `timeout`, `unreachable` and `unusable` are WeChat's or the network's; `code_invalid` and `blocked` are the client's.";
        wechat_call_duration: HistogramVec = "wechat_call_duration_seconds",
            "Calls of WeChat.",
            [API],
            "What a login waits for.";
        wechat_phone_cost: Counter = "wechat_phone_cost_cny_total",
            "What WeChat charges for phone numbers, in yuan.",
            [],
            "By `wechat.phone_price`; compare with WeChat's bill.";
        wechat_pushes: CounterFamily = "wechat_pushes_total",
            "Messages that WeChat pushed, by result.",
            [
                closed("event", "user_info_modified user_authorization_revoke user_authorization_cancellation check other unknown"),
                closed("result", "done repeated nobody outdated failed forged stale unreadable other_app"),
            ],
            "`forged` in numbers: token or AES key differ from WeChat's console. `failed`: WeChat will push again.";
    }
    "SMS" {
        sms_sent: CounterFamily = "sms_sent_total",
            "Calls of SMS vendors.",
            [
                VENDOR,
                closed("result", "sent bad_number balance blocked_number config content perm rate_limited timeout transient unmade \
                    unreachable unusable"),
            ],
            "`config`, `balance`, `perm` and `content` must be corrected with the vendor; after `timeout`, `transient` and `unusable` it is unknown whether a message was sent.";
        sms_call_duration: HistogramVec = "sms_call_duration_seconds",
            "Calls of SMS vendors.",
            [VENDOR],
            "What asking for a code waits for.";
        sms_codes_verified: CounterFamily = "sms_codes_verified_total",
            "SMS codes checked.",
            [closed("result", "right wrong limited failed")],
            "`right` far below the messages sent: codes do not arrive, or messages are requested only to cause costs.";
        sms_cost: CounterVec = "sms_cost_cny_total",
            "What sending messages has cost, in yuan.",
            [VENDOR],
            "By the configured price, messages that may have been sent included.";
        sms_daily_budget: IntGauge = "sms_daily_budget",
            "Messages a day that the config allows; 0 while there is no vendor.",
            [],
            "Beside what was sent; once it is spent, no code is sent until midnight in China.";
    }
    "The backend" {
        upstream_errors: CounterFamily = "upstream_errors_total",
            "Requests that failed on their way to the backend or back.",
            [
                closed("kind", "connect connect_timeout timeout closed_early invalid_answer refused_stream proof internal client_gone \
                    client_slow client_malformed"),
            ],
            "The first five are the backend's, those with `client` are not. `timeout`: the backend took longer than `upstream.read_timeout`. \
            `refused_stream`: every backend said on HTTP/2 that it does not begin with the request (REFUSED_STREAM, GOAWAY), or a part of \
            its body was sent already.";
        upstream_response: HistogramVec = "upstream_response_seconds",
            "Until the head of a backend's response came.",
            [UPSTREAM],
            "A backend that is slower than the others. The rest of `menshen_request_duration_seconds` is bodies, and clients that read slowly.";
        upstream_healthy: IntGaugeVec = "upstream_healthy",
            "Whether a backend is used.",
            [UPSTREAM],
            "0: only where no other is left. Its log, and the path of `upstream.health`.";
        upstream_ejections: CounterFamily = "upstream_ejections_total",
            "Ejections of backends that failed requests.",
            [UPSTREAM],
            "One that goes up and down: it accepts connections, and then fails.";
        hook_calls: CounterFamily = "hook_calls_total",
            "Questions and messages to the backend.",
            [
                HOOK,
                closed("result", "ok busy client_error redirect refused server_error timeout unreachable unusable"),
            ],
            "While `user.created` fails, no new user can sign in (`hooks.on_failure`); other events are sent again.";
        hook_call_duration: HistogramVec = "hook_call_duration_seconds",
            "Questions and messages to the backend, repeats included.",
            [HOOK],
            "What a first login waits for.";
        hook_events_lost: CounterFamily = "hook_events_lost_total",
            "Events that the backend will not receive.",
            [HOOK],
            "The audit log has them (`hook.given_up`): apply them to the backend by hand.";
        hook_backlog: IntGauge = "hook_backlog",
            "Events that wait for the backend, counted up to 1000.",
            [],
            "Returns to zero by itself.";
        hook_backlog_age: Gauge = "hook_backlog_age_seconds",
            "Age of the oldest event that waits.",
            [],
            "After `hooks.give_up_after` it is discarded.";
    }
    "The store" {
        store_op_duration: HistogramVec = "store_op_duration_seconds",
            "Store operations.",
            [ENGINE, OP],
            "A slow disk shows in `login` and `rotate`.";
        store_errors: CounterFamily = "store_errors_total",
            "Store operations that failed.",
            [ENGINE, OP],
            "Logins and refreshes fail meanwhile, tokens are still checked. The log says why.";
        store_attempts: CounterFamily = "store_attempts_total",
            "Attempts of operations to commit on a database, by how they ended.",
            [ENGINE, OP, closed("outcome", "committed conflict unknown")],
            "`conflict`: something that was read has changed, and the operation begins anew; many, and others change the same records. \
            `unknown`: the database did not say; the operation looks whether it happened.";
        store_round_trips: CounterFamily = "store_round_trips_total",
            "Round trips to the database.",
            [ENGINE, OP],
            "By the count of `menshen_store_op_duration_seconds`: how many an operation takes. Without those that only MariaDB and \
            MySQL need: one more after a commit that was refused, or a read that found no record.";
        store_connections: IntGaugeVec = "store_connections",
            "Connections to the database, as of this scrape.",
            [closed("state", "in_use idle")],
            "Beside `store.connections`.";
        store_connections_waiting: IntGauge = "store_connections_waiting",
            "Operations that wait for a connection to the database, as of this scrape.",
            [],
            "Above zero for long: the database is slow, or `store.connections` is too low.";
        store_hints: IntGauge = "store_hints",
            "1: hints of other processes arrive (PostgreSQL's NOTIFY), so their revocations are known at once. 0: they do not, or the store has none.",
            [],
            "0 on PostgreSQL: a pooler in transaction mode stands in between. Nothing has to be done: revocations arrive within `store.revocation_poll`.";
        store_heartbeat_time: Gauge = "store_heartbeat_time_seconds",
            "When this process last wrote its heartbeat and read those of the others, in Unix time; 0 with an embedded store.",
            [],
            "`time()` less this is the age of the next four, which stay as they are while heartbeats fail: over a minute, they say nothing.";
        store_replicas: IntGauge = "store_replicas",
            "Processes on this database that wrote a heartbeat in the last 30 seconds, this one included; 0 with an embedded store. As of \
                `menshen_store_heartbeat_time_seconds`.",
            [],
            "Beside the number that should run. A process that ended counts for 30 seconds more.";
        store_replicas_differing: IntGaugeVec = "store_replicas_differing",
            "Other processes on this database that differ from this one.",
            [closed("aspect", "version issuer algorithm lifetimes config")],
            "During an update some minutes of `version` and `config` are normal. The log says what differs.";
        store_clock_ahead: Gauge = "store_clock_ahead_seconds",
            "How far the clock of this process is ahead of the database's; negative: behind.",
            [],
            "More than a second either way: codes and tokens end early or late. Let NTP correct it.";
        store_upkeep: IntGauge = "store_upkeep",
            "Whether this process removes expired records, sends the outbox and rotates keys.",
            [],
            "1 at one of the processes on a database, and with an embedded store.";
        store_size: IntGauge = "store_size_bytes",
            "The store on disk.",
            [],
            "Beside the disk's free space; `menshen store compact` makes it small.";
        store_resealed: IntCounter = "store_resealed_records_total",
            "Records looked at for a change of the store's key.",
            [],
            "Whether a change of the key is in progress.";
    }
}

fn find(name: &str) -> &'static MetricFamily {
    SECTIONS
        .iter()
        .flat_map(|(_, families)| *families)
        .find(|family| family.name == name)
        .expect("a metric of the table")
}
