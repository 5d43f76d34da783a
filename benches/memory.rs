//! How much memory do the limits take when a million strangers come? A plain program that prints
//! what the kernel says of it: limits by address are bounded tables; limits by phone are records of
//! the store, on disk.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::{fs, sync::Arc, time::Instant};

use futures::{StreamExt, stream};
use menshen::{
    auth::{Limits, limits::PhoneDecryptKey},
    clock::Clock,
    config::LimitsConfig,
    crypto::Key,
    entropy::Entropy,
    metrics::Metrics,
    store::{
        self, CodeHash, OpenOptions, SmsId, SmsLimits, SmsReservation, SmsReservationOutcome,
        WrappingKeys, fixture::NOW,
    },
    types::{ClientIp, Phone, SmsPurpose, UserId, Username},
};

const STRANGERS: u32 = 1_000_000;

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.trim()
        .trim_end_matches(" kB")
        .trim()
        .parse::<f64>()
        .expect("a number")
        / 1024.0
}

fn main() {
    // `cargo test --benches` runs it too; a million of anything is for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    addresses();
    phones();
}

fn addresses() {
    let limits = Limits::new(&LimitsConfig::default(), Clock::manual(NOW), Metrics::new());
    let before = resident();
    for n in 0..STRANGERS {
        let ip = ClientIp::new(n.to_be_bytes().into());
        let user = UserId::parse(&format!("user-{n}")).expect("an id");
        let name = Username::parse(&format!("name-{n}")).expect("a name");
        let session = menshen::types::SessionId::from_bits(n.into());
        let network = ip.network();
        let by_address = [
            limits.login_per_ip.check(&network),
            limits.refresh_per_ip.check(&network),
            limits.sms_per_ip.check(&network),
            limits.verify_per_ip.check(&network),
            limits.admin_login_per_ip.check(&network),
        ];
        let others = [
            limits.api_per_ip.check(&network),
            limits.admin_login_per_account.check(&name),
            limits.account_per_user.check(&user),
            limits.check_phone_decrypt(&PhoneDecryptKey::Session(session)),
        ];
        assert_eq!(limits.refresh_per_session.check(&session), Ok(()));
        assert!(
            by_address.iter().chain(&others).all(Result::is_ok),
            "everybody is new"
        );
        if n + 1 == 100_000 || n + 1 == STRANGERS {
            println!(
                "limits by address, user and name: +{:.1} MiB after {} of each",
                resident() - before,
                n + 1
            );
        }
    }
}

fn phones() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("sled:{}", directory.path().display());
    let keys = WrappingKeys::derive(&Key::new([1; 32]), None);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let options = OpenOptions::default();
    let store = runtime
        .block_on(store::open(&url, &options, &keys, Entropy::default()))
        .expect("a store")
        .store;
    let limits = SmsLimits {
        code_ttl: std::time::Duration::from_mins(5),
        resend_after: std::time::Duration::from_mins(1),
        per_phone_hour: 5,
        per_phone_day: 10,
        daily_budget: u64::MAX,
        max_attempts: 5,
    };
    let (before, begun) = (resident(), Instant::now());
    let send = |n: u32| {
        let store = Arc::clone(&store);
        async move {
            let phone = Phone::from_parts("86", &(13_000_000_000 + u64::from(n)).to_string())
                .expect("a phone");
            let (id, code) = (SmsId(n.into()), CodeHash([1; 32]));
            let reservation = SmsReservation {
                id,
                phone,
                purpose: SmsPurpose::Login,
                code,
                limits,
                is_test: false,
                now: NOW,
            };
            assert_eq!(
                store.reserve_sms(&reservation).await.expect("a store"),
                SmsReservationOutcome::Granted
            );
        }
    };
    runtime.block_on(
        stream::iter(0..STRANGERS)
            .map(send)
            .buffer_unordered(256)
            .for_each(|()| async {}),
    );
    let size = runtime.block_on(store.stats()).expect("figures").size_bytes;
    println!(
        "limits by phone: +{:.1} MiB after {STRANGERS} phones in {:.0} s, {} MiB on disk",
        resident() - before,
        begun.elapsed().as_secs_f64(),
        size >> 20
    );
    let (begun, later) = (
        Instant::now(),
        NOW.plus(std::time::Duration::from_hours(25)),
    );
    let swept = runtime.block_on(async {
        let mut swept = 0;
        loop {
            let some = store.sweep(later, 500).await.expect("a sweep");
            swept += some;
            if some < 500 {
                return swept;
            }
        }
    });
    println!(
        "swept {swept} entries a day later in {:.0} s: +{:.1} MiB",
        begun.elapsed().as_secs_f64(),
        resident() - before
    );
}
