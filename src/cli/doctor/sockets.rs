//! Which processes may connect to the Unix sockets of `server.listen`? A proxy that runs as another
//! user needs write permission.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use super::{context::DoctorContext, finding::Finding};
use crate::config::ListenAddress;

pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let sockets = context
        .config
        .server
        .listen
        .iter()
        .filter_map(|text| match text.parse() {
            Ok(ListenAddress::Unix(path)) => Some(judge(&path)),
            Ok(ListenAddress::Tcp(_) | ListenAddress::Tls(_)) | Err(_) => None,
        });
    let findings: Vec<_> = sockets.collect();
    if findings.is_empty() {
        return vec![Finding::skipped(
            "no address of server.listen begins with unix:",
        )];
    }
    findings
}

fn judge(path: &Path) -> Finding {
    let (name, directory) = (path.display(), path.parent().unwrap_or(path));
    let socket = match fs::metadata(path) {
        Ok(socket) => socket,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.exists() => {
            return Finding::failed(
                format!("the directory of {name} does not exist"),
                "create the directory, for the user that menshen runs as (systemd: RuntimeDirectory=menshen)",
            );
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::skipped(format!(
                "{name} does not exist yet: menshen makes it when it starts"
            ));
        }
        Err(error) => {
            return Finding::skipped(format!("{name} cannot be inspected: {error}"));
        }
    };
    if !socket.file_type().is_socket() {
        let advice = "move it away, or name another place in server.listen";
        return Finding::failed(format!("{name} is not a socket"), advice);
    }
    let mode = socket.permissions().mode() & 0o777;
    let seen = format!("{name} has mode {mode:o}");
    match (mode & 0o002 != 0, mode & 0o020 != 0) {
        (true, _) => Finding::ok(format!(
            "{seen}: every process that its directory lets through may connect"
        )),
        (false, true) => Finding::ok(format!("{seen}: its owner and its group may connect")),
        (false, false) => Finding::warning(
            format!(
                "{seen}: only its owner may connect, so a proxy that runs as another user is shut out"
            ),
            "start menshen with umask 007 (systemd: UMask=0007) in a group of both; the files of the store stay its owner's",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::super::finding::Status;
    use super::*;

    #[test]
    fn a_socket_that_only_its_owner_may_use_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("http.sock");
        assert_eq!(judge(&path).state, Status::Skipped);
        let in_no_directory = judge(&dir.path().join("absent/http.sock"));
        assert_eq!(in_no_directory.state, Status::Failed);
        assert!(
            in_no_directory
                .advice
                .unwrap()
                .starts_with("create the directory")
        );
        let _listener = UnixListener::bind(&path).unwrap();
        for (mode, state) in [
            (0o700, Status::Warning),
            (0o755, Status::Warning),
            (0o770, Status::Ok),
            (0o777, Status::Ok),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(judge(&path).state, state, "{mode:o}");
        }
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(judge(&file).state, Status::Failed);
    }
}
