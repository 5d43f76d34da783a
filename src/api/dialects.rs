//! The routes of the dialects: what a client asks in words of its own, carried out by the use cases
//! of the auth API.
//!
//! A route's inputs are brought under the names that the auth API has for them, and read by the
//! very code that reads its bodies; so a dialect can take nothing that the auth API would refuse,
//! but for the client's type, which is left out where it is not valid: the client of an existing
//! API may have a field of that name for something else.

mod inputs;
mod success;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::{MethodFilter, on},
};
use http::request::Parts;

use super::{
    ApiState, RequestContext,
    body::Fields,
    caller, error,
    problem::Problem,
    routes::{logout, me, password_login, phone, refresh, sms_login, sms_send, wechat_login},
    said::Said,
    voice,
};
use crate::{
    auth::{AuthError, AuthenticatedCaller, Refresh, SignedIn},
    config::DialectAction,
    dialect::{ACCESS_TOKEN, Dialect, DialectRejection, InvalidField, Route, TokenProfile},
    error::ErrorCode,
    provider::wechat::{Errcode, WechatError},
    store::WechatSession,
    token::{AccessClaims, IssueError},
};
use inputs::Inputs;
use success::{Outcome, Success};

/// Adds the routes of every dialect.
pub(super) fn mount(mut router: Router<ApiState>, state: &ApiState) -> Router<ApiState> {
    for (d, dialect) in state.dialects.iter().enumerate() {
        for (n, route) in dialect.routes.iter().enumerate() {
            // Checked with the config: one of five.
            let Ok(method) = MethodFilter::try_from(route.method.clone()) else {
                continue;
            };
            let handler = move |State(api): State<ApiState>,
                                context: RequestContext,
                                request: Request| async move {
                answer(&api, d, n, &context, request).await
            };
            router = router.route(&route.path, on(method, handler));
        }
    }
    router
}

async fn answer(
    api: &ApiState,
    d: usize,
    n: usize,
    context: &RequestContext,
    request: Request,
) -> Response {
    let found = api
        .dialects
        .iter()
        .nth(d)
        .and_then(|dialect| Some((dialect, dialect.routes.get(n)?)));
    let Some((dialect, route)) = found else {
        return super::respond(&ErrorCode::NotFound.into(), &context.request_id);
    };
    let asked = Asked {
        api,
        dialect,
        route,
        context,
    };
    let (head, body) = request.into_parts();
    let mut inputs = match Inputs::read(route, &head, body).await {
        Ok(inputs) => inputs,
        Err(problem) => return asked.refuse(n, problem.into()),
    };
    match asked.carry_out(&head, &mut inputs).await {
        Ok(outcome) => {
            let success = Success {
                outcome,
                auth: &api.auth,
                dialect,
                context,
                now: api.auth.now(),
            };
            success::response(route.render(&success))
        }
        Err(no) => asked.refuse(n, asked.named(no, &inputs)),
    }
}

/// One request of a dialect.
struct Asked<'a> {
    api: &'a ApiState,
    dialect: &'a Dialect,
    route: &'a Route,
    context: &'a RequestContext,
}

/// Why it is not carried out, with all that a dialect can tell of it.
struct No {
    problem: Problem,
    subcode: Option<&'static str>,
    errcode: Option<Errcode>,
    /// Inputs that are not as they have to be, under the client's names.
    fields: Vec<InvalidField>,
}

/// Whom a request is from.
enum Whom {
    Token(Box<AccessClaims>),
    Handle(Box<WechatSession>),
}

impl Asked<'_> {
    async fn carry_out(&self, head: &Parts, inputs: &mut Inputs<'_>) -> Result<Outcome, No> {
        let Self {
            api,
            route,
            context,
            ..
        } = self;
        let (auth, terms, from) = (&api.auth, &self.dialect.token_profile, context.client_ip);
        let wrong = inputs.wrong();
        if !wrong.is_empty() {
            return Err(No {
                fields: wrong,
                ..ErrorCode::ValidationFailed.into()
            });
        }
        inputs.forgive(route.action);
        let fields = || Fields::from_inputs(inputs.named_as_ours());
        Ok(match route.action {
            DialectAction::WechatLogin => {
                let mut login = wechat_login::read(fields(), terms)?;
                login.profile_is_newer = route.profile_is_newer && !inputs.is_nobody();
                Outcome::Session(
                    auth.wechat_login(login, from)
                        .await
                        .map_err(|error| No::from(&*error))?,
                )
            }
            DialectAction::SmsSend => {
                let (phone, purpose) = sms_send::read(fields(), api)?;
                Outcome::Sent(auth.sms_send(phone, purpose, from).await?)
            }
            DialectAction::SmsLogin => session(
                auth.sms_login(sms_login::read(fields(), api, terms)?, from)
                    .await?,
            ),
            DialectAction::PasswordLogin => {
                // A name that nobody can have is one that nobody has.
                let is_given = ["username", "password"]
                    .iter()
                    .all(|name| inputs.text(name).is_some_and(|text| !text.is_empty()));
                let login = password_login::read(fields(), terms).map_err(|problem| {
                    if is_given {
                        ErrorCode::CredentialsInvalid.into()
                    } else {
                        problem
                    }
                })?;
                session(auth.password_login(login, from).await?)
            }
            DialectAction::Refresh => {
                let token = refresh::read(fields())?;
                let refreshed = auth
                    .refresh(
                        Refresh {
                            token: &token,
                            rotates: route.rotates,
                            terms,
                        },
                        from,
                    )
                    .await;
                session(refreshed.map_err(|error| self.not_refreshed(&error, &token))?)
            }
            DialectAction::Renew => {
                let token = self.token(head, inputs)?;
                session(
                    auth.renew(
                        || api.authorizer.verify_for_renewal(&token, auth.now()),
                        terms,
                        from,
                    )
                    .await?,
                )
            }
            DialectAction::Logout => {
                auth.limits().api(from)?;
                let token = self.token(head, inputs);
                let asked = logout::read(fields())?;
                logout::sign_out(
                    api,
                    token.as_deref().map_err(|code| *code),
                    &asked,
                    terms,
                    from,
                )
                .await?;
                Outcome::Done
            }
            DialectAction::Me => {
                let whom = self.whom(head, inputs).await?;
                let caller = self.caller(&whom, terms);
                Outcome::User(Box::new((
                    auth.me(caller).await?,
                    auth.openid_for(caller.session, terms).await?,
                )))
            }
            DialectAction::ChangeMe => {
                let whom = self.whom(head, inputs).await?;
                let change = me::read(fields())?;
                let caller = self.caller(&whom, terms);
                let changed = auth.change_profile(caller, &change).await?;
                Outcome::User(Box::new((
                    changed,
                    auth.openid_for(caller.session, terms).await?,
                )))
            }
            DialectAction::PhoneWechat => {
                let whom = self.whom(head, inputs).await?;
                let button = phone::read_button(fields(), api).map_err(|problem| match whom {
                    Whom::Token(_) => No::from(problem),
                    // By a handle everything that fails is one answer, also what is not there.
                    Whom::Handle(_) => AuthError::PhoneDecryptFailed.into(),
                })?;
                Outcome::Bound(Box::new(
                    button.bind(auth, self.caller(&whom, terms)).await?,
                ))
            }
            DialectAction::PhoneSms => {
                let whom = self.whom(head, inputs).await?;
                let (phone, code, proof) = phone::read_sms(fields(), api)?;
                Outcome::Bound(Box::new(
                    auth.bind_by_sms(self.caller(&whom, terms), phone, &code, &proof)
                        .await?,
                ))
            }
        })
    }

    /// Why a token refreshes nothing. Its bearer is told that it is a good access token, because
    /// some backends tell it.
    fn not_refreshed(&self, error: &AuthError, token: &str) -> No {
        let is_access_token = || {
            self.api
                .authorizer
                .rejection_reason(token, self.api.auth.now())
                .is_none()
        };
        match error {
            AuthError::RefreshInvalid if is_access_token() => No {
                subcode: Some("refresh_wrong_type"),
                ..No::from(error)
            },
            _ => No::from(error),
        }
    }

    /// The access token: where the route has it, else in `Authorization`.
    fn token(&self, head: &Parts, inputs: &Inputs<'_>) -> Result<String, ErrorCode> {
        if self.route.inputs.contains_key(ACCESS_TOKEN) {
            let token = inputs.text(ACCESS_TOKEN).filter(|token| !token.is_empty());
            return token.map(str::to_owned).ok_or(ErrorCode::TokenMissing);
        }
        caller::token(&head.headers, self.dialect.bare_token).map(str::to_owned)
    }

    /// Who asks: by the handle of a session where the route takes one, else by an access token.
    async fn whom(&self, head: &Parts, inputs: &Inputs<'_>) -> Result<Whom, No> {
        let (auth, from) = (&self.api.auth, self.context.client_ip);
        if self.route.inputs.contains_key("session_handle") {
            let refused = AuthError::PhoneDecryptFailed;
            let Some(handle) = inputs.text("session_handle") else {
                return Err(refused.into());
            };
            let session = auth.session_by_handle(handle, from).await?;
            let is_other = |openid: &str| openid != session.openid.as_str();
            let openid = inputs.text("openid");
            if self.route.inputs.contains_key("openid") && openid.is_none_or(is_other) {
                return Err(refused.into());
            }
            return Ok(Whom::Handle(Box::new(session)));
        }
        auth.limits().api(from)?;
        let token = self.token(head, inputs)?;
        let identity = self.api.authorizer.authorize(&token, auth.now())?;
        Ok(Whom::Token(Box::new(caller::own(&identity)?.clone())))
    }

    fn caller<'c>(&self, whom: &'c Whom, terms: &'c TokenProfile) -> AuthenticatedCaller<'c> {
        let from = self.context.client_ip;
        match whom {
            Whom::Token(claims) => AuthenticatedCaller {
                user: &claims.sub,
                session: claims.sid,
                client_type: claims.client_type,
                from,
                terms,
            },
            Whom::Handle(known) => {
                let session = &known.session;
                AuthenticatedCaller {
                    user: &session.user,
                    session: session.id,
                    client_type: session.client_type,
                    from,
                    terms,
                }
            }
        }
    }

    /// What the auth API finds wrong with a field, under the client's name for it and in the words
    /// of the route.
    fn named(&self, no: No, inputs: &Inputs<'_>) -> No {
        let wrong = no.problem.errors.iter().map(|error| {
            let of_route = self
                .route
                .checks
                .iter()
                .rev()
                .find(|check| check.input == error.field);
            InvalidField {
                name: inputs.name_of(error.field).to_owned(),
                message: of_route
                    .map_or(error.message, |check| &check.message)
                    .to_owned(),
                value: inputs.value(error.field).cloned(),
            }
        });
        let fields = no.fields.into_iter().chain(wrong).collect();
        No { fields, ..no }
    }

    fn refuse(&self, n: usize, no: No) -> Response {
        let No {
            problem,
            subcode,
            errcode,
            fields,
        } = no;
        let request_id = &self.context.request_id;
        let errcode = errcode.map(|errcode| (errcode.get(), errcode.text()));
        let refusal = DialectRejection {
            subcode,
            errcode,
            fields,
            ..voice::refusal(&problem, request_id, self.api.auth.now())
        };
        error::response(
            &problem,
            Said::in_dialect(self.dialect, Some(n), &refusal),
            request_id,
        )
    }
}

fn session(signed_in: SignedIn) -> Outcome {
    Outcome::Session(Arc::new(signed_in))
}

impl From<Problem> for No {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            subcode: None,
            errcode: None,
            fields: Vec::new(),
        }
    }
}

impl From<ErrorCode> for No {
    fn from(code: ErrorCode) -> Self {
        Problem::new(code).into()
    }
}

impl From<crate::auth::limits::RateLimited> for No {
    fn from(over: crate::auth::limits::RateLimited) -> Self {
        Problem::from(over).into()
    }
}

impl From<AuthError> for No {
    fn from(error: AuthError) -> Self {
        Self::from(&error)
    }
}

impl From<&AuthError> for No {
    fn from(error: &AuthError) -> Self {
        let (subcode, errcode) = match error {
            AuthError::WechatRefused(_, errcode) => (Some("wechat_refused"), Some(*errcode)),
            AuthError::CodeSpent => (Some("wechat_refused"), Some(Errcode::CODE_BEEN_USED)),
            AuthError::Wechat(
                WechatError::Unreachable | WechatError::Timeout | WechatError::Broken,
            ) => (Some("wechat_unreachable"), None),
            AuthError::Wechat(WechatError::Unusable) => (Some("wechat_unusable"), None),
            AuthError::SmsCodeMissing => (Some("code_missing"), None),
            AuthError::RefreshExpired | AuthError::Issue(IssueError::SessionOver) => {
                (Some("refresh_expired"), None)
            }
            _ => (None, None),
        };
        Self {
            subcode,
            errcode,
            ..Problem::from(error).into()
        }
    }
}
