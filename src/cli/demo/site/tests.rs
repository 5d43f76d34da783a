//! The page without a browser, before a backend alone: what it says, and whom it turns away.

use axum::{
    body::Body,
    http::{HeaderMap, Method, Request},
};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::{cli::demo::sandbox::Sandbox, dev::sms::SentMessage};

const HOST: &str = "127.0.0.1:8099";
const ORIGIN: (&str, &str) = ("origin", "http://127.0.0.1:8099");
/// What a page would run if it escaped too little.
const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'";

/// The page, with a backend in the place of menshen.
struct Bench {
    routes: Router,
    sandbox: Sandbox,
}

struct Shown {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Bench {
    async fn new() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        let backend = sandbox.servers.backend.address().to_string();
        let runner = StepRunner::new(sandbox.servers.clone(), &backend, None);
        Self {
            routes: router(Arc::new(runner), &backend),
            sandbox,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Shown {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Shown {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    async fn page(&self, headers: &[(&str, &str)]) -> Shown {
        let headers = [&[("host", HOST)], headers].concat();
        self.send(Method::GET, "/", &headers, "").await
    }

    async fn tap(&self, form: &str) -> Shown {
        let headers = [
            ("host", HOST),
            ORIGIN,
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.send(Method::POST, "/tap", &headers, form).await
    }
}

#[tokio::test]
async fn the_page_has_nothing_inline_and_speaks_the_language_of_the_browser() {
    let bench = Bench::new().await;
    let english = bench.page(&[]).await;
    assert_eq!(english.status, StatusCode::OK);
    let policy = english.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    assert_eq!(english.headers["x-frame-options"], "DENY");
    for inline in [" style=", " onclick=", "<style", "<script>"] {
        assert!(!english.text.contains(inline), "{inline}");
    }
    assert!(english.text.contains("<html lang=\"en\">"));
    let chinese = bench.page(&[("accept-language", "zh-CN,zh;q=0.9")]).await;
    assert!(chinese.text.contains("<html lang=\"zh-CN\">") && chinese.text.contains("微信登录"));
    // Until another one is chosen.
    let headers = [("host", HOST), ("accept-language", "zh-CN")];
    let chosen = bench.send(Method::GET, "/?lang=en", &headers, "").await;
    let cookie = chosen.headers["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    let again = bench
        .page(&[("accept-language", "zh-CN"), ("cookie", cookie)])
        .await;
    assert!(again.text.contains("<html lang=\"en\">"));
    let script = include_str!("assets/demo.js");
    assert!(script.len() < 10 * 1024);
    for path in ["/demo.css", "/demo.js", "/icon.svg"] {
        let asset = bench.send(Method::GET, path, &[("host", HOST)], "").await;
        assert_eq!(asset.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn another_name_and_another_origin_are_turned_away() {
    let bench = Bench::new().await;
    for host in ["evil.example", "127.0.0.1.evil.example:8099", "x.localhost"] {
        let shown = bench.send(Method::GET, "/", &[("host", host)], "").await;
        assert_eq!(shown.status, StatusCode::MISDIRECTED_REQUEST, "{host}");
        assert!(!shown.text.contains('<'));
    }
    let shown = bench.send(Method::GET, "/", &[], "").await;
    assert_eq!(shown.status, StatusCode::BAD_REQUEST);
    for forged in [
        &[][..],
        &[("origin", "null")],
        &[("origin", "http://evil.example")],
        &[("origin", "http://127.0.0.1:8098")],
        &[ORIGIN, ("sec-fetch-site", "cross-site")],
    ] {
        let headers = [&[("host", HOST)], forged].concat();
        let shown = bench
            .send(Method::POST, "/tap", &headers, "step=odd-path")
            .await;
        assert_eq!(shown.status, StatusCode::FORBIDDEN, "{forged:?}");
    }
    assert_eq!(bench.sandbox.servers.backend.requests(), 0);
    assert!(!bench.page(&[]).await.text.contains("id=\"latest\""));
}

#[tokio::test]
async fn a_tap_that_is_not_possible_says_why_and_sends_nothing() {
    let bench = Bench::new().await;
    for step in Step::ALL {
        let is_always_possible = matches!(
            step,
            Step::SignIn
                | Step::ComeBack
                | Step::OrdersWithoutToken
                | Step::ForgedHeadersOnPublicPage
                | Step::OddPath
        );
        if is_always_possible {
            continue;
        }
        let shown = bench.tap(&format!("step={}&code=1", step.id())).await;
        assert_eq!(shown.status, StatusCode::SEE_OTHER, "{step:?}");
        assert_eq!(shown.headers["location"], "/#latest");
        let text = bench.page(&[]).await.text;
        let latest = text.split("id=\"latest\"").nth(1).unwrap();
        let reason = step.obstacle(&MiniProgram::of_the_page()).unwrap().english;
        assert!(latest.contains(reason), "{step:?}");
        assert!(latest.contains("Nothing was sent."), "{step:?}");
    }
    assert_eq!(bench.sandbox.servers.backend.requests(), 0);
    for form in ["step=unknown", "step=", "x=1", ""] {
        let shown = bench.tap(form).await;
        assert!(shown.status.is_client_error(), "{form}");
    }
}

#[tokio::test]
async fn the_story_is_of_what_was_sent_and_a_false_claim_is_called_so() {
    let bench = Bench::new().await;
    bench.tap("step=forged-headers-on-public-page").await;
    let text = bench.page(&[]).await.text;
    // There is no menshen here, so the forged headers arrive, and the story does not deny it.
    assert!(text.contains("This is not so:"), "{text}");
    assert!(!text.contains("class=\"line stripped\""), "{text}");
    assert!(text.contains("x_user_id"), "{text}");
}

#[tokio::test]
async fn the_newest_taps_are_kept() {
    let bench = Bench::new().await;
    for _ in 0..MAX_TAPS + 5 {
        bench.tap("step=orders-without-token").await;
    }
    let text = bench.page(&[]).await.text;
    let newest = format!("<span class=\"count\">{}</span>", MAX_TAPS + 5);
    assert!(text.contains(&newest));
    assert_eq!(
        text.matches("<details class=\"tap\">").count(),
        MAX_TAPS - 1
    );
}

#[test]
fn every_value_is_a_text() {
    let message = SentMessage {
        provider: crate::config::SmsProvider::Aliyun,
        phone: "+8613900139000".to_owned(),
        code: SCRIPT.to_owned(),
        minutes: SCRIPT.to_owned(),
        id: String::new(),
    };
    let mut program = MiniProgram::of_the_page();
    program.message = Some(message);
    program.phone = Some(SCRIPT.to_owned());
    let addresses = Addresses {
        menshen: SCRIPT.to_owned(),
        backend: SCRIPT.to_owned(),
        wechat: SCRIPT.to_owned(),
        sms: SCRIPT.to_owned(),
    };
    for language in [Language::English, Language::Chinese] {
        let view = PageView {
            language,
            addresses: &addresses,
            program: &program,
            taps: &VecDeque::new(),
        };
        let text = frame::page(&view).into_string();
        assert!(text.contains("&lt;script&gt;alert(1)"));
        assert!(
            !text.contains("<script>") && !text.contains("<img src=x"),
            "{text}"
        );
    }
}
