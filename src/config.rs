//! Configuration: one immutable snapshot, read from a file and the environment, checked as a whole.
//!
//! The structs are the manual: each key's meaning, type and default stand together, `config.toml`
//! is printed from them, and whatever is wrong is reported at once with its line. Validation opens
//! no socket.

mod address;
mod admin;
mod api_url;
mod auth;
mod cors;
mod dialects;
mod environment;
mod forward_auth;
mod gate;
mod hooks;
mod identity;
mod in_force;
mod issuer_checks;
mod issuers;
mod limits;
mod load;
mod mint;
mod problems;
mod reference;
mod reload;
mod rules;
mod schema;
mod secret_form;
mod server;
mod sms;
mod store;
mod suggestion;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod toml_tree;
mod upstream;
mod validator;
mod values;
mod wechat;
mod wechat_app;
mod wechat_push;

pub use address::{ListenAddress, UpstreamAddress};
pub use admin::AdminConfig;
pub use auth::{AuthConfig, Merge, Registration, UserIds, UsersConfig};
pub use cors::CorsConfig;
pub use dialects::{
    CheckRule, DialectAction, DialectCheck, DialectConfig, DialectError, DialectKind, DialectRoute,
    Language, ProfileOfLogin, ShownPhone,
};
pub use forward_auth::{ForgedHeaders, ForwardAuthConfig, ForwardAuthDialect};
pub use gate::GateConfig;
pub use hooks::{HookCreated, HookEvent, HookShare, HooksConfig, OnHookFailure};
pub use identity::IdentityConfig;
pub use in_force::{ValueInForce, values_in_force};
pub use issuers::{IssuerConfig, MAPPED_CLAIMS};
pub use limits::LimitsConfig;
pub use load::{Loaded, Source};
pub use mint::MintConfig;
pub(crate) use problems::EscapeControls;
pub use problems::{Problem, Problems, ValueOrigins};
pub use reference::reference;
pub use reload::ReloadConfig;
pub use rules::{Access, EncodedDelimiter, RuleConfig};
pub use server::ServerConfig;
pub use sms::{
    AliyunConfig, CodeValues, DypnsConfig, JsonTemplate, SmsConfig, SmsProvider, Template,
    TencentConfig, TestPhone, WebhookConfig,
};
pub use store::{StoreConfig, StoreEngine};
pub(crate) use suggestion::nearest;
pub use telemetry::{LogFormat, TelemetryConfig};
pub use tls::{ClientCertificates, TlsConfig, UpstreamTlsConfig};
pub use tokens::{Algorithm, ReplayWindow, TokenConfig};
pub use upstream::{HealthConfig, UpstreamAuthorization, UpstreamConfig, UpstreamProtocol};
pub use values::{ByteSize, HumanDuration, Rate, SecretText, end_of_day};
pub use wechat::{TokenMode, WechatConfig};
pub use wechat_app::WechatApp;
pub use wechat_push::PushConfig;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole config.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `production` refuses to start without WeChat credentials. `development` needs no network: a
    /// login code is its own openid, and a code that starts with `admin` signs in an administrator.
    pub mode: Mode,
    pub server: ServerConfig,
    pub admin: AdminConfig,
    pub upstream: UpstreamConfig,
    pub mint: MintConfig,
    /// Access rules. The first rule that matches decides; a request that matches none needs a token
    /// (`required`).
    pub rule: Vec<RuleConfig>,
    pub identity: IdentityConfig,
    pub auth: AuthConfig,
    pub gate: GateConfig,
    pub forward_auth: ForwardAuthConfig,
    pub cors: CorsConfig,
    pub tokens: TokenConfig,
    /// External issuers whose tokens are accepted too.
    pub issuer: Vec<IssuerConfig>,
    pub store: StoreConfig,
    pub users: UsersConfig,
    pub wechat: WechatConfig,
    pub sms: SmsConfig,
    pub hooks: HooksConfig,
    pub limits: LimitsConfig,
    /// APIs that existing mini programs call. Like the auth API they are answered by menshen,
    /// before any rule applies.
    pub dialect: Vec<DialectConfig>,
    pub telemetry: TelemetryConfig,
    pub reload: ReloadConfig,
}

impl Config {
    /// Whether a request can pass that the rules would refuse.
    pub fn reports_only(&self) -> bool {
        self.gate.report_only || self.rule.iter().any(|rule| rule.report_only == Some(true))
    }

    /// The headers that may carry a token in addition to `Authorization`, each with its key.
    pub fn token_headers(&self) -> impl Iterator<Item = (String, &str)> {
        let of_gate = self.gate.token_header.as_deref();
        let of_gate = of_gate.map(|name| ("gate.token_header".to_owned(), name));
        let of_rules = self.rule.iter().enumerate().filter_map(|(n, rule)| {
            Some((
                format!("rule[{n}].token_header"),
                rule.token_header.as_deref()?,
            ))
        });
        let of_dialects = self.dialect.iter().enumerate().filter_map(|(n, dialect)| {
            Some((
                format!("dialect[{n}].access_token"),
                dialect.token_header()?,
            ))
        });
        of_gate.into_iter().chain(of_rules).chain(of_dialects)
    }

    /// Checks what a token in a cookie or a query needs.
    fn check_token_sources(&self, problems: &mut Problems) {
        for (n, rule) in self.rule.iter().enumerate() {
            if rule.token_in_query && self.upstream.protocol == UpstreamProtocol::Http2 {
                let key = format!("rule[{n}].token_in_query");
                let message = "is for WebSockets, which do not pass to a backend of HTTP/2";
                problems.add_conflict(&key, &["upstream.protocol"], message);
            }
            if rule.token_cookie.is_some() && self.forward_auth.enabled {
                let message = "and forward_auth: the proxy has to show menshen `Origin`, `Sec-Fetch-Site` and the `Sec-WebSocket-` headers, or \
                            pages of other sites can open a WebSocket with the cookie; and it sends the cookie on to the backend";
                problems.warn(&format!("rule[{n}].token_cookie"), message);
            }
        }
    }

    /// Reports invalid and risky values. Pure: opens nothing.
    pub fn check(&self, problems: &mut Problems) {
        self.server.check(self.mode, problems);
        self.admin.check(&self.server, problems);
        self.upstream.check(problems);
        self.mint.check(self, problems);
        self.identity.check(&self.tokens, problems);
        self.auth.check(problems);
        self.gate.check(&self.rule, problems);
        self.check_token_sources(problems);
        self.forward_auth.check(self, problems);
        self.cors.check(&self.rule, problems);
        self.tokens.check(problems);
        issuer_checks::check(&self.issuer, &self.tokens, problems);
        self.store.check(self.mode, problems);
        self.users.check(problems);
        self.wechat.check(self.mode, problems);
        self.sms.check(self.mode, problems);
        self.hooks.check(self.mode, &self.users, problems);
        self.limits.check(problems);
        self.telemetry.check(problems);
    }
}

/// Whether the deployment is for real users.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Production,
    Development,
}
