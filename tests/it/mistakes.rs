//! What menshen says to mistakes, side by side: each is made once, in the order in which a newcomer
//! meets them, and `tests/data/mistakes.txt` holds what comes back.
//!
//! After a text was changed on purpose, `MENSHEN_WRITE_MISTAKES=1 cargo test --test it mistakes`
//! writes the file again. Read what has changed: what is wrong, where, and what to do?

use std::{env, fmt::Write, fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use regex::Regex;

use super::{
    backend::Backend,
    menshen::{self, Setup},
};

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/mistakes.txt");

/// A mistake: what it is, the files there are, and what is typed.
struct Mistake {
    title: &'static str,
    config: Option<&'static str>,
    files: &'static [(&'static str, &'static str)],
    variables: &'static [(&'static str, &'static str)],
    command: &'static [&'static str],
}

const NONE: Mistake = Mistake {
    title: "",
    config: None,
    files: &[],
    variables: &[],
    command: &["check"],
};

/// A config that is right, for mistakes made elsewhere.
const RIGHT: &str = "mode = \"development\"\n[server]\nlisten = [\"127.0.0.1:0\"]\n\
                     [admin]\nlisten = \"127.0.0.1:0\"\n\
                     [upstream]\nurls = [\"http://127.0.0.1:1\"]\n\
                     [[rule]]\nname = \"health\"\npath = \"/health\"\naccess = \"public\"\n\
                     [[rule]]\nname = \"admin\"\npath = \"/admin/**\"\nuser_types = [\"admin\"]\n";

const fn checked(title: &'static str, config: &'static str) -> Mistake {
    Mistake {
        title,
        config: Some(config),
        ..NONE
    }
}

const fn typed(title: &'static str, command: &'static [&'static str]) -> Mistake {
    Mistake {
        title,
        config: Some(RIGHT),
        command,
        ..NONE
    }
}

/// The first minutes: no config yet, or one that is not read.
const FIRST_MINUTES: &[Mistake] = &[
    Mistake {
        title: "There is no config yet",
        command: &[],
        ..NONE
    },
    Mistake {
        title: "A subcommand with a slip",
        command: &["chekc"],
        ..NONE
    },
    Mistake {
        title: "A config file that is not there",
        command: &["run", "--config", "nowhere.toml"],
        ..NONE
    },
    Mistake {
        title: "A directory in the config's place",
        command: &["check", "--config", "/"],
        ..NONE
    },
    checked("No TOML", "mode = \"development\nurls = []\n"),
    checked("A table twice", "[server]\n[upstream]\n[server]\n"),
    checked(
        "A key twice",
        "mode = \"development\"\nmode = \"production\"\n",
    ),
    Mistake {
        title: "YAML",
        config: Some("mode: development\nserver:\n  listen: 0.0.0.0:8080\n"),
        ..NONE
    },
];

/// Keys and values.
const KEYS: &[Mistake] = &[
    checked("A key with a slip", "mod = \"development\"\n"),
    checked("A value with a slip", "mode = \"developement\"\n"),
    checked(
        "A section with a slip",
        "mode = \"development\"\n[upsteam]\nurls = []\n",
    ),
    checked(
        "A key in the wrong section",
        "mode = \"development\"\n[server]\nurls = []\n",
    ),
    checked(
        "A text where a list belongs",
        "mode = \"development\"\n[upstream]\nurls = \"http://a\"\n",
    ),
    checked(
        "A number where a duration belongs",
        "mode = \"development\"\n[tokens]\naccess_ttl = 900\n",
    ),
    checked(
        "A duration without a unit",
        "mode = \"development\"\n[tokens]\naccess_ttl = \"15\"\n",
    ),
    checked(
        "A duration out of range",
        "mode = \"development\"\n[tokens]\naccess_ttl = \"90d\"\n",
    ),
    checked(
        "A size with another unit",
        "mode = \"development\"\n[server]\nmax_header_bytes = \"16 KB\"\n",
    ),
    checked(
        "Several mistakes at once",
        "mode = \"dev\"\n[server]\nlisten = [\"8080\"]\n[tokens]\nalgorithm = \"RS512\"\n",
    ),
    Mistake {
        title: "A variable with a slip",
        config: Some("mode = \"development\"\n"),
        variables: &[("MENSHEN_UPSTREAM_URLS", "http://127.0.0.1:3000")],
        ..NONE
    },
    Mistake {
        title: "A value in a variable that is none",
        config: Some("mode = \"development\"\n"),
        variables: &[("MENSHEN_LIMITS__ENABLED", "maybe")],
        ..NONE
    },
];

/// What a config that is read does not say, or says wrongly.
const VALUES: &[Mistake] = &[
    checked(
        "Production with nothing set",
        "[upstream]\nurls = [\"http://127.0.0.1:3000\"]\n",
    ),
    checked(
        "A backend without a scheme",
        "mode = \"development\"\n[upstream]\nurls = [\"127.0.0.1:3000\"]\n",
    ),
    checked(
        "A backend with a path",
        "mode = \"development\"\n[upstream]\nurls = [\"http://127.0.0.1:3000/api\"]\n",
    ),
    checked(
        "No backend",
        "mode = \"development\"\n[upstream]\nurls = []\n",
    ),
    checked(
        "A port alone to listen on",
        "mode = \"development\"\n[server]\nlisten = [\":8080\"]\n",
    ),
    checked(
        "TLS without a certificate",
        "mode = \"development\"\n[server]\nlisten = [\"tls:127.0.0.1:8443\"]\n",
    ),
    checked(
        "A rule without a path",
        "mode = \"development\"\n[[rule]]\nname = \"health\"\naccess = \"public\"\n",
    ),
    checked(
        "A rule with a path that no request can have",
        "mode = \"development\"\n[[rule]]\nname = \"health\"\npath = \"health\"\naccess = \"public\"\n",
    ),
    checked(
        "A rule with an access that is none",
        "mode = \"development\"\n[[rule]]\nname = \"a\"\npath = \"/a\"\naccess = \"login\"\n",
    ),
    checked(
        "Two rules with one name",
        "mode = \"development\"\n[[rule]]\nname = \"a\"\npath = \"/a\"\n[[rule]]\nname = \"a\"\npath = \"/b\"\n",
    ),
    checked(
        "A rule that is never reached",
        "mode = \"development\"\n[[rule]]\nname = \"all\"\npath = \"/**\"\n[[rule]]\nname = \"health\"\npath = \"/health\"\naccess = \"public\"\n",
    ),
    checked(
        "A header that cannot carry an identity",
        "mode = \"development\"\n[identity.headers]\nAuthorization = \"sub\"\n",
    ),
    checked(
        "A claim that does not exist",
        "mode = \"development\"\n[identity.headers]\nX-User-Id = \"userid\"\n",
    ),
    checked(
        "An AppSecret that is none",
        "mode = \"development\"\n[wechat]\napp_id = \"wx0123456789abcdef\"\nsecret = \"YOUR_SECRET\"\n",
    ),
    checked(
        "An AppSecret without its app id",
        "mode = \"development\"\n[wechat]\nsecret = \"0123456789abcdef0123456789abcdef\"\n",
    ),
    checked(
        "A secret file that is not there",
        "mode = \"development\"\n[wechat]\napp_id = \"wx0123456789abcdef\"\nsecret_file = \"absent\"\n",
    ),
    checked(
        "A short encryption key",
        "mode = \"development\"\n[store]\nencryption_key = \"secret\"\n",
    ),
    checked(
        "A store that does not exist",
        "mode = \"development\"\n[store]\nurl = \"redis://127.0.0.1\"\n",
    ),
    checked(
        "A database without the key that replicas share",
        "mode = \"development\"\n[store]\nurl = \"postgres://menshen@db/menshen\"\n",
    ),
    checked(
        "A password in the URL of a database",
        "mode = \"development\"\n[store]\nurl = \"postgres://menshen:hunter2@db/menshen\"\nencryption_key_file = \"store.key\"\n",
    ),
    checked(
        "TLS to a database that verifies nothing",
        "mode = \"development\"\n[store]\nurl = \"postgres://menshen@db/menshen?sslmode=require\"\nencryption_key_file = \"store.key\"\n",
    ),
    checked(
        "An SMS vendor without its keys",
        "mode = \"development\"\n[sms]\nproviders = [\"aliyun\"]\n",
    ),
    checked(
        "A dialect that does not exist",
        "mode = \"development\"\n[[dialect]]\nkind = \"express\"\nprefix = \"/api\"\n",
    ),
    checked(
        "A shared secret of five letters for another issuer",
        "mode = \"development\"\n[[issuer]]\nname = \"old\"\nalgorithms = [\"HS256\"]\nsecret = \"abcde\"\n",
    ),
    checked(
        "An origin with a path",
        "mode = \"development\"\n[cors]\nallowed_origins = [\"https://shop.example/\"]\n",
    ),
    checked(
        "The whole world as a trusted proxy",
        "mode = \"development\"\n[server]\nlisten = [\"127.0.0.1:8080\"]\ntrusted_proxies = [\"0.0.0.0/0\"]\n",
    ),
];

/// A request that is looked at with `explain`.
const EXPLAIN: &[Mistake] = &[
    typed("explain without a path", &["explain", "GET"]),
    typed(
        "explain with a path that is none",
        &["explain", "GET", "orders"],
    ),
    typed(
        "explain with a whole URL",
        &["explain", "GET", "http://127.0.0.1:8080/orders"],
    ),
    typed(
        "explain with a method in lower case",
        &["explain", "get", "/orders"],
    ),
    typed(
        "explain with a path that has two readings",
        &["explain", "GET", "/a/%2e%2e/admin"],
    ),
    typed("explain without a token", &["explain", "GET", "/orders"]),
    typed(
        "explain with a token that is none",
        &["explain", "GET", "/orders", "--token", "abc"],
    ),
    typed(
        "explain with a header that is none",
        &["explain", "GET", "/orders", "--header", "X-User-Id"],
    ),
    typed(
        "explain with a forged identity",
        &["explain", "GET", "/health", "--header", "X_User-Id: 7"],
    ),
    typed(
        "explain with an address that is none",
        &["explain", "GET", "/orders", "--from", "me"],
    ),
];

/// Users of the system that menshen stands in front of.
const IMPORT: &[Mistake] = &[
    typed("import without a file", &["import", "users"]),
    typed(
        "import of a file that is not there",
        &["import", "users", "nowhere.csv"],
    ),
    Mistake {
        files: &[("users.xlsx", "PK")],
        ..typed(
            "import of a file of an unknown kind",
            &["import", "users", "users.xlsx"],
        )
    },
    Mistake {
        files: &[("users.csv", "")],
        ..typed("import of an empty file", &["import", "users", "users.csv"])
    },
    Mistake {
        files: &[("users.csv", "user_id,wx_openid\n1,o1\n")],
        ..typed(
            "import with columns of other names",
            &["import", "users", "users.csv"],
        )
    },
    Mistake {
        files: &[("users.csv", "phone\n13800138000\n")],
        ..typed("import without ids", &["import", "users", "users.csv"])
    },
    Mistake {
        files: &[(
            "users.csv",
            "id,openid,app_id,phone,user_type,created_at\n1,,,123,,\nx y,,,,,\n,,,13800138000,,\n\
             4,o4,,,,\n5,,,,,yesterday\n6,,,13800138001,a b,\n7,,,13800138001,,\n8,,,13800138001,,\n",
        )],
        ..typed(
            "import with rows of which most are wrong",
            &["import", "users", "users.csv"],
        )
    },
    Mistake {
        files: &[("users.csv", "id,nickname\n1,\"Li\n")],
        ..typed(
            "import with a quotation mark that is not closed",
            &["import", "users", "users.csv"],
        )
    },
    Mistake {
        files: &[("users.ndjson", "{\"id\": 1}\n{\"id\": \n[1]\n")],
        ..typed(
            "import of lines that are no JSON",
            &["import", "users", "users.ndjson"],
        )
    },
    Mistake {
        files: &[("backup", "no export")],
        ..typed("import of what is no export", &["import", "backup"])
    },
];

/// What operators type.
const OPERATORS: &[Mistake] = &[
    typed("export without a file", &["export"]),
    typed("a user who does not exist", &["users", "show", "7"]),
    typed("a phone that is none", &["users", "show", "phone:123"]),
    typed("an openid without its app", &["users", "show", "openid:o1"]),
    typed("a ban without a reason to find", &["users", "ban", "7"]),
    typed("a session that is none", &["sessions", "revoke", "7"]),
    typed("a token that is none", &["token", "inspect", "abc"]),
    typed(
        "a subcommand of a subcommand with a slip",
        &["keys", "rotat"],
    ),
];

#[test]
fn what_is_said_to_each_mistake_is_what_the_snapshot_has() {
    let mut said = String::new();
    for (heading, mistakes) in [
        ("The first minutes", FIRST_MINUTES),
        ("Keys and values", KEYS),
        ("What a config says", VALUES),
    ] {
        section(&mut said, heading, mistakes);
    }
    said.push_str("# A start that fails\n\n");
    starts_that_fail(&mut said);
    section(&mut said, "explain", EXPLAIN);
    section(&mut said, "import", IMPORT);
    section(&mut said, "What operators type", OPERATORS);
    said.push_str("# doctor\n\n");
    doctor(&mut said);
    if env::var_os("MENSHEN_WRITE_MISTAKES").is_some() {
        fs::write(SNAPSHOT, &said).expect("the snapshot");
    }
    let expected = fs::read_to_string(SNAPSHOT).expect("the snapshot");
    for (now, before) in said.split("\n## ").zip(expected.split("\n## ")) {
        assert_eq!(now, before, "see the top of tests/it/mistakes.rs");
    }
    assert_eq!(said.len(), expected.len());
}

fn section(said: &mut String, heading: &str, mistakes: &[Mistake]) {
    writeln!(said, "# {heading}\n").expect("memory");
    for mistake in mistakes {
        let dir = tempfile::tempdir().expect("a directory");
        if let Some(config) = mistake.config {
            fs::write(dir.path().join("config.toml"), config).expect("a config");
        }
        for (name, text) in mistake.files {
            fs::write(dir.path().join(name), text).expect("a file");
        }
        let Mistake {
            title,
            command,
            variables,
            ..
        } = mistake;
        say(said, title, dir.path(), command, variables);
    }
}

/// Runs the command and writes down what it says.
fn say(said: &mut String, title: &str, dir: &Path, command: &[&str], variables: &[(&str, &str)]) {
    let output = menshen::command(dir, command, variables);
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = lossy(&output.stderr) + &lossy(&output.stdout);
    let code = output.status.code().expect("an exit code");
    let set: Vec<_> = variables
        .iter()
        .map(|(name, value)| [name, "=", value, " "].concat())
        .collect();
    let set = set.concat();
    let typed = same_each_time(&[&["menshen"], command].concat().join(" "), dir);
    let text = same_each_time(&text, dir);
    writeln!(said, "## {title}\n\n$ {set}{typed}\n{text}exit {code}\n").expect("memory");
}

/// Without what differs from run to run, and without the log, which a thread of its own writes.
fn same_each_time(text: &str, dir: &Path) -> String {
    let text = text.replace(&dir.display().to_string(), "DIR");
    let is_message = |line: &&str| !line.starts_with("{\"timestamp\"");
    let text: String = text.split_inclusive('\n').filter(is_message).collect();
    let changing = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"127\.0\.0\.1:\d{4,5}\b", "127.0.0.1:PORT"),
        (r"\b\d+ MiB are free", "MANY MiB are free"),
        (
            r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b",
            "UUID",
        ),
        (r"/\.tmp\w+", "/TEMP"),
    ];
    changing.into_iter().fold(text, |text, (pattern, name)| {
        Regex::new(pattern)
            .expect("a pattern")
            .replace_all(&text, name)
            .into_owned()
    })
}

fn starts_that_fail(said: &mut String) {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a file");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    write(
        "config.toml",
        &RIGHT.replace(
            "listen = [\"127.0.0.1:0\"]",
            &format!("listen = [\"{address}\"]"),
        ),
    );
    say(
        said,
        "A port that another process has",
        dir.path(),
        &["run"],
        &[],
    );

    write(
        "config.toml",
        &RIGHT
            .replace(
                "[admin]",
                "[server.tls]\ncert_file = \"absent.pem\"\nkey_file = \"absent.key\"\n[admin]",
            )
            .replace("127.0.0.1:0\"]", "tls:127.0.0.1:0\"]"),
    );
    say(
        said,
        "A certificate that is not there",
        dir.path(),
        &["run"],
        &[],
    );

    write(
        "config.toml",
        &format!("{RIGHT}[store]\nurl = \"sled:/proc/menshen\"\n"),
    );
    say(
        said,
        "A store where nothing can be written",
        dir.path(),
        &["run"],
        &[],
    );

    write("data", "");
    write("config.toml", RIGHT);
    say(
        said,
        "A file where the store's directory belongs",
        dir.path(),
        &["run"],
        &[],
    );

    let backend = Backend::start();
    let running = Setup::before(backend.address).start();
    let config = running.directory().join("config.toml");
    let config = config.to_str().expect("a path");
    say(
        said,
        "A store that a running menshen has open",
        running.directory(),
        &["run", "--config", config],
        &[("MENSHEN_STORE__LOCK_WAIT", "10ms")],
    );
    let directory = running.keep_directory();
    drop(running);
    fs::write(directory.path().join("store.key"), "0".repeat(64)).expect("a key");
    say(
        said,
        "The key of another store",
        directory.path(),
        &["run", "--config", config],
        &[],
    );
    fs::write(directory.path().join("store.key"), "short").expect("a key");
    say(
        said,
        "A key that is none",
        directory.path(),
        &["run", "--config", config],
        &[],
    );
    fs::remove_file(directory.path().join("store.key")).expect("a key");
    say(
        said,
        "A store whose key is gone",
        directory.path(),
        &["run", "--config", config],
        &[],
    );
}

fn doctor(said: &mut String) {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("config.toml"), RIGHT).expect("a config");
    say(said, "Nothing runs yet", dir.path(), &["doctor"], &[]);

    let key = dir.path().join("store.key");
    fs::write(&key, "0".repeat(64)).expect("a key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::write(dir.path().join("data"), "").expect("a file");
    let socket = format!("unix:{}/absent/front.sock\"]", dir.path().display());
    let config = RIGHT.replace("127.0.0.1:0\"]", &socket);
    fs::write(dir.path().join("config.toml"), config).expect("a config");
    say(
        said,
        "A file in the store's place, a key that all can read, a socket in no directory",
        dir.path(),
        &["doctor"],
        &[],
    );
}
