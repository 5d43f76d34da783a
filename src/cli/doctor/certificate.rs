//! How long is the certificate for clients valid? Loading the config has checked that the files can
//! be read and fit.

use super::{DoctorContext, Finding};
use crate::{clock::Clock, proxy::Tls};

const CHECK: &str = "certificate";
const DAY: i64 = 24 * 60 * 60;
/// Let's Encrypt certificates are renewed 30 days before they expire; when that fails for a week,
/// it needs attention.
const NOTICE_DAYS: i64 = 21;

#[expect(
    clippy::unused_async,
    reason = "checks are called alike, and some of them wait"
)]
pub(super) async fn check(context: &DoctorContext) -> Vec<Finding> {
    let server = &context.config.server;
    if !server.wants_tls() {
        return vec![Finding::skipped(
            CHECK,
            "no address of server.listen begins with tls:",
        )];
    }
    let now = i64::try_from(Clock::System.now().as_secs()).unwrap_or(i64::MAX);
    vec![match Tls::expiry(&server.tls) {
        Ok(end) => judge(end - now),
        Err(error) => Finding::failed(CHECK, error.to_string(), "mend [server.tls]"),
    }]
}

/// Judges by the seconds until it expires.
fn judge(left: i64) -> Finding {
    let days = left.unsigned_abs() / DAY.unsigned_abs();
    let advice = "renew it; menshen reads the files again by itself";
    if left <= 0 {
        Finding::failed(
            CHECK,
            format!("it ended {days} days ago: clients refuse it"),
            advice,
        )
    } else if left < NOTICE_DAYS * DAY {
        Finding::warning(
            CHECK,
            format!("it fits its key, and ends in {days} days"),
            advice,
        )
    } else {
        Finding::ok(
            CHECK,
            format!("it fits its key, and is good for {days} days"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Status, *};

    #[test]
    fn a_certificate_is_warned_about_for_three_weeks_before_its_end() {
        for (left, state) in [
            (-1, Status::Failed),
            (0, Status::Failed),
            (1, Status::Warning),
            (21 * DAY - 1, Status::Warning),
            (21 * DAY, Status::Ok),
        ] {
            assert_eq!(judge(left).state, state, "{left}");
        }
    }
}
