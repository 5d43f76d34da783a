//! `[sms]`: what a production config must have, and what no config may have.

use super::*;
use crate::types::{Phone, Timestamp};

const REST: &str = "[store]\nencryption_key_file = 'k'\n[wechat]\napp_id = 'wx1'\nsecret = '0123456789abcdef0123456789abcdef'\n";
const ALIYUN: &str = "access_key_id = 'LTAI1'\naccess_key_secret = 'hunter2hunter2hunter2hunter2hu'\nsign_name = '门神'\ntemplate_code = 'SMS_1'\n";
const TENCENT: &str = "secret_id = 'AKID1'\nsecret_key = 'hunter2hunter2hunter2hunter2hunt'\nsdk_app_id = '1400000000'\nsign_name = '门神'\ntemplate_id = '1110'\n";

fn production(text: &str) -> String {
    format!("{REST}{text}")
}

/// Each text after its key has exactly these problems.
fn each_is_told(mode: fn(&str) -> String, cases: &[(&str, &[&str])]) {
    for (text, message) in cases {
        let found: Vec<_> = problems(&mode(text), &[])
            .into_iter()
            .map(|line| line.split_once(": ").unwrap().1.to_owned())
            .collect();
        assert_eq!(found, *message, "{text}");
        assert!(
            !found.iter().any(|line| line.contains("hunter2")),
            "{found:?}"
        );
    }
}

#[test]
fn every_provider_can_be_asked_in_production() {
    let text = format!(
        "[sms]\nproviders = ['tencent', 'aliyun', 'dypns', 'webhook']\n[sms.aliyun]\n{ALIYUN}[sms.dypns]\n{ALIYUN}\
         [sms.tencent]\n{TENCENT}[sms.webhook]\nurl = 'https://sms.example.com/send?key=1'\nsecret = 'hunter2'\n"
    );
    let sms = config(&production(&text), &[]).sms;
    let enabled_providers: Vec<_> = sms
        .enabled_providers(Mode::Production)
        .into_iter()
        .map(SmsProvider::as_str)
        .collect();
    assert_eq!(enabled_providers, ["tencent", "aliyun", "dypns", "webhook"]);
    assert_eq!(sms.countries, ["86"]);
    assert_eq!(warnings(&production(&text)), Vec::<String>::new());
}

#[test]
fn nobody_named_is_the_log_in_development_and_nobody_in_production() {
    assert_eq!(
        config(&development(""), &[])
            .sms
            .enabled_providers(Mode::Development),
        [SmsProvider::Log]
    );
    assert_eq!(
        config(&production(""), &[])
            .sms
            .enabled_providers(Mode::Production),
        []
    );
}

#[test]
fn a_provider_that_is_named_needs_its_whole_table() {
    each_is_told(
        production,
        &[
            (
                "[sms]\nproviders = ['aliyun']\n",
                &[
                    "sms.aliyun.access_key_id: is missing: `sms.providers` names `aliyun`",
                    "sms.aliyun.access_key_secret: is missing: `sms.providers` names `aliyun`",
                    "sms.aliyun.sign_name: is missing: `sms.providers` names `aliyun`",
                    "sms.aliyun.template_code: is missing: `sms.providers` names `aliyun`",
                ],
            ),
            (
                "[sms]\nproviders = ['dypns']\n[sms.dypns]\naccess_key_id = 'a b'\naccess_key_secret = '...'\nsign_name = ''\n",
                &[
                    "sms.dypns.template_code: is missing: `sms.providers` names `dypns`",
                    "sms.dypns.access_key_id: may hold letters, digits, '-', '_' and '.' alone",
                    "sms.dypns.access_key_secret: is still the example",
                    "sms.dypns.sign_name: is empty",
                ],
            ),
            (
                "[sms]\nproviders = ['tencent', 'webhook']\n[sms.tencent]\nsecret_id = 'a'\n",
                &[
                    "sms.webhook.url: is missing: `sms.providers` names `webhook`",
                    "sms.webhook.secret: is missing: `sms.providers` names `webhook`",
                    "sms.tencent.secret_key: is missing: `sms.providers` names `tencent`",
                    "sms.tencent.sdk_app_id: is missing: `sms.providers` names `tencent`",
                    "sms.tencent.sign_name: is missing: `sms.providers` names `tencent`",
                    "sms.tencent.template_id: is missing: `sms.providers` names `tencent`",
                ],
            ),
            (
                "[sms]\nproviders = ['log', 'log']\n",
                &[
                    "sms.providers[0]: `log` prints codes in the log: it is for mode = \"development\" alone",
                    "sms.providers[1]: `log` is listed twice",
                    "sms.providers[1]: `log` prints codes in the log: it is for mode = \"development\" alone",
                ],
            ),
        ],
    );
}

#[test]
fn secrets_are_read_from_their_files() {
    let text = "[sms.aliyun]\naccess_key_secret_file = 'a'\n[sms.dypns]\naccess_key_secret_file = 'b'\n[sms.tencent]\n\
                secret_key_file = 'c'\n[sms.webhook]\nsecret_file = 'd'\n";
    let dir = ConfigDir::with(&development(text));
    for name in ["a", "b", "c", "d"] {
        dir.file(name, format!("of {name}\n").as_bytes());
    }
    let sms = dir.load(&[]).unwrap().config.sms;
    let read = [
        sms.aliyun.access_key_secret,
        sms.dypns.access_key_secret,
        sms.tencent.secret_key,
        sms.webhook.secret,
    ]
    .map(Option::unwrap);
    assert_eq!(
        read.each_ref().map(|secret| secret.expose().as_str()),
        ["of a", "of b", "of c", "of d"]
    );
}

#[test]
fn what_is_out_of_range_is_told() {
    each_is_told(
        development,
        &[
            (
                "[sms]\nproviders = ['sms']",
                &[
                    "sms.providers[0]: \"sms\" is none of `aliyun`, `tencent`, `dypns`, `webhook`, `log`",
                ],
            ),
            (
                "[sms]\ntimeout = '1m'",
                &["sms.timeout: 1m is not between 100ms and 30s"],
            ),
            (
                "[sms]\ncode_ttl = '2h'",
                &["sms.code_ttl: 2h is not between 30s and 1h"],
            ),
            (
                "[sms]\nresend_after = '0s'",
                &["sms.resend_after: 0s is not between 1s and 1h"],
            ),
            (
                "[sms]\nmax_attempts = 11",
                &["sms.max_attempts: 11 is not between 1 and 10"],
            ),
            (
                "[sms]\nper_phone_hour = 0",
                &["sms.per_phone_hour: 0 is not between 1 and 1000"],
            ),
            (
                "[sms]\nper_phone_day = 0",
                &["sms.per_phone_day: 0 is not between 1 and 1000"],
            ),
            (
                "[sms]\ndaily_budget = 0",
                &["sms.daily_budget: 0 is not between 1 and 100000000"],
            ),
            (
                "[sms]\ncountries = []",
                &["sms.countries: is empty: no phone number could sign in"],
            ),
            (
                "[sms]\ncountries = ['86', '+1', '0', '1234', '86', '852']",
                &[
                    "sms.countries[1]: \"+1\" is not a country code: write 1 to 3 digits, such as 86",
                    "sms.countries[2]: \"0\" is not a country code: write 1 to 3 digits, such as 86",
                    "sms.countries[3]: \"1234\" is not a country code: write 1 to 3 digits, such as 86",
                    "sms.countries[4]: \"86\" is listed twice",
                ],
            ),
            (
                "[sms.aliyun]\ntemplate_param = '{\"code\":\"1\"}'",
                &[
                    "sms.aliyun.template_param: has no {code}: the message would not contain the code",
                ],
            ),
            (
                "[sms.tencent]\ntemplate_params = ['{min}']",
                &[
                    "sms.tencent.template_params[0]: has braces around something else than {code} or {minutes}",
                ],
            ),
            (
                "[sms.tencent]\ntemplate_params = ['{minutes}']",
                &[
                    "sms.tencent.template_params: has no {code}: the message would not contain the code",
                ],
            ),
            (
                "[sms.tencent]\nregion = 'a b'",
                &["sms.tencent.region: may hold letters, digits, '-', '_' and '.' alone"],
            ),
        ],
    );
    let only =
        format!("[sms]\nproviders = ['dypns']\ncountries = ['86', '852']\n[sms.dypns]\n{ALIYUN}");
    let message = "sms.countries: lists other countries than `86`, and `dypns` sends to no other: add a provider that does";
    each_is_told(development, &[(&only, &[message])]);
}

#[test]
fn codes_travel_over_tls_and_not_to_neighbours() {
    each_is_told(
        production,
        &[
            (
                "[sms.tencent]\nendpoint = 'http://sms.example.com'",
                &["sms.tencent.endpoint: must be https: it carries phone numbers and codes"],
            ),
            (
                "[sms.aliyun]\nendpoint = 'https://sms.example.com/path'",
                &[
                    "sms.aliyun.endpoint: has a path: write the server alone, because every request keeps its own path",
                ],
            ),
            (
                "[sms.webhook]\nurl = 'http://sms.example.com/'",
                &["sms.webhook.url: must be https: it carries phone numbers and codes"],
            ),
            (
                "[sms.webhook]\nurl = 'https://me:hunter2@sms.example.com/'",
                &[
                    "sms.webhook.url: is not a URL: write https://host/path, without user name or fragment",
                ],
            ),
            (
                "[sms.webhook]\nurl = 'https://10.0.0.1/?hunter2'",
                &[
                    "sms.webhook.url: is on this machine or in a private network: set `allow_private = true` if that is intended",
                ],
            ),
            (
                "[sms.webhook]\nurl = 'https://[fd00::1]/'",
                &[
                    "sms.webhook.url: is on this machine or in a private network: set `allow_private = true` if that is intended",
                ],
            ),
        ],
    );
    for good in [
        "[sms.tencent]\nendpoint = 'http://127.0.0.1:1'",
        "[sms.webhook]\nurl = 'http://127.0.0.1:1/a'\nallow_private = true",
        "[sms.webhook]\nurl = 'https://sms.internal/a'",
    ] {
        config(&production(good), &[]);
    }
}

#[test]
fn a_test_phone_has_a_number_a_code_and_an_end() {
    let phone = |phone: &str, code: &str, until: &str| {
        format!("[[sms.test_phone]]\nphone = '{phone}'\ncode = '{code}'\nuntil = '{until}'\n")
    };
    let good = phone("138 0000 0000", "123456", "2027-01-01");
    let sms = config(&production(&good), &[]).sms;
    assert_eq!(
        sms.test_phone[0].ends().unwrap().rfc3339(),
        "2027-01-02T00:00:00Z"
    );
    let code_of = |phone: &str, now| {
        let phone = Phone::parse(phone, &sms.countries).unwrap();
        sms.test_code(&phone, Timestamp::from_secs(now))
            .map(|code| code.expose().to_owned())
    };
    let end = 1_798_848_000;
    assert_eq!(
        code_of("+86 13800000000", end - 1).as_deref(),
        Some("123456")
    );
    assert_eq!(code_of("+86 13800000000", end), None);
    assert_eq!(code_of("13800000001", 0), None);
    each_is_told(
        production,
        &[(
            "[[sms.test_phone]]\nphone = '13800000000'\nuntil = '2027-01-01'\n",
            &["sms.test_phone[0].code: is missing"],
        )],
    );
    assert_eq!(
        warnings(&production(&good)),
        [
            "config.toml:6: sms.test_phone: anyone who knows a test phone and its code can sign in with them"
        ]
    );
    let date = "sms.test_phone[0].until: is not a date: write YYYY-MM-DD";
    let code = "sms.test_phone[0].code: is not 6 digits";
    for (text, message) in [
        (
            phone("12345", "123456", "2027-01-01"),
            "sms.test_phone[0].phone: must be a mobile number of mainland China, 11 digits",
        ),
        (phone("13800000000", "12345", "2027-01-01"), code),
        (phone("13800000000", "１２３４５６", "2027-01-01"), code),
        (phone("13800000000", "123456", "2027-02-29"), date),
        (phone("13800000000", "123456", "2027-1-1"), date),
        (phone("13800000000", "123456", "+027-01-01"), date),
        (phone("13800000000", "123456", "1960-01-01"), date),
        (phone("13800000000", "123456", ""), date),
        (
            good.clone() + &phone("+8613800000000", "654321", "2027-01-01"),
            "sms.test_phone[1].phone: is given twice",
        ),
    ] {
        each_is_told(production, &[(&text, &[message])]);
    }
}

#[test]
fn an_account_that_nobody_asks_is_warned_of() {
    assert_eq!(
        warnings(&production(&format!("[sms.tencent]\n{TENCENT}"))),
        ["config.toml:6: sms.tencent: is not used: `sms.providers` does not name `tencent`"]
    );
}
