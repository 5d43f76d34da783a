//! Whole configs: what is refused, with which words; what is taken, and as what.

mod environment;
mod hooks;
mod secret_files;
mod sms;
mod values;

use std::{ffi::OsString, fs, path::PathBuf};

use super::*;

/// A directory with a config file and what the file refers to.
struct ConfigDir(tempfile::TempDir);

impl ConfigDir {
    fn with(text: &str) -> Self {
        let dir = Self(tempfile::tempdir().unwrap());
        dir.file("config.toml", text.as_bytes());
        dir
    }

    fn file(&self, name: &str, content: &[u8]) -> &Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self, environment: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
        let environment = environment
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let source = Source {
            file: Some(self.path("config.toml")),
            environment: environment.collect(),
        };
        Config::load(&source).map_err(|problems| {
            problems
                .to_string()
                .lines()
                .map(|line| self.local(line))
                .collect()
        })
    }

    /// The line without the directory, whose name is another one each time.
    fn local(&self, line: &str) -> String {
        line.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn development(text: &str) -> String {
    format!("mode = \"development\"\n{text}")
}

fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    ConfigDir::with(text)
        .load(environment)
        .map(|_| ())
        .expect_err(text)
}

fn config(text: &str, environment: &[(&str, &str)]) -> Config {
    ConfigDir::with(text)
        .load(environment)
        .map_err(|problems| problems.join("\n"))
        .unwrap()
        .config
}

fn warnings(text: &str) -> Vec<String> {
    let dir = ConfigDir::with(text);
    dir.load(&[])
        .unwrap()
        .warnings
        .iter()
        .map(|warning| dir.local(&warning.to_string()))
        .collect()
}

#[test]
fn production_without_credentials_says_exactly_what_to_do() {
    let asked = Config::load(&Source::default()).unwrap_err().to_string();
    assert_eq!(
        asked,
        "configuration: store.encryption_key_file: production needs a key: name a file here (made on first start if missing; keep \
         a copy of it), or give `store.encryption_key`\n\
         configuration: wechat: production needs the mini program's credentials: give `wechat.app_id` and `wechat.secret` (or \
         `wechat.secret_file`), one [[wechat.app]] for each of several, or set mode = \"development\" to try menshen without\n\
         no config file was read: name one with --config, or create one with `menshen config > config.toml`"
    );
}

#[test]
fn production_with_credentials_is_right() {
    let text = "[store]\nencryption_key_file = 'store.key'\n[wechat]\napp_id = 'wx0000000000000001'\nsecret = 's3'\n";
    let config = config(text, &[]);
    assert_eq!(config.mode, Mode::Production);
    assert_eq!(config.store.encryption_key, None);
    assert!(
        config
            .store
            .encryption_key_file
            .unwrap()
            .ends_with("store.key")
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = development(
        "[server]\nlistens = []\nheader_timeout = 'x'\n[tokens]\naccess_ttl = 'x'\nidle_ttl = '1m'\nleeway = '1h'\n\
         [[rule]]\nname = 7\npath = '/'\n[[wechat.app]]\napp_id = 'a b'\nsecret = 3\n",
    );
    assert_eq!(
        problems(
            &text,
            &[
                ("MENSHEN_LIMITS__ENABLED", "no"),
                ("MENSHEN_WECHAT_SECRET", "hunter2")
            ]
        ),
        [
            "config.toml:3: server.listens: is not a key; did you mean `listen`?",
            "config.toml:4: server.header_timeout: \"x\" is not a duration: write a whole number and ms, s, m, h or d",
            // Nothing is said of `idle_ttl` being shorter than an `access_ttl` that could not be
            // read.
            "config.toml:6: tokens.access_ttl: \"x\" is not a duration: write a whole number and ms, s, m, h or d",
            "config.toml:8: tokens.leeway: 1h is not between 0s and 5m",
            "config.toml:10: rule[0].name: must be a text in quotes, not a whole number",
            "config.toml:13: wechat.app[0].app_id: \"a b\" must be 1 to 64 letters, digits, '-' or '_'",
            "config.toml:14: wechat.app[0].secret: must be a text in quotes, not a whole number",
            "environment MENSHEN_LIMITS__ENABLED: limits.enabled: \"no\" is neither true nor false",
            "environment MENSHEN_WECHAT_SECRET: names no key; did you mean MENSHEN_WECHAT__SECRET?",
        ]
    );
}

#[test]
fn others_who_know_more_can_tell_problems_with_their_lines() {
    let dir = ConfigDir::with(&development(
        "[[rule]]\nname = 'a'\npath = '/x'\n[[rule]]\nname = 'b'\npath = 7\n",
    ));
    let source = Source {
        file: Some(dir.path("config.toml")),
        environment: Vec::new(),
    };
    let found = Config::load_with(&source, |config, problems| {
        for n in 0..config.rule.len() {
            problems.add(&format!("rule[{n}].path"), "is not liked");
        }
    });
    assert_eq!(
        dir.local(&found.unwrap_err().to_string()),
        "config.toml:4: rule[0].path: is not liked\n\
         config.toml:7: rule[1].path: must be a text in quotes, not a whole number"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let dir = ConfigDir::with("");
    dir.file("config.toml", b"\xff");
    assert_eq!(
        dir.load(&[]).unwrap_err(),
        ["config.toml: is not UTF-8 text"]
    );
    fs::remove_file(dir.path("config.toml")).unwrap();
    assert_eq!(
        dir.load(&[]).unwrap_err(),
        ["config.toml: there is no such file"]
    );
}

#[test]
fn what_is_risky_is_allowed_with_a_warning() {
    let public = "config.toml: server.listen[0]: development mode signs in every caller, and other machines can reach this address";
    assert_eq!(warnings(&development("")), [public]);
    let text = development(
        "[server]\nlisten = ['127.0.0.1:1']\ntrusted_proxies = ['10.0.0.0/8', '::/0']\n[admin]\nlisten = '0.0.0.0:9090'\n\
         [limits]\nenabled = false\n",
    );
    assert_eq!(
        warnings(&text),
        [
            "config.toml:4: server.trusted_proxies[1]: ::/0 lets every client choose its own address",
            "config.toml:6: admin.listen: 0.0.0.0:9090 can be reached from other machines, and needs no authentication for metrics and probes",
            "config.toml:8: limits.enabled: is false: guessing and floods are not limited",
        ]
    );
    let asked = "[server]\nlisten = ['127.0.0.1:1']\n[forward_auth]\nenabled = true\ntrusted_callers = ['127.0.0.1/32']\n\
                 [upstream]\nshared_secret = 'kJ8mQ2vX5tB7nR4wZ9pL3yH6cF1dS0gA'\n";
    let found = warnings(&development(asked));
    assert!(
        found.len() == 1 && found[0].contains(": upstream.shared_secret: is not sent to proxies"),
        "{found:?}"
    );
    let cookie = "[server]\nlisten = ['127.0.0.1:1']\n[forward_auth]\nenabled = true\ntrusted_callers = ['127.0.0.1/32']\n\
                  [[rule]]\nname = 'a'\npath = '/a'\ntoken_cookie = 'at'\n";
    let found = warnings(&development(cookie));
    assert!(
        found.len() == 1 && found[0].contains(": rule[0].token_cookie: and forward_auth"),
        "{found:?}"
    );
    let header = "[server]\nlisten = ['127.0.0.1:1']\n[forward_auth]\nenabled = true\ntrusted_callers = ['127.0.0.1/32']\n\
                  [gate]\ntoken_header = '_token'\n";
    let found = warnings(&development(header));
    assert!(
        found.len() == 1 && found[0].contains(": gate.token_header: and forward_auth"),
        "{found:?}"
    );
    for tells_what_to_remove in [
        "[forward_auth]\ndialect = 'envoy'",
        "[upstream]\nauthorization = 'keep'\n[forward_auth]",
    ] {
        let header = header.replace("[forward_auth]", tells_what_to_remove);
        assert_eq!(warnings(&development(&header)), Vec::<String>::new());
    }
    // The header of another path stays in the request, though the backend gets tokens.
    let two = format!(
        "[upstream]\nauthorization = 'keep'\n{header}[[rule]]\nname = 'a'\npath = '/a'\ntoken_header = 'X-A'\n"
    );
    assert_eq!(warnings(&development(&two)).len(), 2);
    let of_a_rule = two.replace("token_header = '_token'\n", "");
    assert_eq!(warnings(&development(&of_a_rule)).len(), 1);
    let query = "[upstream]\nprotocol = 'http2'\n[[rule]]\nname = 'a'\npath = '/a'\ntoken_in_query = true\n";
    let found = problems(&development(query), &[]);
    assert!(
        found.len() == 1 && found[0].contains("is for WebSockets"),
        "{found:?}"
    );
    let quiet = "[store]\nencryption_key_file = 'k'\n[wechat]\napp_id = 'wx1'\nsecret = '0123456789abcdef0123456789abcdef'\n";
    assert_eq!(warnings(quiet), Vec::<String>::new());
}

#[test]
fn short_form_and_list_are_one_list_of_apps() {
    let text =
        "[wechat]\napp_id = 'wx1'\nsecret = 'a'\n[[wechat.app]]\napp_id = 'wx2'\nsecret = 'b'\n";
    let apps: Vec<_> = config(&development(text), &[])
        .wechat
        .apps()
        .into_iter()
        .map(|app| app.app_id)
        .collect();
    assert_eq!(apps, ["wx1", "wx2"]);
}
