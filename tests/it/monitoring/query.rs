//! As much of `PromQL` as it takes to see what an expression is about: its selectors and the labels
//! that it groups by.

/// `menshen_logins_total{method="sms"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    pub metric: String,
    pub matchers: Vec<Matcher>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    pub label: String,
    pub operator: String,
    pub value: String,
}

impl Selector {
    pub fn text(&self) -> String {
        let matchers: Vec<String> = self
            .matchers
            .iter()
            .map(|m| format!("{}{}\"{}\"", m.label, m.operator, m.value))
            .collect();
        format!("{}{{{}}}", self.metric, matchers.join(","))
    }
}

impl Matcher {
    /// The values that it names: of a regular expression, which has to be a plain list, each.
    pub fn values(&self) -> Vec<&str> {
        if self.operator.contains('~') {
            self.value.split('|').collect()
        } else {
            vec![&self.value]
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// Every word outside of quotes, with what follows it.
fn words(expression: &str) -> Vec<(&str, &str)> {
    let (mut words, mut rest) = (Vec::new(), expression);
    while let Some(c) = rest.chars().next() {
        if c == '"' {
            rest = rest[1..].split_once('"').expect("a closing quote").1;
        } else if is_name(c) || c == '$' {
            let end = rest[1..]
                .find(|c| !is_name(c))
                .map_or(rest.len(), |at| at + 1);
            words.push(rest.split_at(end));
            rest = &rest[end..];
        } else {
            rest = &rest[c.len_utf8()..];
        }
    }
    words
}

/// What it asks for: metrics of menshen and of its process, `up`, and what rules have recorded.
pub fn selectors(expression: &str) -> Vec<Selector> {
    let is_metric = |word: &str| {
        word == "up"
            || word.starts_with("menshen_")
            || word.starts_with("process_")
            || word.contains(":menshen_")
    };
    let read = |(word, rest): (&str, &str)| {
        let braces = rest
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
            .map_or("", |(inside, _)| inside);
        Selector {
            metric: word.to_owned(),
            matchers: matchers(braces),
        }
    };
    words(expression)
        .into_iter()
        .filter(|(word, _)| is_metric(word))
        .map(read)
        .collect()
}

fn matchers(mut text: &str) -> Vec<Matcher> {
    let mut found = Vec::new();
    while let Some((before, rest)) = text.split_once('"') {
        let (value, rest) = rest.split_once('"').expect("a closing quote");
        let before = before.trim_start_matches([',', ' ']);
        let (label, operator) = before.split_at(before.find(|c| !is_name(c)).expect("an operator"));
        found.push(Matcher {
            label: label.to_owned(),
            operator: operator.trim().to_owned(),
            value: value.to_owned(),
        });
        text = rest;
    }
    found
}

/// The labels that it groups or joins by.
pub fn groups(expression: &str) -> Vec<&str> {
    words(expression)
        .into_iter()
        .filter(|(word, _)| matches!(*word, "by" | "on" | "without" | "ignoring" | "group_left"))
        .filter_map(|(_, rest)| rest.trim_start().strip_prefix('(')?.split_once(')'))
        .flat_map(|(inside, _)| inside.split(',').map(str::trim))
        .collect()
}

#[test]
fn an_expression_is_read_as_it_is_meant() {
    let expression = "sum by (job, le) (rate(menshen_a_bucket{job=~\"menshen_x|b\", le!=\"1\"}[$__rate_interval]))\n / on (job) a:menshen_b:c > 2 and up == 0";
    let read: Vec<String> = selectors(expression).iter().map(Selector::text).collect();
    assert_eq!(
        read,
        [
            "menshen_a_bucket{job=~\"menshen_x|b\",le!=\"1\"}",
            "a:menshen_b:c{}",
            "up{}"
        ]
    );
    assert_eq!(
        selectors(expression)[0].matchers[0].values(),
        ["menshen_x", "b"]
    );
    assert_eq!(groups(expression), ["job", "le", "job"]);
}
