//! Do the processes that share the store agree with each other and with this config, and with the
//! clock of its database?

use std::{collections::BTreeMap, sync::Arc};

use super::{context::DoctorContext, finding::Finding};
use crate::{
    app,
    clock::Clock,
    config::StoreEngine,
    store::{OpenError, Replica, ReplicaFacts},
    types::Timestamp,
};

/// A larger difference of clocks, in milliseconds, is a warning.
const WARNING_MS: u64 = 1000;
/// A larger difference, in milliseconds, is a failure: it exceeds the leeway of tokens.
const FAILURE_MS: u64 = 30_000;
const CLOCK_ADVICE: &str = "synchronize both with NTP (chrony, systemd-timesyncd): codes and tokens end early or late by that \
    much";

pub(super) async fn check(context: Arc<DoctorContext>) -> Vec<Finding> {
    let config = &context.config;
    if config.store.engine() != Ok(StoreEngine::Shared) {
        return vec![Finding::skipped("its store serves one process")];
    }
    let facts = match app::replica_facts(config) {
        Ok(facts) => facts,
        Err(error) => return vec![Finding::failed(format!("{error:#}"), "correct the config")],
    };
    let clock = Clock::System;
    let before = clock.now();
    match app::running_replicas(config).await {
        Ok(Some((time, replicas))) => {
            let mut findings = vec![judge_clock(before, clock.now(), time)];
            findings.extend(judge(&replicas, &facts));
            findings
        }
        Ok(None) => vec![Finding::skipped("no menshen has run on this database yet")],
        Err(error) if matches!(error.downcast_ref(), Some(OpenError::WrongKey { .. })) => {
            vec![Finding::failed(
                "the key here does not open what the replicas keep in the database",
                "give this config the encryption key that they have",
            )]
        }
        // Before the first start there are no tables.
        Err(error) => vec![Finding::skipped(format!(
            "the replicas cannot be compared: {error:#}"
        ))],
    }
}

/// How the clock of the database, which was read between these two times, differs from ours.
fn judge_clock(before: Timestamp, after: Timestamp, time: Timestamp) -> Finding {
    let ahead = time.since(after);
    let behind = before.since(time);
    let (millis, side) = if ahead > behind {
        (ahead.as_millis(), "ahead of")
    } else {
        (behind.as_millis(), "behind")
    };
    let millis = u64::try_from(millis).unwrap_or(u64::MAX);
    let seen = format!("the clock of the database is {millis} ms {side} ours");
    match millis {
        0..=WARNING_MS => Finding::ok("the clock of the database agrees with ours within a second"),
        much if much > FAILURE_MS => Finding::failed(seen, CLOCK_ADVICE),
        _ => Finding::warning(seen, CLOCK_ADVICE),
    }
}

fn judge(replicas: &[Replica], facts: &ReplicaFacts) -> Vec<Finding> {
    let [first, others @ ..] = replicas else {
        return vec![Finding::skipped(
            "no other menshen runs on this database now",
        )];
    };
    let mut findings = Vec::new();
    for (at, (name, _)) in facts.aspects().into_iter().enumerate() {
        let value = |replica: &Replica| replica.facts.aspects()[at].1.clone();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for replica in replicas {
            *counts.entry(value(replica)).or_default() += 1;
        }
        if counts.len() > 1 {
            findings.push(different(name, &counts));
        } else if value(first) != *facts.aspects()[at].1 {
            findings.push(Finding::warning(
                format!(
                    "the {name} of what runs is {}, and here {}",
                    value(first),
                    facts.aspects()[at].1
                ),
                "right before an update; otherwise this is not their config, or not their menshen",
            ));
        }
    }
    let clocks = replicas
        .iter()
        .filter(|replica| replica.clock_ahead_ms.unsigned_abs() > WARNING_MS);
    findings.extend(clocks.map(|replica| {
        let millis = replica.clock_ahead_ms;
        Finding::warning(
            format!("the clock of a replica is {millis} ms ahead of the database's"),
            CLOCK_ADVICE,
        )
    }));
    if findings.is_empty() {
        let count = others.len() + 1;
        findings.push(Finding::ok(format!(
            "{count} running on this database, with the version, tokens and config of here"
        )));
    }
    findings
}

fn different(name: &str, counts: &BTreeMap<String, usize>) -> Finding {
    let values: Vec<_> = counts
        .iter()
        .map(|(value, count)| format!("{value} ({count})"))
        .collect();
    let seen = format!("replicas differ in their {name}: {}", values.join(", "));
    let advice = ReplicaFacts::consequence(name);
    if name == "version" {
        Finding::warning(seen, advice)
    } else {
        Finding::failed(seen, advice)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Status, *};
    use crate::store::ReplicaId;

    fn replica(id: u128, facts: &ReplicaFacts) -> Replica {
        Replica {
            id: ReplicaId(id),
            at: Timestamp::default(),
            clock_ahead_ms: 0,
            facts: facts.clone(),
        }
    }

    fn states(findings: &[Finding]) -> Vec<Status> {
        findings.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn replicas_are_compared_with_each_other_and_with_the_config() {
        let facts = ReplicaFacts {
            version: "1".to_owned(),
            issuer: "a".to_owned(),
            ..ReplicaFacts::default()
        };
        let newer = ReplicaFacts {
            version: "2".to_owned(),
            ..facts.clone()
        };
        let other = ReplicaFacts {
            issuer: "b".to_owned(),
            ..facts.clone()
        };
        let same = [replica(1, &facts), replica(2, &facts)];
        assert_eq!(states(&judge(&same, &facts)), [Status::Ok]);
        assert_eq!(states(&judge(&same, &newer)), [Status::Warning]);
        assert_eq!(states(&judge(&[], &facts)), [Status::Skipped]);
        let update = [replica(1, &facts), replica(2, &newer)];
        assert_eq!(states(&judge(&update, &newer)), [Status::Warning]);
        let mixed = [replica(1, &facts), replica(2, &other)];
        assert_eq!(states(&judge(&mixed, &facts)), [Status::Failed]);
        let hooks = ReplicaFacts {
            config: "other".to_owned(),
            ..facts.clone()
        };
        let found = judge(&[replica(1, &facts), replica(2, &hooks)], &facts);
        assert_eq!(states(&found), [Status::Failed]);
        let advice = found[0].advice.as_deref().unwrap();
        assert!(
            advice.contains("does the upkeep sends the hooks"),
            "{advice}"
        );
        let mut late = replica(2, &facts);
        late.clock_ahead_ms = -1500;
        let found = judge(&[replica(1, &facts), late], &facts);
        assert_eq!(states(&found), [Status::Warning]);
        assert!(found[0].seen.contains("-1500 ms"), "{found:?}");
    }

    #[test]
    fn more_than_a_second_is_a_warning_and_more_than_thirty_a_failure() {
        let at = |millis: u64| Timestamp::from_millis(1_800_000_000_000 + millis);
        for (time, state) in [
            (100_000, Status::Ok),
            (101_000, Status::Ok),
            (98_999, Status::Warning),
            (130_101, Status::Failed),
            (60_000, Status::Failed),
        ] {
            let found = judge_clock(at(100_000), at(100_100), at(time));
            assert_eq!(found.state, state, "{found:?}");
        }
    }
}
