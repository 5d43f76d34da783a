//! Modes of the files that menshen makes: for their owner alone, whatever the umask; those of
//! sockets follow the umask.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    backend::Backend,
    menshen::{Setup, command},
};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// Every file and directory below, with its mode.
fn modes(directory: &Path) -> BTreeMap<PathBuf, u32> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(modes(&path));
        }
        all.insert(path.clone(), mode(&path));
    }
    all
}

#[test]
fn what_is_made_is_for_its_owner_alone_whatever_the_umask() {
    let backend = Backend::start();
    for umask in ["000", "022", "077"] {
        let setup = Setup::before(backend.address).with(
            "[server]\nlisten = [\"127.0.0.1:0\", \"unix:http.sock\"]\nunready_grace = \"100ms\"\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"made/admin.token\"\n\
             [store]\nurl = \"sled:data\"\nencryption_key_file = \"made/store.key\"\n",
        );
        let dir = setup.directory();
        let config = setup.config();
        let socket = dir.path().join("http.sock");
        let text = fs::read_to_string(&config).expect("the config");
        fs::write(
            &config,
            text.replace("unix:http.sock", &format!("unix:{}", socket.display())),
        )
        .expect("the config");
        // A directory that was there, for everybody.
        let data = dir.path().join("data");
        fs::create_dir(&data).expect("a directory");
        set_mode(&data, 0o755);
        let mut menshen = setup
            .reading(config)
            .after_shell(format!("umask {umask}"))
            .start();
        for n in 0..50 {
            menshen.login(&format!("alice-{n}"));
        }
        let socket_mode = 0o777 & !u32::from_str_radix(umask, 8).expect("octal");
        assert_eq!(
            mode(&socket),
            socket_mode,
            "umask {umask}: who may connect, the umask says"
        );
        menshen.stop();

        // A backup, where one that was broken off has left something for everybody.
        let part = dir.path().join("backup.part");
        fs::write(&part, "half").expect("a file");
        set_mode(&part, 0o666);
        let exported = command(dir.path(), &["export", "backup"], &[]);
        assert!(
            exported.status.success(),
            "{}",
            String::from_utf8_lossy(&exported.stderr)
        );
        // An old version's files, and what a copy with `cp` leaves: the next start mends them.
        set_mode(&data.join("db"), 0o644);
        let doctor = command(dir.path(), &["doctor"], &[]);
        let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(
            said.contains("other users can read or write db (mode 644)")
                && said.contains("chmod -R go="),
            "{said}"
        );
        assert!(
            command(dir.path(), &["store", "compact"], &[])
                .status
                .success()
        );

        let all = modes(dir.path());
        let ours = |path: &&PathBuf| !path.ends_with("config.toml") && **path != data;
        let readable: Vec<_> = all
            .iter()
            .filter(|(path, mode)| ours(path) && *mode & 0o077 != 0)
            .collect();
        assert!(readable.is_empty(), "umask {umask}: {readable:?}");
        for made in [
            "made",
            "made/store.key",
            "made/admin.token",
            "data/db",
            "data/conf",
            "data/blobs",
            "backup",
        ] {
            assert!(all.contains_key(&dir.path().join(made)), "{made}");
        }
    }
}
