//! The contract of the auth API, derived from the types that the routes use, and the list of error
//! codes.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::extract::State;
use serde_json::{Value, json};
use utoipa::{
    OpenApi,
    openapi::{
        Content, Paths, Ref, RefOr, Required, ResponseBuilder, Schema,
        path::Operation,
        request_body::RequestBody,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    problem::{Problem, ProblemDocument},
    responses::PublicDocument,
    routes::{
        jwks, logout, me, password_login, phone, refresh, sessions, sms_login, sms_send,
        wechat_login, wechat_push,
    },
    state::{ApiContext, ApiState},
};
use crate::{
    error::ErrorCode::{
        self, BodyTooLarge, CodeInvalid, CredentialsInvalid, Forbidden, Internal, NotFound,
        PhoneCodeInvalid, PhoneConflict, PhoneDecryptFailed, RateLimited, ReauthenticationRequired,
        RefreshInvalid, RefreshReused, RegistrationClosed, RegistrationUnavailable,
        RequestMalformed, SessionRevoked, SmsCooldown, SmsQuota, SmsUnavailable, StoreUnavailable,
        TokenExpired, TokenInvalid, TokenMissing, TokenRevoked, UserDisabled, ValidationFailed,
        WechatBlocked, WechatBusy, WechatCodeInvalid, WechatMisconfigured,
    },
    types::MAINLAND,
};

// Error codes that several routes have in common.
const BODY: &[ErrorCode] = &[RequestMalformed, ValidationFailed, BodyTooLarge];
const TOKEN: &[ErrorCode] = &[
    RequestMalformed,
    TokenMissing,
    TokenInvalid,
    TokenExpired,
    TokenRevoked,
];
const ANY: &[ErrorCode] = &[RateLimited, Internal];
const LOGIN: &[ErrorCode] = &[
    WechatCodeInvalid,
    WechatBlocked,
    WechatBusy,
    WechatMisconfigured,
    RegistrationClosed,
    RegistrationUnavailable,
    UserDisabled,
    StoreUnavailable,
];
const BIND: &[ErrorCode] = &[PhoneConflict, UserDisabled, StoreUnavailable];
const FRESH: &[ErrorCode] = &[
    ReauthenticationRequired,
    SessionRevoked,
    CodeInvalid,
    WechatCodeInvalid,
    Forbidden,
];
const WECHAT: &[ErrorCode] = &[WechatBlocked, WechatBusy, WechatMisconfigured];
const REFRESH: &[ErrorCode] = &[
    RefreshInvalid,
    RefreshReused,
    SessionRevoked,
    UserDisabled,
    StoreUnavailable,
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "menshen auth API",
        description = "Login for WeChat Mini Programs. Success is a plain JSON object; every rejection is a problem document \
                       (RFC 9457) with a stable `code`, which is also in the header `X-Menshen-Error`."
    ),
    paths(
        wechat_login::post,
        wechat_push::get,
        wechat_push::post,
        password_login::post,
        sms_send::post,
        sms_login::post,
        phone::sms,
        phone::wechat,
        phone::delete,
        refresh::post,
        logout::post,
        me::get,
        me::post,
        me::patch,
        me::delete,
        me::export,
        sessions::list,
        sessions::end,
        jwks::get,
        get
    ),
    components(schemas(ProblemDocument))
)]
struct Contract;

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "openapi", tag = "discovery",
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = Object, content_type = "application/json"))
)]
pub(super) async fn get(
    State(api): State<ApiState>,
    context: ApiContext,
) -> Result<PublicDocument, Problem> {
    api.check_rate(context.client_ip)?;
    Ok(PublicDocument(
        openapi_json(&api.prefix, api.auth.countries()).into(),
    ))
}

/// The `OpenAPI` 3.1 document of the API at `prefix`, which takes phones of these countries, as
/// pretty JSON.
pub fn openapi_json(prefix: &str, countries: &[String]) -> String {
    let mut document = Contract::openapi();
    for (name, schema) in document
        .components
        .iter_mut()
        .flat_map(|components| &mut components.schemas)
    {
        let RefOr::T(Schema::Object(object)) = schema else {
            continue;
        };
        if name.ends_with("Body")
            && let Some(RefOr::T(Schema::Object(phone))) = object.properties.get_mut("phone")
        {
            phone.pattern = Some(phone_pattern(countries));
        }
        if name == "WechatLoginBody" {
            object.extensions = Some(
                [(
                    "allOf",
                    json!([
                        { "oneOf": both_or_neither("raw_data", "signature") },
                        { "oneOf": both_or_neither("encrypted_data", "iv") },
                    ]),
                )]
                .into_iter()
                .collect(),
            );
        }
    }
    let bearer = SecurityScheme::Http(
        Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The access token."))
            .build(),
    );
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("bearer", bearer);
    let mut paths = Paths::new();
    for (path, mut item) in std::mem::take(&mut document.paths.paths) {
        for operation in [
            &mut item.get,
            &mut item.post,
            &mut item.patch,
            &mut item.delete,
        ]
        .into_iter()
        .flatten()
        {
            add_error_responses(operation);
            if let Some(RefOr::T(body)) = &mut operation.request_body {
                without_null(body);
            }
        }
        paths.paths.insert(format!("{prefix}{path}"), item);
    }
    document.paths = paths;
    document.to_pretty_json().unwrap_or_default() + "\n"
}

/// Two fields that go together; null is as good as absent.
fn both_or_neither(one: &str, other: &str) -> Value {
    let both = json!({ "required": [one, other], "properties": { one: { "type": "string" }, other: { "type": "string" } } });
    let neither = json!({ "properties": { one: { "type": "null" }, other: { "type": "null" } } });
    json!([both, neither])
}

/// A body that may be absent: utoipa takes that for one that may be `null`, which is no object.
fn without_null(body: &mut RequestBody) {
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(RefOr::T(Schema::OneOf(either))) = &content.schema else {
            continue;
        };
        let there = either
            .items
            .iter()
            .find(|item| matches!(item, RefOr::Ref(_)));
        content.schema = there.cloned();
        body.required = Some(Required::False);
    }
}

/// Phones in their plain form, 11 digits of mainland China or E.164; the API takes what people
/// write between and around them, too.
fn phone_pattern(countries: &[String]) -> String {
    let forms = countries.iter().map(|code| match code.as_str() {
        MAINLAND => "1[3-9][0-9]{9}".to_owned(),
        // Eight to fifteen digits in all.
        code => format!(
            "\\+{code}[0-9]{{{},{}}}",
            8 - code.len().min(3),
            15 - code.len().min(3)
        ),
    });
    format!("^({})$", forms.collect::<Vec<_>>().join("|"))
}

/// The error codes that an operation can answer with.
fn error_codes(operation: &str) -> Vec<ErrorCode> {
    let parts: &[&[ErrorCode]] = match operation {
        "wechat_login" => &[BODY, LOGIN, ANY],
        "password_login" => &[
            BODY,
            &[CredentialsInvalid, UserDisabled, StoreUnavailable],
            ANY,
        ],
        "sms_send" => &[
            BODY,
            &[
                SmsCooldown,
                SmsQuota,
                SmsUnavailable,
                NotFound,
                StoreUnavailable,
            ],
            ANY,
        ],
        "sms_login" => &[
            BODY,
            &[
                CodeInvalid,
                RegistrationClosed,
                RegistrationUnavailable,
                UserDisabled,
                NotFound,
                StoreUnavailable,
            ],
            ANY,
        ],
        "phone_sms" => &[BODY, TOKEN, FRESH, BIND, WECHAT, &[NotFound], ANY],
        "phone_wechat" => &[
            BODY,
            TOKEN,
            BIND,
            WECHAT,
            &[PhoneCodeInvalid, PhoneDecryptFailed, Forbidden],
            ANY,
        ],
        "unbind_phone" => &[
            BODY,
            TOKEN,
            FRESH,
            WECHAT,
            &[PhoneConflict, StoreUnavailable],
            ANY,
        ],
        "erase_me" => &[BODY, TOKEN, FRESH, WECHAT, &[StoreUnavailable], ANY],
        "wechat_push_check" => &[&[Forbidden, NotFound, Internal]],
        "wechat_push" => &[
            &[
                RequestMalformed,
                BodyTooLarge,
                Forbidden,
                NotFound,
                StoreUnavailable,
            ],
            &[Internal],
        ],
        "refresh" => &[BODY, REFRESH, ANY],
        "logout" => &[BODY, TOKEN, &[StoreUnavailable], ANY],
        "me" | "export_me" => &[TOKEN, &[UserDisabled, StoreUnavailable], ANY],
        "change_me" | "change_me_by_post" => &[BODY, TOKEN, &[UserDisabled, StoreUnavailable], ANY],
        "sessions" => &[TOKEN, &[StoreUnavailable], ANY],
        "end_session" => &[TOKEN, &[NotFound, StoreUnavailable], ANY],
        _ => &[ANY],
    };
    parts.concat()
}

fn add_error_responses(operation: &mut Operation) {
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in error_codes(operation.operation_id.as_deref().unwrap_or_default()) {
        let codes = by_status.entry(code.status().as_u16()).or_default();
        if !codes.contains(&code.as_str()) {
            codes.push(code.as_str());
        }
    }
    for (status, codes) in by_status {
        let body = Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name(
            "ProblemDocument",
        ))));
        let response = ResponseBuilder::new()
            .description(format!("`{}`", codes.join("`, `")))
            .content("application/problem+json", body)
            .build();
        operation
            .responses
            .responses
            .insert(status.to_string(), RefOr::T(response));
    }
}

/// `docs/errors.md`: every code with its status and text.
pub fn errors_markdown() -> String {
    let mut page = String::from(
        "# Error codes\n\nPrinted from `src/error.rs`. A rejection by menshen has the code in the header \
         `X-Menshen-Error`; its body is a problem document (RFC 9457) with the same `code`. A rejection without that header is \
         the backend's. Every 503 has `Retry-After`, in whatever it is written. A login that brought a phone which was not bound is a \
         success: it has the code in `phone_error`, and no `X-Menshen-Error`.\n\n| code | status | meaning |\n| --- | --- | --- |\n",
    );
    for code in ErrorCode::ALL {
        let (name, status, text) = (code.as_str(), code.status().as_u16(), code.detail());
        let _ = writeln!(page, "| `{name}` | {status} | {text} |");
    }
    page
}
