//! `POST /auth/phone/sms`, `POST /auth/phone/wechat` and `DELETE /auth/phone`.

use axum::{
    Json,
    extract::{Request, State},
    response::Response,
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    api::{
        ApiState,
        answer::{Me, PhoneAnswer},
        body::Fields,
        caller,
        problem::Problem,
        routes::{FreshProofBody, fresh_proof},
    },
    auth::{Auth, AuthError, AuthenticatedCaller, BoundPhone, ReauthenticationProof},
    provider::wechat::{EncryptedPhone, PhoneCode},
    types::{Malformed, Phone, Secret, SmsCode},
};

/// A phone and the code that was sent to it.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) struct PhoneSmsBody {
    /// In any spelling.
    #[schema(example = "13800138000")]
    phone: String,
    /// Six digits, sent with the purpose `bind`.
    #[schema(pattern = "^[0-9]{6}$", example = "123456")]
    code: String,
    /// Where my login is not fresh: a code that was sent to the phone that is bound now, with the
    /// purpose `login`.
    #[schema(pattern = "^[0-9]{6}$")]
    sms_code: Option<String>,
    /// Where my login is not fresh: a code of `wx.login`.
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    wechat_code: Option<String>,
}

/// What the phone number button gave: `code`, or where the operator allows the old way
/// `encrypted_data` and `iv`.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(
    dead_code,
    reason = "the schema of the body; `Fields` reads it, so that every wrong field is named at once"
)]
pub(in crate::api) enum PhoneWechatBody {
    Code {
        /// `e.detail.code` of the button; five minutes, one use. Not a code of `wx.login`.
        #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
        code: String,
    },
    Encrypted {
        /// `e.detail.encryptedData` of the button.
        #[schema(max_length = 4096)]
        encrypted_data: String,
        /// `e.detail.iv` of the button.
        #[schema(max_length = 64)]
        iv: String,
    },
}

/// Bind a phone by a code that was sent to it.
///
/// A login that is not fresh (`auth.recent_login`) needs another code as well.
#[utoipa::path(
    post, path = "/phone/sms", operation_id = "phone_sms", tag = "account", security(("bearer" = [])),
    request_body = PhoneSmsBody,
    responses((status = 200, description = "The phone is mine.", body = PhoneAnswer))
)]
pub(in crate::api) async fn sms(
    State(api): State<ApiState>,
    caller: caller::Caller,
    request: Request,
) -> Result<Response, Problem> {
    let (phone, code, proof) = read_sms(Fields::read(request).await?, &api)?;
    let bound = api
        .auth
        .bind_by_sms(caller.get(), phone, &code, &proof)
        .await?;
    Ok(PhoneAnswer::new(&bound, api.openid_in_answers).respond())
}

/// Bind the phone of the phone number button.
#[utoipa::path(
    post, path = "/phone/wechat", operation_id = "phone_wechat", tag = "account", security(("bearer" = [])),
    request_body = PhoneWechatBody,
    responses((status = 200, description = "The phone is mine.", body = PhoneAnswer))
)]
pub(in crate::api) async fn wechat(
    State(api): State<ApiState>,
    caller: caller::Caller,
    request: Request,
) -> Result<Response, Problem> {
    let button = read_button(Fields::read(request).await?, &api)?;
    let bound = button.bind(&api.auth, caller.get()).await?;
    Ok(PhoneAnswer::new(&bound, api.openid_in_answers).respond())
}

/// What the phone number button gave.
#[derive(Debug)]
pub(in crate::api) enum Button {
    Code(PhoneCode),
    /// The old way.
    Encrypted(Encrypted),
}

/// It stands for somebody's number.
#[derive(Debug)]
pub(in crate::api) struct Encrypted {
    encrypted_data: Secret<String>,
    iv: String,
}

impl Button {
    /// Binds the phone that it stands for.
    pub(in crate::api) async fn bind(
        &self,
        auth: &Auth,
        caller: AuthenticatedCaller<'_>,
    ) -> Result<BoundPhone, AuthError> {
        match self {
            Self::Code(code) => auth.bind_by_wechat(caller, code).await,
            Self::Encrypted(Encrypted { encrypted_data, iv }) => {
                auth.bind_by_encrypted_data(
                    caller,
                    EncryptedPhone {
                        encrypted_data: encrypted_data.expose(),
                        iv,
                    },
                )
                .await
            }
        }
    }
}

pub(in crate::api) fn read_button(mut fields: Fields, api: &ApiState) -> Result<Button, Problem> {
    let is_encrypted = fields.has("encrypted_data") || fields.has("iv");
    if is_encrypted && !fields.has("code") {
        let allowed = api.auth.decrypts_phones();
        let text = |text: &str| {
            if allowed {
                Ok(text.to_owned())
            } else {
                Err(Malformed("is not taken here: send the code of the button"))
            }
        };
        let (encrypted_data, iv) = (
            fields.required("encrypted_data", text),
            fields.required("iv", text),
        );
        let encrypted = |(data, iv)| {
            Button::Encrypted(Encrypted {
                encrypted_data: Secret::new(data),
                iv,
            })
        };
        return fields.finish(encrypted_data.zip(iv).map(encrypted));
    }
    let code = fields.required("code", PhoneCode::parse);
    fields.finish(code.map(Button::Code))
}

pub(in crate::api) fn read_sms(
    mut fields: Fields,
    api: &ApiState,
) -> Result<(Phone, SmsCode, ReauthenticationProof), Problem> {
    let phone = fields.required("phone", |text| api.auth.phone(text));
    let code = fields.required("code", SmsCode::parse);
    let proof = fresh_proof(&mut fields);
    fields.finish(phone.zip(code).map(|(phone, code)| (phone, code, proof)))
}

/// Take my phone away. It must not be the only way to sign in.
///
/// A login that is not fresh (`auth.recent_login`) needs a code.
#[utoipa::path(
    delete, path = "/phone", operation_id = "unbind_phone", tag = "account", security(("bearer" = [])),
    request_body = Option<FreshProofBody>,
    responses((status = 200, description = "My profile without a phone.", body = Me))
)]
pub(in crate::api) async fn delete(
    State(api): State<ApiState>,
    caller: caller::Caller,
    request: Request,
) -> Result<Json<Me>, Problem> {
    let mut fields = Fields::read_if_any(request).await?;
    let proof = fresh_proof(&mut fields);
    let proof = fields.finish(Some(proof))?;
    Ok(Json(
        api.auth.unbind_phone(caller.get(), &proof).await?.into(),
    ))
}
