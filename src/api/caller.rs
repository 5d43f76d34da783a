//! The caller of a route that needs an access token.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, header, request::Parts},
};

use super::{
    problem::Problem,
    state::{ApiContext, ApiState},
};
use crate::{
    auth::{self, Identity},
    dialect::TokenProfile,
    error::ErrorCode,
    token::AccessClaims,
    types::ClientIp,
};

/// The bearer of a valid access token. Extracting it counts against the limit of the address.
pub(super) struct BearerCaller {
    claims: AccessClaims,
    from: ClientIp,
    token_profile: Arc<TokenProfile>,
}

impl BearerCaller {
    /// As the use cases take it.
    pub(super) fn get(&self) -> auth::AuthenticatedCaller<'_> {
        from_claims(&self.claims, self.from, &self.token_profile)
    }
}

/// The session that these claims name, as the use cases take it.
pub(super) fn from_claims<'a>(
    claims: &'a AccessClaims,
    from: ClientIp,
    token_profile: &'a TokenProfile,
) -> auth::AuthenticatedCaller<'a> {
    auth::AuthenticatedCaller {
        user: &claims.sub,
        session: claims.sid,
        client_type: claims.client_type,
        from,
        token_profile,
    }
}

impl FromRequestParts<ApiState> for BearerCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &ApiState) -> Result<Self, Problem> {
        let context = ApiContext::from_request_parts(parts, api).await?;
        api.check_rate(context.client_ip)?;
        let token = token(&parts.headers, false, api.token_header.as_deref())?;
        let identity = api.authorizer.authorize(token, api.auth.now())?;
        let claims = own(&identity)?.clone();
        Ok(Self {
            claims,
            from: context.client_ip,
            token_profile: Arc::clone(&api.token_profile),
        })
    }
}

/// The claims of a token of menshen's own. A token of another issuer is for the backend only: it
/// has no session here. It gets 401, because signing in helps.
pub(super) fn own(identity: &Identity) -> Result<&AccessClaims, ErrorCode> {
    identity.claims.own().ok_or(ErrorCode::TokenInvalid)
}

/// The one bearer token (RFC 6750 section 2.1; the scheme in any case, RFC 9110 section 11.1).
/// `bare`: a token without a scheme is accepted. `own`: the header that may carry it instead of
/// `Authorization`, with `Bearer` or without.
pub(super) fn token<'h>(
    headers: &'h HeaderMap,
    bare: bool,
    own: Option<&str>,
) -> Result<&'h str, ErrorCode> {
    let in_own = own.map_or(Ok(None), |name| only(headers, name))?;
    let (value, bare) = match (only(headers, header::AUTHORIZATION.as_str())?, in_own) {
        (Some(value), None) => (value, bare),
        (None, Some(value)) => (value, true),
        (Some(_), Some(_)) => return Err(ErrorCode::RequestMalformed),
        (None, None) => return Err(ErrorCode::TokenMissing),
    };
    let value = value.to_str().map_err(|_| ErrorCode::TokenInvalid)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(token.trim_start_matches(' '))
        }
        None if bare => Ok(value),
        Some(_) | None => Err(ErrorCode::TokenInvalid),
    }
}

/// The only field of a name. An empty one counts as no field: a client that has no token yet sends
/// it.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h HeaderValue>, ErrorCode> {
    let mut sent = headers.get_all(name).iter();
    let value = sent.next();
    if sent.next().is_some() {
        return Err(ErrorCode::RequestMalformed);
    }
    Ok(value.filter(|value| !value.as_bytes().trim_ascii().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_bearer_token_is_read() {
        use ErrorCode::{RequestMalformed, TokenInvalid, TokenMissing};
        for (sent, expected) in [
            (&[][..], Err(TokenMissing)),
            (&["Bearer abc"], Ok("abc")),
            (&["bEARER  abc"], Ok("abc")),
            (&["Bearer abc", "Bearer abc"], Err(RequestMalformed)),
            (&["Basic YTpi", "Bearer abc"], Err(RequestMalformed)),
            (&["Basic YTpi"], Err(TokenInvalid)),
            (&["Bearer"], Err(TokenInvalid)),
            (&["abc"], Err(TokenInvalid)),
            (&[""], Err(TokenMissing)),
            (&[" \t"], Err(TokenMissing)),
            (&["", ""], Err(RequestMalformed)),
            (&["", "Bearer abc"], Err(RequestMalformed)),
            (&["Bearer "], Ok("")),
            (&["Bearer undefined"], Ok("undefined")),
            (&["Bearer \u{e9}"], Err(TokenInvalid)),
        ] {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(
                    header::AUTHORIZATION,
                    HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                );
            }
            assert_eq!(token(&headers, false, None), expected, "{sent:?}");
            let alone = if let ["abc" | "Bearer"] = sent {
                Ok(sent[0])
            } else {
                expected
            };
            assert_eq!(token(&headers, true, None), alone, "{sent:?}");
        }
    }

    #[test]
    fn a_header_of_ones_own_carries_a_token_unless_authorization_has_one_too() {
        use ErrorCode::{RequestMalformed, TokenInvalid, TokenMissing};
        for (sent, expected) in [
            (&[("_token", "abc")][..], Ok("abc")),
            (&[("_token", "bearer abc")], Ok("abc")),
            (&[("_token", "Basic abc")], Err(TokenInvalid)),
            (&[("_token", "")], Err(TokenMissing)),
            (&[("-token", "abc")], Err(TokenMissing)),
            (&[("authorization", "abc")], Err(TokenInvalid)),
            (&[("authorization", ""), ("_token", "abc")], Ok("abc")),
            (
                &[("authorization", "Bearer abc"), ("_token", "")],
                Ok("abc"),
            ),
            (
                &[("authorization", "Bearer abc"), ("_token", "abc")],
                Err(RequestMalformed),
            ),
            (
                &[("authorization", "Basic abc"), ("_token", "abc")],
                Err(RequestMalformed),
            ),
            (
                &[("_token", "abc"), ("_token", "abc")],
                Err(RequestMalformed),
            ),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(token(&headers, false, Some("_token")), expected, "{sent:?}");
        }
    }
}
