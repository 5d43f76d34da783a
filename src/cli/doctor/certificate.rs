//! How long is the certificate for clients valid? Loading the config has checked that the files can
//! be read and fit.

use super::{context::DoctorContext, finding::Finding};
use crate::{clock::Clock, proxy::Tls};

const DAY: i64 = 24 * 60 * 60;
/// Let's Encrypt certificates are renewed 30 days before they expire; when that fails for a week,
/// it needs attention.
const NOTICE_DAYS: i64 = 21;

pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let server = &context.config.server;
    if !server.wants_tls() {
        return vec![Finding::skipped(
            "no address of server.listen begins with tls:",
        )];
    }
    let now = i64::try_from(Clock::System.now().as_secs()).unwrap_or(i64::MAX);
    vec![match Tls::expiry(&server.tls) {
        Ok(end) => judge(end - now),
        Err(error) => Finding::failed(error.to_string(), "correct [server.tls]"),
    }]
}

/// Judges by the seconds until it expires.
fn judge(left: i64) -> Finding {
    let days = left.unsigned_abs() / DAY.unsigned_abs();
    let advice = "renew it; menshen reads the files again by itself";
    if left <= 0 {
        Finding::failed(
            format!("it expired {days} days ago: clients reject it"),
            advice,
        )
    } else if left < NOTICE_DAYS * DAY {
        Finding::warning(
            format!("it fits its key, and expires in {days} days"),
            advice,
        )
    } else {
        Finding::ok(format!("it fits its key, and is good for {days} days"))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Status, *};

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
