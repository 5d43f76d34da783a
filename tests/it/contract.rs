//! `openapi.json` against the process that it describes, by schemathesis: what it allows is taken,
//! what it does not is refused, and each answer is one that it has. `./run test` installs it;
//! `tests/schemathesis/hooks.py` says what it cannot know.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use super::{administration::live_reading, backend::Backend, menshen::Setup};

const PASSWORD: &str = "correct horse battery staple";
const APP_ID: &str = "wx00000000000000aa";
const PUSH_TOKEN: &str = "pushtoken";
/// Cases of each operation, besides those that come from each bound of its schema.
const MAX_EXAMPLES: &str = "3";

/// Everything of the auth API is on, nobody is slowed down, and what costs a second elsewhere is in
/// memory.
fn setup(backend: &Backend) -> Setup {
    let phones = ["8613800138001", "8613800138002"].map(|phone| {
        format!(
            "[[sms.test_phone]]\nphone = \"+{phone}\"\ncode = \"246810\"\nuntil = \"2099-12-31\"\n"
        )
    });
    Setup::before(backend.address).with(&format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n[store]\nurl = \"memory:\"\n\
         [wechat]\napp_id = \"{APP_ID}\"\nlegacy_decrypt = true\npush_token = \"{PUSH_TOKEN}\"\n\
         [wechat.push]\nenabled = true\nplain = true\n{}",
        phones.concat()
    ))
}

/// The operations of a document, as they are called.
fn operations(document: &Value) -> Vec<&str> {
    let items = document["paths"].as_object().expect("paths").values();
    let operations = items.flat_map(|item| item.as_object().expect("operations").values());
    operations
        .map(|operation| operation["operationId"].as_str().expect("a name"))
        .collect()
}

#[test]
fn schemathesis_finds_nothing_and_every_operation_has_succeeded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("target/backends/schemathesis/bin/schemathesis");
    assert!(
        program.exists(),
        "{} is missing: `./run test` installs it",
        program.display()
    );
    let backend = Backend::start();
    let menshen = setup(&backend).start();
    live_reading(
        &menshen,
        &["users", "add", "root", "--admin", "--password-stdin"],
        &format!("{PASSWORD}\n"),
    )
    .good();
    let document = menshen.get("/auth/openapi.json", &[]);
    let place = tempfile::tempdir().expect("a directory");
    let (schema, successes) = (
        place.path().join("openapi.json"),
        place.path().join("successes.json"),
    );
    fs::write(&schema, &document.body).expect("a file");

    let url = format!("http://{}", menshen.http);
    let said = Command::new(program)
        .arg("run")
        .arg(&schema)
        .args([
            "--url",
            &url,
            "--seed",
            "1",
            "--max-examples",
            MAX_EXAMPLES,
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .args(["--continue-on-failure", "--no-color", "--warnings", "off"])
        // Nothing that an earlier run has found is tried first, and nothing is left behind.
        .current_dir(place.path())
        .env(
            "SCHEMATHESIS_HOOKS",
            root.join("tests/schemathesis/hooks.py"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("MENSHEN", &url)
        .env("SUCCESSES", &successes)
        .env("PASSWORD", PASSWORD)
        .env("APP_ID", APP_ID)
        .env("PUSH_TOKEN", PUSH_TOKEN)
        .output()
        .expect("schemathesis");
    let out = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.status.success(),
        "{out}\n{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let document = document.json();
    let names = operations(&document);
    assert!(out.contains(&format!("Tested: {}", names.len())), "{out}");
    let succeeded: BTreeMap<String, u64> =
        serde_json::from_slice(&fs::read(&successes).expect("a file")).expect("counts");
    let missing: Vec<_> = names
        .iter()
        .filter(|name| !succeeded.contains_key(**name))
        .collect();
    assert!(
        missing.is_empty(),
        "{missing:?} never succeeded: {succeeded:?}"
    );
    assert_eq!((names.len(), succeeded.len()), (20, 20));
    assert!(backend.received().is_empty());
}
