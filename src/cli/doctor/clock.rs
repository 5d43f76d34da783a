//! Is the clock right? Tokens, codes and signatures of vendors depend on it.

use super::{context::DoctorContext, finding::Finding};

/// A larger difference, in seconds, is a warning.
const WARNING_SECONDS: u64 = 5;
/// A larger difference, in seconds, is a failure: it exceeds the leeway of tokens.
const FAILURE_SECONDS: u64 = 30;

pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    judge(&context.probes.clocks().collect::<Vec<_>>())
}

fn judge(clocks: &[(&str, i64)]) -> Vec<Finding> {
    let advice = "synchronize both clocks with NTP (chrony, systemd-timesyncd); if several servers show the same, this machine's clock is wrong";
    let differs = |(name, ahead): &(&str, i64)| {
        let side = if *ahead > 0 { "ahead of" } else { "behind" };
        let seen = format!(
            "the clock of {name} is {} s {side} ours",
            ahead.unsigned_abs()
        );
        match ahead.unsigned_abs() {
            0..=WARNING_SECONDS => None,
            much if much > FAILURE_SECONDS => Some(Finding::failed(seen, advice)),
            _ => Some(Finding::warning(seen, advice)),
        }
    };
    let different: Vec<_> = clocks.iter().filter_map(differs).collect();
    match (clocks.len(), different.is_empty()) {
        (0, _) => vec![Finding::skipped("no server sent its time")],
        (_, false) => different,
        (many, true) => {
            let names: Vec<_> = clocks.iter().map(|(name, _)| *name).collect();
            let agree = if many == 1 { "agrees" } else { "agree" };
            vec![Finding::ok(format!(
                "{} {agree} with ours within {WARNING_SECONDS} s",
                names.join(", ")
            ))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Status, *};

    #[test]
    fn five_seconds_are_nothing_and_more_than_thirty_a_failure() {
        for (ahead, state) in [
            (0, Status::Ok),
            (-5, Status::Ok),
            (6, Status::Warning),
            (-30, Status::Warning),
            (31, Status::Failed),
            (-3600, Status::Failed),
        ] {
            assert_eq!(judge(&[("a", ahead)])[0].state, state, "{ahead}");
        }
        let one_of_two = judge(&[("a", 0), ("b", 31)]);
        assert_eq!((one_of_two.len(), one_of_two[0].state), (1, Status::Failed));
        assert_eq!(judge(&[])[0].state, Status::Skipped);
    }
}
