//! Suggestions for unknown keys and variables.

use super::{
    problems::within,
    schema::{Schema, ValueType},
};

/// Keys of earlier releases that are no keys any more, with what to write instead. `rule.path` is a
/// key of every `[[rule]]`. A release that renames or drops a key names it here; the keys of each
/// release are in `tests/data/keys`.
const RETIRED_KEYS: &[(&str, &str)] = &[];

/// What to write instead of a key of an earlier release.
fn instead_of<'a>(key: &str, retired: &[(&str, &'a str)]) -> Option<&'a str> {
    // `rule[2].path` is `rule.path`.
    let mut name = String::new();
    for step in key.split('[') {
        name += step.split_once(']').map_or(step, |(_, rest)| rest);
    }
    let found = retired.iter().find(|(key, _)| *key == name);
    found.map(|(_, instead)| *instead)
}

/// The message for the unknown key `name` of the table `inside`.
pub(super) fn for_key(table: Schema, inside: &str, name: &str) -> String {
    if let Some(instead) = instead_of(&within(inside, name), RETIRED_KEYS) {
        return format!("is a key of an earlier menshen: {instead}");
    }
    let siblings: Vec<String> = table
        .properties()
        .map(|(sibling, _)| sibling.to_owned())
        .collect();
    if let Some(meant) = nearest(name, &siblings) {
        return format!("is not a key; did you mean `{meant}`?");
    }
    let all = Schema::root().walk("");
    let elsewhere: Vec<String> = (all.iter().map(|(key, _)| key.replace("[0]", "")))
        .filter(|key| key.rsplit('.').next() == Some(name) && *key != within(inside, name))
        .map(|key| format!("`{key}`"))
        .collect();
    match elsewhere.as_slice() {
        [] => "is not a key; `menshen config` prints all there are".to_owned(),
        places => format!("is not a key here; there is {}", places.join(" and ")),
    }
}

/// The message for the unknown variable `name`.
pub(super) fn for_variable(name: &str) -> String {
    let all = Schema::root().walk("");
    let is_value = |schema: &Schema| match schema.value_type() {
        ValueType::Table => false,
        ValueType::List(item) => !matches!(item.value_type(), ValueType::Table),
        ValueType::Map(_)
        | ValueType::Enum(_)
        | ValueType::Text(_)
        | ValueType::Integer(_)
        | ValueType::Boolean => true,
    };
    let variables: Vec<String> = all
        .iter()
        .filter(|(_, schema)| is_value(schema))
        .map(|(key, _)| variable(key))
        .collect();
    match nearest(name, &variables) {
        Some(meant) => format!("names no key; did you mean {meant}?"),
        None => "names no key; write MENSHEN_SECTION__KEY, with two `_` between them".to_owned(),
    }
}

/// The variable that sets a key: `rule[0].path` is `MENSHEN_RULE__0__PATH`.
pub(super) fn variable(key: &str) -> String {
    let steps = key.replace('[', ".").replace(']', "");
    format!("MENSHEN_{}", steps.to_uppercase().replace('.', "__"))
}

/// Longer names are no slips, and their distances cost much.
const MAX_NAME_LEN: usize = 64;

/// The candidate with the smallest edit distance, if that is small for its length.
pub(crate) fn nearest<'a>(name: &str, candidates: &'a [String]) -> Option<&'a str> {
    let slips = |candidate: &&String| {
        strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase())
    };
    let candidates = (name.len() <= MAX_NAME_LEN).then_some(candidates)?;
    let best = candidates.iter().min_by_key(slips)?;
    (slips(&best) <= (name.chars().count() / 3).clamp(1, 4)).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_for_a_slip_is_compared_with_none() {
        let names = vec!["listen".repeat(20)];
        assert_eq!(nearest(&names[0], &names), None);
    }

    #[test]
    fn a_slip_and_a_wrong_section_are_recognised() {
        for (inside, name, message) in [
            ("server", "listens", "is not a key; did you mean `listen`?"),
            (
                "server",
                "headerTimeout",
                "is not a key; did you mean `header_timeout`?",
            ),
            (
                "server",
                "max-header-bytes",
                "is not a key; did you mean `max_header_bytes`?",
            ),
            ("", "tokns", "is not a key; did you mean `tokens`?"),
            (
                "server",
                "access_ttl",
                "is not a key here; there is `dialect.access_ttl` and `tokens.access_ttl`",
            ),
            (
                "server",
                "timeout",
                "is not a key here; there is `hooks.timeout` and `sms.timeout` and `upstream.health.timeout` and `wechat.timeout`",
            ),
            (
                "tokens",
                "listen",
                "is not a key here; there is `admin.listen` and `server.listen`",
            ),
            (
                "",
                "app_id",
                "is not a key here; there is `wechat.app.app_id` and `wechat.app_id`",
            ),
            (
                "server",
                "zzz",
                "is not a key; `menshen config` prints all there are",
            ),
        ] {
            let table = if inside.is_empty() {
                Schema::root()
            } else {
                Schema::root().property(inside).unwrap()
            };
            assert_eq!(for_key(table, inside, name), message, "{inside}.{name}");
        }
    }

    #[test]
    fn every_key_of_a_release_is_a_key_or_has_what_to_write_instead() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/keys");
        let now: Vec<String> = Schema::root()
            .walk("")
            .into_iter()
            .map(|(key, _)| key.replace("[0]", ""))
            .collect();
        // A release writes its own: MENSHEN_WRITE_KEYS=0.1.0 cargo test every_key_of_a_release
        if let Ok(release) = std::env::var("MENSHEN_WRITE_KEYS") {
            std::fs::write(format!("{directory}/{release}"), now.join("\n") + "\n").unwrap();
        }
        let mut releases = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            let file = file.unwrap().path();
            for key in std::fs::read_to_string(&file).unwrap().lines() {
                assert!(
                    now.iter().any(|name| name == key) || instead_of(key, RETIRED_KEYS).is_some(),
                    "{key} is a key of {}: add it to RETIRED_KEYS",
                    file.display()
                );
            }
            releases += 1;
        }
        assert!(releases > 0, "no release has its keys in {directory}");
        for (key, _) in RETIRED_KEYS {
            assert!(!now.iter().any(|name| name == key), "{key} is a key");
        }
    }

    #[test]
    fn a_retired_key_is_found_in_each_item_of_a_list() {
        let retired = [
            ("rule.way", "write `access`"),
            ("server.port", "write `listen`"),
        ];
        for (key, instead) in [
            ("rule[12].way", Some("write `access`")),
            ("server.port", Some("write `listen`")),
            ("rule[0].path", None),
            ("port", None),
        ] {
            assert_eq!(instead_of(key, &retired), instead, "{key}");
        }
    }

    #[test]
    fn a_variable_with_a_slip_is_recognised() {
        for (name, message) in [
            (
                "MENSHEN_WECHAT_SECRET",
                "names no key; did you mean MENSHEN_WECHAT__SECRET?",
            ),
            (
                "MENSHEN_SERVR__LISTEN",
                "names no key; did you mean MENSHEN_SERVER__LISTEN?",
            ),
            (
                "MENSHEN_RULE__0__PTH",
                "names no key; did you mean MENSHEN_RULE__0__PATH?",
            ),
            (
                "MENSHEN_COLOUR",
                "names no key; write MENSHEN_SECTION__KEY, with two `_` between them",
            ),
        ] {
            assert_eq!(for_variable(name), message, "{name}");
        }
    }
}
