//! What every step of a request needs: its snapshot, timing and id.

use std::sync::Arc;

use super::{
    access_record::{RequestRecord, ResponseRecord, Timing},
    snapshot::Snapshot,
};
use crate::policy::HttpVersion;

/// One request, from its head to its record.
pub(super) struct RequestContext {
    /// Decided on the request, and serves it.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) timing: Timing,
    /// From a trusted proxy, or new.
    pub(super) request_id: String,
    pub(super) version: HttpVersion,
}

impl RequestContext {
    /// Writes the access record.
    pub(super) fn record(&self, request: RequestRecord<'_>, response: ResponseRecord<'_>) {
        let (recorder, version) = (&self.snapshot.recorder, self.version);
        recorder.write(&self.timing, &self.request_id, version, request, response);
    }
}
