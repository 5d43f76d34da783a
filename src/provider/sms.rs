//! SMS vendors, which send one-time codes to phones.
//!
//! Vendors are called in the order of the config, the next one only when the one before certainly
//! sent nothing.
//!
//! Must stay true: phone numbers and codes are in no log line and no error, and neither are
//! messages of vendors, which echo both (Aliyun's `SignatureDoesNotMatch`); of a rejection only the
//! vendor's code and request id are. After a timeout or an unreadable response it is unknown
//! whether a message was sent, and nothing is sent again.

mod acs3;
mod aliyun;
mod canonical_request;
mod endpoint;
mod error;
mod log;
mod message;
mod rejection_class;
mod settings;
mod tc3;
mod tencent;
mod vendor_error;
mod webhook;

use std::time::{Duration, Instant};

pub use error::{SmsError, SmsSetupError};
pub use message::SmsMessage;

use crate::{
    config::{Mode, SmsConfig, SmsProvider},
    entropy::Entropy,
    metrics::Metrics,
    types::Phone,
};
use aliyun::Aliyun;
use tencent::Tencent;
use vendor_error::VendorError;
use webhook::Webhook;

/// The vendors in the order of the config.
pub struct Sms {
    accounts: Vec<VendorAccount>,
    timeout: Duration,
    metrics: Metrics,
}

/// An account with a vendor.
struct VendorAccount {
    provider: SmsProvider,
    vendor: Vendor,
    /// Price of one message, in thousandths of a yuan.
    price: u32,
}

enum Vendor {
    Aliyun(Box<Aliyun>),
    Tencent(Box<Tencent>),
    Webhook(Box<Webhook>),
    Log,
}

impl Sms {
    /// From the config; `None` where SMS login is off. Secrets in files have been read before.
    /// Opens no socket.
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
                    (Vendor::Aliyun(account.into()), config.dypns.price)
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
            Ok(VendorAccount {
                provider,
                vendor,
                price,
            })
        };
        let accounts = config
            .enabled_providers(mode)
            .into_iter()
            .map(account)
            .collect::<Result<Vec<_>, SmsSetupError>>()?;
        for account in &accounts {
            metrics.sms_sent.initialize(&[account.provider.as_str()]);
        }
        Ok((!accounts.is_empty()).then(|| Self {
            accounts,
            timeout: config.timeout.get(),
            metrics,
        }))
    }

    /// Sends the code. Takes up to the configured timeout for each vendor; where it is cancelled,
    /// it is unknown whether the code was sent.
    pub async fn send(&self, message: &SmsMessage<'_>) -> Result<(), SmsError> {
        let mut outcome = Err(SmsError::BadNumber);
        for account in self
            .accounts
            .iter()
            .filter(|account| account.serves(message.phone))
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

    async fn ask(
        &self,
        account: &VendorAccount,
        message: &SmsMessage<'_>,
    ) -> Result<(), VendorError> {
        let provider = account.provider.as_str();
        let started = Instant::now();
        let result = account.vendor.send(message, self.timeout).await;
        let (label, is_paid) = match &result {
            Ok(()) => ("sent", true),
            Err(vendor_error) => {
                vendor_error.log(provider);
                (vendor_error.name(), vendor_error.may_have_been_sent())
            }
        };
        self.metrics.sms_call(
            provider,
            label,
            started.elapsed(),
            if is_paid { account.price } else { 0 },
        );
        result
    }
}

impl VendorAccount {
    /// Whether the vendor serves the country of this number.
    fn serves(&self, phone: &Phone) -> bool {
        self.provider != SmsProvider::Dypns || phone.mainland_number().is_some()
    }
}

impl Vendor {
    async fn send(&self, message: &SmsMessage<'_>, limit: Duration) -> Result<(), VendorError> {
        match self {
            Self::Aliyun(account) => account.send(message, limit).await,
            Self::Tencent(account) => account.send(message, limit).await,
            Self::Webhook(account) => account.send(message, limit).await,
            Self::Log => {
                log::show(message);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
