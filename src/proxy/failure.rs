//! Why an exchange with a backend failed, and which error code the client gets.

use std::{borrow::Cow, io};

use h2::Reason;
use pingora::ErrorType;

use super::{access_record::Recorder, message::MessageReadError};
use crate::{error::ErrorCode, http1};

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExchangeFailure {
    /// The assertion of the caller's identity could not be signed.
    Assertion,
    /// No backend has processed the request, and it cannot be sent again.
    NotProcessed,
    /// The client has disconnected, has reset its stream, or has read nothing for too long.
    ClientLost,
    /// The request's body arrives too slowly.
    ClientSlow,
    ClientMalformed,
    /// No connection to a backend in time.
    ConnectTimeout,
    Connect,
    /// The backend was silent for too long.
    Timeout,
    /// The backend closed the connection before the end of its response.
    ClosedEarly,
    InvalidResponse,
    Internal,
}

impl ExchangeFailure {
    /// The label of `menshen_upstream_errors_total`.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Assertion => "proof",
            Self::NotProcessed => "refused_stream",
            Self::ClientLost => "client_gone",
            Self::ClientSlow => "client_slow",
            Self::ClientMalformed => "client_malformed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::ClosedEarly => "closed_early",
            Self::InvalidResponse => "invalid_answer",
            Self::Internal => "internal",
        }
    }

    /// The error code. `None`: the client is lost, so no response can reach it.
    pub(super) const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::ClientLost => None,
            Self::ClientSlow | Self::ClientMalformed => Some(ErrorCode::RequestMalformed),
            Self::Assertion => Some(ErrorCode::ProofUnavailable),
            Self::NotProcessed => Some(ErrorCode::UpstreamBusy),
            Self::ConnectTimeout | Self::Timeout => Some(ErrorCode::UpstreamTimeout),
            Self::Connect | Self::ClosedEarly | Self::InvalidResponse => {
                Some(ErrorCode::UpstreamUnavailable)
            }
            Self::Internal => Some(ErrorCode::Internal),
        }
    }

    /// Whether the client caused it.
    pub(super) const fn is_client_fault(self) -> bool {
        matches!(
            self,
            Self::ClientLost | Self::ClientSlow | Self::ClientMalformed
        )
    }
}

/// Why a client can no longer be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientError {
    /// It has disconnected, has reset its stream, or has read nothing for too long.
    Lost,
    /// The framing of its body is invalid.
    Malformed,
}

impl From<io::Error> for ClientError {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// A failed exchange.
#[derive(Debug)]
pub(super) struct ExchangeError {
    pub(super) failure: ExchangeFailure,
    /// For the log. Never a library's error text, which may quote what was sent.
    cause: Cow<'static, str>,
    /// The backend has not processed the request, so it may be sent again (RFC 9113 section 8.7):
    /// it refused the stream, or its GOAWAY names a lower stream.
    pub(super) is_unprocessed: bool,
}

impl ExchangeError {
    pub(super) fn new(failure: ExchangeFailure, cause: impl Into<Cow<'static, str>>) -> Self {
        Self {
            failure,
            cause: cause.into(),
            is_unprocessed: false,
        }
    }

    /// The backend's response is invalid.
    pub(super) fn invalid_response(cause: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ExchangeFailure::InvalidResponse, cause)
    }

    /// The same error for a request that cannot be sent again.
    pub(super) fn not_processed(self) -> Self {
        Self {
            failure: ExchangeFailure::NotProcessed,
            ..self
        }
    }

    /// From a failed connection, or a failed stream on one.
    pub(super) fn connecting(error: &pingora::Error) -> Self {
        let failure = match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                ExchangeFailure::ConnectTimeout
            }
            ErrorType::ConnectRefused
            | ErrorType::ConnectNoRoute
            | ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::InvalidCert => ExchangeFailure::Connect,
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
                ExchangeFailure::ClosedEarly
            }
            _ => ExchangeFailure::InvalidResponse,
        };
        let is_unprocessed = error
            .root_cause()
            .downcast_ref::<h2::Error>()
            .is_some_and(is_unprocessed);
        Self {
            failure,
            cause: error.etype().as_str().to_owned().into(),
            is_unprocessed,
        }
    }

    /// From a failed stream to a backend.
    pub(super) fn http2(error: &h2::Error) -> Self {
        let (failure, cause) = if error.is_io()
            || error.is_reset() && error.is_remote()
            || error.is_go_away() && error.is_remote()
        {
            (ExchangeFailure::ClosedEarly, "the stream was reset")
        } else {
            (ExchangeFailure::InvalidResponse, "not HTTP/2")
        };
        Self {
            failure,
            cause: cause.into(),
            is_unprocessed: is_unprocessed(error),
        }
    }

    /// Logs the failure, at most once a second and not if the client caused it. Each such request
    /// has its access log line and is counted anyway.
    pub(super) fn log(&self, recorder: &Recorder) {
        if self.failure.is_client_fault() || !recorder.may_warn() {
            return;
        }
        let (kind, cause) = (self.failure.label(), &*self.cause);
        match self.failure {
            ExchangeFailure::Internal | ExchangeFailure::Assertion => {
                tracing::error!(kind, cause, "a request could not be forwarded");
            }
            _ => tracing::warn!(kind, cause, "the backend failed a request"),
        }
    }
}

fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away()
            || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
}

impl From<MessageReadError> for ExchangeError {
    fn from(error: MessageReadError) -> Self {
        match error {
            MessageReadError::Closed => Self::new(
                ExchangeFailure::ClosedEarly,
                "the connection ended within a body",
            ),
            MessageReadError::Invalid => Self::invalid_response("the framing of a body is invalid"),
        }
    }
}

impl From<http1::InvalidHead> for ExchangeError {
    fn from(error: http1::InvalidHead) -> Self {
        Self::invalid_response(error.to_string())
    }
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        Self::new(
            ExchangeFailure::ClosedEarly,
            format!("the connection failed: {}", error.kind()),
        )
    }
}

impl From<ClientError> for ExchangeError {
    fn from(error: ClientError) -> Self {
        let failure = match error {
            ClientError::Lost => ExchangeFailure::ClientLost,
            ClientError::Malformed => ExchangeFailure::ClientMalformed,
        };
        Self::new(failure, "the client")
    }
}
