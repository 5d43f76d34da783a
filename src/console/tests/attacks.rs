//! Attacks as classes: other names and origins, forged forms, frames, and texts that others have
//! chosen.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use super::{Bench, CONFIG, HOST, PAGES, SCRIPT, TOKEN, body, form, rejected};
use crate::{
    console::LastReload,
    telemetry::AccessLine,
    types::{ClientIp, UserId},
};

#[tokio::test]
async fn by_another_name_nothing_answers() {
    let bench = Bench::new().await;
    let (session, _) = bench.sign_in().await;
    for host in [
        "evil.example",
        "evil.example:9090",
        "127.0.0.1.evil.example:9090",
        "localhost.evil.example",
    ] {
        for (method, path) in PAGES
            .into_iter()
            .chain([("GET", "/console/style.css"), ("POST", "/console/sign-in")])
        {
            let request = Request::builder().method(method).uri(path);
            let request = request
                .header(header::HOST, host)
                .header(header::ORIGIN, format!("http://{host}"))
                .header("sec-fetch-site", "same-origin")
                .header(header::COOKIE, &session);
            let shown = bench
                .send(request.body(body(&[("token", TOKEN)])).unwrap())
                .await;
            assert_eq!(
                shown.status,
                StatusCode::MISDIRECTED_REQUEST,
                "{host} {path}"
            );
            assert!(shown.session_cookie().is_none());
        }
    }
    // No Host, two, or one beside another target.
    for (uri, hosts) in [
        ("/console", vec![]),
        ("/console", vec![HOST, "evil.example"]),
        ("/console", vec![HOST, HOST]),
        ("http://evil.example/console", vec![HOST]),
        ("/console", vec!["127.0.0.1:9090:1"]),
    ] {
        let request = hosts.iter().fold(Request::get(uri), |request, host| {
            request.header(header::HOST, *host)
        });
        let request = request.header(header::COOKIE, &session).body(Body::empty());
        let shown = bench.send(request.unwrap()).await;
        assert_eq!(shown.status, StatusCode::BAD_REQUEST, "{uri} {hosts:?}");
    }
    for host in [
        "localhost:1234",
        "[::1]:9090",
        "10.0.0.5",
        "ops.example.com",
    ] {
        let request = Request::get("/console").header(header::HOST, host);
        let shown = bench.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(shown.status, StatusCode::UNAUTHORIZED, "{host}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let bench = Bench::new().await;
    bench.add_person("42", "小明").await;
    let (session, form_token) = bench.sign_in().await;
    let forged_origins: [&[(&str, &str)]; 5] = [
        &[],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[
            ("sec-fetch-site", "cross-site"),
            ("origin", "http://127.0.0.1:9090"),
        ],
        &[("sec-fetch-site", "same-site")],
    ];
    for (_, path) in PAGES.into_iter().filter(|(method, _)| *method == "POST") {
        for headers in forged_origins {
            let fields = [
                ("form_token", form_token.as_str()),
                ("confirm", "yes"),
                ("token", TOKEN),
            ];
            let mut request = form(path)
                .header(header::HOST, HOST)
                .header(header::COOKIE, &session);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let shown = bench.send(request.body(body(&fields)).unwrap()).await;
            assert_eq!(shown.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
        }
    }
    let found = bench
        .admin
        .administration
        .user(&UserId::parse("42").unwrap())
        .await;
    assert!(!found.unwrap().user.disabled);
    assert_eq!(
        bench.get("/console", &session).await.status,
        StatusCode::OK,
        "still signed in"
    );
}

#[tokio::test]
async fn a_form_without_the_token_of_its_session_changes_nothing() {
    let bench = Bench::new().await;
    bench.add_person("42", "小明").await;
    let (session, form_token) = bench.sign_in().await;
    let (_, of_another) = bench.sign_in().await;
    let kid = bench.admin.keyrings.current().signing_kid().to_owned();
    for (_, path) in PAGES.into_iter().filter(|(method, _)| *method == "POST") {
        let without: [&[(&str, &str)]; 5] = [
            &[],
            &[("form_token", "")],
            &[("form_token", &of_another)],
            &[("form_token", &form_token[1..])],
            &[("form_token", TOKEN)],
        ];
        for fields in without {
            let fields = [
                fields,
                &[
                    ("confirm", "yes"),
                    ("config", ""),
                    ("method", "GET"),
                    ("path", "/"),
                ],
            ]
            .concat();
            let shown = bench.post(path, &session, &fields).await;
            assert_eq!(shown.status, StatusCode::FORBIDDEN, "{path} {fields:?}");
        }
    }
    let found = bench
        .admin
        .administration
        .user(&UserId::parse("42").unwrap())
        .await;
    assert!(!found.unwrap().user.disabled);
    assert_eq!(bench.admin.keyrings.current().signing_kid(), kid);
    // And nothing changes by GET.
    for path in [
        "/console/people/42/ban",
        "/console/people/42/sign-out",
        "/console/sign-out",
    ] {
        let shown = bench.get(path, &session).await;
        assert_eq!(shown.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    let with = [("form_token", form_token.as_str())];
    let shown = bench.post("/console/people/42/ban", &session, &with).await;
    assert_eq!(shown.status, StatusCode::SEE_OTHER);
    let found = bench
        .admin
        .administration
        .user(&UserId::parse("42").unwrap())
        .await;
    assert!(found.unwrap().user.disabled);
}

#[tokio::test]
async fn no_response_can_be_framed_cached_or_read_as_another_type() {
    let bench = Bench::new().await;
    let (session, _) = bench.sign_in().await;
    for (path, cookie) in [
        ("/console", session.as_str()),
        ("/console", ""),
        ("/console/people/nobody", &session),
        ("/console/nothing", &session),
        ("/console/style.css", ""),
        ("/console/console.js", ""),
        ("/console/", ""),
    ] {
        let shown = bench.get(path, cookie).await;
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(shown.headers[name], value, "{path}");
        }
        let policy = shown.headers["content-security-policy"].to_str().unwrap();
        assert_eq!(
            policy,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
        for inline in [" style=\"", "<style", "onclick=", "javascript:", "<script>"] {
            assert!(!shown.text.contains(inline), "{path} {inline}");
        }
    }
}

/// Wherever others choose a text, it is a text on the page.
#[tokio::test]
async fn what_others_have_written_is_never_a_part_of_the_page() {
    let text = serde_json::Value::from(SCRIPT);
    let config = format!("{CONFIG}{text} = 1\n[server]\nlisten = [{text}]\n");
    let in_use = format!("{CONFIG}[sms.aliyun]\nsign_name = {text}\n");
    let bench = Bench::with_config(&in_use).await;
    bench.add_person("42", SCRIPT).await;
    bench.log(&AccessLine {
        request_id: SCRIPT,
        method: "<b>",
        path: SCRIPT,
        rule: SCRIPT,
        user: Some(SCRIPT),
        ..rejected()
    });
    bench.memory.record_reload(LastReload::Refused {
        at: bench.clock.now(),
        why: SCRIPT.to_owned(),
        problems: vec![SCRIPT.to_owned()],
    });
    bench
        .metrics
        .upstream_healthy
        .with_label_values(&[SCRIPT])
        .set(0);
    bench.memory.take_sample(&bench.metrics);
    let (session, form_token) = bench.sign_in().await;
    let encoded: String =
        percent_encoding::utf8_percent_encode(SCRIPT, percent_encoding::NON_ALPHANUMERIC)
            .to_string();
    let mut shown = Vec::new();
    for path in [
        "/console".to_owned(),
        "/console/people/42".to_owned(),
        format!("/console/people/{encoded}"),
        format!("/console/people/42?done={encoded}"),
        "/console/why".to_owned(),
        format!("/console/why?id={encoded}"),
        format!("/console/why?code={encoded}"),
        format!("/console/audit?event={encoded}&person={encoded}"),
        "/console/config?all=yes".to_owned(),
        format!("/console/config?lang={encoded}"),
        format!("/console/{encoded}"),
    ] {
        shown.push((path.clone(), bench.get(&path, &session).await));
    }
    let with = |fields: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        let token = [("form_token", form_token.as_str())];
        let fields = token.iter().chain(fields);
        fields
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let header = format!("User-Agent: {SCRIPT}");
    for (path, fields) in [
        (
            "/console/people/find",
            with(&[("by", "username"), ("value", SCRIPT)]),
        ),
        (
            "/console/people/find",
            with(&[("by", SCRIPT), ("value", SCRIPT)]),
        ),
        ("/console/config/check", with(&[("config", &config)])),
        ("/console/config/check", with(&[("config", SCRIPT)])),
        (
            "/console/why/explain",
            with(&[("method", "GET"), ("path", "/x"), ("headers", &header)]),
        ),
        (
            "/console/why/explain",
            with(&[
                ("method", SCRIPT),
                ("path", SCRIPT),
                ("headers", &header),
                ("from", SCRIPT),
            ]),
        ),
        (
            "/console/why/explain",
            with(&[("method", SCRIPT), ("path", SCRIPT), ("token", SCRIPT)]),
        ),
        ("/console/sign-in", with(&[("token", "x"), ("to", SCRIPT)])),
    ] {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        shown.push((path.to_owned(), bench.post(path, &session, &fields).await));
    }
    let mut escaped = 0;
    for (path, shown) in shown {
        for live in ["<script>alert", "<img src=x", "<b>", "onerror=alert(1)>\"'"] {
            assert!(!shown.text.contains(live), "{path}: {}", shown.text);
        }
        escaped += shown.text.matches("&lt;script&gt;alert(1)").count();
    }
    assert!(escaped >= 10, "the texts are on the pages: {escaped}");
}

#[tokio::test]
async fn a_list_of_refusals_has_no_token_phone_address_or_person() {
    let bench = Bench::new().await;
    let token = "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl";
    let path = format!("/office/{token}/13800138000");
    bench.log(&AccessLine {
        path: &path,
        client_ip: ClientIp::new("203.0.113.77".parse().unwrap()),
        ..rejected()
    });
    let (session, _) = bench.sign_in().await;
    for page in [
        "/console/why",
        "/console/why?id=request-1",
        "/console/why?code=forbidden",
    ] {
        let shown = bench.get(page, &session).await;
        assert!(
            shown.text.contains("203.0.*.*") && shown.text.contains("request-1"),
            "{page}"
        );
        for hidden in [token, "13800138000", "203.0.113.77", "019a4f6e"] {
            assert!(!shown.text.contains(hidden), "{page} shows {hidden}");
        }
    }
}

#[tokio::test]
async fn an_explanation_repeats_no_token_header_or_query() {
    let bench = Bench::new().await;
    let (session, form_token) = bench.sign_in().await;
    let fields = [
        ("form_token", form_token.as_str()),
        ("method", "GET"),
        ("path", "/office/x?access_token=of-the-query"),
        ("token", "of-the-field"),
        (
            "headers",
            "Cookie: sid=of-the-header\nX-User-Id: 42-of-the-header",
        ),
    ];
    let shown = bench.post("/console/why/explain", &session, &fields).await;
    assert_eq!(shown.status, StatusCode::OK);
    assert!(shown.text.contains("/office/x"), "{}", shown.text);
    for hidden in ["of-the-query", "of-the-field", "of-the-header"] {
        assert!(!shown.text.contains(hidden), "{hidden}");
    }
}
