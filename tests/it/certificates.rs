//! Authorities and certificates for tests, made by openssl.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

pub fn openssl(dir: &Path, line: &str) {
    let output = Command::new("openssl")
        .args(line.split(' '))
        .current_dir(dir)
        .output()
        .expect("the openssl command");
    assert!(
        output.status.success(),
        "openssl {line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
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

/// Makes a certificate for `localhost` that ended long ago: `NAME.pem` and `NAME.key`.
pub fn ended(dir: &Path, name: &str) {
    let config = "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\n\
                  policy = p\nx509_extensions = x\n[p]\ncommonName = supplied\n[x]\nsubjectAltName = DNS:localhost\n";
    for (file, text) in [("ca.cnf", config), ("index.txt", ""), ("serial", "01\n")] {
        std::fs::write(dir.join(file), text).expect("a file");
    }
    let request = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost";
    openssl(
        dir,
        &format!("req -new {request} -keyout {name}.key -out {name}.csr"),
    );
    let (from, until) = ("20200101000000Z", "20200102000000Z");
    openssl(
        dir,
        &format!(
            "ca -batch -config ca.cnf -selfsign -keyfile {name}.key -in {name}.csr -out {name}.pem -startdate {from} -enddate \
             {until} -notext"
        ),
    );
}
