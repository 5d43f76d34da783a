//! Each variant's config carried out by the real binary, in the image, with the mounts that the pod
//! would have.
//!
//! That a change of a mounted `ConfigMap` is read (the swap of `..data`) is tested in `reload.rs`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use toml_edit::DocumentMut;

use super::{
    super::{
        super::{
            certificates::authority,
            menshen::Menshen,
            postgres::Server,
            wechat::{APP_ID, SECRET, Wechat},
            wire,
        },
        ExampleBackend,
        image::{Image, assert_confined, give, share, user_of},
    },
    Rendered, VARIANTS, Variant, items, number, port_of, printed, repository, text,
};

/// The files of a Secret, as the README has them made, in a directory. What it takes from a file
/// is what `given` is.
fn make_secrets(dir: &Path, secret: &str, given: impl Fn(&str) -> String) -> BTreeSet<String> {
    let readme = fs::read_to_string(repository("deploy/kubernetes/README.md")).expect("the README");
    let (_, after) = readme
        .split_once(&format!("kubectl -n shop create secret generic {secret}"))
        .expect("the command");
    // Up to the next command, or the end of the block.
    let command = after.split("```").next().expect("a part");
    let command = command.split("kubectl").next().expect("a part");
    let mut names = BTreeSet::new();
    for part in command.split("--from-file=").skip(1) {
        let (name, from) = part.split_once('=').expect("NAME=FILE");
        let from = from.trim_end().trim_end_matches('\\').trim_end();
        let file = dir.join(name);
        match from
            .strip_prefix("<(")
            .and_then(|command| command.strip_suffix(')'))
        {
            Some(command) => fs::write(
                &file,
                printed(Command::new("/bin/sh").args(["-c", command])),
            )
            .expect("a file"),
            None => fs::write(&file, given(name)).expect("a file"),
        }
        share(&file, 0o440);
        assert!(names.insert(name.to_owned()), "{name} twice");
    }
    names
}

/// A directory as the kubelet mounts a `ConfigMap`: the files are links through `..data`.
fn lay_out_config(volume: &Path, config: &str) {
    let data = volume.join("..2026_11_29");
    fs::create_dir_all(&data).expect("a directory");
    fs::write(data.join("config.toml"), config).expect("a config");
    symlink("..2026_11_29", volume.join("..data")).expect("a link");
    symlink("..data/config.toml", volume.join("config.toml")).expect("a link");
}

/// The files that a config names, by section and key, below a directory of secrets.
fn named_files(config: &DocumentMut, keys: &[(&str, &str)], directory: &str) -> BTreeSet<String> {
    keys.iter()
        .map(|(section, key)| config[section][key].as_str().expect("a file"))
        .map(|path| path.strip_prefix(directory).expect("a secret").to_owned())
        .collect()
}

/// The database in place of a volume, and its Secret.
fn mount_database(image: &mut Image, config: &DocumentMut) {
    let dir = image.directory("menshen-database");
    let authorities = tempfile::tempdir().expect("a directory");
    authority(authorities.path(), "ca");
    let made = make_secrets(&dir, "menshen-database", |name| match name {
        "ca.crt" => fs::read_to_string(authorities.path().join("ca.pem")).expect("a certificate"),
        _ => "password\n".to_owned(),
    });
    let mut named = named_files(
        config,
        &[("store", "password_file")],
        "/run/secrets/menshen-database/",
    );
    let (_, certificate) = config["store"]["url"]
        .as_str()
        .and_then(|url| url.split_once("sslrootcert=/run/secrets/menshen-database/"))
        .expect("an authority");
    named.insert(certificate.to_owned());
    assert_eq!(made, named, "the README makes what the config reads");
}

/// The test's own server in place of the one that the config names.
fn reach_database(image: &mut Image) {
    let url = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(Server::shared().empty());
    let (role, rest) = url.split_once('@').expect("a role");
    let (socket, database) = rest.split_once('/').expect("a database");
    let socket = PathBuf::from(socket.replace("%2F", "/"));
    share(&socket, 0o710);
    image.mount(&socket, "/run/postgresql", true);
    image.variable(
        "MENSHEN_STORE__URL",
        format!("{role}@%2Frun%2Fpostgresql/{database}"),
    );
}

/// The volumes, by what the pod says they are, and the mounts, by what the container says. The
/// directories of the store and of the socket.
fn mount_volumes(image: &mut Image, rendered: &Rendered, variant: &Variant) -> (PathBuf, PathBuf) {
    let place = |image: &Image, volume: &str| -> PathBuf { image.directory(volume) };
    lay_out_config(&place(image, "menshen-config"), rendered.config());
    let secrets = make_secrets(&place(image, "menshen-secrets"), "menshen-secrets", |_| {
        format!("{SECRET}\n")
    });
    let config = rendered.parsed_config();
    if !variant.is_embedded {
        mount_database(image, &config);
    }
    let data = place(image, "menshen-data");
    share(&data, 0o2770);
    let socket = place(image, "menshen-socket");
    share(&socket, 0o2770);
    let container = rendered.container(variant);
    for mount in items(&container["volumeMounts"]) {
        let (volume, to) = (text(mount, "/name"), text(mount, "/mountPath"));
        image.mount(&place(image, volume), to, mount["readOnly"] == true);
    }
    let keys = [
        ("admin", "token_file"),
        ("store", "encryption_key_file"),
        ("wechat", "secret_file"),
    ];
    assert_eq!(
        secrets,
        named_files(&config, &keys, "/run/secrets/menshen/"),
        "{}: the README makes what the config reads",
        variant.name
    );
    (data, socket)
}

/// `menshen check`, of the config as it is applied.
fn assert_config_is_good(image: &Image, name: &str) {
    let check = image.command(&["check"], b"");
    let said = String::from_utf8_lossy(&check.stderr);
    // The network policy is the answer to it.
    let known = "admin.listen: 0.0.0.0:9090 can be reached from other machines, and needs no authentication for metrics and probes";
    let others = said
        .lines()
        .filter(|line| !(line.starts_with("warning: ") && line.ends_with(known)))
        .count();
    assert!(check.status.success() && others == 0, "{name}: {said}");
}

fn assert_probes_are_answered(menshen: &Menshen, rendered: &Rendered, variant: &Variant) {
    let (name, config) = (variant.name, rendered.parsed_config());
    let container = rendered.container(variant);
    let named = items(&container["ports"])
        .iter()
        .find(|port| port["name"] == "menshen-metrics")
        .expect("a port");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let asks = &container[probe]["httpGet"];
        assert_eq!(asks["port"], named["name"], "{name}: {probe}");
        assert_eq!(
            wire::ask(menshen.admin, "GET", text(asks, "/path"), &[], b"").status,
            200,
            "{name}: {probe}"
        );
    }
    if variant.beside_the_application {
        // The application's probe goes through the gate.
        let shop = items(&rendered.pod(variant)["containers"])
            .iter()
            .find(|it| it["name"] == "shop")
            .expect("the shop");
        let asks = &shop["readinessProbe"]["httpGet"];
        assert_eq!(
            number(asks, "/port"),
            port_of(config["server"]["listen"][0].as_str().expect("an address")),
            "{name}"
        );
        assert_eq!(menshen.get(text(asks, "/path"), &[]).status, 200, "{name}");
        assert_eq!(
            shop["livenessProbe"],
            Value::Null,
            "{name}: not through the gate"
        );
    }
}

#[test]
fn every_config_runs_in_the_image_with_the_mounts_of_its_pod() {
    let wechat = Wechat::start();
    let mut idle = Vec::new();
    for variant in &VARIANTS {
        let (rendered, name) = (Rendered::of(variant.name), variant.name);
        let mut image = Image::build();

        let (data, socket) = mount_volumes(&mut image, rendered, variant);
        assert_config_is_good(&image, name);
        if !variant.is_embedded {
            reach_database(&mut image);
        }

        let config = rendered.parsed_config();
        // Only what belongs to the machine is another: the ports, and where WeChat is.
        let upstream = config["upstream"]["urls"][0].as_str().expect("an address");
        let backend = if let Some(file) = upstream.strip_prefix("unix:/run/menshen/") {
            ExampleBackend::start(&format!("unix:{}", socket.join(file).display()))
        } else {
            let backend = ExampleBackend::start("127.0.0.1:0");
            image.variable("MENSHEN_UPSTREAM__URLS", format!("http://{}", backend.at));
            backend
        };
        image.variable("MENSHEN_SERVER__LISTEN", "127.0.0.1:0");
        image.variable("MENSHEN_ADMIN__LISTEN", "127.0.0.1:0");
        image.variable("MENSHEN_WECHAT__BASE_URL", wechat.server.base_url());
        image.variable("MENSHEN_WECHAT__APP_ID", APP_ID);
        // The arithmetic has a test of its own.
        image.variable("MENSHEN_SERVER__UNREADY_GRACE", "0s");
        give(&image.root().join("var/lib/menshen"));

        let mut menshen = image.start();
        assert_confined(&menshen);
        idle.push(menshen.memory());
        assert_probes_are_answered(&menshen, rendered, variant);
        let login = menshen.login(&format!("alice-of-{name}"));
        let bearer = format!(
            "Bearer {}",
            login["access_token"].as_str().expect("a token")
        );
        let answer = menshen.get("/orders", &[("Authorization", &bearer)]);
        let wanted =
            json!({ "path": "/orders", "state": "authenticated", "user": user_of(&login) });
        assert_eq!((answer.status, answer.json()), (200, wanted), "{name}");
        assert_eq!(menshen.get("/orders", &[]).status, 401, "{name}");
        menshen.stop();
        drop(backend);
        assert_eq!(
            fs::read_dir(&data).expect("the volume").count() > 0,
            variant.is_embedded,
            "{name}: the store is on the volume, or in the database"
        );
    }
    // The request for memory leaves room for what an idle one holds.
    let request = text(
        Rendered::of("loopback").container(&VARIANTS[1]),
        "/resources/requests/memory",
    )
    .to_owned();
    let request: usize = request
        .strip_suffix("Mi")
        .and_then(|count| count.parse().ok())
        .expect("MiB");
    assert!(
        idle.iter().all(|kib| kib / 1024 < request),
        "{idle:?} KiB of {request} MiB"
    );
}
