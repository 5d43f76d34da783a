//! The routes of the dialects: requests of existing APIs, carried out by the use cases of the auth
//! API.
//!
//! A route's inputs get the auth API's names for them, and the code that reads the auth API's
//! bodies reads them; so a dialect accepts nothing that the auth API would reject, except that an
//! invalid client type is ignored: an existing API may use a field of that name for something else.

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
    body::BodyFields,
    caller, error, error_renderer,
    problem::Problem,
    rendered_error::RenderedError,
    routes::{logout, me, password_login, phone, refresh, sms_login, sms_send, wechat_login},
    state::{ApiContext, ApiState},
};
use crate::{
    auth::{AuthError, AuthenticatedCaller, Refresh, SignedIn, limits::RateLimited},
    config::DialectAction,
    dialect::{ACCESS_TOKEN, Dialect, DialectRejection, InvalidField, Route},
    error::ErrorCode,
    provider::wechat::{Errcode, WechatError, WechatRejection},
    store::WechatSession,
    token::{AccessClaims, IssueError},
};
use inputs::Inputs;
use success::{ActionResult, SuccessValues};

/// Adds the routes of every dialect.
pub(super) fn mount(mut router: Router<ApiState>, state: &ApiState) -> Router<ApiState> {
    for (d, dialect) in state.dialects.iter().enumerate() {
        for (n, route) in dialect.routes.iter().enumerate() {
            // The check of the config allows only five methods.
            let Ok(method) = MethodFilter::try_from(route.method.clone()) else {
                continue;
            };
            let handler = move |State(api): State<ApiState>,
                                context: ApiContext,
                                request: Request| async move {
                respond(&api, d, n, &context, request).await
            };
            router = router.route(&route.path, on(method, handler));
        }
    }
    router
}

async fn respond(
    api: &ApiState,
    d: usize,
    n: usize,
    context: &ApiContext,
    request: Request,
) -> Response {
    let found = api
        .dialects
        .iter()
        .nth(d)
        .and_then(|dialect| Some((dialect, dialect.routes.get(n)?)));
    let Some((dialect, route)) = found else {
        return error::respond(&ErrorCode::NotFound.into(), &context.request_id);
    };
    let (head, body) = request.into_parts();
    let request = DialectRequest {
        api,
        dialect,
        route,
        context,
        head: &head,
    };
    let mut inputs = match Inputs::read(route, &head, body).await {
        Ok(inputs) => inputs,
        Err(problem) => return request.reject(n, problem.into()),
    };
    match request.execute(&mut inputs).await {
        Ok(result) => {
            let success = SuccessValues {
                result,
                auth: &api.auth,
                dialect,
                context,
                now: api.auth.now(),
            };
            success::response(route.render(&success))
        }
        Err(rejection) => request.reject(n, request.name_fields(rejection, &inputs)),
    }
}

/// One request of a dialect.
struct DialectRequest<'a> {
    api: &'a ApiState,
    dialect: &'a Dialect,
    route: &'a Route,
    context: &'a ApiContext,
    head: &'a Parts,
}

/// Why an action fails, with everything that a dialect can say of it.
struct ActionRejection {
    problem: Problem,
    subcode: Option<&'static str>,
    errcode: Option<Errcode>,
    /// Invalid inputs, under the client's names.
    fields: Vec<InvalidField>,
}

/// The credential that has authenticated a request.
enum Authenticated {
    AccessToken(Box<AccessClaims>),
    SessionHandle(Box<WechatSession>),
}

impl DialectRequest<'_> {
    /// The action of the route.
    async fn execute(&self, inputs: &mut Inputs<'_>) -> Result<ActionResult, ActionRejection> {
        let Self { api, route, .. } = self;
        let (auth, from) = (&api.auth, self.context.client_ip);
        let token_profile = &self.dialect.token_profile;
        let invalid = inputs.failed_checks();
        if !invalid.is_empty() {
            return Err(ActionRejection {
                fields: invalid,
                ..ErrorCode::ValidationFailed.into()
            });
        }
        inputs.ignore_invalid(route.action);
        let fields = BodyFields::from_inputs(inputs.canonical_fields());
        let signed_in = match route.action {
            DialectAction::WechatLogin => {
                let mut login = wechat_login::read(fields, api, token_profile)?;
                login.replaces_profile = route.replaces_profile && !inputs.is_anonymous();
                let signed_in = auth.wechat_login(login, from).await;
                let signed_in = signed_in.map_err(|error| ActionRejection::from(&*error))?;
                return Ok(ActionResult::Session(signed_in));
            }
            DialectAction::SmsLogin => {
                let login = sms_login::read(fields, api, token_profile)?;
                auth.sms_login(login, from).await?
            }
            DialectAction::PasswordLogin => self.password_login(fields, inputs).await?,
            DialectAction::Refresh => self.refresh(fields).await?,
            DialectAction::Renew => {
                let token = self.token(inputs)?;
                let claims = || api.authorizer.verify_for_renewal(&token, auth.now());
                auth.renew(claims, token_profile, from).await?
            }
            DialectAction::SmsSend => {
                let (phone, purpose) = sms_send::read(fields, api)?;
                return Ok(ActionResult::Sent(
                    auth.sms_send(phone, purpose, from).await?,
                ));
            }
            DialectAction::Logout => {
                api.check_rate(from)?;
                let token = self.token(inputs);
                let token = token.as_deref().map_err(|code| *code);
                let logout = logout::read(fields)?;
                logout::sign_out(api, token, &logout, token_profile, from).await?;
                return Ok(ActionResult::Done);
            }
            DialectAction::Me
            | DialectAction::ChangeMe
            | DialectAction::PhoneWechat
            | DialectAction::PhoneSms => return self.account_action(fields, inputs).await,
        };
        Ok(ActionResult::Session(Arc::new(signed_in)))
    }

    async fn password_login(
        &self,
        fields: BodyFields,
        inputs: &Inputs<'_>,
    ) -> Result<SignedIn, ActionRejection> {
        // A name or password of an impossible form is one that no user has.
        let is_given = ["username", "password"]
            .iter()
            .all(|name| inputs.text(name).is_some_and(|text| !text.is_empty()));
        let login = password_login::read(fields, &self.dialect.token_profile);
        let login = login.map_err(|problem| {
            if is_given {
                ErrorCode::CredentialsInvalid.into()
            } else {
                problem
            }
        })?;
        let from = self.context.client_ip;
        Ok(self.api.auth.password_login(login, from).await?)
    }

    async fn refresh(&self, fields: BodyFields) -> Result<SignedIn, ActionRejection> {
        let ApiState {
            auth, authorizer, ..
        } = self.api;
        let token = refresh::read(fields)?;
        let refresh = Refresh {
            token: &token,
            rotates: self.route.rotates,
            token_profile: &self.dialect.token_profile,
        };
        let refreshed = auth.refresh(refresh, self.context.client_ip).await;
        refreshed.map_err(|error| {
            // Some backends tell a client that it has sent a good access token instead.
            let is_access_token = || authorizer.rejection_reason(&token, auth.now()).is_none();
            let wrong_type = matches!(error, AuthError::Rejected(ErrorCode::RefreshInvalid))
                && is_access_token();
            let rejection = ActionRejection::from(error);
            ActionRejection {
                subcode: if wrong_type {
                    Some("refresh_wrong_type")
                } else {
                    rejection.subcode
                },
                ..rejection
            }
        })
    }

    /// An action on the caller's own account.
    async fn account_action(
        &self,
        fields: BodyFields,
        inputs: &Inputs<'_>,
    ) -> Result<ActionResult, ActionRejection> {
        let (api, auth) = (self.api, &self.api.auth);
        let authenticated = self.authenticate(inputs).await?;
        let caller = self.caller(&authenticated);
        let user = match self.route.action {
            DialectAction::PhoneWechat => {
                let phone = phone::read_wechat(fields, api);
                let phone = phone.map_err(|problem| match authenticated {
                    Authenticated::AccessToken(_) => ActionRejection::from(problem),
                    // With a handle every failure looks the same, a missing input too.
                    Authenticated::SessionHandle(_) => ErrorCode::PhoneDecryptFailed.into(),
                })?;
                let bound = auth.bind_wechat_phone(caller, &phone).await?;
                return Ok(ActionResult::BoundPhone(Box::new(bound)));
            }
            DialectAction::PhoneSms => {
                let (phone, code, proof) = phone::read_sms(fields, api)?;
                let bound = auth.bind_by_sms(caller, phone, &code, &proof).await?;
                return Ok(ActionResult::BoundPhone(Box::new(bound)));
            }
            DialectAction::ChangeMe => auth.change_profile(caller, &me::read(fields)?).await?,
            _ => auth.me(caller).await?,
        };
        let openid = auth
            .openid_for(caller.user, caller.session, caller.token_profile)
            .await?;
        Ok(ActionResult::User(Box::new((user, openid))))
    }

    /// The access token: from the route's own input for it, else from a header.
    fn token(&self, inputs: &Inputs<'_>) -> Result<String, ErrorCode> {
        if self.route.inputs.contains_key(ACCESS_TOKEN) {
            let token = inputs.text(ACCESS_TOKEN).filter(|token| !token.is_empty());
            return token.map(str::to_owned).ok_or(ErrorCode::TokenMissing);
        }
        // As the gate does on this path, where prefixes of dialects are nested.
        let of_gate = self.api.token_header.as_deref();
        let own = self
            .api
            .local_routes
            .token_header(&self.route.path)
            .or(of_gate);
        caller::token(&self.head.headers, self.dialect.bare_token, own).map(str::to_owned)
    }

    /// By the handle of a session where the route takes one, else by an access token.
    async fn authenticate(&self, inputs: &Inputs<'_>) -> Result<Authenticated, ActionRejection> {
        let (auth, from) = (&self.api.auth, self.context.client_ip);
        if self.route.inputs.contains_key("session_handle") {
            let failed = ErrorCode::PhoneDecryptFailed;
            let Some(handle) = inputs.text("session_handle") else {
                return Err(failed.into());
            };
            let session = auth.session_by_handle(handle, from).await?;
            let is_other = |openid: &str| openid != session.openid.as_str();
            let openid = inputs.text("openid");
            if self.route.inputs.contains_key("openid") && openid.is_none_or(is_other) {
                return Err(failed.into());
            }
            return Ok(Authenticated::SessionHandle(Box::new(session)));
        }
        self.api.check_rate(from)?;
        let token = self.token(inputs)?;
        let identity = self.api.authorizer.authorize(&token, auth.now())?;
        let claims = caller::own(&identity)?.clone();
        Ok(Authenticated::AccessToken(Box::new(claims)))
    }

    fn caller<'c>(&'c self, authenticated: &'c Authenticated) -> AuthenticatedCaller<'c> {
        let (from, token_profile) = (self.context.client_ip, &*self.dialect.token_profile);
        match authenticated {
            Authenticated::AccessToken(claims) => caller::from_claims(claims, from, token_profile),
            Authenticated::SessionHandle(known) => AuthenticatedCaller {
                user: &known.session.user,
                session: known.session.id,
                client_type: known.session.client_type,
                from,
                token_profile,
            },
        }
    }

    /// Gives the fields that the auth API has found invalid the client's names and the route's
    /// messages.
    fn name_fields(&self, rejection: ActionRejection, inputs: &Inputs<'_>) -> ActionRejection {
        let invalid = rejection.problem.errors.iter().map(|error| {
            let checks = &self.route.checks;
            let check = checks.iter().rfind(|check| check.input == error.field);
            InvalidField {
                name: inputs.name_of(error.field).to_owned(),
                message: check
                    .map_or(error.message, |check| &check.message)
                    .to_owned(),
                value: inputs.value(error.field).cloned(),
            }
        });
        let fields = rejection.fields.into_iter().chain(invalid).collect();
        ActionRejection {
            fields,
            ..rejection
        }
    }

    fn reject(&self, n: usize, rejection: ActionRejection) -> Response {
        let ActionRejection {
            problem,
            subcode,
            errcode,
            fields,
        } = rejection;
        let request_id = &self.context.request_id;
        let errcode = errcode.map(|errcode| (errcode.get(), errcode.text()));
        let rejection = DialectRejection {
            subcode,
            errcode,
            fields,
            ..error_renderer::dialect_rejection(&problem, request_id, self.api.auth.now())
        };
        error::response(
            &problem,
            RenderedError::dialect_error(self.dialect, Some(n), &rejection),
            request_id,
        )
    }
}

impl From<Problem> for ActionRejection {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            subcode: None,
            errcode: None,
            fields: Vec::new(),
        }
    }
}

impl From<ErrorCode> for ActionRejection {
    fn from(code: ErrorCode) -> Self {
        Problem::new(code).into()
    }
}

impl From<RateLimited> for ActionRejection {
    fn from(limited: RateLimited) -> Self {
        Problem::from(limited).into()
    }
}

impl From<AuthError> for ActionRejection {
    fn from(error: AuthError) -> Self {
        Self::from(&error)
    }
}

impl From<&AuthError> for ActionRejection {
    fn from(error: &AuthError) -> Self {
        let (subcode, errcode) = match error {
            AuthError::Wechat(WechatRejection {
                errcode: Some(errcode),
                ..
            }) => (Some("wechat_refused"), Some(*errcode)),
            AuthError::CodeUsed => (Some("wechat_refused"), Some(Errcode::CODE_BEEN_USED)),
            AuthError::Wechat(rejection) => match rejection.why {
                WechatError::Unreachable | WechatError::Timeout | WechatError::Broken => {
                    (Some("wechat_unreachable"), None)
                }
                WechatError::Unusable => (Some("wechat_unusable"), None),
                _ => (None, None),
            },
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
