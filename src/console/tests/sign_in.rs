//! Sessions: how one begins and ends, and what does not pass for one.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{Bench, HOST, PAGES, TOKEN, body, form};
use crate::telemetry::LogCapture;

#[tokio::test]
async fn without_a_session_a_page_asks_for_the_token_and_shows_nothing_else() {
    let bench = Bench::new().await;
    for (method, path) in PAGES {
        let shown = match method {
            "GET" => bench.get(path, "").await,
            _ => bench.post(path, "", &[]).await,
        };
        assert_eq!(shown.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(shown.text.contains("name=\"token\""), "{path}");
        assert!(
            !shown.text.contains("form_token") && !shown.text.contains("admin.hosts"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_token_opens_a_session_for_this_console_alone() {
    let bench = Bench::new().await;
    let signed_in = bench
        .post(
            "/console/sign-in",
            "",
            &[("token", TOKEN), ("to", "/console/keys")],
        )
        .await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
    assert_eq!(signed_in.header(header::LOCATION), "/console/keys");
    let cookie = signed_in.header(header::SET_COOKIE);
    assert!(cookie.starts_with("menshen_console_9090="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/console; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    // Behind a proxy that speaks TLS no plain request may carry it.
    let over_tls = form("/console/sign-in")
        .header(header::HOST, "ops.example.com")
        .header(header::ORIGIN, "https://ops.example.com");
    let over_tls = bench
        .send(over_tls.body(body(&[("token", TOKEN)])).unwrap())
        .await;
    assert_eq!(over_tls.status, StatusCode::SEE_OTHER);
    assert!(
        over_tls
            .header(header::SET_COOKIE)
            .ends_with("; SameSite=Strict; Secure")
    );
    let session = signed_in.session_cookie().unwrap();
    assert!(!session.contains(TOKEN));
    assert_eq!(
        bench.get("/console/keys", &session).await.status,
        StatusCode::OK
    );
    // The cookie of another port, or an id that is not one.
    let id = session.split_once('=').unwrap().1;
    for other in [
        format!("menshen_console_9091={id}"),
        format!("menshen_console_9090={}", &id[1..]),
        format!("menshen_console_9090={}", id.to_uppercase()),
        format!("menshen_console_9090={TOKEN}"),
        "menshen_console_9090=".to_owned(),
    ] {
        let shown = bench.get("/console/keys", &other).await;
        assert_eq!(shown.status, StatusCode::UNAUTHORIZED, "{other}");
    }
}

#[tokio::test]
async fn a_token_that_is_tried_ten_thousand_times_is_compared_ten_times_a_minute() {
    let bench = Bench::new().await;
    let log = LogCapture::start();
    let (mut compared, mut limited) = (0, 0);
    for n in 0..10_000 {
        let guess = format!("{n:032}");
        let shown = bench
            .post("/console/sign-in", "", &[("token", &guess)])
            .await;
        assert!(shown.session_cookie().is_none());
        match shown.status {
            StatusCode::FORBIDDEN => compared += 1,
            StatusCode::TOO_MANY_REQUESTS => limited += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((compared, limited), (10, 9_990));
    // The right one waits too: a guess is not told from another.
    let right = bench
        .post("/console/sign-in", "", &[("token", TOKEN)])
        .await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS);
    bench.clock.advance(Duration::from_mins(1));
    bench.sign_in().await;
    let log = log.finish();
    assert_eq!(log.matches("console.refused").count(), 10);
    assert_eq!(log.matches("console.signed_in").count(), 1);
    assert!(!log.contains(TOKEN) && !log.contains("00000000000000000000000000000001"));
}

#[tokio::test]
async fn only_the_whole_token_signs_in() {
    let bench = Bench::new().await;
    for wrong in [
        "",
        &TOKEN[1..],
        &TOKEN.to_uppercase(),
        &format!("{TOKEN}0"),
        "\0",
    ] {
        let shown = bench
            .post("/console/sign-in", "", &[("token", wrong)])
            .await;
        assert_eq!(shown.status, StatusCode::FORBIDDEN, "{wrong:?}");
        assert!(shown.session_cookie().is_none());
    }
}

#[tokio::test]
async fn a_session_that_an_attacker_has_fixed_is_not_the_one_that_signs_in() {
    let bench = Bench::new().await;
    let fixed =
        "menshen_console_9090=0000000000000000000000000000000000000000000000000000000000000000";
    let signed_in = bench
        .post("/console/sign-in", fixed, &[("token", TOKEN)])
        .await;
    let session = signed_in.session_cookie().unwrap();
    assert_ne!(session, fixed);
    assert_eq!(
        bench.get("/console", fixed).await.status,
        StatusCode::UNAUTHORIZED
    );
    // Signing in again ends the session that was open.
    let again = bench
        .post("/console/sign-in", &session, &[("token", TOKEN)])
        .await;
    let second = again.session_cookie().unwrap();
    assert_eq!(
        bench.get("/console", &session).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(bench.get("/console", &second).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_stolen_cookie_is_worth_nothing_after_the_sign_out() {
    let bench = Bench::new().await;
    let (session, form_token) = bench.sign_in().await;
    let signed_out = bench
        .post(
            "/console/sign-out",
            &session,
            &[("form_token", &form_token)],
        )
        .await;
    assert_eq!(signed_out.status, StatusCode::SEE_OTHER);
    assert!(signed_out.header(header::SET_COOKIE).contains("Max-Age=0"));
    assert_eq!(
        bench.get("/console", &session).await.status,
        StatusCode::UNAUTHORIZED
    );
}

/// Browsers send the cookie to every port of the host, whatever page asks.
#[tokio::test]
async fn a_page_of_another_origin_does_nothing_by_the_session() {
    let bench = Bench::new().await;
    let (session, _) = bench.sign_in().await;
    for (site, status) in [
        ("same-site", StatusCode::UNAUTHORIZED),
        ("cross-site", StatusCode::UNAUTHORIZED),
        ("same-origin", StatusCode::OK),
        ("none", StatusCode::OK),
    ] {
        let request = Request::get("/console/keys")
            .header(header::HOST, HOST)
            .header(header::COOKIE, &session)
            .header("sec-fetch-site", site)
            .body(Body::empty())
            .unwrap();
        assert_eq!(bench.send(request).await.status, status, "{site}");
    }
}

#[tokio::test]
async fn a_page_that_only_updates_itself_does_not_keep_its_session_open() {
    let bench = Bench::new().await;
    let (session, _) = bench.sign_in().await;
    // Its body is never read: the stream is open all the time.
    let request = axum::http::Request::get("/console/events")
        .header(header::HOST, HOST)
        .header(header::COOKIE, &session)
        .body(axum::body::Body::empty())
        .unwrap();
    let mut events = tower::ServiceExt::oneshot(bench.routes.clone(), request)
        .await
        .unwrap();
    assert_eq!(events.status(), StatusCode::OK);
    let next = async |events: &mut axum::response::Response| {
        let frame = http_body_util::BodyExt::frame(events.body_mut())
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
    };
    for _ in 0..2 {
        bench.clock.advance(Duration::from_mins(14));
        bench.memory.take_sample(&bench.metrics);
        assert!(
            next(&mut events)
                .await
                .starts_with("event: figures\ndata: <section")
        );
    }
    bench.clock.advance(Duration::from_mins(2));
    bench.memory.take_sample(&bench.metrics);
    assert_eq!(next(&mut events).await, "event: end\ndata: \n\n");
    assert!(
        http_body_util::BodyExt::frame(events.body_mut())
            .await
            .is_none()
    );
    assert_eq!(
        bench.get("/console", &session).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn pages_that_update_themselves_are_bounded() {
    let bench = Bench::new().await;
    let (session, _) = bench.sign_in().await;
    let mut open = Vec::new();
    for n in 0..12 {
        let request = axum::http::Request::get("/console/events")
            .header(header::HOST, HOST)
            .header(header::COOKIE, &session)
            .body(axum::body::Body::empty())
            .unwrap();
        let events = tower::ServiceExt::oneshot(bench.routes.clone(), request)
            .await
            .unwrap();
        let expected = if n < 8 {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        assert_eq!(events.status(), expected, "{n}");
        open.push(events);
    }
}

#[tokio::test]
async fn a_form_that_is_too_long_is_not_read() {
    let bench = Bench::new().await;
    let long = "x".repeat(17 * 1024);
    let shown = bench
        .post("/console/sign-in", "", &[("token", &long)])
        .await;
    assert_eq!(shown.status, StatusCode::PAYLOAD_TOO_LARGE);
    let (session, form_token) = bench.sign_in().await;
    let long = "# x\n".repeat(200_000);
    let fields = [("form_token", form_token.as_str()), ("config", &long)];
    let shown = bench.post("/console/config/check", &session, &fields).await;
    assert_eq!(shown.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Nothing that is no form.
    let request = form("/console/sign-in")
        .header(header::HOST, HOST)
        .header("sec-fetch-site", "same-origin")
        .body(body(&[("token", TOKEN), ("token", TOKEN)]));
    assert_eq!(
        bench.send(request.unwrap()).await.status,
        StatusCode::BAD_REQUEST
    );
}
