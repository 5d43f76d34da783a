//! What came of a request, as the templates of a dialect ask for it.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};

use crate::{
    api::{RequestContext, said::JSON},
    auth::{Auth, BoundPhone, SignedIn, SmsSendResponse},
    dialect::{
        Dialect, Placeholder, PlaceholderSource, PlaceholderValue, RenderedResponse, UserValues,
        national,
    },
    store::User,
    types::{OpenId, Timestamp},
};

/// What came of it.
pub(super) enum Outcome {
    /// It may be shared with whoever else posted the same code.
    Session(Arc<SignedIn>),
    Sent(SmsSendResponse),
    User(Box<(User, Option<OpenId>)>),
    Bound(Box<BoundPhone>),
    Done,
}

/// The same with all that an answer can say besides.
pub(super) struct Success<'a> {
    pub(super) outcome: Outcome,
    pub(super) auth: &'a Auth,
    pub(super) dialect: &'a Dialect,
    pub(super) context: &'a RequestContext,
    pub(super) now: Timestamp,
}

impl PlaceholderSource for Success<'_> {
    fn get(&self, place: Placeholder) -> PlaceholderValue<'_> {
        match place {
            Placeholder::Now => return PlaceholderValue::Time(self.now),
            Placeholder::RequestId => {
                return PlaceholderValue::text(Some(&self.context.request_id));
            }
            _ => {}
        }
        match &self.outcome {
            Outcome::Session(signed_in) => self.of_session(signed_in, place),
            Outcome::Sent(sent) => match place {
                Placeholder::ExpiresIn => PlaceholderValue::count(sent.expires_in.as_secs()),
                Placeholder::ResendAfter => PlaceholderValue::count(sent.resend_after.as_secs()),
                _ => PlaceholderValue::Null,
            },
            Outcome::User(known) => {
                let (user, openid) = &**known;
                UserValues {
                    user,
                    openid: openid.as_ref(),
                    form: &self.dialect.token_profile.user_format,
                }
                .get(place)
            }
            Outcome::Bound(bound) => self.of_phone(bound, place),
            Outcome::Done => PlaceholderValue::Null,
        }
    }
}

impl Success<'_> {
    fn of_session<'a>(
        &'a self,
        signed_in: &'a SignedIn,
        place: Placeholder,
    ) -> PlaceholderValue<'a> {
        let SignedIn {
            user,
            session,
            openid,
            ..
        } = signed_in;
        match place {
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
            Placeholder::SessionId => PlaceholderValue::owned(session.id.to_string()),
            Placeholder::SessionHandle => {
                PlaceholderValue::owned(self.auth.session_handle(session))
            }
            Placeholder::ClientType => PlaceholderValue::text(Some(session.client_type.as_str())),
            other => UserValues {
                user,
                openid: openid.as_ref(),
                form: &self.dialect.token_profile.user_format,
            }
            .get(other),
        }
    }

    fn of_phone<'a>(&'a self, bound: &'a BoundPhone, place: Placeholder) -> PlaceholderValue<'a> {
        let stamp = bound.watermark.as_ref();
        match place {
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
                    self.of_session(signed_in, other)
                }),
        }
    }
}

/// An answer may hold tokens and a phone: no cache keeps it.
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
