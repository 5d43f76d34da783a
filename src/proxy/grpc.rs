//! Rejections of gRPC calls: HTTP 200, and the gRPC status in the response head ("Trailers-Only" in
//! the gRPC over HTTP/2 specification).

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::local_response::{HeaderField, fixed_field, no_store};

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is a gRPC call: a POST with exactly one `Content-Type`, `application/grpc`,
/// optionally with a suffix like `+proto` or parameters.
pub(super) fn is_grpc(method: &Method, headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None, true) = (kinds.next(), kinds.next(), *method == Method::POST) else {
        return false;
    };
    // `application/grpc-web` is another protocol.
    kind.as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The header fields of a call that is rejected with this HTTP status.
pub(super) fn rejection(status: StatusCode, message: &str) -> Vec<HeaderField> {
    // Percent-encoded where it is not visible ASCII; our texts are.
    let plain: String = message
        .chars()
        .filter(|c| *c == ' ' || c.is_ascii_graphic() && *c != '%')
        .collect();
    let mut fields = vec![
        fixed_field(header::CONTENT_TYPE, "application/grpc"),
        no_store(),
        fixed_field(GRPC_STATUS, grpc_status(status)),
    ];
    let message = HeaderValue::try_from(plain).ok();
    fields.extend(message.map(|message| (GRPC_MESSAGE, message)));
    fields
}

/// The gRPC status code for an HTTP status: as in the specification's table, except 400 and 5xx,
/// which follow the meaning of our error codes.
const fn grpc_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        // INTERNAL, UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED, UNAVAILABLE, UNKNOWN.
        400 => "13",
        401 => "16",
        403 => "7",
        404 | 405 => "12",
        429 | 502..=504 => "14",
        _ => "2",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_calls_of_grpc_are_such() {
        let of = |kind: &'static str| {
            HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
        };
        let is = |kind| is_grpc(&Method::POST, &of(kind));
        for kind in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;x=y",
        ] {
            assert!(is(kind), "{kind}");
        }
        for kind in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpcx",
            "application/json",
            "",
        ] {
            assert!(!is(kind), "{kind}");
        }
        assert!(!is_grpc(&Method::POST, &HeaderMap::new()));
        assert!(!is_grpc(&Method::GET, &of("application/grpc")));
        let mut twice = of("application/grpc");
        twice.append(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        assert!(!is_grpc(&Method::POST, &twice));
    }

    #[test]
    fn a_rejection_is_a_status_that_clients_know() {
        for (status, expected) in [
            (400, "13"),
            (401, "16"),
            (403, "7"),
            (404, "12"),
            (502, "14"),
            (503, "14"),
            (500, "2"),
        ] {
            let fields: HeaderMap = rejection(StatusCode::from_u16(status).unwrap(), "Sign in.")
                .into_iter()
                .collect();
            assert_eq!(fields["grpc-status"], expected, "{status}");
            assert_eq!(fields[header::CACHE_CONTROL], "no-store");
            assert_eq!(fields["grpc-message"], "Sign in.");
        }
    }
}
