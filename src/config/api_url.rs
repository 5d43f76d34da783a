//! The check on the URL of a vendor's API.

use super::{
    Mode, Problems,
    address::{UpstreamAddress, is_loopback},
};
use crate::types::Malformed;

/// Checks the URL of a vendor's API. A call carries secrets, so it goes over TLS, or stays on this
/// machine.
pub(super) fn check_api_url(
    key: &str,
    url: &str,
    carries: &str,
    mode: Mode,
    problems: &mut Problems,
) {
    match url.parse() {
        Err(Malformed(what)) => problems.add(key, what),
        Ok(UpstreamAddress::Unix(_)) => problems.add(key, "is not a URL: write https://host"),
        Ok(UpstreamAddress::Http {
            tls: false, host, ..
        }) if mode == Mode::Production && !is_loopback(&host) => {
            let message = format!("must be https: it carries {carries}");
            problems.add_conflict(key, &["mode"], message);
        }
        Ok(UpstreamAddress::Http { .. }) => {}
    }
}
