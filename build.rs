//! Names the source of a build in its version: `0.1.0 (3f2a90cd117b 2026-12-05)`.
//!
//! The commit and its date are those of `MENSHEN_COMMIT` and `MENSHEN_COMMIT_DATE`, or else those of
//! git. Without either the source is unknown, and the build goes on. A development build does not
//! name its source, because each commit would then compile the whole crate again.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const COMMIT: &str = "MENSHEN_COMMIT";
const COMMIT_DATE: &str = "MENSHEN_COMMIT_DATE";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    println!("cargo::rerun-if-env-changed={COMMIT_DATE}");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let source = if env::var("PROFILE").as_deref() == Ok("release") {
        from_environment()
            .or_else(from_git)
            .unwrap_or_else(|| "unknown source".to_owned())
    } else {
        "development build".to_owned()
    };
    println!("cargo::rustc-env=MENSHEN_VERSION={version} ({source})");
}

fn from_environment() -> Option<String> {
    let commit = env::var(COMMIT).ok().filter(|commit| !commit.is_empty())?;
    let date = env::var(COMMIT_DATE).unwrap_or_default();
    Some(format!("{commit} {date}").trim_end().to_owned())
}

/// The commit of the repository whose top is this directory. An unpacked archive may lie in the
/// repository of something else, whose commit says nothing.
fn from_git() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // A line is appended to this file with each commit and each checkout.
    let log = PathBuf::from(git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    let commit = git(&["log", "-1", "--abbrev=12", "--format=%h %cs"])?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_clean {
        commit
    } else {
        format!("{commit}, changed")
    })
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
