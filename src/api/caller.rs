//! The caller of a route that needs an access token.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
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
        let token = token(&parts.headers, false)?;
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
/// `bare`: a token without a scheme is accepted. An empty field counts as no field: a client that
/// has no token yet sends it.
pub(super) fn token(headers: &HeaderMap, bare: bool) -> Result<&str, ErrorCode> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (sent.next(), sent.next()) {
        (None, _) => return Err(ErrorCode::TokenMissing),
        (Some(_), Some(_)) => return Err(ErrorCode::RequestMalformed),
        (Some(value), None) if value.as_bytes().trim_ascii().is_empty() => {
            return Err(ErrorCode::TokenMissing);
        }
        (Some(value), None) => value.to_str().map_err(|_| ErrorCode::TokenInvalid)?,
    };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(token.trim_start_matches(' '))
        }
        None if bare => Ok(value),
        Some(_) | None => Err(ErrorCode::TokenInvalid),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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
            assert_eq!(token(&headers, false), expected, "{sent:?}");
            let alone = if let ["abc" | "Bearer"] = sent {
                Ok(sent[0])
            } else {
                expected
            };
            assert_eq!(token(&headers, true), alone, "{sent:?}");
        }
    }
}
