//! What every step of a request needs: the snapshot that decided, its times, its id.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::{
    access_record::{Record, Served, Subject, Timing},
    snapshot::Snapshot,
};
use crate::policy::HttpVersion;

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The field of a response that says its request's id. `None`: it would be no field.
pub(super) fn request_id_field(id: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::from_str(id).ok().map(|id| (X_REQUEST_ID, id))
}

/// One request, from its head to its record.
#[derive(Debug)]
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
    pub(super) fn record(&self, subject: Subject<'_>, served: Served<'_>) {
        let Self { snapshot, timing, request_id, version } = self;
        snapshot.recorder.write(&Record { timing, request_id, version: *version, subject, served });
    }
}
