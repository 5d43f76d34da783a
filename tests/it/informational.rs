//! Informational answers (RFC 9110 section 15.2) of a backend of HTTP/1.1 reach clients of either
//! protocol, in their order and before the last one. Those of a backend of HTTP/2 are hidden by
//! pingora's sessions.

use bytes::Bytes;

use super::endpoints::{BodyLength, Exchange, Protocol, for_each_pair, within};

#[test]
fn early_hints_reach_clients_of_either_protocol_in_their_order() {
    for_each_pair(async |pair| {
        if pair.backend.protocol == Protocol::Http2 {
            return;
        }
        for (method, framed) in [("GET", BodyLength::None), ("POST", BodyLength::Unknown)] {
            let client = pair.connect().await;
            let (mut writer, answer) = client.send(method, "/open/hints", &[], framed).await;
            let Exchange {
                mut body,
                mut respond,
                ..
            } = pair.backend.next().await;
            for link in ["</a>", "</b>"] {
                respond
                    .inform(103, &[("link", link), ("x-menshen-error", "forbidden")])
                    .await
                    .expect("an open connection");
            }
            if framed == BodyLength::Unknown {
                writer
                    .write(Bytes::from_static(b"body"))
                    .await
                    .expect("an open connection");
                writer.finish().await.expect("an open connection");
            }
            body.rest().await.expect("a whole request");
            respond
                .answer(200, "last")
                .await
                .expect("an open connection");
            let name = format!("{}, {method}", pair.name);
            let mut answer = within(&name, answer.head())
                .await
                .unwrap_or_else(|broken| panic!("{name}: {broken:?}"));
            let links: Vec<_> = answer
                .informational
                .iter()
                .map(|(status, fields)| {
                    (
                        *status,
                        fields.get("link").map(|link| link.to_str().expect("text")),
                    )
                })
                .collect();
            assert_eq!(links, [(103, Some("</a>")), (103, Some("</b>"))], "{name}");
            let spoofed = answer
                .informational
                .iter()
                .any(|(_, fields)| fields.contains_key("x-menshen-error"));
            assert!(
                !spoofed,
                "{name}: only menshen may say that an answer is its own"
            );
            assert_eq!(answer.body.text().await.expect("a body"), "last", "{name}");
        }
    });
}

/// RFC 9110 section 10.1.1.
#[test]
fn a_client_of_either_protocol_that_waits_for_100_hears_it_and_goes_on() {
    for_each_pair(async |pair| {
        let client = pair.connect().await;
        let expects = [("expect", "100-continue")];
        let (mut writer, answer) = client
            .send("POST", "/open/waits", &expects, BodyLength::Known(4))
            .await;
        let waiting = async {
            let Exchange {
                mut body,
                mut respond,
                ..
            } = pair.backend.next().await;
            respond.inform(100, &[]).await.expect("an open connection");
            assert_eq!(
                body.text().await.expect("a whole request"),
                "body",
                "{}",
                pair.name
            );
            respond
                .answer(200, "last")
                .await
                .expect("an open connection");
        };
        let asking = async {
            let (continued, answer) = within(&pair.name, answer.continued()).await;
            assert!(continued, "{}: an answer before the body", pair.name);
            writer
                .write(Bytes::from_static(b"body"))
                .await
                .expect("an open connection");
            writer.finish().await.expect("an open connection");
            let mut answer = within(&pair.name, answer.head()).await.expect("an answer");
            assert_eq!(
                answer.body.text().await.expect("a body"),
                "last",
                "{}",
                pair.name
            );
        };
        tokio::join!(waiting, asking);
        pair.serves_on(&client).await;
    });
}
