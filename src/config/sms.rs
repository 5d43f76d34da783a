//! `[sms]`: the providers that send one-time codes to phones, and their limits.

mod provider;
mod template;
mod vendors;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use provider::SmsProvider;
pub use template::{CodeValues, JsonTemplate, Template};
use vendors::ProviderCheck;
pub use vendors::{AliyunConfig, DypnsConfig, TencentConfig, WebhookConfig};

use super::{HumanDuration, Mode, Problems, SecretText, end_of_day};
use crate::types::{Malformed, Phone, SmsCode, Timestamp};

/// Text messages with one-time codes: providers and limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SmsConfig {
    /// The providers, in the order in which they are tried: `aliyun`, `tencent`, `dypns`,
    /// `webhook`, each with a table below, or `log`. The next one is tried only if certainly
    /// nothing was sent: the one before refused because of configuration, balance, content or
    /// permission, or could not be reached. Empty: in development the same as `log`, in production
    /// there is no SMS login.
    pub providers: Vec<SmsProvider>,
    /// Total time for one call of one provider. A connection attempt is aborted after 3s, and the
    /// next provider is tried; with a shorter time here that counts as no response, after which no
    /// other provider is tried.
    #[schemars(extend("minimum" = "100ms", "maximum" = "30s"))]
    pub timeout: HumanDuration,
    /// Country codes whose phone numbers are served. Numbers in other countries can be costly ones:
    /// `86` is mainland China.
    pub countries: Vec<String>,
    /// How long a code is valid.
    #[schemars(extend("minimum" = "30s", "maximum" = "1h"))]
    pub code_ttl: HumanDuration,
    /// How long a phone waits for its next code.
    #[schemars(extend("minimum" = "1s", "maximum" = "1h"))]
    pub resend_after: HumanDuration,
    /// How many wrong codes a phone may try; a new code does not reset the count.
    #[schemars(range(min = 1, max = 10))]
    pub max_attempts: u32,
    /// How many codes one phone gets within an hour.
    #[schemars(range(min = 1, max = 1000))]
    pub per_phone_hour: u32,
    /// How many codes one phone gets within a day.
    #[schemars(range(min = 1, max = 1000))]
    pub per_phone_day: u32,
    /// How many codes are sent within a day in all. It bounds what an attack can cost.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub daily_budget: u32,
    pub aliyun: AliyunConfig,
    pub dypns: DypnsConfig,
    pub tencent: TencentConfig,
    pub webhook: WebhookConfig,
    /// Phones that get no message and always have the same code, for reviewers of an app store or
    /// of WeChat. Anyone who knows the phone and its code can sign in.
    pub test_phone: Vec<TestPhone>,
}

/// One phone that gets no message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestPhone {
    /// Its number, of a country in `sms.countries`.
    #[schemars(example = &"+8613800000000")]
    pub phone: String,
    /// Its code: 6 digits.
    #[schemars(example = &"123456")]
    pub code: SecretText,
    /// The last day on which it works, in UTC: `YYYY-MM-DD`.
    #[schemars(example = &"2027-01-01")]
    pub until: String,
}

impl TestPhone {
    /// The number, read as one that a client sends.
    pub fn number(&self, countries: &[String]) -> Result<Phone, Malformed> {
        Phone::parse(&self.phone, countries)
    }

    /// The code, as it is compared.
    pub fn sms_code(&self) -> Result<SmsCode, Malformed> {
        let is_plain = self.code.expose().bytes().all(|b| b.is_ascii_digit());
        SmsCode::parse(self.code.expose())
            .ok()
            .filter(|_| is_plain)
            .ok_or(Malformed("is not 6 digits"))
    }

    /// The first instant at which it does not work any more.
    pub fn ends(&self) -> Result<Timestamp, Malformed> {
        end_of_day(&self.until)
    }
}

impl SmsConfig {
    /// The providers in the order in which they are tried; empty: SMS login is off.
    pub fn enabled_providers(&self, mode: Mode) -> Vec<SmsProvider> {
        match (self.providers.as_slice(), mode) {
            ([], Mode::Development) => vec![SmsProvider::Log],
            ([], Mode::Production) => Vec::new(),
            (named, _) => named.to_vec(),
        }
    }

    /// The code of a phone that gets no message, on the days on which that works.
    pub fn test_code(&self, phone: &Phone, now: Timestamp) -> Option<SmsCode> {
        let is_it = |test: &&TestPhone| test.number(&self.countries).as_ref() == Ok(phone);
        let test = self.test_phone.iter().find(is_it)?;
        if now < test.ends().ok()? {
            test.sms_code().ok()
        } else {
            None
        }
    }

    pub(super) fn check(&self, mode: Mode, problems: &mut Problems) {
        self.check_providers(mode, problems);
        self.check_countries(problems);
        self.aliyun
            .check(self.check_of(SmsProvider::Aliyun, mode, problems));
        self.dypns
            .check(self.check_of(SmsProvider::Dypns, mode, problems));
        self.tencent
            .check(self.check_of(SmsProvider::Tencent, mode, problems));
        self.webhook
            .check(self.check_of(SmsProvider::Webhook, mode, problems));
        self.check_test_phones(mode, problems);
    }

    fn check_of<'p>(
        &self,
        provider: SmsProvider,
        mode: Mode,
        problems: &'p mut Problems,
    ) -> ProviderCheck<'p> {
        ProviderCheck {
            provider,
            is_enabled: self.providers.contains(&provider),
            mode,
            problems,
        }
    }

    fn check_providers(&self, mode: Mode, problems: &mut Problems) {
        for (n, provider) in self.providers.iter().enumerate() {
            let key = format!("sms.providers[{n}]");
            if self.providers[..n].contains(provider) {
                problems.add(&key, format!("`{}` is listed twice", provider.as_str()));
            }
            if *provider == SmsProvider::Log && mode == Mode::Production {
                problems.add_conflict(
                    &key,
                    &["mode"],
                    "`log` prints codes in the log: it is for mode = \"development\" alone",
                );
            }
        }
        let only_dypns = !self.providers.is_empty()
            && self
                .providers
                .iter()
                .all(|named| *named == SmsProvider::Dypns);
        if only_dypns && self.countries.iter().any(|code| code != "86") {
            problems.add_conflict(
                "sms.countries",
                &["sms.providers"],
                "lists other countries than `86`, and `dypns` sends to no other: add a provider that does",
            );
        }
    }

    fn check_countries(&self, problems: &mut Problems) {
        if self.countries.is_empty() {
            problems.add("sms.countries", "is empty: no phone number could sign in");
        }
        for (n, code) in self.countries.iter().enumerate() {
            let key = format!("sms.countries[{n}]");
            let is_code = (1..=3).contains(&code.len())
                && code.bytes().all(|b| b.is_ascii_digit())
                && !code.starts_with('0');
            if !is_code {
                problems.add(
                    &key,
                    format!("{code:?} is not a country code: write 1 to 3 digits, such as 86"),
                );
            } else if self.countries[..n].contains(code) {
                problems.add(&key, format!("{code:?} is listed twice"));
            }
        }
    }

    /// Messages contain neither number nor code.
    fn check_test_phones(&self, mode: Mode, problems: &mut Problems) {
        let mut seen = Vec::new();
        for (n, test) in self.test_phone.iter().enumerate() {
            let key = |name: &str| format!("sms.test_phone[{n}].{name}");
            match test.number(&self.countries) {
                Err(Malformed(what)) => {
                    problems.add_conflict(&key("phone"), &["sms.countries"], what);
                }
                Ok(phone) if seen.contains(&phone) => problems.add(&key("phone"), "is given twice"),
                Ok(phone) => seen.push(phone),
            }
            if let Err(Malformed(what)) = test.sms_code() {
                problems.add(&key("code"), what);
            }
            if let Err(Malformed(what)) = test.ends() {
                problems.add(&key("until"), what);
            }
        }
        if mode == Mode::Production && !self.test_phone.is_empty() {
            problems.warn(
                "sms.test_phone",
                "anyone who knows a test phone and its code can sign in with them",
            );
        }
    }
}

impl Default for SmsConfig {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            timeout: HumanDuration::secs(5),
            countries: vec!["86".to_owned()],
            code_ttl: HumanDuration::minutes(5),
            resend_after: HumanDuration::secs(60),
            max_attempts: 5,
            per_phone_hour: 5,
            per_phone_day: 10,
            daily_budget: 10_000,
            aliyun: AliyunConfig::default(),
            dypns: DypnsConfig::default(),
            tencent: TencentConfig::default(),
            webhook: WebhookConfig::default(),
            test_phone: Vec::new(),
        }
    }
}
