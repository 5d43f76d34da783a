//! What `proxy::tls` promises about concurrent changes.

use std::process::Command;

use tempfile::TempDir;

use super::*;

/// Makes a certificate and its key: `NAME.pem` and `NAME.key`.
fn pair(dir: &TempDir, name: &str) -> TlsConfig {
    let arguments = format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}"
    );
    let made = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let file = |kind: &str| Some(dir.path().join(format!("{name}.{kind}")));
    TlsConfig {
        cert_file: file("pem"),
        key_file: file("key"),
        ..TlsConfig::default()
    }
}

struct World {
    dir: TempDir,
    metrics: Metrics,
    tls: Arc<Tls>,
    first: TlsConfig,
}

impl World {
    fn new() -> Self {
        let (dir, metrics) = (tempfile::tempdir().unwrap(), Metrics::new());
        let first = pair(&dir, "first");
        let tls = Tls::load(&first, true, metrics.clone()).unwrap();
        Self {
            dir,
            metrics,
            tls,
            first,
        }
    }

    fn reloads(&self, result: &str) -> u64 {
        self.metrics.tls_reloads.with_label_values(&[result]).get()
    }
}

#[test]
fn a_look_that_was_under_way_never_undoes_a_reload() {
    // The old files hold another certificate by then, or an invalid one.
    for spoilt in [false, true] {
        let world = World::new();
        let now = world.tls.current.load_full();
        if spoilt {
            fs::write(world.first.cert_file.as_ref().unwrap(), "spoilt").unwrap();
        } else {
            pair(&world.dir, "first");
        }
        let found = world.tls.detect_change(&now).unwrap();
        let second = pair(&world.dir, "second");
        assert!(world.tls.reload(&second).unwrap());
        let reloaded = world.tls.current.load_full();
        world.tls.apply_change(&now, found);
        assert!(
            Arc::ptr_eq(&reloaded, &world.tls.current.load_full()),
            "spoilt: {spoilt}"
        );
        assert_eq!(
            (world.reloads("ok"), world.reloads("failed")),
            (1, 0),
            "spoilt: {spoilt}"
        );
        // The next check reads the current files.
        world.tls.check_files();
        assert_eq!(world.tls.current.load().files, second);
    }
}

#[test]
fn a_look_takes_what_is_new_and_tells_of_a_mistake_once() {
    let world = World::new();
    world.tls.check_files();
    assert_eq!(world.reloads("ok"), 0);
    pair(&world.dir, "first");
    world.tls.check_files();
    assert_eq!(world.reloads("ok"), 1);
    let good = world.tls.current.load().fingerprint;
    fs::write(world.first.key_file.as_ref().unwrap(), "spoilt").unwrap();
    world.tls.check_files();
    world.tls.check_files();
    assert_eq!(world.reloads("failed"), 1);
    assert_eq!(world.tls.current.load().fingerprint.as_ref(), good.as_ref());
}
