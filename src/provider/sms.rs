//! SMS vendors: a one-time code goes to a phone.
//!
//! Vendors are asked in the order of the config, the next one only when the one before surely sent
//! nothing.
//!
//! Must stay true: phone numbers and codes are in no log line and no error, and so are messages of
//! vendors, which echo both (Aliyun's `SignatureDoesNotMatch`); of a refusal only the vendor's code
//! and request id are. After a timeout or an answer that cannot be read nobody knows what was sent,
//! and nothing is sent again.

mod acs3;
mod aliyun;
mod log;
mod rejection_class;
mod tc3;
mod tencent;
mod vendor_error;
mod webhook;

use std::time::{Duration, Instant};

use reqwest::Url;

use crate::{
    config::{CodeValues, Mode, SecretText, SmsConfig, SmsProvider},
    entropy::Entropy,
    metrics::Metrics,
    outbound::ClientError,
    types::{Malformed, Phone, Secret, SmsCode, SmsPurpose, Timestamp},
};
use aliyun::Aliyun;
use tencent::Tencent;
use vendor_error::VendorError;
use webhook::Webhook;

/// Every vendor that the config names, in its order.
pub struct Sms {
    accounts: Vec<VendorAccount>,
    timeout: Duration,
    metrics: Metrics,
}

/// One vendor.
struct VendorAccount {
    vendor: Vendor,
    /// Of one message, in thousandths of a yuan.
    price: u32,
}

enum Vendor {
    Aliyun(Box<Aliyun>),
    Dypns(Box<Aliyun>),
    Tencent(Box<Tencent>),
    Webhook(Box<Webhook>),
    Log,
}

/// A code on its way to a phone.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Our own name for it, for a vendor that gets it twice and for looking it up in a vendor's
    /// records: visible ASCII.
    pub id: &'a str,
    pub phone: &'a Phone,
    pub code: &'a SmsCode,
    pub purpose: SmsPurpose,
    /// How long the code is good. Texts name it in whole minutes, rounded down, but one at least.
    pub ttl: Duration,
    /// For signatures: a vendor refuses a time that is minutes away from its own.
    pub now: Timestamp,
}

/// Why a code is not, or may not be, on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// Over the vendor's own limit for this number. Nothing was sent, but asking has counted.
    #[error("over a limit of the SMS provider")]
    RateLimited { retry_after: Duration },
    /// Not a number to which any vendor here sends.
    #[error("the phone number is not one that messages can be sent to")]
    BadNumber,
    /// The number wants no messages.
    #[error("the phone number takes no messages")]
    BlockedNumber,
    /// Surely nothing was sent: every vendor refused for an operator's reason or was not reachable.
    #[error("no SMS provider takes messages")]
    Unavailable,
    /// Nobody knows whether it was sent: no answer in time, an answer that is none, an error inside
    /// the vendor.
    #[error("the SMS provider did not say whether it sent the message")]
    Unknown,
}

/// Whether a message that failed was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Surely not, and asking has not counted with the vendor either, so that the phone may try
    /// again at once.
    NotSent,
    /// Surely not, and never to this number.
    Undeliverable,
    /// Surely not, but asking has counted.
    NotSentButCounted,
    /// Nobody knows.
    Unknown,
}

impl SmsError {
    /// Whether the message was sent.
    pub const fn delivery_status(&self) -> DeliveryStatus {
        match self {
            Self::Unavailable => DeliveryStatus::NotSent,
            Self::BadNumber | Self::BlockedNumber => DeliveryStatus::Undeliverable,
            Self::RateLimited { .. } => DeliveryStatus::NotSentButCounted,
            Self::Unknown => DeliveryStatus::Unknown,
        }
    }
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmsSetupError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is not a URL")]
    NoUrl(&'static str),
    #[error("{0} {1}")]
    Template(&'static str, Malformed),
    #[error("sms.webhook.url is in a private network, and sms.webhook.allow_private is false")]
    PrivateAddress,
    #[error("the provider `log` is for development alone")]
    LogInProduction,
    #[error(transparent)]
    NoClient(#[from] ClientError),
}

impl Sms {
    /// The vendors that the config asks for; `None` where SMS login is off. Secrets in files have
    /// been read by now. Opens no socket.
    pub fn new(
        config: &SmsConfig,
        mode: Mode,
        metrics: Metrics,
        entropy: &Entropy,
    ) -> Result<Option<Self>, SmsSetupError> {
        let account = |provider| {
            let (vendor, price) = match provider {
                SmsProvider::Aliyun => {
                    let account = Aliyun::send_sms(&config.aliyun, entropy.clone())?;
                    (Vendor::Aliyun(account.into()), config.aliyun.price)
                }
                SmsProvider::Dypns => {
                    let account = Aliyun::send_verify_code(&config.dypns, entropy.clone())?;
                    (Vendor::Dypns(account.into()), config.dypns.price)
                }
                SmsProvider::Tencent => (
                    Vendor::Tencent(Tencent::new(&config.tencent)?.into()),
                    config.tencent.price,
                ),
                SmsProvider::Webhook => (
                    Vendor::Webhook(Webhook::new(&config.webhook)?.into()),
                    config.webhook.price,
                ),
                SmsProvider::Log if mode == Mode::Production => {
                    return Err(SmsSetupError::LogInProduction);
                }
                SmsProvider::Log => (Vendor::Log, 0),
            };
            Ok(VendorAccount { vendor, price })
        };
        let accounts = config
            .enabled_providers(mode)
            .into_iter()
            .map(account)
            .collect::<Result<Vec<_>, SmsSetupError>>()?;
        for account in &accounts {
            metrics
                .sms_sent
                .initialize(&[account.vendor.provider().as_str()]);
        }
        Ok((!accounts.is_empty()).then(|| Self {
            accounts,
            timeout: config.timeout.get(),
            metrics,
        }))
    }

    /// Sends the code. Takes up to the configured timeout for each vendor; a caller that gives up
    /// meanwhile does not know whether it was sent.
    pub async fn send(&self, message: &Message<'_>) -> Result<(), SmsError> {
        let mut outcome = Err(SmsError::BadNumber);
        for account in self
            .accounts
            .iter()
            .filter(|account| account.vendor.serves(message.phone))
        {
            let Err(vendor_error) = self.ask(account, message).await else {
                return Ok(());
            };
            outcome = Err(SmsError::Unavailable);
            if let Some(error) = vendor_error.final_error() {
                return Err(error);
            }
        }
        outcome
    }

    async fn ask(&self, account: &VendorAccount, message: &Message<'_>) -> Result<(), VendorError> {
        let provider = account.vendor.provider().as_str();
        let begun = Instant::now();
        let sent = account.vendor.send(message, self.timeout).await;
        let (result, is_paid) = match &sent {
            Ok(()) => ("sent", true),
            Err(vendor_error) => {
                vendor_error.log(provider);
                (vendor_error.name(), vendor_error.may_have_been_sent())
            }
        };
        self.metrics.sms_call(
            provider,
            result,
            begun.elapsed(),
            if is_paid { account.price } else { 0 },
        );
        sent
    }
}

impl Vendor {
    const fn provider(&self) -> SmsProvider {
        match self {
            Self::Aliyun(_) => SmsProvider::Aliyun,
            Self::Dypns(_) => SmsProvider::Dypns,
            Self::Tencent(_) => SmsProvider::Tencent,
            Self::Webhook(_) => SmsProvider::Webhook,
            Self::Log => SmsProvider::Log,
        }
    }

    /// Whether it sends to the country of this number.
    fn serves(&self, phone: &Phone) -> bool {
        match self {
            Self::Dypns(_) => phone.mainland_number().is_some(),
            Self::Aliyun(_) | Self::Tencent(_) | Self::Webhook(_) | Self::Log => true,
        }
    }

    async fn send(&self, message: &Message<'_>, limit: Duration) -> Result<(), VendorError> {
        match self {
            Self::Aliyun(account) | Self::Dypns(account) => account.send(message, limit).await,
            Self::Tencent(account) => account.send(message, limit).await,
            Self::Webhook(account) => account.send(message, limit).await,
            Self::Log => {
                log::show(message);
                Ok(())
            }
        }
    }
}

impl<'a> Message<'a> {
    fn filling(&self) -> CodeValues<'a> {
        CodeValues {
            code: self.code,
            minutes: (self.ttl.as_secs() / 60).max(1),
        }
    }
}

fn required((key, value): (&'static str, &Option<String>)) -> Result<String, SmsSetupError> {
    value
        .clone()
        .filter(|text| !text.is_empty())
        .ok_or(SmsSetupError::Missing(key))
}

fn required_secret(
    (key, value): (&'static str, &Option<SecretText>),
) -> Result<Secret<String>, SmsSetupError> {
    let text = value
        .as_ref()
        .map(SecretText::expose)
        .filter(|text| !text.is_empty());
    text.cloned()
        .map(Secret::new)
        .ok_or(SmsSetupError::Missing(key))
}

fn endpoint((key, text): (&'static str, &str)) -> Result<Url, SmsSetupError> {
    Url::parse(text)
        .ok()
        .filter(Url::has_host)
        .ok_or(SmsSetupError::NoUrl(key))
}

/// As it stands in `Host`, which is signed.
fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn failed_template(key: &'static str) -> impl Fn(Malformed) -> SmsSetupError {
    move |why| SmsSetupError::Template(key, why)
}

#[cfg(test)]
mod tests;
