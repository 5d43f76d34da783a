//! Single values: each that is refused, with its line and its words.

use super::*;

/// Each text, in development mode, has exactly the problems written beside it, with `|` between
/// them.
fn each_is_told(cases: &[(&str, &str)]) {
    for (text, message) in cases {
        let expected: Vec<_> = format!("config.toml:{message}")
            .split('|')
            .map(str::to_owned)
            .collect();
        assert_eq!(problems(&development(text), &[]), expected, "{text}");
    }
}

/// Texts with the problems of `[server]`, `[admin]`, `[upstream]` and `[auth]`.
const SERVER_AND_UPSTREAM: &[(&str, &str)] = &[
    (
        "[server]\nheader_timeout = '10 parsecs'",
        "3: server.header_timeout: \"10 parsecs\" is not a duration: write a whole number and ms, s, m, h or d",
    ),
    (
        "[server]\nheader_timeout = 10",
        "3: server.header_timeout: 10 has no unit: write \"10s\" with quotes, or ms, m, h or d",
    ),
    (
        "[server]\nheader_timeout = '0s'",
        "3: server.header_timeout: 0s is not between 1ms and 10m",
    ),
    (
        "[server]\nheader_timeout = true",
        "3: server.header_timeout: must be a text in quotes, not true or false",
    ),
    (
        "[server]\nlisten = '0.0.0.0:80'",
        "3: server.listen: must be a list in [ ], not a text",
    ),
    (
        "[server]\nlisten = []",
        "3: server.listen: is empty: menshen must listen somewhere",
    ),
    (
        "[server]\nlisten = [\n 'x',\n 7]",
        "5: server.listen[1]: must be a text in quotes, not a whole number",
    ),
    (
        "[server]\nlisten = [\n 'localhost:80']",
        "4: server.listen[0]: \"localhost:80\" is not an address: write IP:PORT, tls:IP:PORT or unix:/path/to.sock",
    ),
    (
        "[server]\nlisten = ['127.0.0.1:8080', '127.0.0.1:8080']",
        "3: server.listen[1]: \"127.0.0.1:8080\" is listed twice",
    ),
    (
        "[server]\ntrusted_proxies = ['10.0.0.0/33']",
        "3: server.trusted_proxies[0]: \"10.0.0.0/33\" is not a network: write ADDRESS/BITS, such as 10.0.0.0/8",
    ),
    (
        "[server]\nmax_header_bytes = '16 kB'",
        "3: server.max_header_bytes: \"16 kB\" is not a size: write a whole number of bytes, alone or with KiB or MiB",
    ),
    (
        "[server]\nmax_header_bytes = 1000",
        "3: server.max_header_bytes: 1000 is not between 1KiB and 1MiB",
    ),
    (
        "[server]\nmax_headers = 257",
        "3: server.max_headers: 257 is not between 8 and 256",
    ),
    (
        "[server]\nmax_headers = -1",
        "3: server.max_headers: -1 is not a whole number of 0 or above",
    ),
    (
        "[server]\nmax_headers = 1.5",
        "3: server.max_headers: must be a whole number, not a number with a fraction",
    ),
    (
        "[server]\nkeepalive_requests = 4294967296",
        "3: server.keepalive_requests: 4294967296 is not a whole number from 0 to 4294967295",
    ),
    (
        "[server]\nkeepalive_requests = '7'",
        "3: server.keepalive_requests: must be a whole number, not a text",
    ),
    (
        "[forward_auth]\nenabled = true",
        "2: forward_auth.trusted_callers: is empty: list the networks of the proxies that may ask",
    ),
    (
        "[forward_auth]\ntrusted_callers = ['0.0.0.0/0']",
        "3: forward_auth.trusted_callers[0]: 0.0.0.0/0 is every address, and each of them may ask about any path",
    ),
    (
        "[cors]\nallowed_origins = ['https://a.example', 'https://a.example/']",
        "3: cors.allowed_origins[1]: \"https://a.example/\" is not an origin: write it like https://shop.example, in lower case and without a path",
    ),
    (
        "[cors]\nallowed_origins = ['https://a.example', '*']",
        "3: cors.allowed_origins[1]: allows every origin: list no other origin",
    ),
    (
        "[cors]\nallowed_origins = ['*']\nallow_credentials = true",
        "4: cors.allow_credentials: needs origins that are listed: browsers reject it with \"*\"",
    ),
    (
        "[cors]\nallowed_headers = ['X Y']",
        "3: cors.allowed_headers[0]: \"X Y\" is not a header name",
    ),
    (
        "[[rule]]\nname = 'a'\npath = '/x'\ncors = true",
        "5: rule[0].cors: needs cors.allowed_origins: no page is allowed yet",
    ),
    (
        "[admin]\nlisten = 'localhost:9090'",
        "3: admin.listen: \"localhost:9090\" is not an address: write IP:PORT",
    ),
    (
        "[admin]\nlisten = '0.0.0.0:8080'",
        "3: admin.listen: is an address of `server.listen` too",
    ),
    (
        "[upstream]\nurls = []",
        "3: upstream.urls: is empty: name at least one backend",
    ),
    (
        "[upstream]\nurls = ['http://me:hunter2@app']",
        "3: upstream.urls[0]: has a user name: menshen sends none",
    ),
    (
        "[upstream]\nurls = ['http://app/v1']",
        "3: upstream.urls[0]: has a path: write the server alone, because every request keeps its own path",
    ),
    (
        "[upstream]\nauthorization = 'forge'",
        "3: upstream.authorization: \"forge\" is none of `keep`, `remove`, `mint`",
    ),
    (
        "[upstream]\nhost = 'a b'",
        "3: upstream.host: \"a b\" is not a host: write a name or address, and :PORT where needed",
    ),
    (
        "[upstream.health]\nhost = 'http://a'",
        "3: upstream.health.host: \"http://a\" is not a host: write a name or address, and :PORT where needed",
    ),
    (
        "[upstream]\nhost = 'a'\nhealth.host = 'b'",
        "4: upstream.health.host: is given together with `upstream.host`, which checks have too: keep one of them",
    ),
    (
        "[auth]\nprefix = '/auth/'",
        "3: auth.prefix: \"/auth/\" is not a plain path: write it like /auth or /api/auth, of letters, digits, - and _",
    ),
];

#[test]
fn what_is_wrong_with_the_doors_is_told() {
    each_is_told(SERVER_AND_UPSTREAM);
}

/// Texts with the problems of `[tokens]`, `[store]`, `[users]` and others.
const TOKENS_AND_STORE: &[(&str, &str)] = &[
    (
        "[tokens]\nissuer = ' '",
        "3: tokens.issuer: is empty: a token that names none would pass for another's",
    ),
    (
        "[tokens]\naccess_ttl = '8d'",
        "3: tokens.access_ttl: 8d and `tokens.leeway` are longer than the 8d that a revocation is remembered",
    ),
    (
        "[tokens]\nidle_ttl = '91d'",
        "2: tokens.absolute_ttl: 90d is shorter than `tokens.idle_ttl`, which is 91d",
    ),
    (
        "[tokens]\nidle_ttl = '0s'",
        "3: tokens.idle_ttl: is 0: no user could stay signed in",
    ),
    (
        "[tokens]\nleeway = '301s'",
        "3: tokens.leeway: 301s is not between 0s and 5m",
    ),
    (
        "[tokens]\nreplay_window = '31d'",
        "3: tokens.replay_window: 31d is longer than `tokens.idle_ttl`",
    ),
    (
        "[tokens]\nreplay_window = 'always'",
        "3: tokens.replay_window: \"always\" is neither `until_used` nor a duration such as 30s",
    ),
    (
        "[tokens]\nrotate_every = '1h'\npublish_before = '10m'",
        "3: tokens.rotate_every: 1h is not between 1d and 730d",
    ),
    (
        "[tokens]\npublish_before = '5m'",
        "3: tokens.publish_before: 5m is not between 10m and 730d",
    ),
    (
        "[tokens]\nrotate_every = '7d'\npublish_before = '7d'",
        "4: tokens.publish_before: 7d is not shorter than `tokens.rotate_every`, which is 7d",
    ),
    (
        "[tokens]\nrotate_every = '90d'\nkey_dir = 'keys'",
        "3: tokens.rotate_every: is for keys that menshen creates, but `tokens.key_dir` has the keys: add the new one there",
    ),
    (
        "[tokens]\nrotate_every = '90d'\nalgorithm = 'HS256'\nsecret = 'q9Jm4xv7Tz2LwBn8RkYd3GpHs6FcEa1U'",
        "3: tokens.rotate_every: is for keys that menshen creates, but `tokens.secret` has the keys: add the new one there",
    ),
    (
        "[tokens]\ncache_entries = 0",
        "3: tokens.cache_entries: 0 is not between 1 and 10000000",
    ),
    (
        "[tokens]\nkey_dir = 'keys'\nalgorithm = 'HS256'",
        "3: tokens.key_dir: holds key pairs, and HS256 has a secret",
    ),
    (
        "[tokens]\nsecret = 'x'",
        "3: tokens.secret: is for `algorithm = \"HS256\"` only",
    ),
    (
        "[tokens]\nprevious_secrets = ['x']",
        "3: tokens.previous_secrets: is for `algorithm = \"HS256\"` only",
    ),
    (
        "[store]\nurl = 'redis://:hunter2@db'",
        "3: store.url: names a store that this version does not know: use sled:PATH, postgres://..., mysql://... or memory:",
    ),
    (
        "[store]\nurl = 'postgres://menshen@db/menshen'",
        "2: store.encryption_key_file: a database is shared by replicas, and all of them need the same key: make one with \
         `openssl rand -hex 32`, and name its file here",
    ),
    (
        "[store]\npassword_file = 'password'",
        "3: store.password_file: is the password of a database, and `store.url` names none",
    ),
    (
        "[store]\nurl = 'sled:'",
        "3: store.url: names no directory: write sled:PATH",
    ),
    (
        "[store]\nencryption_key = 'hunter2'",
        "3: store.encryption_key: is not 32 bytes: write 64 hex digits or base64, as `openssl rand -hex 32` prints",
    ),
    (
        "[users]\nfirst_integer = 0",
        "3: users.first_integer: is 0: ids start at 1 or above",
    ),
    (
        "[wechat]\nbase_url = 'api.weixin.qq.com'",
        "3: wechat.base_url: is not a server: write http://host:port, https://host:port or unix:/path/to.sock",
    ),
    (
        "[wechat]\nbase_url = 'unix:/wx.sock'",
        "3: wechat.base_url: is not a URL: write https://host",
    ),
    (
        "[wechat]\nsecret = 'hunter2'",
        "2: wechat.app_id: is missing: `wechat.secret` belongs to an app id",
    ),
    (
        "[wechat]\nphone_price = 100001",
        "3: wechat.phone_price: 100001 is not between 0 and 100000",
    ),
    (
        "[wechat]\nwatermark_max_age = '0s'",
        "3: wechat.watermark_max_age: 0s is not between 1s and 1d",
    ),
    (
        "[wechat]\nwatermark_max_age = '2d'",
        "3: wechat.watermark_max_age: 2d is not between 1s and 1d",
    ),
    (
        "[wechat]\ntoken_mode = 'force'",
        "3: wechat.token_mode: \"force\" is none of `stable`, `none`",
    ),
    (
        "[wechat]\nsecret = 12345678",
        "3: wechat.secret: must be a text in quotes, not a whole number",
    ),
    (
        "[wechat]\napp_id = 'wx 1'",
        "3: wechat.app_id: \"wx 1\" must be 1 to 64 letters, digits, '-' or '_'",
    ),
    (
        "[limits]\nlogin_per_ip = '30'",
        "3: limits.login_per_ip: \"30\" is not a rate: write COUNT/TIME, both above zero, such as 30/1m",
    ),
    (
        "[limits]\nenabled = 'yes'",
        "3: limits.enabled: must be true or false, not a text",
    ),
    (
        "[telemetry]\nlog_level = 'loud'",
        "3: telemetry.log_level: \"loud\" is none of `error`, `warn`, `info`, `debug`, `trace`",
    ),
    (
        "[telemetry]\nlog_format = 'xml'",
        "3: telemetry.log_format: \"xml\" is none of `json`, `text`",
    ),
];

#[test]
fn what_is_wrong_with_tokens_users_and_their_store_is_told() {
    each_is_told(TOKENS_AND_STORE);
}

#[test]
fn what_has_the_wrong_form_or_name_is_told() {
    each_is_told(&[
        (
            "[[server]]\nthreads = 1",
            "2: server: is one table: write [server]",
        ),
        (
            "[rule]\nname = 'a'",
            "2: rule: is a list of tables: write [[rule]]",
        ),
        (
            "[identity.headers]\nX-User-Id = 7",
            "3: identity.headers.X-User-Id: must be a text in quotes, not a whole number",
        ),
        (
            "identity = 7",
            "2: identity: must be a table, not a whole number",
        ),
        (
            "rule = [7]",
            "2: rule[0]: must be a table, not a whole number",
        ),
        (
            "[[rule]]\nname = 'a'\n[[rule]]\npath = '/'",
            "2: rule[0].path: is missing|config.toml:4: rule[1].name: is missing",
        ),
        (
            "[server]\nlistens = []",
            "3: server.listens: is not a key; did you mean `listen`?",
        ),
        (
            "[servers]\nlisten = []",
            "2: servers: is not a key; did you mean `server`?",
        ),
        (
            "[[rule]]\nname = 'a'\npath = '/'\nacess = 'deny'",
            "5: rule[0].acess: is not a key; did you mean `access`?",
        ),
        (
            "[server]\nthreads = ",
            "3:11: string values must be quoted, expected literal string",
        ),
        ("[server]\nthreads = 1\nthreads = 2", "4:1: duplicate key"),
    ]);
}

#[test]
fn a_production_config_is_held_to_more() {
    let key = "[store]\nencryption_key_file = 'store.key'\n";
    for (text, message) in [
        (
            "[wechat]\napp_id = 'wx1'",
            "3: wechat.secret: is missing: set the AppSecret of \"wx1\" here or in `secret_file`",
        ),
        (
            "[wechat]\napp_id = 'wx1'\nsecret = ''",
            "5: wechat.secret: is empty",
        ),
        (
            "[wechat]\napp_id = 'wx1'\nsecret = '...'",
            "5: wechat.secret: is still the example",
        ),
        (
            "[wechat]\nsecret = 's3'",
            "3: wechat.app_id: is missing: `wechat.secret` belongs to an app id",
        ),
        (
            "[[wechat.app]]\napp_id = 'wx1'",
            "3: wechat.app[0].secret: is missing: set the AppSecret of \"wx1\" here or in `secret_file`",
        ),
        (
            "[wechat]\napp_id = 'wx1'\nsecret = 's3'\n[[wechat.app]]\napp_id = 'wx1'\nsecret = 's4'",
            "7: wechat.app[0].app_id: \"wx1\" is given twice",
        ),
        (
            "[wechat]\napp_id = 'wx1'\nsecret = 's3'\nbase_url = 'http://wx.internal'",
            "6: wechat.base_url: must be https: it carries the AppSecret",
        ),
    ] {
        assert_eq!(
            problems(&format!("{key}{text}"), &[]),
            [format!("config.toml:{message}")],
            "{text}"
        );
    }
    let memory = "[store]\nurl = 'memory:'\nencryption_key_file = 'k'\n[wechat]\napp_id = 'wx1'\nsecret = 's3'\nbase_url = 'http://127.0.0.1:1'";
    assert_eq!(
        problems(memory, &[]),
        [
            "config.toml:2: store.url: `memory:` forgets every user at exit: use sled:PATH, or mode = \"development\""
        ]
    );
}

#[test]
fn plain_prefixes_alone_are_taken() {
    for prefix in ["/auth", "/api/v1/auth", "/a-b_c"] {
        assert_eq!(
            config(&development(&format!("[auth]\nprefix = '{prefix}'")), &[])
                .auth
                .prefix,
            prefix
        );
    }
    for prefix in [
        "", "/", "auth", "//auth", "/auth/", "/a//b", "/a/../b", "/a/.", "/a*", "/a%2f", "/a?b",
        "/a b", "/é",
    ] {
        assert_eq!(
            problems(&development(&format!("[auth]\nprefix = '{prefix}'")), &[]).len(),
            1,
            "{prefix:?}"
        );
    }
}

#[test]
fn the_walk_never_accepts_what_the_structs_refuse() {
    let values = [
        "'x'",
        "''",
        "7",
        "0",
        "-7",
        "9223372036854775807",
        "true",
        "1.5",
        "nan",
        "2026-01-01",
        "[]",
        "['x']",
        "[7]",
        "[[]]",
        "{}",
        "{ a = 'x' }",
    ];
    let mut seen = 0;
    for (key, _) in schema::Schema::root().walk("") {
        for value in values {
            let text = match key.split_once("[0].") {
                Some((list, name)) => format!("[[{list}]]\n{name} = {value}\n"),
                None => format!("{key} = {value}\n"),
            };
            let Err(found) = ConfigDir::with(&text).load(&[]) else {
                continue;
            };
            assert!(
                !found.iter().any(|line| line.contains("still does not fit")),
                "{text}: {found:?}"
            );
            seen += 1;
        }
    }
    assert!(seen > 900, "only {seen}");
}

/// RFC 9864: both names are in use, and mean one algorithm.
#[test]
fn ed25519_is_another_name_of_eddsa() {
    for name in ["EdDSA", "Ed25519"] {
        let read = config(
            &development(&format!("[tokens]\nalgorithm = '{name}'")),
            &[],
        );
        assert_eq!(
            read.tokens.algorithm,
            crate::config::Algorithm::EdDsa,
            "{name}"
        );
    }
    let found = problems(&development("[tokens]\nalgorithm = 'Ed448'"), &[]);
    assert!(
        found
            .iter()
            .any(|problem| problem.contains("tokens.algorithm")),
        "{found:?}"
    );
}
