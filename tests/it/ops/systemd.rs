//! The unit of `deploy/systemd`: that systemd takes it, how exposed it leaves the process, and that
//! the process needs no system call that the unit forbids.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Output},
};

use rustix::process::Signal;
use serde_json::json;

use super::super::{
    backend::Backend,
    menshen::{self, Menshen, Setup},
    wire,
};

const UNIT: &str = "deploy/systemd/menshen.service";
/// In tenths, as `systemd-analyze` has it. README.md names the figure of systemd 252.
const EXPOSURE: &str = "11";

fn analyze(args: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command
        .args(args)
        .output()
        .expect("systemd-analyze is missing: `./run test` installs it")
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr]
        .map(String::from_utf8_lossy)
        .concat()
}

/// The values of a key, in their order.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

#[test]
fn systemd_takes_the_units_and_finds_little_exposed() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = |name: &str| dir.path().join(name).to_str().expect("a path").to_owned();
    let [unit, livez, timer] = [
        "menshen.service",
        "menshen-livez.service",
        "menshen-livez.timer",
    ]
    .map(place);
    let text = super::adapted(
        &super::text(UNIT),
        &[("/usr/local/bin/menshen", menshen::BINARY)],
    );
    std::fs::write(&unit, text).expect("a file");
    for file in [&livez, &timer] {
        let name = Path::new(file)
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        std::fs::write(file, super::text(&format!("deploy/systemd/{name}"))).expect("a file");
    }
    let verified = analyze(&["verify", "--man=no", &unit, &livez, &timer]);
    assert!(
        verified.status.success() && said(&verified).is_empty(),
        "{}",
        said(&verified)
    );
    let exposed = analyze(&[
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold",
        EXPOSURE,
        &unit,
    ]);
    assert!(exposed.status.success(), "{}", said(&exposed));
}

#[test]
fn the_unit_says_what_menshen_does() {
    let unit = super::text(UNIT);
    assert_eq!(
        values(&unit, "RestartPreventExitStatus"),
        ["64"],
        "the exit code of a bad config"
    );
    // Where it may write, and where the config for it does.
    assert_eq!(
        (
            values(&unit, "StateDirectory"),
            values(&unit, "ProtectSystem")
        ),
        (vec!["menshen"], vec!["strict"])
    );
    let config = super::text("deploy/systemd/config.toml");
    let written: Vec<_> = config
        .split('"')
        .filter(|text| text.contains("/var/"))
        .collect();
    assert_eq!(written.len(), 3, "store, its key, the admin token");
    assert!(
        written.iter().all(|path| path
            .trim_start_matches("sled:")
            .starts_with("/var/lib/menshen/")),
        "{written:?}"
    );
    assert_eq!(
        (values(&unit, "StateDirectoryMode"), values(&unit, "UMask")),
        (vec!["0700"], vec!["0077"])
    );
    // It is not killed while it lets requests finish.
    let seconds = |value: &str| value.trim_end_matches('s').parse::<u64>().expect("seconds");
    let manual = super::text("config.toml");
    let of_config = |key: &str| {
        let line = manual
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
            .expect(key);
        seconds(line.trim_matches('"'))
    };
    let stop = seconds(values(&unit, "TimeoutStopSec")[0]);
    assert!(
        stop > of_config("unready_grace") + of_config("drain_timeout") + 10,
        "{stop} s"
    );
    // Two sockets for each client.
    let clients: u64 = manual
        .lines()
        .find_map(|line| line.strip_prefix("max_connections = "))
        .and_then(|count| count.replace('_', "").parse().ok())
        .expect("a number");
    assert!(
        values(&unit, "LimitNOFILE")[0]
            .parse::<u64>()
            .expect("a number")
            > 2 * clients + 1000
    );
}

#[test]
fn the_config_for_the_unit_is_a_good_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().to_str().expect("a path");
    let text = super::adapted(
        &super::text("deploy/systemd/config.toml"),
        &[("/var/lib/menshen", place)],
    );
    std::fs::write(dir.path().join("config.toml"), text).expect("a file");
    std::fs::create_dir(dir.path().join("secrets")).expect("a directory");
    std::fs::write(dir.path().join("secrets/wechat"), "an-app-secret").expect("a file");
    let output = menshen::command(dir.path(), &["check"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// The groups of system calls that systemd knows, with what is in them.
fn groups() -> BTreeMap<String, Vec<String>> {
    let output = analyze(&["syscall-filter", "--no-pager"]);
    assert!(output.status.success(), "{}", said(&output));
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        let word = line.trim();
        if word.is_empty() || word.starts_with('#') {
        } else if line.starts_with('@') {
            word.clone_into(&mut current);
            groups.insert(current.clone(), Vec::new());
        } else if line.starts_with(' ') {
            groups
                .get_mut(&current)
                .expect("a group")
                .push(word.to_owned());
        } else {
            // What no group has.
            current.clear();
            groups.entry(String::new()).or_default();
        }
    }
    groups
}

/// The system calls that these groups stand for.
fn calls(groups: &BTreeMap<String, Vec<String>>, of: &str, into: &mut BTreeSet<String>) {
    match groups.get(of) {
        Some(members) => members
            .iter()
            .for_each(|member| calls(groups, member, into)),
        None => {
            into.insert(of.to_owned());
        }
    }
}

/// What the unit lets through. systemd adds `@default` to every list.
fn allowed() -> BTreeSet<String> {
    let groups = groups();
    let (mut allowed, mut denied) = (BTreeSet::new(), BTreeSet::new());
    calls(&groups, "@default", &mut allowed);
    for value in values(&super::text(UNIT), "SystemCallFilter") {
        let (names, into) = match value.strip_prefix('~') {
            Some(names) => (names, &mut denied),
            None => (value, &mut allowed),
        };
        names.split(' ').for_each(|name| calls(&groups, name, into));
    }
    let allowed: BTreeSet<_> = allowed.difference(&denied).cloned().collect();
    for call in ["read", "accept4", "fdatasync", "prctl"] {
        assert!(allowed.contains(call), "{call} is not in {allowed:?}");
    }
    for call in [
        "mount",
        "ptrace",
        "setuid",
        "chown",
        "bpf",
        "reboot",
        "keyctl",
        "setrlimit",
    ] {
        assert!(!allowed.contains(call), "{call} is allowed");
    }
    allowed
}

/// Login, refresh, the backend on both ways, a refusal, changes, metrics, what operators do, and a
/// stop.
fn live_a_whole_life(menshen: &mut Menshen, dir: &Path, config: &Path) {
    let session = menshen.login("alice");
    let bearer = format!(
        "Bearer {}",
        session["access_token"].as_str().expect("a token")
    );
    let signed_in = [("Authorization", bearer.as_str())];
    assert_eq!(
        menshen
            .post(
                "/auth/refresh",
                &[],
                &json!({ "refresh_token": session["refresh_token"] })
            )
            .status,
        200
    );
    assert_eq!(menshen.get("/orders", &signed_in).status, 200);
    assert_eq!(
        wire::ask(menshen.http, "POST", "/orders", &signed_in, b"hello").status,
        200
    );
    assert_eq!(
        wire::ask(
            menshen.http,
            "PATCH",
            "/auth/me",
            &[signed_in[0], ("Content-Type", "application/json")],
            b"{\"nickname\":\"a\"}"
        )
        .status,
        200
    );
    assert_eq!(menshen.get("/orders", &[]).status, 401);
    assert!(menshen.metrics().contains("menshen_build_info"));
    let admin = menshen.admin.to_string();
    let operator = |args: &[&str]| {
        let output = menshen::command(dir, args, &[("MENSHEN_ADMIN__LISTEN", &admin)]);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", said(&output));
    };
    operator(&["keys", "rotate"]);
    operator(&["export", "backup"]);
    // Another config by signal, and another one because the file has changed.
    for (name, signal) in [("one", true), ("two", false)] {
        let text = std::fs::read_to_string(config).expect("a config");
        let rule =
            format!("\n[[rule]]\nname = \"{name}\"\npath = \"/{name}\"\naccess = \"public\"\n");
        std::fs::write(config, text + &rule).expect("a config");
        if signal {
            menshen.signal(Signal::HUP);
        }
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while menshen.get(&format!("/{name}"), &[]).status != 200 {
            assert!(
                std::time::Instant::now() < end,
                "{name} is not taken up:\n{}",
                menshen.log().join("\n")
            );
        }
    }
    assert_eq!(
        menshen.post("/auth/logout", &signed_in, &json!({})).status,
        204
    );
    menshen.stop();
}

/// strace has written down the calls that fail, and those of which the unit restricts the
/// arguments.
fn assert_no_forbidden_call(traced: &str) {
    let mut sockets = 0;
    for line in traced.lines() {
        let (_, call) = line.split_once(' ').expect("a process and a call");
        let call = call.trim_start();
        if call.starts_with("<... ") {
            // The end of one whose beginning has been looked at.
            continue;
        }
        let name = call.split('(').next().expect("a name");
        match name {
            "socket" => {
                sockets += 1;
                let families = ["AF_INET,", "AF_INET6,", "AF_UNIX,"];
                let plain = families
                    .iter()
                    .any(|family| call.starts_with(&format!("socket({family}")));
                // glibc asks which kinds of addresses this machine has, and does without an answer.
                assert!(
                    plain
                        || call.starts_with(
                            "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE)"
                        ),
                    "{call}"
                );
            }
            "mmap" => assert!(
                !(call.contains("PROT_WRITE") && call.contains("PROT_EXEC")),
                "{call}"
            ),
            "mprotect" | "pkey_mprotect" => assert!(!call.contains("PROT_EXEC"), "{call}"),
            _ => panic!("the unit forbids {call}"),
        }
    }
    assert!(sockets > 5, "strace saw nothing:\n{traced}");
}

/// The same process under strace, which lets every forbidden call fail as systemd would, and writes
/// it down.
#[test]
fn a_whole_life_needs_no_call_that_the_unit_forbids() {
    let backend = Backend::start();
    let upstream = format!(
        "[upstream]\nurls = [\"http://localhost:{}\"]",
        backend.address.port()
    );
    let setup = Setup::before(backend.address)
        .with(&upstream)
        .with("[admin]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"admin.token\"")
        .after_shell(
            "forbidden=\"!$(/bin/cat allowed)\"\n\
             exec /usr/bin/strace -D -f -qqq --seccomp-bpf -e signal=none -o calls \
             -e trace=\"!$(/bin/cat unwatched)\" -e inject=\"$forbidden\":error=EPERM \"$0\" \"$@\"",
        );
    let dir = setup.directory();
    let config = setup.config();
    let allowed = allowed();
    let list = |names: &mut dyn Iterator<Item = &String>| {
        names
            .map(|name| format!("?{name}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    std::fs::write(dir.path().join("allowed"), list(&mut allowed.iter())).expect("a file");
    // Of those that are allowed, the unit restricts what some are asked for.
    let watched = ["socket", "mmap", "mprotect", "pkey_mprotect", "shmat"];
    let unwatched = list(
        &mut allowed
            .iter()
            .filter(|name| !watched.contains(&name.as_str())),
    );
    std::fs::write(dir.path().join("unwatched"), unwatched).expect("a file");
    let mut menshen = setup.start();

    live_a_whole_life(&mut menshen, dir.path(), &config);
    let traced = std::fs::read_to_string(dir.path().join("calls")).expect("what strace saw");
    assert_no_forbidden_call(&traced);
}
