//! `deploy/docker`: what the image does, and that nothing in the Compose file opens what should be
//! closed.

use std::{fs, path::PathBuf, process::Command};

use serde_json::{Value, json};
use toml_edit::DocumentMut;

use super::{
    super::{
        wechat::{APP_ID, SECRET, Wechat},
        wire,
    },
    ExampleBackend, documents,
    image::{Image, assert_confined, give, user_of},
    items, printed, repository, seconds, text, tool,
};

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

#[test]
fn the_compose_file_is_valid_and_shows_nothing_but_the_gate() {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    assert_eq!(services.len(), 3);
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
        assert!(user >= 10_000, "{name}");
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
    for (section, key) in [
        ("admin", "token_file"),
        ("store", "encryption_key_file"),
        ("wechat", "secret_file"),
    ] {
        let path = config[section][key].as_str().expect("a file");
        let name = path.strip_prefix("/run/secrets/").expect("a secret");
        assert!(items(&menshen["secrets"]).contains(&json!(name)), "{name}");
        assert_eq!(
            text(&compose, &format!("/secrets/{name}/file")),
            format!("./secrets/{name}")
        );
    }
    let stops =
        seconds(&config, "server", "unready_grace") + seconds(&config, "server", "drain_timeout");
    let patience: u64 = text(menshen, "/stop_grace_period")
        .trim_end_matches('s')
        .parse()
        .expect("seconds");
    assert!(
        stops + 5 <= patience,
        "{stops} s and time to close the store, of {patience}"
    );

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
