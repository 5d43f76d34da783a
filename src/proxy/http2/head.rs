//! The head of an HTTP/2 request, written as the HTTP/1.1 head that says the same.
//!
//! So there is one reading of requests: the gate decides on these bytes as on any client's, and what goes to the backend is
//! taken from them. What HTTP/1.1 could not say, or would say otherwise, is refused here (RFC 9113 sections 8.2 and 8.3).
//!
//! Must stay true: nothing that a client sends can end a line; one `Host`, which is the `:authority`; the body is framed as the
//! stream is, never as the client claims.

use bytes::{BufMut, BytesMut};
use http::{HeaderName, HeaderValue, Method, header, request::Parts};

/// Fields that belong to a connection of HTTP/1.1 and make an HTTP/2 request malformed (RFC 9113 section 8.2.2).
const OF_CONNECTIONS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Writes the head, or says why there is none. `bodiless`: the stream has ended with it.
pub(super) fn write(request: &Parts, bodiless: bool) -> Result<BytesMut, &'static str> {
    let target = target(request)?;
    let mut out = BytesMut::with_capacity(512);
    // No line can be ended by one of these: a method is a token, and a `Uri` has no control characters or spaces.
    for part in [request.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
    line(&mut out, "host", authority(request)?);
    for (name, value) in &request.headers {
        if OF_CONNECTIONS.contains(name) {
            return Err("A header field belongs to a connection of HTTP/1.1.");
        }
        if value.as_bytes().trim_ascii().len() != value.len() {
            return Err("A header value begins or ends with white space.");
        }
        match *name {
            // Said above, joined below, and for this hop only.
            header::HOST | header::COOKIE => {}
            header::TE if value != "trailers" => return Err("TE can only be trailers."),
            // There is no 100 to send on this way, and clients do not wait for it for ever (RFC 9110 section 10.1.1).
            header::EXPECT if value.as_bytes().eq_ignore_ascii_case(b"100-continue") && !bodiless => {}
            header::CONTENT_LENGTH if bodiless && value != "0" => {
                return Err("Content-Length announces a body, and there is none.");
            }
            _ => line(&mut out, name.as_str(), value.as_bytes()),
        }
    }
    let crumbs: Vec<_> = request.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !crumbs.is_empty() {
        // RFC 9113 section 8.2.3.
        line(&mut out, "cookie", &crumbs.join(&b"; "[..]));
    }
    if !bodiless && !request.headers.contains_key(header::CONTENT_LENGTH) {
        line(&mut out, "transfer-encoding", b"chunked");
    }
    out.put_slice(b"\r\n");
    Ok(out)
}

/// `:path`. A CONNECT has neither that nor a scheme (RFC 9113 section 8.5); it is written as HTTP/1.1 has it (RFC 9112 section 3.2.3),
/// so that the gate refuses it as any other.
fn target(request: &Parts) -> Result<&str, &'static str> {
    match (request.uri.scheme_str(), request.uri.path_and_query(), request.uri.authority()) {
        (None, None, Some(authority)) if request.method == Method::CONNECT => Ok(authority.as_str()),
        (Some("http" | "https"), Some(path), _) => Ok(path.as_str()),
        (Some("http" | "https"), None, _) => Err("The :path is missing."),
        (Some(_) | None, _, _) => Err("The :scheme is not http or https."),
    }
}

/// `:authority`, or `Host` where that stands alone (RFC 9113 section 8.3.1).
fn authority(request: &Parts) -> Result<&[u8], &'static str> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err("A header that may be there once is there twice.");
    }
    match (request.uri.authority().map(|authority| authority.as_str().as_bytes()), host) {
        (Some(authority), None) => Ok(authority),
        (Some(authority), Some(host)) if authority == host => Ok(authority),
        (Some(_), Some(_)) => Err("The Host header is not the :authority."),
        (None, Some(host)) => Ok(host),
        (None, None) => Err("The :authority is missing."),
    }
}

fn line(out: &mut BytesMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn written(uri: &str, fields: &[(&str, &str)], bodiless: bool) -> Result<String, &'static str> {
        let mut request = Request::builder().method("POST").uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        write(&parts, bodiless).map(|head| String::from_utf8(head.to_vec()).unwrap())
    }

    #[test]
    fn a_head_is_written_as_http1_says_it() {
        let fields = [("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2"), ("te", "trailers"), ("host", "h:1")];
        assert_eq!(
            written("https://h:1/p?q", &fields, true).unwrap(),
            "POST /p?q HTTP/1.1\r\nhost: h:1\r\naccept: x\r\nte: trailers\r\ncookie: a=1; b=2\r\n\r\n"
        );
        assert_eq!(
            written("http://h/p", &[("expect", "100-continue")], false).unwrap(),
            "POST /p HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        assert_eq!(
            written("http://h/p", &[("content-length", "5")], false).unwrap(),
            "POST /p HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n"
        );
    }

    #[test]
    fn a_connect_is_written_with_its_authority_and_nothing_else_is() {
        let asked = |method: &str, uri: &str| {
            let (parts, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
            write(&parts, true).map(|head| String::from_utf8(head.to_vec()).unwrap())
        };
        assert_eq!(asked("CONNECT", "h:443").unwrap(), "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n");
        for (method, uri) in [("GET", "h:443"), ("POST", "h:443"), ("CONNECT", "/p"), ("GET", "/p")] {
            assert!(asked(method, uri).is_err(), "{method} {uri}");
        }
    }

    #[test]
    fn what_http1_would_say_otherwise_is_refused() {
        for (uri, fields, bodiless) in [
            ("ftp://h/p", &[][..], true),
            ("/p", &[][..], true),
            ("https://h/p", &[("host", "other")][..], true),
            ("https://h/p", &[("host", "h"), ("host", "h")][..], true),
            ("https://h/p", &[("connection", "close")][..], true),
            ("https://h/p", &[("transfer-encoding", "chunked")][..], false),
            ("https://h/p", &[("upgrade", "websocket")][..], true),
            ("https://h/p", &[("keep-alive", "1")][..], true),
            ("https://h/p", &[("proxy-connection", "close")][..], true),
            ("https://h/p", &[("te", "gzip")][..], true),
            ("https://h/p", &[("x", " y")][..], true),
            ("https://h/p", &[("x", "y\t")][..], true),
            ("https://h/p", &[("content-length", "5")][..], true),
        ] {
            assert!(written(uri, fields, bodiless).is_err(), "{uri} {fields:?}");
        }
    }
}
