//! `menshen check`: validates the config and prints a summary.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::{
    command_error::CommandResult,
    console::{Console, TextRows},
};
use crate::{
    config::{Access, Config, Mode, RuleConfig, SmsProvider, UpstreamAuthorization},
    dialect::Dialects,
    provider::wechat::Wechat,
};

/// Prints a summary.
pub(super) fn run(console: &mut Console<'_>) -> CommandResult {
    let loaded = console.load_all()?;
    let name = console.source.file.as_ref().map_or_else(
        || "built-in defaults".to_owned(),
        |file| file.display().to_string(),
    );
    writeln!(console.out, "{name}: ok")?;
    summary(&loaded.config, console.out)?;
    Ok(ExitCode::SUCCESS)
}

fn summary(config: &Config, out: &mut dyn Write) -> io::Result<()> {
    let mode = match config.mode {
        Mode::Production => "production",
        Mode::Development => "development",
    };
    let apps = config
        .wechat
        .apps()
        .into_iter()
        .map(|app| app.app_id)
        .collect::<Vec<_>>()
        .join(", ");
    let wechat = match config.mode {
        Mode::Production => apps,
        Mode::Development if Wechat::uses_network(&config.wechat, config.mode) => {
            format!(
                "{apps}, asked of {} on this machine",
                config.wechat.base_url
            )
        }
        Mode::Development => "not called: a login code is its own openid".to_owned(),
    };
    let mut rows = TextRows::new(out, "  ", 9);
    rows.row("mode", mode)?;
    rows.row("listen", config.server.listen.join(", "))?;
    rows.row("admin", &config.admin.listen)?;
    rows.row("auth API", &config.auth.prefix)?;
    rows.rows("dialects", dialect_rows(config))?;
    let token = match config.upstream.authorization {
        UpstreamAuthorization::Keep => "with the caller's token",
        UpstreamAuthorization::Remove => "without the caller's token",
        UpstreamAuthorization::Mint => "with a token of its own form",
    };
    let urls = config.upstream.urls.join(", ");
    rows.row("upstream", format_args!("{urls}, {token}"))?;
    let (algorithm, ttl) = (config.tokens.algorithm.as_str(), config.tokens.access_ttl);
    rows.row("tokens", format_args!("{algorithm}, for {ttl}"))?;
    let ids = config.users.first_generated_id();
    let ids = ids.map_or_else(
        || "ids are UUIDs".to_owned(),
        |first| format!("ids are integers from {first}"),
    );
    rows.row("users", ids)?;
    rows.row("store", &config.store.url)?;
    rows.row("wechat", wechat)?;
    rows.row("sms", sms_providers(config))?;
    rows.rows("rules", config.rule.iter().map(describe_rule))?;
    rows.row("rules", "everything else: required")
}

/// Each dialect and its routes: `nest: POST /api/v1/auth/wx-login, ...`.
fn dialect_rows(config: &Config) -> Vec<String> {
    // A valid config compiles.
    let dialects = Dialects::compile(config).unwrap_or_default();
    let kinds = config.dialect.iter().map(|dialect| dialect.kind.as_str());
    let lines = kinds.zip(dialects.iter()).map(|(kind, dialect)| {
        let routes: Vec<_> = dialect
            .routes
            .iter()
            .map(|route| format!("{} {}", route.method, route.path))
            .collect();
        format!("{kind}: {}", routes.join(", "))
    });
    lines.collect()
}

/// The SMS providers, in the order in which they are tried.
fn sms_providers(config: &Config) -> String {
    let enabled_providers: Vec<_> = config
        .sms
        .enabled_providers(config.mode)
        .into_iter()
        .map(SmsProvider::as_str)
        .collect();
    if enabled_providers.is_empty() {
        "off: sms.providers is empty".to_owned()
    } else {
        enabled_providers.join(", then ")
    }
}

/// A rule on one line: `back-office: GET /admin/** required, user type admin`.
fn describe_rule(rule: &RuleConfig) -> String {
    let access = match rule.access {
        Access::Public => "public",
        Access::Optional => "optional",
        Access::Required => "required",
        Access::Deny => "deny",
    };
    let one_of = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!(", {what} {}", names.join(" or ")),
    };
    let (user_types, roles) = (
        one_of("user type", &rule.user_types),
        one_of("role", &rule.roles),
    );
    let header = rule
        .token_header
        .as_ref()
        .map(|name| format!(", token in header {name}"))
        .unwrap_or_default();
    let cookie = rule
        .token_cookie
        .as_ref()
        .map(|name| format!(", token in cookie {name}"))
        .unwrap_or_default();
    let query = if rule.token_in_query {
        ", token in the query of a WebSocket"
    } else {
        ""
    };
    format!(
        "{}: {} {access}{user_types}{roles}{header}{cookie}{query}",
        rule.name,
        rule.methods_and_path()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::command_error::BAD_USAGE, *};
    use crate::config::Source;

    /// Exit code, output and messages of a check of this text; the directory's name is taken out.
    fn check(text: &str) -> (ExitCode, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        fs::write(&file, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let source = Source {
            file: Some(file),
            environment: Vec::new(),
        };
        let console = &mut Console {
            source: &source,
            out: &mut out,
            err: &mut err,
        };
        let code = run(console)
            .or_else(|error| error.report(&mut err))
            .unwrap();
        let local = |bytes| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(&format!("{}/", directory.path().display()), "")
        };
        (code, local(out), local(err))
    }

    #[test]
    fn a_right_config_is_summed_up() {
        let text = "mode = 'development'\n[server]\nlisten = ['127.0.0.1:8080']\n[limits]\nenabled = false\n[[rule]]\nname = 'health'\n\
                    path = '/health'\nmethods = ['GET', 'HEAD']\naccess = 'public'\n[[rule]]\nname = 'back-office'\npath = '/admin/**'\n\
                    user_types = ['admin']\nroles = ['a', 'b']\ntoken_cookie = 'at'\ntoken_in_query = true\n\
                    [[dialect]]\nkind = 'nest'\n";
        let (code, out, err) = check(text);
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(
            out,
            "config.toml: ok\n\
             \x20 mode      development\n\
             \x20 listen    127.0.0.1:8080\n\
             \x20 admin     127.0.0.1:9090\n\
             \x20 auth API  /auth\n\
             \x20 dialects  nest: POST /api/v1/auth/wx-login, POST /api/v1/auth/wechat-login, POST /api/v1/auth/refresh, \
             POST /api/v1/auth/logout\n\
             \x20 upstream  http://127.0.0.1:3000, without the caller's token\n\
             \x20 tokens    EdDSA, for 15m\n\
             \x20 users     ids are UUIDs\n\
             \x20 store     sled:./data\n\
             \x20 wechat    not called: a login code is its own openid\n\
             \x20 sms       log\n\
             \x20 rules     health: GET|HEAD /health public\n\
             \x20           back-office: /admin/** required, user type admin, role a or b, token in cookie at, \
             token in the query of a WebSocket\n\
             \x20           everything else: required\n"
        );
        assert_eq!(
            err,
            "warning: config.toml:5: limits.enabled: is false: guessing and floods are not limited\n"
        );
    }

    #[test]
    fn the_line_about_wechat_says_who_is_asked() {
        let app = "app_id = 'wx0123456789abcdef'\n";
        let secret = "secret = '0123456789abcdef0123456789abcdef'\n";
        let loopback_url = "base_url = 'http://127.0.0.1:9000'\n";
        for (mode, keys, expected) in [
            (
                "development",
                vec![],
                "not called: a login code is its own openid",
            ),
            (
                "development",
                vec![app, secret],
                "not called: a login code is its own openid",
            ),
            (
                "development",
                vec![app, loopback_url],
                "not called: a login code is its own openid",
            ),
            (
                "development",
                vec![app, secret, loopback_url],
                "wx0123456789abcdef, asked of http://127.0.0.1:9000 on this machine",
            ),
            ("production", vec![app, secret], "wx0123456789abcdef"),
        ] {
            let text = format!(
                "mode = '{mode}'\nstore.encryption_key_file = 'store.key'\n[wechat]\n{}",
                keys.concat()
            );
            let (_, out, err) = check(&text);
            let line = out
                .lines()
                .find_map(|line| line.strip_prefix("  wechat    "));
            assert_eq!(line, Some(expected), "{mode} {keys:?} {err}");
        }
    }

    /// Copied with a blank, saved with a byte order mark: no error, since a simulated WeChat takes
    /// any.
    #[test]
    fn an_app_secret_that_cannot_be_one_is_a_warning() {
        let with = |secret: &str| {
            check(&format!(
                "mode = 'development'\nserver.listen = ['127.0.0.1:8080']\n[wechat]\napp_id = 'wx0123456789abcdef'\nsecret = \"{secret}\"\n"
            ))
        };
        let good = "0123456789abcdef0123456789abcdef";
        assert_eq!(with(good).2, "");
        for (secret, flaw) in [
            (format!("\\uFEFF{good}"), "byte order mark"),
            (format!("{good} "), "blanks"),
            (format!("{good}\\n{good}"), "a second line"),
            (format!("'{good}'"), "quotation marks"),
            (good[1..].to_owned(), "31 characters"),
        ] {
            let (code, _, err) = with(&secret);
            assert_eq!(code, ExitCode::SUCCESS, "{err}");
            let says = "warning: config.toml:5: wechat.secret: cannot be an AppSecret, which has 32 hex digits: it";
            assert!(
                err.starts_with(says) && err.contains(flaw) && !err.contains(&good[1..9]),
                "{err}"
            );
        }
    }

    #[test]
    fn a_wrong_config_is_bad_usage() {
        let (code, out, err) =
            check("mode = 'development'\n[server]\nlistens = []\nthreads = 'x'\n");
        assert_eq!((code, out.as_str()), (ExitCode::from(BAD_USAGE), ""));
        assert_eq!(
            err,
            "config.toml:3: server.listens: is not a key; did you mean `listen`?\n\
             config.toml:4: server.threads: must be a whole number, not a text\n"
        );
    }

    /// A template is a text of many lines; what is wrong in it has the line of its key, and its
    /// own.
    #[test]
    fn a_wrong_template_has_its_line_and_the_reason() {
        let text = "mode = 'development'\n[[dialect]]\nkind = 'custom'\n[[dialect.route]]\nmethod = 'POST'\npath = '/in'\n\
                    action = 'wechat_login'\ninputs = { code = 'body.code' }\nbody = '''\n{\n  \"token\": \"{acess_token}\"\n}\n'''\n\
                    [[dialect.error]]\nbody = '''\n{\n  \"code\": {code}\n}'''\n[[dialect]]\nkind = 'nst'\n";
        let (code, out, err) = check(&text.replace("[[dialect]]\nkind = 'nst'\n", ""));
        assert_eq!((code, out.as_str()), (ExitCode::from(BAD_USAGE), ""));
        assert_eq!(
            err,
            "config.toml:9: dialect[0].route[0].body: has `{acess_token}`, which is no placeholder; did you mean `{access_token}`?\n\
             config.toml:15: dialect[0].error[0].body: is not JSON: key must be a string in line 2, column 12 of the template\n"
        );
        let (_, _, err) = check(text);
        let kinds = "`simplejwt`, `nest`, `success-data`, `code-data`, `custom`";
        assert_eq!(
            err,
            format!("config.toml:20: dialect[1].kind: \"nst\" is none of {kinds}\n")
        );
    }
}
