//! Which backends one request tries, and how often.

use pingora::{Error, upstreams::peer::HttpPeer};

use crate::proxy::upstream::{Backend, Upstreams, health::AttemptedBackends};

/// Most pooled connections that may turn out to be closing, for one request.
const MAX_STALE_CONNECTIONS: u8 = 4;

/// The connection attempts of one request.
pub(super) struct Attempts<'u> {
    upstreams: &'u Upstreams,
    attempted: AttemptedBackends,
    /// The backend of the last attempt.
    last: Option<usize>,
    /// Backends that have refused this request's stream, one bit each.
    refused: u64,
    /// Backends that are not tried again: they refused it twice, or accept no connections.
    excluded: u64,
    /// Connections that turned out to be closing.
    stale: u8,
}

impl<'u> Attempts<'u> {
    pub(super) fn new(upstreams: &'u Upstreams) -> Self {
        Self {
            upstreams,
            attempted: AttemptedBackends::default(),
            last: None,
            refused: 0,
            excluded: 0,
            stale: 0,
        }
    }

    /// The next backend to try.
    pub(super) fn next(&mut self) -> Option<(usize, &'u Backend)> {
        let at = self.upstreams.pick(&mut self.attempted)?;
        self.last = Some(at);
        Some((at, self.upstreams.get(at)))
    }

    /// Records a failed connection.
    pub(super) fn connection_failed(&mut self, at: usize, peer: &HttpPeer, error: &Error) {
        if self
            .upstreams
            .connection_failed(at, peer, error, &mut self.attempted)
        {
            self.excluded |= self.bit();
            self.restart_if_exhausted();
        }
    }

    /// Takes one of the attempts that are left after a backend has not processed the request. `false`:
    /// none is left, because each backend gets the request at most twice.
    pub(super) fn take_resend(&mut self) -> bool {
        let bit = self.bit();
        if self.refused & bit != 0 {
            self.excluded |= bit;
        }
        self.refused |= bit;
        self.restart_if_exhausted()
    }

    /// Takes one of the connections that are left after one turned out to be closing. `false`: none
    /// is left.
    pub(super) fn take_reconnect(&mut self) -> bool {
        self.stale += 1;
        self.stale <= MAX_STALE_CONNECTIONS && self.restart_if_exhausted()
    }

    /// The bit of the last attempt's backend.
    fn bit(&self) -> u64 {
        self.last
            .and_then(|at| u32::try_from(at).ok())
            .and_then(|at| 1_u64.checked_shl(at))
            .unwrap_or(0)
    }

    /// Starts over with the backends that are not excluded, once all have been tried. Returns whether
    /// one is left to try.
    fn restart_if_exhausted(&mut self) -> bool {
        let backends = self.upstreams.len();
        if !self.attempted.has_untried(backends) {
            self.attempted = AttemptedBackends::restart(self.excluded);
        }
        self.attempted.has_untried(backends)
    }
}
