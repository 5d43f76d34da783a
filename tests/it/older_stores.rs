//! Stores and exports of earlier releases, as their own binaries wrote them
//! (`packaging/golden-store.sh`): this version reads what it says that it reads, and refuses the
//! rest before it touches it.
//!
//! In each of them are alice and bob (by `WeChat`, in development mode), a user of the phone
//! +86 138 0013 8000, and the administrator root; bob is banned. Of the two signing keys the older
//! one is removed at the first start, since no token of it can be valid any more.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use serde_json::json;
use tempfile::TempDir;

use super::{
    administration::{live, stopped},
    backend::Backend,
    menshen::{Menshen, Setup},
};

/// The releases whose stores have the format of this one, oldest first.
const SAME_FORMAT: [&str; 1] = ["0.1.0"];
/// Stores of earlier formats, with the number of each.
const OLDER_FORMATS: [(&str, u32); 1] = [("format-2", 2)];

const CONFIG: &str = "[store]\nurl = \"sled:data\"\nencryption_key_file = \"store.key\"\n\
                      [admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"\n";

fn setup(backend: &Backend) -> Setup {
    Setup::before(backend.address).with(CONFIG)
}

/// Unpacks the files of a release into a directory.
fn unpack(release: &str, dir: &Path) {
    let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/data/stores/{release}.tar.gz"));
    let status = Command::new("tar")
        .args(["-x", "-z", "-C"])
        .arg(dir)
        .arg("-f")
        .arg(&archive)
        .status();
    assert!(status.expect("tar").success(), "{}", archive.display());
}

/// The bytes of each file below a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    all
}

/// Alice is known, bob is banned, and the four users are there.
fn has_its_users(menshen: &Menshen) {
    let users = live(menshen, &["users", "list"]).good();
    assert_eq!(users.lines().count(), 5, "{users}");
    assert_eq!(menshen.login("alice")["is_new_user"], json!(false));
    let bob = menshen.post("/auth/wechat/login", &[], &json!({ "code": "bob" }));
    assert_eq!(bob.status, 403, "{}", String::from_utf8_lossy(&bob.body));
    let phone = live(menshen, &["users", "show", "phone:+8613800138000"]).good();
    assert!(phone.contains("138"), "{phone}");
    let keys = live(menshen, &["keys", "list"]).good();
    assert!(keys.contains("signs and verifies"), "{keys}");
}

#[test]
fn the_store_of_each_release_with_this_format_is_opened() {
    let backend = Backend::start();
    for release in SAME_FORMAT {
        let setup = setup(&backend);
        unpack(release, setup.directory().path());
        has_its_users(&setup.start());
    }
}

#[test]
fn a_store_of_another_format_is_refused_and_not_changed() {
    let backend = Backend::start();
    for (release, format) in OLDER_FORMATS {
        let setup = setup(&backend);
        setup.config();
        let dir: Arc<TempDir> = setup.directory();
        unpack(release, dir.path());
        let before = contents(&dir.path().join("data"));
        let refused = stopped(dir.path(), &["run"], "");
        refused.failed(1, &format!("has format {format}"));
        refused.failed(1, "Nothing was changed");
        assert_eq!(before, contents(&dir.path().join("data")), "{release}");
    }
}

#[test]
fn the_export_of_each_release_is_imported() {
    let backend = Backend::start();
    let older = OLDER_FORMATS.map(|(release, _)| release);
    for release in older.into_iter().chain(SAME_FORMAT) {
        let setup = setup(&backend);
        setup.config();
        let dir = setup.directory();
        unpack(release, dir.path());
        fs::remove_dir_all(dir.path().join("data")).expect("the store is moved away");
        let said = stopped(dir.path(), &["import", "store.backup"], "").good();
        assert!(said.starts_with("4 users"), "{release}: {said}");
        has_its_users(&setup.start());
    }
}
