//! A client and a backend of some protocols with menshen between them.

use std::time::Instant;

use super::{
    BackendEnd, BodyLength, ClientEnd, DEADLINE, Protocol, menshen_before, runtime, within,
};
use crate::menshen::Menshen;

/// What the client and what the backend speak.
const PAIRS: [(Protocol, Protocol); 4] = [
    (Protocol::Http1, Protocol::Http1),
    (Protocol::Http1, Protocol::Http2),
    (Protocol::Http2, Protocol::Http1),
    (Protocol::Http2, Protocol::Http2),
];

pub struct Pair {
    pub name: String,
    pub client: Protocol,
    pub backend: BackendEnd,
    pub menshen: Menshen,
}

/// Gives each pair of protocols to `test`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a closure is written where it is used"
)]
pub fn for_each_pair(test: impl AsyncFn(&Pair)) {
    let runtime = runtime();
    for (client, backend) in PAIRS {
        runtime.block_on(async {
            let pair = Pair::start(client, backend);
            within(&pair.name, test(&pair)).await;
        });
    }
}

impl Pair {
    /// Has to be called on a runtime.
    pub fn start(client: Protocol, backend: Protocol) -> Self {
        let name = format!("{client:?} to {backend:?}");
        let backend = BackendEnd::start(backend);
        let menshen = menshen_before(&backend);
        Self {
            name,
            client,
            backend,
            menshen,
        }
    }

    /// A client's new connection.
    pub async fn connect(&self) -> ClientEnd {
        ClientEnd::connect(self.menshen.http, self.client).await
    }

    /// The client's connection takes the next request. Which connection of the backend it came on.
    pub async fn serves_on(&self, client: &ClientEnd) -> usize {
        let (_, answer) = client
            .send("GET", "/open/next", &[], BodyLength::None)
            .await;
        let exchange = self.backend.next().await;
        assert_eq!(exchange.target, "/open/next", "{}", self.name);
        exchange
            .respond
            .answer(200, "next")
            .await
            .expect("an answer");
        let answer = within("the next answer", answer.head()).await;
        let mut answer = answer.unwrap_or_else(|broken| panic!("{}: {broken:?}", self.name));
        let text = answer.body.text().await.expect("a body");
        assert_eq!(
            (answer.status, text.as_str()),
            (200, "next"),
            "{}",
            self.name
        );
        exchange.connection
    }

    /// Waits until gauges that begin like one of these are zero.
    pub fn wait_for_zero(&self, name: &str, gauges: &[&str]) {
        let end = Instant::now() + DEADLINE / 2;
        tokio::task::block_in_place(|| {
            loop {
                let text = self.menshen.metrics();
                let ours = text
                    .lines()
                    .filter(|line| gauges.iter().any(|gauge| line.starts_with(gauge)));
                let (zero, more): (Vec<_>, Vec<_>) = ours.partition(|line| line.ends_with(" 0"));
                if more.is_empty() {
                    assert!(
                        zero.len() >= gauges.len(),
                        "{gauges:?} are not all there: {zero:?}"
                    );
                    return;
                }
                assert!(Instant::now() < end, "{name}: {more:?}");
            }
        });
    }
}
