//! What is said about messages holds neither phone nor code, whatever a vendor answers.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use tracing::Level;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Listens to this thread until what it gives is dropped.
    fn listen(&self) -> (tracing::Dispatch, tracing::subscriber::DefaultGuard) {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(move || writer.clone()).finish();
        // See `api::tests::logs`: one listener alone would take another thread's answer for its own.
        (tracing::Dispatch::new(tracing_subscriber::registry()), tracing::subscriber::set_default(subscriber))
    }

    fn said(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn no_line_holds_a_phone_a_code_or_a_secret() {
    let lines = Lines::default();
    let listening = lines.listen();
    let town = Town::new().await;
    let mut errors = Vec::new();
    for provider in ALL {
        for script in [
            Script::Send,
            Script::Echo,
            Script::Garbage(500),
            Script::Cut,
            Script::Hang,
            Script::Refuse("isv.AMOUNT_NOT_ENOUGH".to_owned()),
            Script::Answer(200, format!("{{\"Code\":\"x\",\"Message\":\"{PHONE} {CODE}\"}}")),
        ] {
            let sms = town.sms_with(&[provider], |config| config.timeout = patience(&script));
            town.vendors.script(provider, script);
            if let Err(error) = town.send(&sms).await {
                errors.push(format!("{error} {error:?} {sms:?}"));
            }
        }
    }
    drop(listening);
    let said = format!("{}{}", lines.said(), errors.join("\n"));
    for expected in
        ["InvalidAccessKeyId.NotFound", "AuthFailure.SignatureFailure", "C0A0BE93", "no answer in time", "balance"]
    {
        assert!(said.contains(expected), "{expected} is not in:\n{said}");
    }
    let national = &PHONE[3..];
    for hidden in [PHONE, national, CODE, "simulated secret", "simulated+secret", "hook/send"] {
        assert!(!said.contains(hidden), "{hidden} is in:\n{said}");
    }
    let failed = said.lines().filter(|line| line.contains(" ERROR ")).count();
    assert!(failed >= 6, "operators are told {failed} times");
}

#[tokio::test]
async fn development_shows_the_code_and_half_the_number() {
    let lines = Lines::default();
    let listening = lines.listen();
    let town = Town::new().await;
    let sms = Sms::new(&SmsConfig::default(), Mode::Development, Metrics::new(), &Entropy::default()).unwrap().unwrap();
    assert_eq!(town.send(&sms).await, Ok(()));
    drop(listening);
    let said = lines.said();
    assert!(said.contains("development, nothing was sent: the code for 138****8000 is 473920 (login)"), "{said}");
}
