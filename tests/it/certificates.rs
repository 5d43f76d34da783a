//! Authorities and certificates for tests, made by openssl.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

pub fn openssl(dir: &Path, line: &str) {
    let output = Command::new("openssl").args(line.split(' ')).current_dir(dir).output().expect("the openssl command");
    assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes an authority: `NAME.pem` and `NAME.key`.
pub fn authority(dir: &Path, name: &str) -> PathBuf {
    openssl(
        dir,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.pem -days 2 -subj \
             /CN={name} -addext basicConstraints=critical,CA:TRUE"
        ),
    );
    dir.join(format!("{name}.pem"))
}

/// Makes a certificate of an authority for `localhost`: `NAME.pem` and `NAME.key`.
pub fn certificate(dir: &Path, authority: &str, name: &str) {
    let extensions = "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n";
    std::fs::write(dir.join(format!("{name}.ext")), extensions).expect("a file");
    for line in [
        format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ),
        format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial -days 2 -extfile {name}.ext -out \
             {name}.pem"
        ),
    ] {
        openssl(dir, &line);
    }
}
