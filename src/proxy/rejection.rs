//! Responses to rejected requests: one problem, rendered in the form that the client understands.
//!
//! A dialect's client, a gRPC client and a proxy that uses forward-auth get the same error code,
//! `Retry-After` and request id; only the form differs. Each protocol's client writes the response
//! in its own way.
//!
//! Must stay true: [`Problem`] alone decides what depends on the error code; a rejection of a
//! forward-auth request is 401 or 403, whatever a dialect's error format says, since nginx takes
//! any other status for a failure, but an error of menshen keeps its 5xx.

use http::{HeaderValue, StatusCode, header};

use super::{
    client::Client,
    grpc,
    local_response::{HeaderField, LocalResponse, fixed_field, no_store, request_id_field},
    request_context::RequestContext,
};
use crate::{
    api::{ErrorRenderer, problem::Problem},
    error::ErrorCode,
    gate::{AdmittedRequest, Rejection},
    policy::{CorsFields, headers::X_MENSHEN_ERROR},
};

/// The form of a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseForm {
    /// A status and a body: a problem document, or the error format of the path's dialect.
    Http,
    /// A gRPC status in the head.
    Grpc,
    /// A status for a proxy that uses forward-auth, without a body.
    ForwardAuth,
}

/// A rendered rejection.
#[derive(Debug)]
pub(super) struct RenderedRejection {
    pub(super) response: LocalResponse,
    /// The status for the access record: over gRPC every response is a 200.
    pub(super) status: StatusCode,
}

impl RequestContext {
    /// Renders a rejection of the gate.
    pub(super) fn render_rejection(
        &self,
        client: &impl Client,
        rejection: &Rejection,
    ) -> RenderedRejection {
        let mut problem = Problem::new(rejection.code);
        if rejection.code == ErrorCode::MethodNotAllowed {
            problem.allow = Some(self.snapshot.error_renderer.allow(&rejection.path));
        }
        if let Some(detail) = rejection.detail {
            problem = problem.detail(detail);
        }
        let form = if rejection.forward_auth {
            ResponseForm::ForwardAuth
        } else {
            form_of(client)
        };
        render(
            &self.snapshot.error_renderer,
            form,
            &rejection.path,
            &problem,
            &self.request_id,
            rejection.cors.as_ref(),
        )
    }

    /// Renders the rejection of an admitted request.
    pub(super) fn render_problem(
        &self,
        client: &impl Client,
        admitted: &AdmittedRequest,
        problem: &Problem,
    ) -> RenderedRejection {
        let (path, cors) = (admitted.path(), admitted.cors.as_ref());
        render(
            &self.snapshot.error_renderer,
            form_of(client),
            path,
            problem,
            &self.request_id,
            cors,
        )
    }
}

fn form_of(client: &impl Client) -> ResponseForm {
    if client.is_grpc() {
        ResponseForm::Grpc
    } else {
        ResponseForm::Http
    }
}

/// Renders a problem for a request with this path.
pub(super) fn render(
    error_renderer: &ErrorRenderer,
    form: ResponseForm,
    path: &str,
    problem: &Problem,
    request_id: &str,
    cors: Option<&CorsFields>,
) -> RenderedRejection {
    match form {
        ResponseForm::ForwardAuth => {
            let response = deny(problem, request_id);
            return RenderedRejection {
                status: response.status,
                response,
            };
        }
        ResponseForm::Grpc => {
            let status = error_renderer.render(path, problem, request_id).status;
            let mut fields = grpc::rejection(status, problem.detail);
            fields.extend(retry_after(problem, request_id));
            fields.extend(menshen_fields(problem, request_id));
            return RenderedRejection {
                response: LocalResponse::bodiless(StatusCode::OK, fields),
                status,
            };
        }
        ResponseForm::Http => {}
    }
    let rendered = error_renderer
        .render(path, problem, request_id)
        .with_headers(cors);
    let status = rendered.status;
    let mut fields = Vec::with_capacity(8 + rendered.headers.len());
    fields.push(fixed_field(header::CONTENT_TYPE, rendered.content_type));
    fields.push(no_store());
    fields.extend(menshen_fields(problem, request_id));
    fields.extend(challenge(problem).filter(|_| matches!(status.as_u16(), 401 | 403)));
    fields.extend(retry_after(problem, request_id));
    let allow = problem.allow.as_ref();
    fields
        .extend(allow.and_then(|allow| Some((header::ALLOW, HeaderValue::from_str(allow).ok()?))));
    if let Some(version) = problem.websocket_version() {
        fields.push(fixed_field(header::UPGRADE, "websocket"));
        fields.push(fixed_field(header::SEC_WEBSOCKET_VERSION, version));
    }
    fields.extend(rendered.headers);
    let response = LocalResponse {
        status,
        fields,
        content_length: None,
        body: rendered.body.into(),
    };
    RenderedRejection { response, status }
}

/// The response that denies a forward-auth request.
pub(super) fn deny(problem: &Problem, request_id: &str) -> LocalResponse {
    let status = match problem.status() {
        StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED,
        error if error.is_server_error() => error,
        _ => StatusCode::FORBIDDEN,
    };
    let mut fields = vec![no_store()];
    fields.extend(menshen_fields(problem, request_id));
    fields.extend(challenge(problem));
    fields.extend(retry_after(problem, request_id));
    LocalResponse::bodiless(status, fields)
}

/// `WWW-Authenticate`, if the problem has one.
fn challenge(problem: &Problem) -> Option<HeaderField> {
    problem
        .www_authenticate()
        .map(|challenge| fixed_field(header::WWW_AUTHENTICATE, challenge))
}

/// `Retry-After`, if the problem has one.
fn retry_after(problem: &Problem, request_id: &str) -> Option<HeaderField> {
    problem
        .retry_after_secs(request_id)
        .map(|secs| (header::RETRY_AFTER, HeaderValue::from(secs)))
}

/// The fields that mark a response as menshen's: error code and request id.
fn menshen_fields(problem: &Problem, request_id: &str) -> impl Iterator<Item = HeaderField> {
    let code = fixed_field(X_MENSHEN_ERROR, problem.code.as_str());
    [code].into_iter().chain(request_id_field(request_id))
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        api,
        clock::Clock,
        config::{Config, Source},
        dialect::Dialects,
        types::Timestamp,
    };

    const DIALECT: &str = "mode = 'development'\n[[dialect]]\nkind = 'custom'\nprefix = '/old'\n\
                           [[dialect.route]]\nmethod = 'POST'\npath = '/in'\naction = 'wechat_login'\n\
                           inputs = { code = 'body.code' }\nbody = '{}'\n\
                           [[dialect.error]]\nbody = '{ \"wait\": \"{retry_after}\" }'\n";

    fn error_renderer() -> ErrorRenderer {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, DIALECT).unwrap();
        let config = Config::load(&Source {
            file: Some(file),
            environment: Vec::new(),
        })
        .unwrap()
        .config;
        ErrorRenderer::new(
            Arc::new(Dialects::compile(&config).unwrap()),
            Clock::manual(Timestamp::from_secs(1_800_000_000)),
        )
    }

    fn seconds(response: &LocalResponse) -> Option<u64> {
        let mut values = response
            .fields
            .iter()
            .filter(|(name, _)| *name == header::RETRY_AFTER)
            .map(|(_, value)| value);
        let value = values
            .next()
            .map(|value| value.to_str().unwrap().parse().unwrap());
        assert_eq!(values.next(), None);
        value
    }

    /// `Retry-After` is the same in every form, and a 503 always has one.
    #[test]
    fn every_form_of_a_rejection_says_the_same_retry_after() {
        let error_renderer = error_renderer();
        let read = |value: Option<&HeaderValue>| {
            value.map(|value| value.to_str().unwrap().parse().unwrap())
        };
        let mut unavailable = 0;
        for code in ErrorCode::ALL {
            for problem in [
                Problem::new(code),
                Problem::new(code).retry_after(Duration::from_millis(61_001)),
            ] {
                for request_id in ["", "r1", "01900000-0000-7000-8000-00000000002a"] {
                    let expected: Option<u64> = problem.retry_after_secs(request_id);
                    for form in [
                        ResponseForm::Http,
                        ResponseForm::Grpc,
                        ResponseForm::ForwardAuth,
                    ] {
                        for path in ["/x", "/old/x"] {
                            let rendered =
                                render(&error_renderer, form, path, &problem, request_id, None);
                            assert_eq!(
                                seconds(&rendered.response),
                                expected,
                                "{code:?} {request_id:?} {form:?} {path}"
                            );
                        }
                    }
                    let rendered = render(
                        &error_renderer,
                        ResponseForm::Http,
                        "/old/x",
                        &problem,
                        request_id,
                        None,
                    );
                    let body: serde_json::Value =
                        serde_json::from_slice(&rendered.response.body).unwrap();
                    let api = api::respond(&problem, request_id);
                    let route = error_renderer.respond("/old/x", &problem, request_id);
                    for (form, told) in [
                        ("the auth API", read(api.headers().get(header::RETRY_AFTER))),
                        (
                            "a dialect's route",
                            read(route.headers().get(header::RETRY_AFTER)),
                        ),
                        ("a dialect's body", body["wait"].as_u64()),
                    ] {
                        assert_eq!(told, expected, "{code:?} {request_id:?} in {form}");
                    }
                    if problem.status() == StatusCode::SERVICE_UNAVAILABLE {
                        assert!(expected.is_some_and(|secs| secs > 0), "{code:?}");
                        unavailable += 1;
                    }
                }
            }
        }
        assert!(unavailable >= 6 * 8, "{unavailable}");
    }

    #[test]
    fn no_refusal_is_a_pass_or_a_status_that_nginx_takes_for_a_failure() {
        for code in ErrorCode::ALL {
            let LocalResponse { status, fields, .. } = deny(&Problem::new(code), "r1");
            let expected = match Problem::new(code).status().as_u16() {
                401 => 401,
                fault @ 500..=599 => fault,
                _ => 403,
            };
            assert_eq!(status.as_u16(), expected, "{code:?}");
            let error = fields
                .iter()
                .find(|(name, _)| *name == X_MENSHEN_ERROR)
                .map(|(_, value)| value.as_bytes());
            assert_eq!(error, Some(code.as_str().as_bytes()));
        }
    }
}
