//! `POST /auth/sms/send`.

use axum::{
    Json,
    extract::{Request, State},
};

use crate::{
    api::{
        body::BodyFields,
        problem::Problem,
        request_bodies::SmsSendBody,
        responses::SmsCodeResponse,
        state::{ApiContext, ApiState},
    },
    types::{Phone, SmsPurpose},
};

/// Send a code to a phone.
///
/// The response is the same whether or not the phone has an account.
#[utoipa::path(
    post, path = "/sms/send", operation_id = "sms_send", tag = "login",
    request_body = SmsSendBody,
    responses((status = 200, description = "A code is on its way.", body = SmsCodeResponse))
)]
pub(in crate::api) async fn post(
    State(api): State<ApiState>,
    context: ApiContext,
    request: Request,
) -> Result<Json<SmsCodeResponse>, Problem> {
    let (phone, purpose) = read(BodyFields::read(request).await?, &api)?;
    Ok(Json(
        api.auth
            .sms_send(phone, purpose, context.client_ip)
            .await?
            .into(),
    ))
}

pub(in crate::api) fn read(
    mut fields: BodyFields,
    api: &ApiState,
) -> Result<(Phone, SmsPurpose), Problem> {
    let phone = fields.required("phone", |text| api.auth.phone(text));
    let purpose = fields
        .optional("purpose", SmsPurpose::parse)
        .unwrap_or_default();
    fields.finish(phone.map(|phone| (phone, purpose)))
}
