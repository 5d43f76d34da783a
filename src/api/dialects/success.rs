//! The result of an action, as the values of a dialect's placeholders.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};

use crate::{
    api::{rendered_error::JSON, state::ApiContext},
    auth::{Auth, BoundPhone, SignedIn, SmsSendResponse},
    dialect::{
        Dialect, Placeholder, PlaceholderSource, PlaceholderValue, RenderedResponse, UserValues,
        national,
    },
    error::ErrorCode,
    store::User,
    types::{OpenId, Timestamp},
};

/// The result of an action.
pub(super) enum ActionResult {
    /// Concurrent requests with the same code share it.
    Session(Arc<SignedIn>),
    Sent(SmsSendResponse),
    User(Box<(User, Option<OpenId>)>),
    BoundPhone(Box<BoundPhone>),
    Done,
}

/// The result, and everything else that a response can contain.
pub(super) struct SuccessValues<'a> {
    pub(super) result: ActionResult,
    pub(super) auth: &'a Auth,
    pub(super) dialect: &'a Dialect,
    pub(super) context: &'a ApiContext,
    pub(super) now: Timestamp,
}

impl PlaceholderSource for SuccessValues<'_> {
    fn get(&self, placeholder: Placeholder) -> PlaceholderValue<'_> {
        match placeholder {
            Placeholder::Now => return PlaceholderValue::Time(self.now),
            Placeholder::RequestId => {
                return PlaceholderValue::text(Some(&self.context.request_id));
            }
            _ => {}
        }
        match &self.result {
            ActionResult::Session(signed_in) => self.session_value(signed_in, placeholder),
            ActionResult::Sent(sent) => match placeholder {
                Placeholder::ExpiresIn => PlaceholderValue::count(sent.expires_in.as_secs()),
                Placeholder::ResendAfter => PlaceholderValue::count(sent.resend_after.as_secs()),
                _ => PlaceholderValue::Null,
            },
            ActionResult::User(known) => {
                let (user, openid) = &**known;
                self.user_value(user, openid.as_ref(), placeholder)
            }
            ActionResult::BoundPhone(bound) => self.phone_value(bound, placeholder),
            ActionResult::Done => PlaceholderValue::Null,
        }
    }
}

impl SuccessValues<'_> {
    fn user_value<'a>(
        &'a self,
        user: &'a User,
        openid: Option<&'a OpenId>,
        placeholder: Placeholder,
    ) -> PlaceholderValue<'a> {
        let form = &self.dialect.token_profile.user_format;
        UserValues { user, openid, form }.get(placeholder)
    }

    fn session_value<'a>(
        &'a self,
        signed_in: &'a SignedIn,
        placeholder: Placeholder,
    ) -> PlaceholderValue<'a> {
        let SignedIn {
            user,
            session,
            openid,
            ..
        } = signed_in;
        match placeholder {
            Placeholder::AccessToken => PlaceholderValue::text(Some(&signed_in.access_token)),
            Placeholder::RefreshToken => PlaceholderValue::text(Some(&signed_in.refresh_token)),
            Placeholder::RefreshJwt => PlaceholderValue::text(signed_in.refresh_jwt.as_deref()),
            Placeholder::ExpiresIn => {
                PlaceholderValue::count(signed_in.access_expires_in.as_secs())
            }
            Placeholder::RefreshExpiresIn => {
                PlaceholderValue::count(signed_in.refresh_expires_in.as_secs())
            }
            Placeholder::IsNewUser => PlaceholderValue::Bool(signed_in.is_new_user),
            Placeholder::PhoneError => {
                PlaceholderValue::text(signed_in.phone_error.map(ErrorCode::as_str))
            }
            Placeholder::SessionId => PlaceholderValue::owned(session.id.to_string()),
            Placeholder::SessionHandle => {
                PlaceholderValue::owned(self.auth.session_handle(session))
            }
            Placeholder::ClientType => PlaceholderValue::text(Some(session.client_type.as_str())),
            other => self.user_value(user, openid.as_ref(), other),
        }
    }

    fn phone_value<'a>(
        &'a self,
        bound: &'a BoundPhone,
        placeholder: Placeholder,
    ) -> PlaceholderValue<'a> {
        let stamp = bound.watermark.as_ref();
        match placeholder {
            Placeholder::PhoneNumber => PlaceholderValue::text(Some(bound.phone.as_str())),
            Placeholder::PhoneMasked => PlaceholderValue::owned(bound.phone.masked()),
            Placeholder::PhoneNational => PlaceholderValue::text(Some(national(&bound.phone))),
            Placeholder::PhoneCountryCode => {
                PlaceholderValue::text(Some(bound.phone.country_code()))
            }
            Placeholder::PhoneWatermarkTimestamp => stamp.map_or(PlaceholderValue::Null, |stamp| {
                PlaceholderValue::count(stamp.made_at.as_secs())
            }),
            Placeholder::PhoneWatermarkAppid => {
                PlaceholderValue::text(stamp.map(|stamp| stamp.app_id.as_str()))
            }
            other => bound
                .signed_in
                .as_ref()
                .map_or(PlaceholderValue::Null, |signed_in| {
                    self.session_value(signed_in, other)
                }),
        }
    }
}

/// A response may hold tokens and a phone number, so no cache may store it.
pub(super) fn response(rendered: RenderedResponse) -> Response {
    let has_body = !rendered.body.is_empty();
    let mut response = Response::new(Body::from(rendered.body));
    *response.status_mut() = rendered.status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(rendered.headers);
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    response
}
