//! The backends that one request tries, and how often.

use pingora::{Error, upstreams::peer::HttpPeer};

use crate::proxy::upstream::{Backend, Upstreams, health::AttemptedBackends};

/// Connections on which a backend takes no more requests that are passed over for one request.
const MAX_STALE_CONNECTIONS: u8 = 4;

/// The attempts of one request.
pub(super) struct Attempts<'u> {
    upstreams: &'u Upstreams,
    tried: AttemptedBackends,
    /// The backend that was tried last.
    last: Option<usize>,
    /// Backends that have refused the stream of this request, a bit for each.
    refused: u64,
    /// Those that are not tried again: they refused it twice, or take no connections.
    excluded: u64,
    /// Connections that were found to take no more requests.
    stale: u8,
}

impl<'u> Attempts<'u> {
    pub(super) fn new(upstreams: &'u Upstreams) -> Self {
        Self {
            upstreams,
            tried: AttemptedBackends::default(),
            last: None,
            refused: 0,
            excluded: 0,
            stale: 0,
        }
    }

    /// The next backend to try.
    pub(super) fn next(&mut self) -> Option<(usize, &'u Backend)> {
        let at = self.upstreams.pick(&mut self.tried)?;
        self.last = Some(at);
        Some((at, self.upstreams.get(at)))
    }

    /// No connection came about.
    pub(super) fn connection_failed(&mut self, at: usize, peer: &HttpPeer, error: &Error) {
        if self
            .upstreams
            .connection_failed(at, peer, error, &mut self.tried)
        {
            self.excluded |= self.bit();
            self.restart_if_exhausted();
        }
    }

    /// Whether a request that the backend has not begun with is sent again: once more to each
    /// backend at most.
    pub(super) fn may_resend(&mut self) -> bool {
        let bit = self.bit();
        if self.refused & bit != 0 {
            self.excluded |= bit;
        }
        self.refused |= bit;
        self.restart_if_exhausted()
    }

    /// Whether another connection is taken for a request that could not be sent on one which takes
    /// no more.
    pub(super) fn may_reconnect(&mut self) -> bool {
        self.stale += 1;
        self.stale <= MAX_STALE_CONNECTIONS && self.restart_if_exhausted()
    }

    /// The backend that was tried last, as a bit.
    fn bit(&self) -> u64 {
        self.last
            .and_then(|at| u32::try_from(at).ok())
            .and_then(|at| 1_u64.checked_shl(at))
            .unwrap_or(0)
    }

    /// Whether there is a backend to try. Where each has been, the first may be tried again, but
    /// for those that are spent.
    fn restart_if_exhausted(&mut self) -> bool {
        let backends = self.upstreams.len();
        if !self.tried.has_untried(backends) {
            self.tried = AttemptedBackends::restart(self.excluded);
        }
        self.tried.has_untried(backends)
    }
}
