//! `POST /auth/phone/sms`, `POST /auth/phone/wechat` and `DELETE /auth/phone`.

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};

use crate::{
    api::{
        body::BodyFields,
        caller,
        problem::Problem,
        request_bodies::{FreshProofBody, PhoneSmsBody, PhoneWechatBody},
        responses::{Me, PhoneResponse},
        routes::{fresh_proof, read_fresh_proof},
        state::ApiState,
    },
    auth::{ReauthenticationProof, WechatPhone},
    provider::wechat::PhoneCode,
    types::{Malformed, Phone, Secret, SmsCode},
};

/// Bind a phone by a code that was sent to it.
///
/// A login that is not recent (`auth.recent_login`) needs another code as well.
#[utoipa::path(
    post, path = "/phone/sms", operation_id = "phone_sms", tag = "account", security(("bearer" = [])),
    request_body = PhoneSmsBody,
    responses((status = 200, description = "The phone is bound.", body = PhoneResponse))
)]
pub(in crate::api) async fn sms(
    State(api): State<ApiState>,
    caller: caller::BearerCaller,
    request: Request,
) -> Result<Response, Problem> {
    let (phone, code, proof) = read_sms(BodyFields::read(request).await?, &api)?;
    let bound = api
        .auth
        .bind_by_sms(caller.get(), phone, &code, &proof)
        .await?;
    Ok(PhoneResponse::new(&bound, api.openid_in_answers).respond())
}

/// Bind the phone of the phone number button.
#[utoipa::path(
    post, path = "/phone/wechat", operation_id = "phone_wechat", tag = "account", security(("bearer" = [])),
    request_body = PhoneWechatBody,
    responses((status = 200, description = "The phone is bound.", body = PhoneResponse))
)]
pub(in crate::api) async fn wechat(
    State(api): State<ApiState>,
    caller: caller::BearerCaller,
    request: Request,
) -> Result<Response, Problem> {
    let phone = read_wechat(BodyFields::read(request).await?, &api)?;
    let bound = api.auth.bind_wechat_phone(caller.get(), &phone).await?;
    Ok(PhoneResponse::new(&bound, api.openid_in_answers).respond())
}

pub(in crate::api) fn read_wechat(
    mut fields: BodyFields,
    api: &ApiState,
) -> Result<WechatPhone, Problem> {
    let phone = wechat_phone(&mut fields, "code", api);
    fields.finish(phone)
}

/// The result of the phone number button, which is required: its code, in the field of this name,
/// or the encrypted data.
pub(super) fn wechat_phone(
    fields: &mut BodyFields,
    code: &'static str,
    api: &ApiState,
) -> Option<WechatPhone> {
    let is_encrypted = fields.has("encrypted_data") || fields.has("iv");
    if !is_encrypted || fields.has(code) {
        return fields
            .required(code, PhoneCode::parse)
            .map(WechatPhone::Code);
    }
    let allowed = api.auth.decrypts_phones();
    let text = |text: &str| {
        allowed
            .then(|| text.to_owned())
            .ok_or(Malformed("is not taken here: send the code of the button"))
    };
    let (encrypted_data, iv) = (
        fields.required("encrypted_data", text),
        fields.required("iv", text),
    );
    let encrypted = |(data, iv)| WechatPhone::Encrypted {
        encrypted_data: Secret::new(data),
        iv,
    };
    encrypted_data.zip(iv).map(encrypted)
}

pub(in crate::api) fn read_sms(
    mut fields: BodyFields,
    api: &ApiState,
) -> Result<(Phone, SmsCode, ReauthenticationProof), Problem> {
    let phone = fields.required("phone", |text| api.auth.phone(text));
    let code = fields.required("code", SmsCode::parse);
    let proof = fresh_proof(&mut fields);
    fields.finish(phone.zip(code).map(|(phone, code)| (phone, code, proof)))
}

/// Unbind my phone. It must not be the only way to sign in.
///
/// A login that is not recent (`auth.recent_login`) needs a code.
#[utoipa::path(
    delete, path = "/phone", operation_id = "unbind_phone", tag = "account", security(("bearer" = [])),
    request_body = Option<FreshProofBody>,
    responses((status = 200, description = "My profile without a phone.", body = Me))
)]
pub(in crate::api) async fn delete(
    State(api): State<ApiState>,
    caller: caller::BearerCaller,
    request: Request,
) -> Result<Json<Me>, Problem> {
    let proof = read_fresh_proof(request).await?;
    Ok(Json(
        api.auth.unbind_phone(caller.get(), &proof).await?.into(),
    ))
}
