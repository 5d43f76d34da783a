//! What came of a request, as the templates of a dialect ask for it.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};

use crate::{
    api::{RequestContext, said::JSON},
    auth::{Auth, Bound, SignedIn, SmsSent},
    dialect::{Dialect, Given, Person, Place, Shaped, Source, national},
    store::User,
    types::{OpenId, Timestamp},
};

/// What came of it.
pub(super) enum Outcome {
    /// It may be shared with whoever else posted the same code.
    Session(Arc<SignedIn>),
    Sent(SmsSent),
    User(Box<(User, Option<OpenId>)>),
    Bound(Box<Bound>),
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

impl Source for Success<'_> {
    fn give(&self, place: Place) -> Given<'_> {
        match place {
            Place::Now => return Given::Time(self.now),
            Place::RequestId => return Given::text(Some(&self.context.request_id)),
            _ => {}
        }
        match &self.outcome {
            Outcome::Session(signed_in) => self.of_session(signed_in, place),
            Outcome::Sent(sent) => match place {
                Place::ExpiresIn => Given::count(sent.expires_in.as_secs()),
                Place::ResendAfter => Given::count(sent.resend_after.as_secs()),
                _ => Given::Nothing,
            },
            Outcome::User(known) => {
                let (user, openid) = &**known;
                Person {
                    user,
                    openid: openid.as_ref(),
                    form: &self.dialect.terms.person,
                }
                .give(place)
            }
            Outcome::Bound(bound) => self.of_phone(bound, place),
            Outcome::Done => Given::Nothing,
        }
    }
}

impl Success<'_> {
    fn of_session<'a>(&'a self, signed_in: &'a SignedIn, place: Place) -> Given<'a> {
        let SignedIn {
            user,
            session,
            openid,
            ..
        } = signed_in;
        match place {
            Place::AccessToken => Given::text(Some(&signed_in.access_token)),
            Place::RefreshToken => Given::text(Some(&signed_in.refresh_token)),
            Place::RefreshJwt => Given::text(signed_in.refresh_jwt.as_deref()),
            Place::ExpiresIn => Given::count(signed_in.access_expires_in.as_secs()),
            Place::RefreshExpiresIn => Given::count(signed_in.refresh_expires_in.as_secs()),
            Place::IsNewUser => Given::Truth(signed_in.is_new_user),
            Place::SessionId => Given::owned(session.id.to_string()),
            Place::SessionHandle => Given::owned(self.auth.session_handle(session)),
            Place::ClientType => Given::text(Some(session.client_type.as_str())),
            other => Person {
                user,
                openid: openid.as_ref(),
                form: &self.dialect.terms.person,
            }
            .give(other),
        }
    }

    fn of_phone<'a>(&'a self, bound: &'a Bound, place: Place) -> Given<'a> {
        let stamp = bound.watermark.as_ref();
        match place {
            Place::PhoneNumber => Given::text(Some(bound.phone.as_str())),
            Place::PhoneMasked => Given::owned(bound.phone.masked()),
            Place::PhoneNational => Given::text(Some(national(&bound.phone))),
            Place::PhoneCountryCode => Given::text(Some(bound.phone.country_code())),
            Place::PhoneWatermarkTimestamp => stamp.map_or(Given::Nothing, |stamp| {
                Given::count(stamp.made_at.as_secs())
            }),
            Place::PhoneWatermarkAppid => Given::text(stamp.map(|stamp| stamp.app_id.as_str())),
            other => bound
                .signed_in
                .as_ref()
                .map_or(Given::Nothing, |signed_in| {
                    self.of_session(signed_in, other)
                }),
        }
    }
}

/// An answer may hold tokens and a phone: no cache keeps it.
pub(super) fn response(shaped: Shaped) -> Response {
    let has_body = !shaped.body.is_empty();
    let mut response = Response::new(Body::from(shaped.body));
    *response.status_mut() = shaped.status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(shaped.headers);
    if has_body {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    response
}
