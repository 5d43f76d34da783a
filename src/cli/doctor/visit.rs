//! One request to each server that the config names: is it there, what does it call itself, what time does it have?
//!
//! The request is `GET /` without any credential, and of the answer only the head is read.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use reqwest::Url;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::{
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    clock::Clock,
    config::{Config, Mode, SmsProvider, UpstreamAddress, UpstreamConfig, UpstreamProtocol},
    outbound::{Fault, NoClient, Outbound, Peer, is_loopback},
    types::Timestamp,
};

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// Time for an answer, its connection included.
const ANSWER: Duration = Duration::from_secs(4);

/// Every server that was visited.
pub(super) struct Visits {
    /// In the order of `upstream.urls`.
    pub(super) backends: Vec<Visit>,
    /// `None`: menshen with this config does not ask WeChat.
    pub(super) wechat: Option<Visit>,
    pub(super) sms: Vec<Visit>,
    pub(super) hooks: Option<Visit>,
}

pub(super) struct Visit {
    /// Without path and query.
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

pub(super) enum Outcome {
    Answered(Head),
    /// A connection, and no question: it does not speak HTTP/1.1.
    Connected,
    /// No connection, and why.
    Unreachable(String),
    /// A connection, and no TLS that can be believed.
    NoTls,
    /// A connection, and no answer in time.
    Silent,
    /// An answer that is not HTTP/1.1.
    NotHttp,
}

pub(super) struct Head {
    pub(super) status: u16,
    pub(super) server: Option<String>,
    /// By how many seconds its clock is ahead of ours, at least; negative: behind. `None`: it does not say.
    pub(super) ahead: Option<i64>,
}

impl Visits {
    /// Visits all of them at once.
    pub(super) async fn pay(config: &Config) -> Self {
        let backends: Vec<_> = config
            .upstream
            .addresses()
            .into_iter()
            .zip(&config.upstream.urls)
            .map(|(address, url)| start(url.clone(), backend(address, config.upstream.clone())))
            .collect();
        let wechat =
            Url::parse(&config.wechat.base_url).ok().filter(|base| config.mode == Mode::Production || is_loopback(base));
        let wechat = wechat.map(|url| server(&url, Outbound::new(&url)));
        let sms: Vec<_> = config.sms.asked(config.mode).into_iter().filter_map(|vendor| sender(config, vendor)).collect();
        let hooks = config.hooks.url.as_deref().and_then(|url| Url::parse(url).ok());
        let hooks = hooks.map(|url| server(&url, Outbound::to_backend(&url)));
        Self {
            backends: ended(backends).await,
            wechat: ended(wechat.into_iter().collect()).await.pop(),
            sms: ended(sms).await,
            hooks: ended(hooks.into_iter().collect()).await.pop(),
        }
    }

    /// Those that told their time, and by how much it differs.
    pub(super) fn clocks(&self) -> impl Iterator<Item = (&str, i64)> {
        let all = self.backends.iter().chain(&self.wechat).chain(&self.sms);
        all.filter_map(|visit| match &visit.outcome {
            Outcome::Answered(head) => head.ahead.map(|ahead| (visit.name.as_str(), ahead)),
            Outcome::Connected | Outcome::Unreachable(_) | Outcome::NoTls | Outcome::Silent | Outcome::NotHttp => None,
        })
    }
}

type UnderWay = (String, JoinHandle<Outcome>);

fn start(name: String, visit: impl Future<Output = Outcome> + Send + 'static) -> UnderWay {
    (name, tokio::spawn(visit))
}

async fn ended(visits: Vec<UnderWay>) -> Vec<Visit> {
    let mut ended = Vec::new();
    for (name, visit) in visits {
        let outcome = visit.await.unwrap_or_else(|_| Outcome::Unreachable("the visit broke off".to_owned()));
        ended.push(Visit { name, outcome });
    }
    ended
}

/// A server that is asked in the way in which menshen asks it.
fn server(url: &Url, outbound: Result<Outbound, NoClient>) -> UnderWay {
    let name = url.origin().ascii_serialization();
    let root = url.join("/").ok();
    start(name, async move {
        match (root, outbound) {
            (Some(root), Ok(outbound)) => ask(&outbound, root.as_str(), None, false).await,
            (None, _) => Outcome::Unreachable("its address is no URL".to_owned()),
            (_, Err(fault)) => Outcome::Unreachable(fault.to_string()),
        }
    })
}

/// Whoever sends codes; nobody for the log.
fn sender(config: &Config, vendor: SmsProvider) -> Option<UnderWay> {
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
    let outbound = if public_alone { Outbound::to_public() } else { Outbound::new(&url) };
    Some(server(&url, outbound))
}

/// A backend.
async fn backend(address: UpstreamAddress, config: UpstreamConfig) -> Outcome {
    match way_to(&address, &config).await {
        Err(outcome) => outcome,
        Ok(_) if config.protocol == UpstreamProtocol::Http2 => Outcome::Connected,
        Ok((outbound, url)) => {
            let is_tls = url.scheme() == "https";
            ask(&outbound, url.as_str(), config.host.as_deref(), is_tls).await
        }
    }
}

/// A client that reaches a backend as the gate does, and the backend's root. A connection is made first, so that what is wrong
/// with it can be said.
pub(super) async fn way_to(address: &UpstreamAddress, config: &UpstreamConfig) -> Result<(Outbound, Url), Outcome> {
    let mut peer = Peer::default();
    let url = match address {
        UpstreamAddress::Unix(path) => {
            let connected = timeout(CONNECT, UnixStream::connect(path)).await;
            let connected = connected.map_err(|_| Outcome::Unreachable("no connection in time".to_owned()))?;
            connected.map_err(|fault| Outcome::Unreachable(fault.kind().to_string()))?;
            peer.socket = Some(path.clone());
            "http://localhost/".to_owned()
        }
        UpstreamAddress::Http { tls, host, port } => {
            let connected = connect(host, *port, CONNECT).await.map_err(Outcome::Unreachable)?;
            let name = config.tls.server_name.as_ref().filter(|_| *tls).unwrap_or(host).clone();
            let written = if name.contains(':') { format!("[{name}]") } else { name.clone() };
            peer.address = Some((name, connected));
            format!("http{}://{written}:{port}/", if *tls { "s" } else { "" })
        }
    };
    let unusable = |why: String| Outcome::Unreachable(why);
    for (file, part) in [(&config.tls.ca_file, &mut peer.authorities), (&config.tls.cert_file, &mut peer.certificate)] {
        if let Some(file) = file {
            let text = std::fs::read(file).map_err(|fault| unusable(format!("{}: {fault}", file.display())))?;
            *part = Some(text);
        }
    }
    if let Some(file) = &config.tls.key_file {
        let text = std::fs::read(file).map_err(|fault| unusable(format!("{}: {fault}", file.display())))?;
        peer.key = Some(Zeroizing::new(text));
    }
    let url = Url::parse(&url).map_err(|_| unusable("its address is no URL".to_owned()))?;
    match Outbound::to_peer(&url, &peer) {
        Ok(outbound) => Ok((outbound, url)),
        Err(_) => Err(unusable("no client can be made with the files of upstream.tls".to_owned())),
    }
}

/// A connection to the first address that takes one, IPv4 first; or why there is none.
pub(super) async fn connect(host: &str, port: u16, patience: Duration) -> Result<SocketAddr, String> {
    let connecting = async {
        let found = tokio::net::lookup_host((host, port)).await.map_err(|_| "its name cannot be resolved".to_owned())?;
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        let mut why = "its name has no address".to_owned();
        for address in found {
            match TcpStream::connect(address).await {
                Ok(_) => return Ok(address),
                Err(fault) => why = fault.kind().to_string(),
            }
        }
        Err(why)
    };
    timeout(patience, connecting).await.unwrap_or_else(|_| Err("no connection in time".to_owned()))
}

async fn ask(outbound: &Outbound, url: &str, host: Option<&str>, is_tls: bool) -> Outcome {
    let mut request = http::Request::get(url);
    if let Some(host) = host {
        request = request.header(header::HOST, host);
    }
    let Ok(request) = request.body(Bytes::new()) else { return Outcome::Unreachable("its address is no URL".to_owned()) };
    let (before, begun) = (Clock::System.now(), Instant::now());
    match outbound.head_of(request, ANSWER).await {
        Ok((status, headers)) => {
            let after = before.plus(begun.elapsed());
            let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            // Whatever the other side writes ends up on a terminal.
            let server = text(header::SERVER).map(|name| name.chars().filter(char::is_ascii_graphic).take(60).collect());
            Outcome::Answered(Head { status: status.as_u16(), server, ahead: ahead(&headers, before, after) })
        }
        Err(Fault::Connect) if is_tls => Outcome::NoTls,
        Err(Fault::Connect) => Outcome::Unreachable("no connection, or no TLS that is believed".to_owned()),
        Err(Fault::Timeout) => Outcome::Silent,
        Err(Fault::Broken | Fault::TooLarge) => Outcome::NotHttp,
    }
}

/// How far the clock behind an answer is from ours, which read `before` and `after` it (RFC 9110 section 6.6.1). `Date` is cut to
/// whole seconds, so a second of difference is none. An answer out of a cache has the time of then.
fn ahead(headers: &HeaderMap, before: Timestamp, after: Timestamp) -> Option<i64> {
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
        let (before, after) = (Timestamp::from_millis(784_111_777_900), Timestamp::from_secs(784_111_780));
        let says = |date| ahead(&headers(date), before, after);
        // The example of RFC 9110 section 5.6.7 is 784111777.
        for (date, ahead) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(-6)),
            ("Sun, 06 Nov 1994 08:50:40 GMT", Some(60)),
            ("tomorrow", None),
        ] {
            assert_eq!(says(date), ahead, "{date}");
        }
        let mut cached = headers("Sun, 06 Nov 1994 08:40:00 GMT");
        cached.insert(header::AGE, 577.into());
        assert_eq!(ahead(&cached, before, after), None);
    }
}
