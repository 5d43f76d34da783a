//! The closed list of error codes that a client can see, with the status and the text of each.
//!
//! Each is the `code` of a problem document and the value of `X-Menshen-Error`. Others build on the
//! names: none changes its spelling or meaning. Only `api::problem` and what renders a rejection
//! read the status; a use case gives the code alone.

use http::StatusCode;

/// Each code: its name on the wire, its status, and its text for people.
macro_rules! error_codes {
    ($($name:ident = $code:literal, $status:ident, $detail:literal;)*) => {
        /// Why a request was rejected or failed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($name,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the enum, for documents, counters and tests.
            pub const ALL: [Self; [$($code),*].len()] = [$(Self::$name,)*];

            /// As it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status of its response.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The text for people, unless a rejection has its own.
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)* }
            }
        }
    };
}

error_codes! {
    TokenMissing = "token_missing", UNAUTHORIZED, "Sign in first: this path needs an access token.";
    TokenInvalid = "token_invalid", UNAUTHORIZED, "The access token is not valid.";
    TokenExpired = "token_expired", UNAUTHORIZED, "The access token has expired. Refresh it.";
    TokenRevoked = "token_revoked", UNAUTHORIZED,
        "The session of this access token has ended. Sign in again.";
    Forbidden = "forbidden", FORBIDDEN, "This user may not do that.";
    PathAmbiguous = "path_ambiguous", BAD_REQUEST,
        "The path could be read in two ways. Send it in its plain form.";
    RequestMalformed = "request_malformed", BAD_REQUEST, "The request is not well formed.";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The request body is too large.";
    ValidationFailed = "validation_failed", BAD_REQUEST, "Some fields are not valid.";
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Too many requests. Wait and try again.";
    SmsCooldown = "sms_cooldown", TOO_MANY_REQUESTS,
        "A message was sent a moment ago. Wait before asking for another.";
    SmsQuota = "sms_quota", TOO_MANY_REQUESTS, "No more messages for now. Try again later.";
    SmsUnavailable = "sms_unavailable", SERVICE_UNAVAILABLE,
        "The message was not sent, or it is unknown whether it was. Try again later.";
    CodeInvalid = "code_invalid", BAD_REQUEST,
        "The code is wrong or has expired. After some wrong codes in a row a new one is needed.";
    RefreshInvalid = "refresh_invalid", UNAUTHORIZED,
        "The refresh token is not valid. Sign in again.";
    RefreshReused = "refresh_reused", UNAUTHORIZED,
        "The refresh token was used before. Sign in again.";
    SessionRevoked = "session_revoked", UNAUTHORIZED, "The session has ended. Sign in again.";
    UserDisabled = "user_disabled", FORBIDDEN, "This account is disabled.";
    WechatCodeInvalid = "wechat_code_invalid", UNAUTHORIZED,
        "The login code is not valid any more. Call wx.login again. A code of the phone number button is not a login code.";
    WechatBlocked = "wechat_blocked", FORBIDDEN, "WeChat has blocked this login.";
    WechatBusy = "wechat_busy", SERVICE_UNAVAILABLE, "WeChat is busy. Try again.";
    WechatMisconfigured = "wechat_misconfigured", SERVICE_UNAVAILABLE,
        "WeChat login is not set up correctly. The operator has to look.";
    PhoneCodeInvalid = "phone_code_invalid", BAD_REQUEST,
        "The code of the phone number button is not valid. Ask for the number again; a code of wx.login does not do here.";
    PhoneDecryptFailed = "phone_decrypt_failed", BAD_REQUEST,
        "The phone number could not be decrypted. Call wx.login, then ask for the number again.";
    PhoneConflict = "phone_conflict", CONFLICT, "This phone number belongs to another account.";
    CredentialsInvalid = "credentials_invalid", UNAUTHORIZED, "The name or the password is wrong.";
    ReauthenticationRequired = "reauthentication_required", UNAUTHORIZED,
        "Signed in too long ago for this. Send a fresh code as well, or sign in again.";
    RegistrationClosed = "registration_closed", FORBIDDEN, "New accounts are not open.";
    RegistrationUnavailable = "registration_unavailable", SERVICE_UNAVAILABLE,
        "A new account cannot be made right now. Sign in again in a moment.";
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "Please try again in a moment.";
    IssuerUnavailable = "issuer_unavailable", SERVICE_UNAVAILABLE,
        "The token cannot be checked, because its issuer has no keys here yet. Try again.";
    ProofUnavailable = "proof_unavailable", SERVICE_UNAVAILABLE,
        "What the service behind is shown could not be signed. Try again later.";
    UpstreamUnavailable = "upstream_unavailable", BAD_GATEWAY,
        "The service behind is not reachable.";
    UpstreamTimeout = "upstream_timeout", GATEWAY_TIMEOUT,
        "The service behind did not answer in time.";
    UpstreamBusy = "upstream_busy", SERVICE_UNAVAILABLE,
        "The service behind did not take the request. Please send it again in a moment.";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE,
        "There is too much to do for now. Please try again in a moment.";
    NotFound = "not_found", NOT_FOUND, "There is nothing here.";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED,
        "This path does not take this method.";
    WebsocketVersionUnsupported = "websocket_version_unsupported", UPGRADE_REQUIRED,
        "WebSocket is spoken here in version 13 (RFC 6455).";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Something went wrong on our side.";
}
