//! `POST /auth/sms/send`.

use axum::{
    Json,
    extract::{Request, State},
};
use utoipa::ToSchema;

use crate::{
    api::{ApiState, RequestContext, answer::SmsSentAnswer, body::Fields, problem::Problem},
    types::{Phone, SmsPurpose},
};

/// A phone that is to get a code.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) struct SmsSendBody {
    /// In any spelling: `138 0013 8000`, `+86 138...`, `0086138...`.
    #[schema(example = "13800138000")]
    phone: String,
    /// What the code is for. Absent: `login`.
    purpose: Option<SmsPurpose>,
}

/// Send a code to a phone.
///
/// The answer is the same whether or not the phone has an account.
#[utoipa::path(
    post, path = "/sms/send", operation_id = "sms_send", tag = "login",
    request_body = SmsSendBody,
    responses((status = 200, description = "A code is on its way.", body = SmsSentAnswer))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: RequestContext,
    request: Request,
) -> Result<Json<SmsSentAnswer>, Problem> {
    let (phone, purpose) = read(Fields::read(request).await?, &api)?;
    Ok(Json(
        api.auth
            .sms_send(phone, purpose, context.client_ip)
            .await?
            .into(),
    ))
}

pub(in crate::api) fn read(
    mut fields: Fields,
    api: &ApiState,
) -> Result<(Phone, SmsPurpose), Problem> {
    let phone = fields.required("phone", |text| api.auth.phone(text));
    let purpose = fields
        .optional("purpose", SmsPurpose::parse)
        .unwrap_or_default();
    fields.finish(phone.map(|phone| (phone, purpose)))
}
