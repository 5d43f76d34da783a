//! What the demo starts around menshen, and the config of menshen.
//!
//! The config is a file, loaded like any other; the environment is ignored, so that a developer's
//! own `MENSHEN_` variables change nothing.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    app,
    clock::Clock,
    config::{Config, Loaded, Source},
    dev::{
        backend::SampleBackend,
        sms::{self, SimulatedSms},
        wechat::{KnownApp, SimulatedWechat},
    },
};

/// The mini program of the demo. WeChat's own ids look the same and never have these digits only.
const APP_ID: &str = "wx0000000000000000";
const APP_SECRET: &str = "the-demo-has-nothing-to-hide";

/// The servers around menshen, and a directory for everything that is written.
pub(super) struct Sandbox {
    pub(super) servers: Arc<SimulatedServers>,
    directory: TempDir,
}

/// A backend, a WeChat, and a vendor of text messages. They stop when dropped.
pub(super) struct SimulatedServers {
    pub(super) backend: SampleBackend,
    pub(super) wechat: SimulatedWechat,
    pub(super) sms: SimulatedSms,
}

impl Sandbox {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("menshen-demo-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a temporary directory")?;
        let known = KnownApp {
            app_id: APP_ID.to_owned(),
            secret: APP_SECRET.to_owned(),
        };
        let servers = SimulatedServers {
            backend: SampleBackend::start()
                .await
                .context("cannot start the sample backend")?,
            wechat: SimulatedWechat::start(vec![known])
                .await
                .context("cannot start the simulated WeChat")?,
            sms: SimulatedSms::start(Clock::System)
                .await
                .context("cannot start the simulated SMS vendor")?,
        };
        Ok(Self {
            servers: Arc::new(servers),
            directory,
        })
    }

    /// Writes the config file and loads it.
    pub(super) fn config(&self) -> anyhow::Result<Loaded> {
        let file = self.path().join("config.toml");
        fs::write(&file, self.config_text())
            .with_context(|| format!("cannot write {}", file.display()))?;
        let source = Source {
            file: Some(file),
            environment: Vec::new(),
        };
        Config::load_with(&source, app::check).map_err(|problems| anyhow!("{problems}"))
    }

    fn config_text(&self) -> String {
        // A JSON string is a TOML string too, whatever the path has in it.
        let store = Value::from(format!("sled:{}", self.path().join("data").display()));
        let (backend, wechat, sms) = (
            self.servers.backend.url(),
            self.servers.wechat.base_url(),
            self.servers.sms.base_url(),
        );
        let (key_id, key, sign_name, template) =
            (sms::KEY_ID, sms::SECRET, sms::SIGN_NAME, sms::TEMPLATE);
        format!(
            r#"mode = "development"
server.listen = ["127.0.0.1:0"]
server.unready_grace = "0s"        # no load balancer to wait for
admin.listen = "127.0.0.1:0"
upstream.urls = ["{backend}"]
store.url = {store}
wechat.base_url = "{wechat}"
wechat.app_id = "{APP_ID}"
wechat.secret = "{APP_SECRET}"
sms.providers = ["aliyun"]
telemetry.log_format = "text"

[sms.aliyun]
access_key_id = "{key_id}"
access_key_secret = "{key}"
sign_name = "{sign_name}"
template_code = "{template}"
endpoint = "{sms}"

[[rule]]
name = "menu"
path = "/menu"
access = "public"
"#
        )
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The file of menshen's log while it is not printed.
    pub(super) fn log_file(&self) -> PathBuf {
        self.path().join("menshen.log")
    }

    /// Removes the directory; returns its path.
    pub(super) fn close(self) -> anyhow::Result<PathBuf> {
        let path = self.path().to_owned();
        self.directory
            .close()
            .with_context(|| format!("cannot remove {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn menshen_gets_a_right_config_and_the_directory_goes_with_the_stage() {
        let sandbox = Sandbox::start().await.unwrap();
        let config = sandbox.config().unwrap().config;
        assert_eq!(config.upstream.urls, [sandbox.servers.backend.url()]);
        assert_eq!(config.wechat.base_url, sandbox.servers.wechat.base_url());
        assert!(config.store.url.ends_with("/data"));
        let mode = fs::metadata(sandbox.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "others may not read the tokens in it");
        let path = sandbox.close().unwrap();
        assert!(!path.exists());
    }
}
