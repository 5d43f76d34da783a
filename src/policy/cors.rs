//! CORS: which pages may read menshen's responses, and the response to a preflight (Fetch standard,
//! section 3.3).
//!
//! This protects no backend: it only lets a browser show a response to a page of another origin.
//! The fields are made once for each origin, so a request costs a comparison, and only if it has
//! an `Origin`.
//!
//! Must stay true: an origin is allowed if it equals one of the list byte by byte; nothing from a
//! request gets into a response; `*` and credentials exclude each other; responses of the backend
//! keep their own fields.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::head::Head;
use crate::config::CorsConfig;

/// CORS header fields of a response of menshen.
pub type CorsFields = Arc<[(HeaderName, HeaderValue)]>;

/// Methods that a page may use: all that pass, except `OPTIONS`, which only the browser sends.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");

/// The allowed origins, compiled.
#[derive(Debug, Clone)]
pub struct Cors {
    origins: Origins,
    /// For requests without an allowed origin.
    default: CorsFields,
    credentials: bool,
}

#[derive(Debug, Clone)]
enum Origins {
    Any(OriginFields),
    Listed(Vec<(Box<[u8]>, OriginFields)>),
}

/// The fields for an allowed origin.
#[derive(Debug, Clone)]
struct OriginFields {
    response: CorsFields,
    preflight: CorsFields,
}

impl Cors {
    /// `None`: no origin is allowed. `token_headers`: names that pages may send as well.
    pub fn compile(config: &CorsConfig, token_headers: &[&str]) -> Option<Self> {
        let mut allowed_headers = config.allowed_headers.clone();
        for name in token_headers {
            if !allowed_headers
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
            {
                allowed_headers.push((*name).to_owned());
            }
        }
        let config = &CorsConfig {
            allowed_headers,
            ..config.clone()
        };
        let listed: Vec<_> = config
            .allowed_origins
            .iter()
            .filter(|origin| *origin != "*")
            .filter_map(|origin| {
                Some((origin.as_bytes().into(), OriginFields::new(config, origin)?))
            })
            .collect();
        let (origins, default): (_, CorsFields) =
            if config.allowed_origins.iter().any(|origin| origin == "*") {
                (Origins::Any(OriginFields::new(config, "*")?), Arc::new([]))
            } else if listed.is_empty() {
                return None;
            } else {
                let vary = (header::VARY, HeaderValue::from_static("Origin"));
                (Origins::Listed(listed), Arc::new([vary]))
            };
        Some(Self {
            origins,
            default,
            credentials: config.allow_credentials,
        })
    }

    /// The fields of the response to this request.
    pub fn response_fields(&self, head: &Head<'_>) -> CorsFields {
        self.allowed(head)
            .map_or(&self.default, |allowed| &allowed.response)
            .clone()
    }

    /// The fields of the response to this preflight.
    pub fn preflight_fields(&self, head: &Head<'_>) -> CorsFields {
        self.allowed(head)
            .map_or(&self.default, |allowed| &allowed.preflight)
            .clone()
    }

    /// Whether a page of this origin may send cookies: the origin is listed, and credentials are
    /// allowed.
    pub fn allows_with_credentials(&self, head: &Head<'_>) -> bool {
        self.credentials
            && matches!(self.origins, Origins::Listed(_))
            && self.allowed(head).is_some()
    }

    fn allowed(&self, head: &Head<'_>) -> Option<&OriginFields> {
        let origin = head.only_value("origin")?;
        match &self.origins {
            Origins::Any(allowed) => Some(allowed),
            Origins::Listed(listed) => listed
                .iter()
                .find(|(known, _)| **known == *origin)
                .map(|(_, allowed)| allowed),
        }
    }
}

impl OriginFields {
    fn new(config: &CorsConfig, origin: &str) -> Option<Self> {
        let text = |text: &str| HeaderValue::from_str(text).ok();
        let mut common = vec![(header::ACCESS_CONTROL_ALLOW_ORIGIN, text(origin)?)];
        if origin != "*" {
            common.push((header::VARY, HeaderValue::from_static("Origin")));
            if config.allow_credentials {
                common.push((
                    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                ));
            }
        }
        let (mut response, mut preflight) = (common.clone(), common);
        if !config.expose_headers.is_empty() {
            response.push((
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                text(&config.expose_headers.join(", "))?,
            ));
        }
        preflight.push((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS));
        if !config.allowed_headers.is_empty() {
            preflight.push((
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                text(&config.allowed_headers.join(", "))?,
            ));
        }
        preflight.push((
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from(config.max_age.get().as_secs()),
        ));
        Some(Self {
            response: response.into(),
            preflight: preflight.into(),
        })
    }
}

/// The method that a preflight asks about; `None`: the request is no preflight.
pub fn requested_method<'a>(head: &Head<'a>) -> Option<&'a str> {
    if head.method != "OPTIONS" {
        return None;
    }
    head.only_value("origin")?;
    str::from_utf8(head.only_value("access-control-request-method")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::HttpVersion;

    const SHOP: &str = "https://shop.example";

    fn config(origins: &[&str], credentials: bool) -> CorsConfig {
        CorsConfig {
            allowed_origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            allow_credentials: credentials,
            ..CorsConfig::default()
        }
    }

    fn with_head<T>(method: &str, sent: &[(&str, &str)], look: impl FnOnce(&Head<'_>) -> T) -> T {
        let headers: Vec<_> = sent
            .iter()
            .map(|(name, value)| httparse::Header {
                name,
                value: value.as_bytes(),
            })
            .collect();
        look(&Head {
            method,
            target: "/",
            version: HttpVersion::Http11,
            headers: &headers,
            bytes: b"",
            is_followed: false,
        })
    }

    fn lines(fields: &CorsFields) -> Vec<String> {
        fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    fn answer(cors: &Cors, origins: &[&str]) -> Vec<String> {
        let sent: Vec<_> = origins.iter().map(|origin| ("Origin", *origin)).collect();
        with_head("GET", &sent, |head| lines(&cors.response_fields(head)))
    }

    #[test]
    fn without_origins_there_is_no_cors() {
        assert!(Cors::compile(&CorsConfig::default(), &["_token"]).is_none());
    }

    #[test]
    fn an_origin_is_allowed_only_as_it_is_listed() {
        let cors = Cors::compile(&config(&["https://other.example", SHOP], false), &[]).unwrap();
        let allowed = [
            "access-control-allow-origin: https://shop.example",
            "vary: Origin",
            "access-control-expose-headers: X-Menshen-Error, X-Request-Id, Retry-After, WWW-Authenticate",
        ];
        assert_eq!(answer(&cors, &[SHOP]), allowed);
        for stranger in [
            &[][..],
            &["null"],
            &[""],
            &["https://shop.example.evil"],
            &["https://evil.shop.example"],
            &["https://shop.example/"],
            &["https://shop.example:443"],
            &["HTTPS://SHOP.EXAMPLE"],
            &["http://shop.example"],
            &["https://shop.example https://other.example"],
            &[SHOP, SHOP],
            &[SHOP, "https://other.example"],
            &["*"],
        ] {
            assert_eq!(answer(&cors, stranger), ["vary: Origin"], "{stranger:?}");
        }
    }

    #[test]
    fn everybody_is_a_star_and_never_has_credentials() {
        let cors = Cors::compile(&config(&["*"], true), &[]).unwrap();
        let said = answer(&cors, &["https://any.example"]);
        assert_eq!(said[0], "access-control-allow-origin: *");
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(
            answer(&cors, &["null"])[0],
            "access-control-allow-origin: *"
        );
        assert_eq!(answer(&cors, &[]), Vec::<String>::new());
    }

    #[test]
    fn credentials_are_allowed_to_listed_origins() {
        let cors = Cors::compile(&config(&[SHOP], true), &[]).unwrap();
        assert!(
            answer(&cors, &[SHOP]).contains(&"access-control-allow-credentials: true".to_owned())
        );
        assert_eq!(answer(&cors, &["https://evil.example"]), ["vary: Origin"]);
    }

    #[test]
    fn a_preflight_is_told_what_is_configured_and_nothing_of_what_it_said() {
        let own = ["_token", "authorization", "_Token"];
        let cors = Cors::compile(&config(&[SHOP], false), &own).unwrap();
        let sent = [
            ("Origin", SHOP),
            ("Access-Control-Request-Method", "BREW"),
            ("Access-Control-Request-Headers", "x-evil"),
        ];
        assert_eq!(
            with_head("OPTIONS", &sent, |head| lines(&cors.preflight_fields(head))),
            [
                "access-control-allow-origin: https://shop.example",
                "vary: Origin",
                "access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE",
                "access-control-allow-headers: Authorization, Content-Type, _token",
                "access-control-max-age: 600",
            ]
        );
    }

    #[test]
    fn only_options_with_an_origin_and_a_method_is_a_preflight() {
        let (origin, method) = (("Origin", SHOP), ("Access-Control-Request-Method", "PUT"));
        for (request, sent, asked) in [
            ("OPTIONS", &[origin, method][..], Some("PUT")),
            ("OPTIONS", &[("origin", "null"), method], Some("PUT")),
            ("OPTIONS", &[origin], None),
            ("OPTIONS", &[method], None),
            ("OPTIONS", &[origin, method, method], None),
            ("OPTIONS", &[origin, origin, method], None),
            ("GET", &[origin, method], None),
            ("POST", &[origin, method], None),
        ] {
            let is = with_head(request, sent, |head| {
                requested_method(head).map(str::to_owned)
            });
            assert_eq!(is.as_deref(), asked, "{request} {sent:?}");
        }
    }
}
