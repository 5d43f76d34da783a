//! What a failed exchange is called, and what the client is told of it.

use h2::Reason;
use pingora::{Error, ErrorSource, ErrorType};

use super::{outgoing::NO_PROOF, record::Recorder};
use crate::error::ErrorCode;

/// The fault where no backend has begun with a request and it cannot be sent again.
pub(super) const NOT_PROCESSED: ErrorType = ErrorType::Custom("NotProcessed");

/// Whether the backend says that it has not begun with the request, so that it may be sent again (RFC 9113 section 8.7): it refused
/// the stream, or its GOAWAY names a stream below it.
pub(super) fn is_unprocessed(fault: &Error) -> bool {
    fault.root_cause().downcast_ref::<h2::Error>().is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
    })
}

/// A failure, classed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// `menshen_upstream_errors_total{kind}`.
    pub(super) kind: &'static str,
    /// `None`: the client is gone.
    pub(super) code: Option<ErrorCode>,
}

impl Failure {
    pub(super) fn of(fault: &Error) -> Self {
        let told = |kind, code| Self { kind, code: Some(code) };
        if *fault.etype() == NO_PROOF {
            return told("proof", ErrorCode::ProofUnavailable);
        }
        if *fault.etype() == NOT_PROCESSED {
            return told("refused_stream", ErrorCode::UpstreamBusy);
        }
        match fault.esource() {
            ErrorSource::Downstream => match fault.etype() {
                ErrorType::WriteError
                | ErrorType::ReadError
                | ErrorType::ConnectionClosed
                | ErrorType::WriteTimedout
                // A reset while the backend is waited for.
                | ErrorType::H2Error
                | ErrorType::ConnectError => Self { kind: "client_gone", code: None },
                ErrorType::ReadTimedout => told("client_slow", ErrorCode::RequestMalformed),
                _ => told("client_malformed", ErrorCode::RequestMalformed),
            },
            ErrorSource::Upstream => match fault.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                    told("connect_timeout", ErrorCode::UpstreamTimeout)
                }
                ErrorType::ReadTimedout | ErrorType::WriteTimedout => told("timeout", ErrorCode::UpstreamTimeout),
                ErrorType::ConnectRefused
                | ErrorType::ConnectNoRoute
                | ErrorType::ConnectError
                | ErrorType::SocketError
                | ErrorType::TLSHandshakeFailure
                | ErrorType::InvalidCert => told("connect", ErrorCode::UpstreamUnavailable),
                ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError => {
                    told("closed_early", ErrorCode::UpstreamUnavailable)
                }
                _ => told("invalid_answer", ErrorCode::UpstreamUnavailable),
            },
            ErrorSource::Internal | ErrorSource::Unset => told("internal", ErrorCode::Internal),
        }
    }

    /// Says it in the log, where it is not the client's doing, once a second at most: each such request has its access line
    /// and is counted anyway. The library's own text may quote what was sent, so only the kind of fault is written.
    pub(super) fn log(self, fault: &Error, recorder: &Recorder) {
        if !recorder.may_warn() {
            return;
        }
        match fault.esource() {
            ErrorSource::Downstream => {}
            ErrorSource::Upstream => {
                tracing::warn!(kind = self.kind, cause = fault.etype().as_str(), "the backend failed a request");
            }
            ErrorSource::Internal | ErrorSource::Unset => {
                tracing::error!(kind = self.kind, cause = fault.etype().as_str(), "a request could not be forwarded");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_resets_its_stream_is_gone() {
        let fault = Error::explain(ErrorType::H2Error, "Client closed H2, reason: CANCEL").into_down();
        let failure = Failure::of(&fault);
        assert_eq!((failure.kind, failure.code), ("client_gone", None));
    }
}
