//! What every step of a request needs: the snapshot that decided, its times, its id.

use std::sync::Arc;

use super::{
    access_record::{AccessRecord, RequestRecord, ResponseRecord, Timing},
    snapshot::Snapshot,
};
use crate::policy::HttpVersion;

/// One request, from its head to its record.
pub(super) struct RequestContext {
    /// What decided, and goes on with it.
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) timing: Timing,
    /// The id of a trusted proxy, or a new one.
    pub(super) request_id: String,
    pub(super) version: HttpVersion,
}

impl RequestContext {
    /// Records the request at its end.
    pub(super) fn record(&self, subject: RequestRecord<'_>, served: ResponseRecord<'_>) {
        let Self {
            snapshot,
            timing,
            request_id,
            version,
        } = self;
        snapshot.recorder.write(&AccessRecord {
            timing,
            request_id,
            version: *version,
            subject,
            served,
        });
    }
}
