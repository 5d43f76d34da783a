//! Which requests menshen answers itself, and where a token may be below the prefix of a dialect.

/// What the gate knows of the dialects.
#[derive(Debug, Clone, Default)]
pub struct LocalRoutes {
    /// Method and path of each route of a dialect. Other methods of the path go to the backend.
    pub routes: Vec<(String, String)>,
    /// Prefixes under which `Authorization` may be a token without a scheme.
    pub bare_token: Vec<String>,
    /// Prefixes with the header that may carry a token on the paths under them.
    pub token_headers: Vec<(String, Box<str>)>,
}

impl LocalRoutes {
    /// Whether a dialect has this route.
    pub fn has(&self, method: &str, path: &str) -> bool {
        self.routes
            .iter()
            .any(|(known, route)| route == path && known == method)
    }

    /// Whether a token without `Bearer` is accepted on this path.
    pub fn takes_bare_token(&self, path: &str) -> bool {
        self.bare_token.iter().any(|prefix| is_under(path, prefix))
    }

    /// The header that may carry a token on this path: that of the longest prefix.
    pub fn token_header(&self, path: &str) -> Option<&str> {
        let under = self
            .token_headers
            .iter()
            .filter(|(prefix, _)| is_under(path, prefix));
        under
            .max_by_key(|(prefix, _)| prefix.len())
            .map(|(_, name)| &**name)
    }
}

/// Whether a path is under a prefix of whole segments (`/authors` is not under `/auth`). Every path
/// is under the empty prefix.
pub fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_of_whole_segments() {
        for (path, prefix, is) in [
            ("/auth", "/auth", true),
            ("/auth/x", "/auth", true),
            ("/authors", "/auth", false),
            ("/a", "/auth", false),
            ("/anything", "", true),
            ("/", "", true),
            ("*", "", false),
            ("/AUTH/x", "/auth", false),
        ] {
            assert_eq!(is_under(path, prefix), is, "{path} under {prefix:?}");
        }
    }

    #[test]
    fn a_route_is_one_method_of_one_path() {
        let routes = vec![("POST".to_owned(), "/login".to_owned())];
        let answered = LocalRoutes {
            routes,
            bare_token: vec!["/api".to_owned()],
            token_headers: vec![
                ("/api/v2".to_owned(), "_token".into()),
                ("/api".to_owned(), "x-token".into()),
            ],
        };
        assert!(answered.has("POST", "/login"));
        for (method, path) in [
            ("GET", "/login"),
            ("post", "/login"),
            ("POST", "/login/"),
            ("POST", "/Login"),
            ("POST", "/"),
        ] {
            assert!(!answered.has(method, path), "{method} {path}");
        }
        assert!(answered.takes_bare_token("/api/x") && !answered.takes_bare_token("/x"));
        let header = |path| answered.token_header(path);
        assert_eq!(
            [header("/api/v2/x"), header("/api/x"), header("/x")],
            [Some("_token"), Some("x-token"), None]
        );
    }
}
