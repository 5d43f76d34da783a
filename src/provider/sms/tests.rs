//! What `provider::sms` promises, over real sockets.

mod failover;
mod logs;
mod webhook;

use serde_json::Value;

use super::*;
use crate::{
    clock::Clock,
    config::{HumanDuration, SecretText},
    dev::sms::{Scenario, SimulatedSms},
    types::{SmsCode, SmsPurpose, Timestamp},
};

const PHONE: &str = "+8613800138000";
const CODE: &str = "473920";
const ALL: [SmsProvider; 4] = [
    SmsProvider::Aliyun,
    SmsProvider::Dypns,
    SmsProvider::Tencent,
    SmsProvider::Webhook,
];

/// Simulated vendors, a shared clock, and the metrics.
struct Town {
    vendors: SimulatedSms,
    clock: Clock,
    metrics: Metrics,
}

impl Town {
    async fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1_709_224_200));
        Self {
            vendors: SimulatedSms::start(clock.clone()).await.unwrap(),
            clock,
            metrics: Metrics::new(),
        }
    }

    fn sms(&self, providers: &[SmsProvider]) -> Sms {
        self.sms_with(providers, |_| {})
    }

    fn sms_with(&self, providers: &[SmsProvider], change: impl FnOnce(&mut SmsConfig)) -> Sms {
        let mut config = self.vendors.section(providers);
        change(&mut config);
        Sms::new(
            &config,
            Mode::Production,
            self.metrics.clone(),
            &Entropy::default(),
        )
        .unwrap()
        .unwrap()
    }

    async fn send(&self, sms: &Sms) -> Result<(), SmsError> {
        self.send_to(sms, PHONE).await
    }

    async fn send_to(&self, sms: &Sms, phone: &str) -> Result<(), SmsError> {
        let phone = Phone::try_from(phone.to_owned()).unwrap();
        let code = SmsCode::parse(CODE).unwrap();
        let purpose = SmsPurpose::Login;
        let ttl = Duration::from_mins(5);
        sms.send(&SmsMessage {
            id: "m-1",
            phone: &phone,
            code: &code,
            purpose,
            ttl,
            now: self.clock.now(),
        })
        .await
    }

    fn counted(&self, provider: SmsProvider, result: &str) -> u64 {
        self.metrics
            .sms_sent
            .with_label_values(&[provider.as_str(), result])
            .get()
    }

    fn cost(&self, provider: SmsProvider) -> f64 {
        self.metrics
            .sms_cost
            .with_label_values(&[provider.as_str()])
            .get()
    }
}

/// An address without a listener, as long as the socket that reserves it exists.
fn nowhere() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    (socket, url)
}

/// A long timeout, except for a vendor that never responds.
fn patience(scenario: &Scenario) -> HumanDuration {
    if *scenario == Scenario::Hang {
        HumanDuration::millis(200)
    } else {
        HumanDuration::secs(10)
    }
}

#[tokio::test]
async fn each_vendor_takes_the_signature_and_sends_the_code() {
    let town = Town::new().await;
    for provider in ALL {
        let sms = town.sms(&[provider]);
        assert_eq!(town.send(&sms).await, Ok(()), "{provider:?}");
        // The nonce differs each time.
        assert_eq!(town.send(&sms).await, Ok(()), "{provider:?}");
        let sent = town.vendors.sent().pop().unwrap();
        assert_eq!(
            (sent.provider, sent.phone.as_str(), sent.code.as_str()),
            (provider, PHONE, CODE)
        );
        let minutes = if provider == SmsProvider::Aliyun {
            ""
        } else {
            "5"
        };
        assert_eq!((sent.minutes.as_str(), sent.id.as_str()), (minutes, "m-1"));
        assert_eq!(
            (town.vendors.calls(provider), town.counted(provider, "sent")),
            (2, 2)
        );
    }
    assert_eq!(town.vendors.sent().len(), 8);
    assert_eq!(town.vendors.code_on(PHONE).as_deref(), Some(CODE));
}

#[tokio::test]
async fn a_wrong_secret_key_or_clock_is_for_the_operator() {
    let town = Town::new().await;
    let wrong = || Some(SecretText::new("another".to_owned()));
    for provider in ALL {
        let sms = town.sms_with(&[provider], |config| {
            config.aliyun.access_key_secret = wrong();
            config.dypns.access_key_secret = wrong();
            config.tencent.secret_key = wrong();
            config.webhook.secret = wrong();
        });
        assert_eq!(
            town.send(&sms).await,
            Err(SmsError::Unavailable),
            "{provider:?}"
        );
        assert_eq!(town.counted(provider, "config"), 1, "{provider:?}");
    }
    let sms = town.sms_with(&[SmsProvider::Aliyun, SmsProvider::Tencent], |config| {
        config.aliyun.access_key_id = Some("unknown".to_owned());
        config.tencent.secret_id = Some("unknown".to_owned());
    });
    assert_eq!(town.send(&sms).await, Err(SmsError::Unavailable));
    let late = Town {
        clock: Clock::manual(town.clock.now().plus(Duration::from_mins(20))),
        ..town
    };
    for provider in ALL {
        assert_eq!(
            late.send(&late.sms(&[provider])).await,
            Err(SmsError::Unavailable),
            "{provider:?}"
        );
    }
    assert!(late.vendors.sent().is_empty());
}

#[tokio::test]
async fn every_published_answer_is_understood() {
    let town = Town::new().await;
    let tables = [
        (
            SmsProvider::Aliyun,
            include_str!("../../../tests/data/aliyun-sendsms.json"),
            7,
        ),
        (
            SmsProvider::Tencent,
            include_str!("../../../tests/data/tencent-sendsms.json"),
            3,
        ),
    ];
    for (provider, table, expected) in tables {
        let table: Value = serde_json::from_str(table).unwrap();
        let sms = town.sms(&[provider]);
        let mut seen = 0;
        for vector in table["responses"].as_array().unwrap() {
            let status = u16::try_from(vector["http"].as_u64().unwrap()).unwrap();
            town.vendors.set_scenario(
                provider,
                Scenario::Answer(status, vector["body"].to_string()),
            );
            let wait = match vector["window"].as_str() {
                Some("minute") => 60,
                Some("hour") => 3600,
                Some("day") => 86_400,
                Some(other) => panic!("{other}"),
                None => 30,
            };
            let expected = match vector["expect"].as_str().unwrap() {
                "sent" => Ok(()),
                "rate_limited" => Err(SmsError::RateLimited {
                    retry_after: Duration::from_secs(wait),
                }),
                "config_error" => Err(SmsError::Unavailable),
                other => panic!("{other}"),
            };
            assert_eq!(town.send(&sms).await, expected, "{}", vector["id"]);
            seen += 1;
        }
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn abroad_a_vendor_for_mainland_china_is_not_asked() {
    let town = Town::new().await;
    let hongkong = "+85261234567";
    assert_eq!(
        town.send_to(&town.sms(&[SmsProvider::Dypns]), hongkong)
            .await,
        Err(SmsError::BadNumber)
    );
    assert_eq!(
        town.send_to(
            &town.sms(&[SmsProvider::Dypns, SmsProvider::Tencent]),
            hongkong
        )
        .await,
        Ok(())
    );
    assert_eq!(
        town.send_to(&town.sms(&[SmsProvider::Aliyun]), hongkong)
            .await,
        Ok(())
    );
    assert_eq!(town.vendors.calls(SmsProvider::Dypns), 0);
    let sent: Vec<_> = town
        .vendors
        .sent()
        .into_iter()
        .map(|message| (message.provider, message.phone))
        .collect();
    assert_eq!(
        sent,
        [
            (SmsProvider::Tencent, hongkong.to_owned()),
            (SmsProvider::Aliyun, hongkong.to_owned())
        ]
    );
}

#[tokio::test]
async fn what_is_sent_or_may_be_is_counted_at_its_price() {
    let town = Town::new().await;
    let sms = town.sms_with(&[SmsProvider::Aliyun], |config| config.aliyun.price = 45);
    for scenario in [
        Scenario::Send,
        Scenario::Garbage(200),
        Scenario::Refuse("isv.AMOUNT_NOT_ENOUGH".to_owned()),
    ] {
        town.vendors.set_scenario(SmsProvider::Aliyun, scenario);
        let _ = town.send(&sms).await;
    }
    assert!(
        (town.cost(SmsProvider::Aliyun) - 0.09).abs() < 1e-9,
        "{}",
        town.cost(SmsProvider::Aliyun)
    );
    let page = town.metrics.render();
    for line in [
        r#"menshen_sms_sent_total{provider="aliyun",result="balance"} 1"#,
        r#"menshen_sms_sent_total{provider="aliyun",result="sent"} 1"#,
        r#"menshen_sms_sent_total{provider="aliyun",result="unusable"} 1"#,
        r#"menshen_sms_cost_cny_total{provider="aliyun"} 0.09"#,
        r#"menshen_sms_call_duration_seconds_count{provider="aliyun"} 3"#,
    ] {
        assert!(page.contains(line), "{line} is not in:\n{page}");
    }
}

#[test]
fn nobody_is_asked_where_the_config_names_nobody() {
    let new =
        |config: &SmsConfig, mode| Sms::new(config, mode, Metrics::new(), &Entropy::default());
    let mut config = SmsConfig::default();
    assert!(new(&config, Mode::Production).unwrap().is_none());
    assert!(new(&config, Mode::Development).unwrap().is_some());
    config.providers = vec![SmsProvider::Log];
    assert_eq!(
        new(&config, Mode::Production).err().unwrap(),
        SmsSetupError::LogInProduction
    );
    for (provider, missing) in [
        (SmsProvider::Aliyun, "sms.aliyun.access_key_id"),
        (SmsProvider::Dypns, "sms.dypns.access_key_id"),
        (SmsProvider::Tencent, "sms.tencent.secret_id"),
        (SmsProvider::Webhook, "sms.webhook.url"),
    ] {
        config.providers = vec![provider];
        assert_eq!(
            new(&config, Mode::Production).err().unwrap(),
            SmsSetupError::Missing(missing)
        );
    }
}
