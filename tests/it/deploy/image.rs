//! The image that `deploy/docker/Dockerfile` makes, without an engine: the last stage is carried
//! out in a directory, and the process runs with that as its root, read-only, as the image's user,
//! with nothing else mounted than what a test names.
//!
//! What the base image brings is not here, so it is not needed: of its files there are those
//! libraries alone that the binary links.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    super::menshen::{BINARY, Menshen, Setup},
    printed, repository,
};

/// Who the process is.
pub(super) const USER: u32 = 65532;

/// The libraries of `libc6` and `libgcc-s1`, all that we rely on in a base image.
const LIBRARIES: [&str; 7] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "ld-linux-x86-64.so.2",
];

/// A root directory and how a container starts in it.
pub(super) struct Image {
    dir: Arc<TempDir>,
    command: Vec<String>,
    variables: Vec<(String, String)>,
    mounts: Vec<Mount>,
}

struct Mount {
    from: PathBuf,
    to: String,
    read_only: bool,
}

/// Whether this process may make others anybody. Otherwise they are in a user namespace, where this
/// user is called 65532.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a file or directory to the image's user and its group.
pub(super) fn give(path: &Path) {
    if is_root() {
        chown(path, Some(USER), Some(USER)).expect("another owner");
    }
}

/// Gives a file or directory to the image's group alone, as Kubernetes does with volumes
/// (`fsGroup`).
pub(super) fn share(path: &Path, mode: u32) {
    if is_root() {
        chown(path, None, Some(USER)).expect("another group");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
}

impl Image {
    /// Does what the last stage of the Dockerfile says.
    pub(super) fn build() -> Self {
        let file =
            fs::read_to_string(repository("deploy/docker/Dockerfile")).expect("the Dockerfile");
        let (_, last) = file.rsplit_once("\nFROM ").expect("stages");
        let dir = Arc::new(tempfile::tempdir().expect("a directory"));
        let mut image = Self {
            dir,
            command: Vec::new(),
            variables: Vec::new(),
            mounts: Vec::new(),
        };
        fs::create_dir_all(image.root().join("proc")).expect("a root");
        let words = |json: &str| serde_json::from_str::<Vec<String>>(json).expect("a list");
        for line in last.lines().skip(1).filter(|line| !line.starts_with('#')) {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("COPY", arguments) => image.copy(arguments),
                ("ENV", pair) => {
                    let (name, value) = pair.split_once('=').expect("NAME=VALUE");
                    image.variables.push((name.to_owned(), value.to_owned()));
                }
                ("USER", user) => assert_eq!(user, format!("{USER}:{USER}")),
                ("ENTRYPOINT" | "CMD", json) => image.command.extend(words(json)),
                ("WORKDIR" | "EXPOSE" | "", _) => {}
                (other, _) => panic!("the Dockerfile has a {other}, which this does not know"),
            }
        }
        image.add_libraries();
        image
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// A new directory beside the root.
    pub(super) fn directory(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    fn place(&self, path: &str) -> PathBuf {
        let place = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().expect("a parent")).expect("directories");
        place
    }

    fn copy(&self, arguments: &str) {
        let (options, paths): (Vec<_>, Vec<_>) = arguments
            .split(' ')
            .partition(|word| word.starts_with("--"));
        let [from, to] = paths[..] else {
            panic!("COPY {arguments}")
        };
        assert_eq!(options[0], "--from=build");
        let to = self.place(to);
        match from {
            "/out/usr/bin/menshen" => {
                fs::hard_link(BINARY, &to)
                    .or_else(|_| fs::copy(BINARY, &to).map(drop))
                    .expect("the binary");
            }
            "/out/var/lib/menshen" => {
                fs::create_dir(&to).expect("a directory");
                assert_eq!(options[1], format!("--chown={USER}:{USER}"));
                give(&to);
            }
            // The builder is Debian, as this machine is.
            debian => {
                fs::copy(debian, &to).unwrap_or_else(|fault| panic!("{debian}: {fault}"));
            }
        }
    }

    fn add_libraries(&self) {
        let list = printed(Command::new("ldd").arg(BINARY));
        let paths = list
            .lines()
            .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
        let mut count = 0;
        for path in paths {
            let name = path.rsplit('/').next().expect("a name");
            assert!(
                LIBRARIES.contains(&name),
                "{name} is not in the base image: {list}"
            );
            fs::copy(path, self.place(path)).expect("a library");
            count += 1;
        }
        assert!(count >= 3, "{list}");
    }

    /// Mounts a directory there.
    pub(super) fn mount(&mut self, from: &Path, to: &str, read_only: bool) {
        fs::create_dir_all(self.place(to)).expect("a place to mount");
        self.mounts.push(Mount {
            from: from.to_owned(),
            to: to.to_owned(),
            read_only,
        });
    }

    /// With this variable in its environment.
    pub(super) fn variable(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    /// Shell commands that become the process, whose arguments these are.
    fn script(&self, arguments: &[&str]) -> String {
        let root = self.root();
        let root = root.display();
        let mut inner = format!("mount --bind {root} {root}; mount --rbind /proc {root}/proc;");
        for Mount {
            from,
            to,
            read_only,
        } in &self.mounts
        {
            let from = from.display();
            write!(inner, "mount --bind {from} {root}{to};").expect("a text");
            if *read_only {
                write!(inner, "mount -o remount,bind,ro {root}{to};").expect("a text");
            }
        }
        write!(inner, "mount -o remount,bind,ro {root};").expect("a text");
        let words = arguments.join(" ");
        if is_root() {
            let user = format!("--userspec={USER}:{USER} --groups=");
            format!(
                "exec unshare --mount /bin/sh -ec '{inner} exec setpriv --no-new-privs $(command -v chroot) {user} {root} {words}'"
            )
        } else {
            let user = format!("--user --map-user={USER} --map-group={USER}");
            format!(
                "exec unshare --user --map-root-user --mount /bin/sh -ec \
                 '{inner} exec setpriv --no-new-privs unshare {user} --root={root} {words}'"
            )
        }
    }

    /// Starts a container and waits until it is ready.
    pub(super) fn start(&self) -> Menshen {
        let arguments: Vec<_> = self.command.iter().map(String::as_str).collect();
        let nowhere = "127.0.0.1:9".parse().expect("an address");
        let mut setup = Setup::before(nowhere).after_shell(self.script(&arguments));
        for (name, value) in &self.variables {
            setup = setup.variable(name.clone(), value.clone());
        }
        setup.start()
    }

    /// Runs a command in the container's place, as `docker exec` and `kubectl exec` do, with
    /// something to read.
    pub(super) fn command(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut words = vec![self.command[0].as_str()];
        words.extend(arguments);
        let mut child = Command::new("/bin/sh")
            .args(["-c", &self.script(&words)])
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        // It may end without reading.
        drop(child.stdin.take().expect("stdin").write_all(input));
        child.wait_with_output().expect("an end")
    }

    /// Every file and directory of the root file system, without what is mounted.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.root()];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(
                    fs::read_dir(&path)
                        .expect("a directory")
                        .map(|entry| entry.expect("an entry").path()),
                );
            }
            found.push(path);
        }
        found.sort();
        found
    }
}

/// The process can do nothing but run: no capability, no way to gain one, and nothing of its root
/// can be written.
pub(super) fn assert_confined(menshen: &Menshen) {
    let proc = |file: &str| {
        fs::read_to_string(format!("/proc/{}/{file}", menshen.pid())).expect("a running process")
    };
    let status = proc("status");
    let field = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .expect("a field");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("NoNewPrivs"), "1");
    for set in ["CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    if is_root() {
        let four = [USER.to_string().as_str(); 4].join(" ");
        assert_eq!((field("Uid"), field("Gid")), (four.clone(), four));
        assert_eq!(field("Groups"), "");
    }
    let mounts = proc("mountinfo");
    let root = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[4] == "/")
        .expect("a root");
    assert!(root[5].split(',').any(|option| option == "ro"), "{root:?}");
}

/// The user's id in a token answer.
pub(super) fn user_of(login: &Value) -> &str {
    login["user"]["id"].as_str().expect("an id")
}
