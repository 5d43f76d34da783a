//! One request to each server that the config names: is it reachable, what is its `Server` header,
//! what is its time?
//!
//! The request is `GET /` without any credential, and only the head of the response is read. A
//! backend gets the request of its health checks, by the gate's own code: same address, protocol,
//! `Host`, shared secret and path.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use reqwest::Url;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

use crate::{
    clock::Clock,
    config::{Config, Mode, SmsProvider, UpstreamConfig},
    metrics::Metrics,
    outbound::{ClientError, Outbound, OutboundError, is_loopback},
    proxy::{Probe, ProbeError, Prober, Upstreams},
    types::Timestamp,
};

/// Timeout of a response, its connection included.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(4);

/// The probe of every server.
pub(super) struct ServerProbes {
    /// In the order of `upstream.urls`.
    pub(super) backends: Vec<ServerProbe>,
    /// `None`: menshen with this config does not ask WeChat.
    pub(super) wechat: Option<ServerProbe>,
    pub(super) sms: Vec<ServerProbe>,
    pub(super) hooks: Option<ServerProbe>,
}

pub(super) struct ServerProbe {
    /// Without path and query.
    pub(super) name: String,
    pub(super) outcome: ProbeOutcome,
}

pub(super) type ProbeOutcome = Result<ResponseHead, ProbeFailure>;

pub(super) enum ProbeFailure {
    /// No connection, and why.
    Unreachable(String),
    /// A connection, but no valid TLS.
    NoTls,
    /// A connection, but no response in time.
    Silent,
    /// A response that is not HTTP of the expected version.
    NotHttp,
}

pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) server: Option<String>,
    /// By how many seconds its clock is ahead of ours, at least; negative: behind. `None`: unknown.
    pub(super) clock_offset: Option<i64>,
}

impl ServerProbes {
    /// Probes all of them at once.
    pub(super) async fn run(config: &Config) -> Self {
        let upstream = config.upstream.clone();
        let backends = tokio::spawn(async move { backends(&upstream).await });
        let wechat = Url::parse(&config.wechat.base_url)
            .ok()
            .filter(|base| config.mode == Mode::Production || is_loopback(base));
        let wechat = wechat.map(|url| server(&url, Outbound::new(&url)));
        let sms: Vec<_> = config
            .sms
            .enabled_providers(config.mode)
            .into_iter()
            .filter_map(|vendor| sms_vendor(config, vendor))
            .collect();
        let hooks = config
            .hooks
            .url
            .as_deref()
            .and_then(|url| Url::parse(url).ok());
        let hooks = hooks.map(|url| server(&url, Outbound::to_backend(&url)));
        Self {
            backends: backends.await.unwrap_or_default(),
            wechat: join_all(wechat.into_iter().collect()).await.pop(),
            sms: join_all(sms).await,
            hooks: join_all(hooks.into_iter().collect()).await.pop(),
        }
    }

    /// Servers with a known time, and their offset in seconds.
    pub(super) fn clocks(&self) -> impl Iterator<Item = (&str, i64)> {
        let all = self.backends.iter().chain(&self.wechat).chain(&self.sms);
        all.filter_map(|probe| {
            let head = probe.outcome.as_ref().ok()?;
            Some((probe.name.as_str(), head.clock_offset?))
        })
    }
}

type PendingProbe = (String, JoinHandle<ProbeOutcome>);

fn start(name: String, probe: impl Future<Output = ProbeOutcome> + Send + 'static) -> PendingProbe {
    (name, tokio::spawn(probe))
}

async fn join_all(probes: Vec<PendingProbe>) -> Vec<ServerProbe> {
    let mut joined = Vec::new();
    for (name, probe) in probes {
        let outcome = probe
            .await
            .unwrap_or_else(|_| Err(ProbeFailure::Unreachable("the probe panicked".to_owned())));
        joined.push(ServerProbe { name, outcome });
    }
    joined
}

/// Probes a server with the client that menshen uses for it.
fn server(url: &Url, outbound: Result<Outbound, ClientError>) -> PendingProbe {
    let name = url.origin().ascii_serialization();
    let root = url.join("/").ok();
    start(name, async move {
        let root = root.ok_or_else(|| ProbeFailure::Unreachable(NOT_A_URL.to_owned()))?;
        let outbound = outbound.map_err(|error| ProbeFailure::Unreachable(error.to_string()))?;
        ask(&outbound, root.as_str()).await
    })
}

/// The server of an SMS provider; none for the log.
fn sms_vendor(config: &Config, vendor: SmsProvider) -> Option<PendingProbe> {
    let sms = &config.sms;
    let endpoint = match vendor {
        SmsProvider::Aliyun => Some(&sms.aliyun.endpoint),
        SmsProvider::Tencent => Some(&sms.tencent.endpoint),
        SmsProvider::Dypns => Some(&sms.dypns.endpoint),
        SmsProvider::Webhook => sms.webhook.url.as_ref(),
        SmsProvider::Log => None,
    };
    let url = Url::parse(endpoint?).ok()?;
    let public_alone = vendor == SmsProvider::Webhook && !sms.webhook.allow_private;
    let outbound = if public_alone {
        Outbound::to_public()
    } else {
        Outbound::new(&url)
    };
    Some(server(&url, outbound))
}

/// A prober with the gate's own code.
pub(super) async fn prober(config: &UpstreamConfig) -> Result<Prober, String> {
    let upstreams =
        Upstreams::new(config, &Metrics::new(), None).map_err(|error| error.to_string())?;
    upstreams.resolve().await;
    Ok(Prober::new(Arc::new(upstreams)))
}

/// The path of the health check, or `/`.
pub(super) fn path(config: &UpstreamConfig) -> &str {
    config.health.path.as_deref().unwrap_or("/")
}

/// Probes every backend on the path of its health checks, or on `/`.
async fn backends(config: &UpstreamConfig) -> Vec<ServerProbe> {
    let prober = prober(config).await.map(Arc::new);
    let started = config.urls.iter().enumerate().map(|(at, url)| {
        let (prober, path) = (prober.clone(), path(config).to_owned());
        let probe =
            async move { backend(&*prober.map_err(ProbeFailure::Unreachable)?, at, &path).await };
        start(url.clone(), probe)
    });
    join_all(started.collect()).await
}

async fn backend(prober: &Prober, at: usize, path: &str) -> ProbeOutcome {
    let probe = Probe {
        path,
        field: None,
        with_body: false,
    };
    let sent_at = (Clock::System.now(), Instant::now());
    let answer = prober.send(at, probe, RESPONSE_TIMEOUT).await?;
    Ok(ResponseHead::new(answer.status, &answer.headers, sent_at))
}

impl From<ProbeError> for ProbeFailure {
    fn from(error: ProbeError) -> Self {
        match error {
            ProbeError::NoTls => Self::NoTls,
            ProbeError::NoResponse => Self::Silent,
            ProbeError::NotHttp => Self::NotHttp,
            ProbeError::Unresolved | ProbeError::NoConnection(_) | ProbeError::InvalidRequest => {
                Self::Unreachable(error.to_string())
            }
        }
    }
}

/// Connects to the first address that accepts, IPv4 first; or returns why none does.
pub(super) async fn connect(
    host: &str,
    port: u16,
    timeout_after: Duration,
) -> Result<SocketAddr, String> {
    let connecting = async {
        let found = tokio::net::lookup_host((host, port))
            .await
            .map_err(|_| "its name cannot be resolved".to_owned())?;
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        let mut why = "its name has no address".to_owned();
        for address in found {
            match TcpStream::connect(address).await {
                Ok(_) => return Ok(address),
                Err(error) => why = error.kind().to_string(),
            }
        }
        Err(why)
    };
    timeout(timeout_after, connecting)
        .await
        .unwrap_or_else(|_| Err("no connection in time".to_owned()))
}

async fn ask(outbound: &Outbound, url: &str) -> ProbeOutcome {
    let request = http::Request::get(url)
        .body(Bytes::new())
        .map_err(|_| ProbeFailure::Unreachable(NOT_A_URL.to_owned()))?;
    let sent_at = (Clock::System.now(), Instant::now());
    let (status, headers) = outbound.fetch_head(request, RESPONSE_TIMEOUT).await?;
    Ok(ResponseHead::new(status, &headers, sent_at))
}

impl From<OutboundError> for ProbeFailure {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Connect => {
                Self::Unreachable("no connection, or no trusted certificate".to_owned())
            }
            OutboundError::Timeout => Self::Silent,
            OutboundError::Broken | OutboundError::TooLarge => Self::NotHttp,
        }
    }
}

const NOT_A_URL: &str = "its address is not a URL";

impl ResponseHead {
    /// The head of a response to a request that was sent at this time, by both clocks.
    fn new(status: StatusCode, headers: &HeaderMap, (before, sent): (Timestamp, Instant)) -> Self {
        let after = before.plus(sent.elapsed());
        let server = headers
            .get(header::SERVER)
            .and_then(|value| value.to_str().ok());
        // The server's text ends up on a terminal.
        let server = server.map(|name| {
            name.chars()
                .filter(char::is_ascii_graphic)
                .take(60)
                .collect()
        });
        Self {
            status: status.as_u16(),
            server,
            clock_offset: clock_offset(headers, before, after),
        }
    }
}

/// The offset of the server's clock from ours, which read `before` and `after` the response (RFC
/// 9110 section 6.6.1). `Date` has whole seconds, so one second of difference is none. A cached
/// response has an old time.
fn clock_offset(headers: &HeaderMap, before: Timestamp, after: Timestamp) -> Option<i64> {
    if headers.contains_key(header::AGE) {
        return None;
    }
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = OffsetDateTime::parse(date, &Rfc2822).ok()?.unix_timestamp();
    let seconds = |at: Timestamp| i64::try_from(at.as_secs()).ok();
    let (before, after) = (seconds(before)?, seconds(after)?);
    Some(if theirs > after {
        theirs - after
    } else if theirs + 1 < before {
        theirs + 1 - before
    } else {
        0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_differs_by_what_cannot_be_the_way_or_the_rounding() {
        let headers = |date: &str| HeaderMap::from_iter([(header::DATE, date.parse().unwrap())]);
        let (before, after) = (
            Timestamp::from_millis(784_111_777_900),
            Timestamp::from_secs(784_111_780),
        );
        let offset = |date| clock_offset(&headers(date), before, after);
        // The example of RFC 9110 section 5.6.7 is 784111777.
        for (date, clock_offset) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(-6)),
            ("Sun, 06 Nov 1994 08:50:40 GMT", Some(60)),
            ("tomorrow", None),
        ] {
            assert_eq!(offset(date), clock_offset, "{date}");
        }
        let mut cached = headers("Sun, 06 Nov 1994 08:40:00 GMT");
        cached.insert(header::AGE, 577.into());
        assert_eq!(clock_offset(&cached, before, after), None);
    }
}
