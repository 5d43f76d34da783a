//! The newest calls of a simulated server, so that a page or a test can show what it was asked.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::{Body, HttpBody, to_bytes},
    extract::{Query, Request, State},
    http::{StatusCode, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

/// Most calls that are kept.
const MAX_CALLS: usize = 32;
/// Most bytes of a request's body.
const MAX_BODY_LEN: usize = 64 * 1024;
/// Most bytes of a body that are kept.
const MAX_KEPT_LEN: usize = 4 * 1024;

/// A call, and its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedCall {
    pub method: String,
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    pub body: String,
    /// Status and body; `None`: there is none yet, or it has no end.
    pub response: Option<(u16, String)>,
}

/// The calls of one server.
#[derive(Debug, Clone, Default)]
pub struct CallLog(Arc<Mutex<Records>>);

#[derive(Debug, Default)]
struct Records {
    /// The number of all calls.
    count: usize,
    newest: VecDeque<ReceivedCall>,
}

impl CallLog {
    /// The number of calls so far.
    pub fn count(&self) -> usize {
        self.records().count
    }

    /// The calls after the first `count` ones, as far as they are kept.
    pub fn since(&self, count: usize) -> Vec<ReceivedCall> {
        let records = self.records();
        let fresh = records.count.saturating_sub(count);
        let skipped = records.newest.len().saturating_sub(fresh);
        records.newest.iter().skip(skipped).cloned().collect()
    }

    /// A router that records its calls here.
    pub(super) fn record(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), record))
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a call; returns its number.
    fn push(&self, call: ReceivedCall) -> usize {
        let mut records = self.records();
        if records.newest.len() == MAX_CALLS {
            records.newest.pop_front();
        }
        records.newest.push_back(call);
        records.count += 1;
        records.count
    }

    fn set_response(&self, number: usize, response: (u16, String)) {
        let mut records = self.records();
        let from_end = records.count - number;
        let at = records.newest.len().checked_sub(from_end + 1);
        if let Some(call) = at.and_then(|at| records.newest.get_mut(at)) {
            call.response = Some(response);
        }
    }
}

async fn record(State(log): State<CallLog>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_LEN).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let number = log.push(ReceivedCall {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: query(&head.uri),
        body: kept(&body),
        response: None,
    });
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    let (head, body) = response.into_parts();
    // A body that breaks off, or has a megabyte, stays as it is.
    let is_short = body.size_hint().exact().is_some_and(|len| len <= 4096);
    if !is_short {
        return Response::from_parts(head, body);
    }
    let Ok(body) = to_bytes(body, MAX_BODY_LEN).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    log.set_response(number, (head.status.as_u16(), kept(&body)));
    Response::from_parts(head, Body::from(body))
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    Query::try_from_uri(uri).map_or_else(|_| Vec::new(), |Query(pairs)| pairs)
}

fn kept(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(MAX_KEPT_LEN)]).into_owned()
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_newest_calls_are_kept_with_their_responses() {
        let log = CallLog::default();
        let router = log.record(Router::new().fallback(async || "yes"));
        for n in 0..40 {
            let request = Request::post(format!("/path?a%20b={n}&c=%2F"))
                .body(Body::from("hello"))
                .unwrap();
            drop(router.clone().oneshot(request).await.unwrap());
        }
        assert_eq!(log.count(), 40);
        assert_eq!(log.since(0).len(), MAX_CALLS);
        assert_eq!(log.since(40), []);
        let query = [("a b", "39"), ("c", "/")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let newest = ReceivedCall {
            method: "POST".to_owned(),
            path: "/path".to_owned(),
            query: query.to_vec(),
            body: "hello".to_owned(),
            response: Some((200, "yes".to_owned())),
        };
        assert_eq!(log.since(39), [newest]);
    }
}
