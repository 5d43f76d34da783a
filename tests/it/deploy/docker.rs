//! `deploy/docker`: what the image does, and that nothing in the Compose file opens what should be
//! closed.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use toml_edit::DocumentMut;

use super::{
    super::{
        menshen::Setup,
        postgres::Server,
        wechat::{APP_ID, SECRET, Wechat},
        wire,
    },
    ExampleBackend, documents,
    image::{Image, assert_confined, give, user_of},
    items, printed, repository, seconds, text, tool,
};

/// What each config reads from a secret, by section and key.
const SECRET_FILES: [(&str, &str); 3] = [
    ("admin", "token_file"),
    ("store", "encryption_key_file"),
    ("wechat", "secret_file"),
];

fn compose() -> Value {
    documents("compose", &repository("deploy/docker/compose.yaml")).remove(0)
}

fn config() -> DocumentMut {
    let text =
        fs::read_to_string(repository("deploy/docker/menshen/config.toml")).expect("the config");
    text.parse().expect("TOML")
}

/// A command of the README, in a directory.
fn from_readme(part: &str) -> String {
    let readme = fs::read_to_string(repository("deploy/docker/README.md")).expect("the README");
    let lines: Vec<_> = readme
        .lines()
        .filter(|line| line.contains(part) && !line.contains('|'))
        .collect();
    let [line] = lines[..] else {
        panic!("not one line with {part:?}: {lines:?}")
    };
    line.trim().to_owned()
}

/// What compose.yaml mounts, with the secrets as the README makes them. The directory of the store.
fn mount_what_compose_mounts(image: &mut Image) -> PathBuf {
    let secrets = image.directory("secrets");
    fs::write(secrets.join("wechat.secret"), format!("{SECRET}\n")).expect("a file");
    for name in ["store.key", "admin.token"] {
        let made = from_readme(&format!("> secrets/{name}"));
        printed(
            Command::new("/bin/sh")
                .args(["-ec", &made])
                .current_dir(secrets.parent().expect("a parent")),
        );
    }
    for file in ["wechat.secret", "store.key", "admin.token"] {
        give(&secrets.join(file));
    }
    image.mount(&secrets, "/run/secrets", true);
    image.mount(&repository("deploy/docker/menshen"), "/etc/menshen", true);
    let store = image.directory("store");
    give(&store);
    image.mount(&store, "/var/lib/menshen", false);
    store
}

#[test]
fn the_image_signs_people_in_from_a_root_that_nobody_can_write() {
    let wechat = Wechat::start();
    let backend = ExampleBackend::start("127.0.0.1:0");
    let mut image = Image::build();

    let store = mount_what_compose_mounts(&mut image);
    image.variable("MENSHEN_SERVER__LISTEN", "127.0.0.1:0");
    image.variable("MENSHEN_ADMIN__LISTEN", "127.0.0.1:0");
    image.variable("MENSHEN_UPSTREAM__URLS", format!("http://{}", backend.at));
    image.variable("MENSHEN_WECHAT__BASE_URL", wechat.server.base_url());
    image.variable("MENSHEN_WECHAT__APP_ID", APP_ID);
    let before = image.files();

    let mut menshen = image.start();
    assert_confined(&menshen);
    let login = menshen.login("alice");
    let bearer = format!(
        "Bearer {}",
        login["access_token"].as_str().expect("a token")
    );
    let answer = menshen.get(
        "/orders",
        &[("Authorization", &bearer), ("X-User-Id", "somebody-else")],
    );
    assert_eq!(
        answer.json(),
        json!({ "path": "/orders", "state": "authenticated", "user": user_of(&login) }),
        "{}",
        answer.status
    );
    assert_eq!(menshen.get("/orders", &[]).status, 401);
    assert_eq!(menshen.get("/health", &[]).status, 200);
    for probe in ["/startupz", "/readyz", "/livez", "/metrics"] {
        assert_eq!(
            wire::ask(menshen.admin, "GET", probe, &[], b"").status,
            200,
            "{probe}"
        );
    }

    // `docker compose exec menshen menshen users list`, and the backup.
    image.variable("MENSHEN_ADMIN__LISTEN", menshen.admin.to_string());
    let users = image.command(&["users", "list"], b"");
    let list = String::from_utf8_lossy(&users.stdout);
    assert!(
        users.status.success() && list.contains(user_of(&login)),
        "{list}{}",
        String::from_utf8_lossy(&users.stderr)
    );
    let backup = image.command(&["export", "-"], b"");
    assert!(
        backup.status.success(),
        "{}",
        String::from_utf8_lossy(&backup.stderr)
    );
    menshen.stop();

    // Another container on the same volume knows her.
    image.variable("MENSHEN_ADMIN__LISTEN", "127.0.0.1:0");
    let mut again = image.start();
    assert_eq!(
        again.get("/orders", &[("Authorization", &bearer)]).status,
        200
    );
    let refresh = json!({ "refresh_token": login["refresh_token"] });
    assert_eq!(again.post("/auth/refresh", &[], &refresh).status, 200);
    again.stop();

    // The backup, in another place on the volume.
    image.variable("MENSHEN_STORE__URL", "sled:/var/lib/menshen/restored");
    let restored = image.command(&["import", "-"], &backup.stdout);
    let said = String::from_utf8_lossy(&restored.stdout);
    assert!(
        said.starts_with("1 users, 0 sessions"),
        "{said}{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    let refused = image.command(&["import", "-"], &backup.stdout);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not empty"));
    assert_eq!(
        image.files(),
        before,
        "nothing came about outside the volume"
    );
    assert!(fs::read_dir(&store).expect("the volume").count() > 0);
}

#[test]
fn the_dockerfile_is_clean_and_its_context_is_all_that_cargo_needs() {
    printed(tool("hadolint").arg(repository("deploy/docker/Dockerfile")));

    let file = fs::read_to_string(repository("deploy/docker/Dockerfile")).expect("the Dockerfile");
    let ignore = fs::read_to_string(repository("deploy/docker/Dockerfile.dockerignore"))
        .expect("the ignore file");
    let let_in: Vec<_> = ignore
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let copied: Vec<_> = file
        .lines()
        .filter_map(|line| {
            line.strip_prefix("COPY ")
                .filter(|rest| !rest.starts_with("--from"))
        })
        .flat_map(|line| {
            line.split(' ')
                .rev()
                .skip(1)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
        })
        .collect();
    assert_eq!(
        copied, let_in,
        "what is copied is what is let in, and nothing else is"
    );
    assert!(ignore.lines().any(|line| line == "*"));

    // Cargo reads the manifest there as the build does.
    let context = tempfile::tempdir().expect("a directory");
    for source in copied {
        let below = source.rsplit_once('/').map_or("", |(below, _)| below);
        let to = context.path().join(below);
        let copy = format!("mkdir -p {0} && cp -r {source} {0}", to.display());
        printed(
            Command::new("/bin/sh")
                .args(["-ec", &copy])
                .current_dir(env!("CARGO_MANIFEST_DIR")),
        );
    }
    let manifest = context.path().join("Cargo.toml");
    let cargo = std::env::var("CARGO").expect("cargo runs this");
    printed(
        Command::new(cargo)
            .args([
                "metadata",
                "--no-deps",
                "--offline",
                "--format-version=1",
                "--manifest-path",
            ])
            .arg(manifest),
    );
}

#[test]
fn the_binary_needs_no_file_that_the_builder_does_not_have() {
    // Only tests may include what is outside src/: the image's build does not see it.
    let mut open = vec![repository("src")];
    let mut read = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                fs::read_dir(&path)
                    .expect("a directory")
                    .map(|entry| entry.expect("an entry").path()),
            );
            continue;
        }
        read += 1;
        let text = fs::read_to_string(&path).unwrap_or_default();
        let name = path.to_string_lossy();
        if name.contains("tests/") || name.ends_with("tests.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().expect("a part");
        assert!(
            !code.contains("include_str!(\"../../") && !code.contains("include_bytes!(\"../../"),
            "{name}"
        );
    }
    assert!(read > 100, "{read}");
}

/// Every service runs as a user without rights, from a read-only root and a named version of its
/// image, and publishes on this machine alone.
fn assert_confined_services<'a>(services: impl IntoIterator<Item = (&'a String, &'a Value)>) {
    for (name, service) in services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
        assert_eq!(
            service["security_opt"],
            json!(["no-new-privileges:true"]),
            "{name}"
        );
        let user: u32 = text(service, "/user")
            .split(':')
            .next()
            .and_then(|user| user.parse().ok())
            .expect("a number");
        // The image of PostgreSQL has a user of its own, to whom its volume belongs.
        let of_image = name == "database" && user == 999;
        assert!(user >= 10_000 || of_image, "{name}");
        for port in items(&service["ports"]) {
            assert!(
                port.as_str()
                    .is_some_and(|port| port.starts_with("127.0.0.1:")),
                "{name}: {port}"
            );
        }
        let (image, tag) = text(service, "/image").rsplit_once(':').expect("a tag");
        assert!(!image.is_empty() && tag != "latest", "{name}");
    }
}

/// What waits for menshen's end is more patient than menshen.
fn assert_stops_in_time(service: &Value, config: &DocumentMut) {
    let stops =
        seconds(config, "server", "unready_grace") + seconds(config, "server", "drain_timeout");
    let patience: u64 = text(service, "/stop_grace_period")
        .trim_end_matches('s')
        .parse()
        .expect("seconds");
    assert!(
        stops + 5 <= patience,
        "{stops} s and time to close the store, of {patience}"
    );
}

/// The config names secrets that the service is given and the file has.
fn assert_secrets_are_given(
    compose: &Value,
    service: &Value,
    config: &DocumentMut,
    keys: &[(&str, &str)],
) {
    for (section, key) in keys {
        let path = config[section][key].as_str().expect("a file");
        let name = path.strip_prefix("/run/secrets/").expect("a secret");
        assert!(items(&service["secrets"]).contains(&json!(name)), "{name}");
        assert_eq!(
            text(compose, &format!("/secrets/{name}/file")),
            format!("./secrets/{name}")
        );
    }
}

#[test]
fn the_compose_file_is_valid_and_shows_nothing_but_the_gate() {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    assert_eq!(services.len(), 3);
    assert_confined_services(services);
    assert_eq!(services["backend"]["ports"], Value::Null);
    assert_eq!(services["backend"]["networks"], json!(["inside"]));
    assert_eq!(compose["networks"]["inside"]["internal"], true);
    let inside: Vec<_> = services
        .iter()
        .filter(|(_, it)| items(&it["networks"]).contains(&json!("inside")))
        .collect();
    assert_eq!(inside.len(), 2, "the backend and menshen alone");

    // The config names what the file mounts, connects and publishes.
    let (menshen, config) = (&services["menshen"], config());
    let published: Vec<_> = items(&menshen["ports"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let listens = config["server"]["listen"][0].as_str().expect("an address");
    assert_eq!(
        published,
        [format!(
            "127.0.0.1:8080:{}",
            listens.rsplit(':').next().expect("a port")
        )]
    );
    assert_eq!(
        config["upstream"]["urls"][0].as_str(),
        Some("http://backend:3000")
    );
    assert!(items(&services["backend"]["command"]).contains(&json!("0.0.0.0:3000")));
    assert_secrets_are_given(&compose, menshen, &config, &SECRET_FILES);
    assert_stops_in_time(menshen, &config);

    let scraped = documents(
        "yaml",
        &repository("deploy/docker/prometheus/prometheus.yml"),
    )
    .remove(0);
    let admin = config["admin"]["listen"]
        .as_str()
        .and_then(|at| at.rsplit(':').next())
        .expect("a port");
    let target = text(&scraped, "/scrape_configs/0/static_configs/0/targets/0");
    assert_eq!(target, format!("menshen:{admin}"));
}

#[test]
fn the_compose_file_with_two_replicas_lets_nginx_alone_reach_them() {
    let here = "deploy/docker/replicas";
    let compose = documents("compose", &repository(&format!("{here}/compose.yaml"))).remove(0);
    let read =
        |file: &str| fs::read_to_string(repository(&format!("{here}/{file}"))).expect("a file");
    let config: DocumentMut = read("menshen/config.toml").parse().expect("TOML");
    let services = compose["services"].as_object().expect("services");
    let extended: Vec<_> = services
        .iter()
        .filter(|(_, service)| !service["extends"].is_null())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(extended, ["backend", "prometheus"]);
    for name in extended {
        let from = json!({ "file": "../compose.yaml", "service": name });
        assert_eq!(services[name]["extends"], from, "{name}");
    }
    assert_confined_services(
        services
            .iter()
            .filter(|(_, service)| service["extends"].is_null()),
    );
    let publish: Vec<_> = services
        .iter()
        .filter(|(_, service)| !service["ports"].is_null())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(publish, ["nginx"]);
    let networks = |service: &str| -> BTreeSet<String> {
        match &services[service]["networks"] {
            Value::Object(named) => named.keys().cloned().collect(),
            list => items(list)
                .iter()
                .map(|name| name.as_str().expect("a name").to_owned())
                .collect(),
        }
    };
    assert_eq!(networks("database"), BTreeSet::from(["data".to_owned()]));
    assert_eq!(networks("nginx"), BTreeSet::from(["outside".to_owned()]));
    for internal in ["inside", "data"] {
        assert_eq!(compose["networks"][internal]["internal"], true);
    }

    // Both are one service but for the address, and what hardens it is as for one replica.
    let (one, other) = (&services["menshen-1"], &services["menshen-2"]);
    let single = self::compose()["services"]["menshen"].clone();
    let nginx = read("nginx/nginx.conf");
    for (name, service) in one.as_object().expect("a service") {
        if name != "networks" {
            assert_eq!(&other[name], service, "{name}");
        }
    }
    for name in ["image", "user", "mem_limit", "environment", "restart"] {
        assert_eq!(one[name], single[name], "{name}");
    }
    for (number, service) in [one, other].into_iter().enumerate() {
        let name = format!("menshen-{}", number + 1);
        assert_eq!(
            networks(&name),
            BTreeSet::from(["data", "inside", "outside"].map(str::to_owned))
        );
        let at = text(service, "/networks/outside/ipv4_address");
        assert!(nginx.contains(&format!("server {at}:8080 ")), "{at}");
        assert_stops_in_time(service, &config);
        assert_secrets_are_given(&compose, service, &config, &SECRET_FILES);
        let password = [("store", "password_file")];
        assert_secrets_are_given(&compose, service, &config, &password);
        let scraped = format!("\"{name}:9090\"");
        assert!(read("prometheus/prometheus.yml").contains(&scraped));
    }

    // nginx has no idle connection left when menshen closes its own.
    let kept: u64 = nginx
        .lines()
        .find_map(|line| line.trim().strip_prefix("keepalive_timeout "))
        .and_then(|time| time.strip_suffix("s;")?.parse().ok())
        .expect("seconds");
    assert!(kept < seconds(&config, "server", "unready_grace"));
}

#[test]
fn the_database_has_a_role_for_menshen_that_owns_it_and_is_no_superuser() {
    let url = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(Server::shared().empty());
    let host = url.split(['@', '/']).nth(3).expect("a socket");
    let socket = host.replace("%2F", "/");
    let psql = |database: &str| {
        let mut command = Command::new("psql");
        command.args([
            "-v",
            "ON_ERROR_STOP=1",
            "-qtAX",
            "-U",
            "postgres",
            "-d",
            database,
        ]);
        command.arg("-h").arg(&socket);
        command
    };
    printed(psql("postgres").args(["-c", "CREATE DATABASE menshen"]));
    let dir = tempfile::tempdir().expect("a directory");
    let password = dir.path().join("database.password");
    fs::write(&password, "it's secret\n").expect("a file");
    let script = dir.path().join("menshen.sql");
    let sql =
        fs::read_to_string(repository("deploy/docker/replicas/postgres/menshen.sql")).expect("SQL");
    let here = password.to_str().expect("text");
    fs::write(&script, sql.replace("/run/secrets/database.password", here)).expect("a file");
    let unread = dir.path().join("unread.sql");
    fs::write(
        &unread,
        sql.replace("/run/secrets/database.password", "/absent"),
    )
    .expect("a file");
    let refused = psql("menshen")
        .arg("-f")
        .arg(&unread)
        .output()
        .expect("psql");
    assert!(!refused.status.success(), "a role without a password");
    printed(psql("menshen").arg("-f").arg(&script));
    let role = printed(psql("menshen").args([
        "-c",
        "SELECT rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolpassword IS NOT NULL, \
         (SELECT datdba = pg_authid.oid FROM pg_database WHERE datname = 'menshen') \
         FROM pg_authid WHERE rolname = 'menshen'",
    ]));
    assert_eq!(role.trim(), "f|f|f|t|t|t");
    // It makes its tables there.
    let setup = Setup::before(([127, 0, 0, 1], 9).into());
    let own = format!("postgres://menshen@{host}/menshen");
    let section = format!(
        "[store]\nurl = \"{own}\"\nencryption_key = \"{}\"",
        "42".repeat(32)
    );
    drop(setup.with(&section).start());
}
