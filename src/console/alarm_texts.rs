//! What is wrong, as a sentence, and what to do.
//!
//! The English texts are those of the alert rules (`deploy/prometheus/rules.yaml`) and of the
//! chapters of `docs/operations.md`; a test compares them.

use super::language::Language;

/// The texts of an alarm. `{label}` and `{value}` stand for what it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct AlarmTexts {
    pub(super) summary: &'static str,
    pub(super) description: &'static str,
    /// What to do. Names of keys and codes are between backticks.
    pub(super) act: &'static str,
}

macro_rules! alarms {
    ($($alarm:ident = $source:literal, $critical:literal {
        en: $en_summary:literal, $en_description:literal, $en_act:literal;
        zh: $zh_summary:literal, $zh_description:literal, $zh_act:literal;
    })*) => {
        /// What can be wrong, in the order in which it is shown.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum AlarmKind {
            $($alarm,)*
        }

        impl AlarmKind {
            #[cfg(test)]
            pub(super) const ALL: [Self; [$($source),*].len()] = [$(Self::$alarm,)*];

            /// The chapter of `docs/operations.md`, which for an alert has its name.
            pub(super) const fn chapter(self) -> &'static str {
                match self { $(Self::$alarm => $source,)* }
            }

            /// It has to be repaired at once.
            pub(super) const fn is_critical(self) -> bool {
                match self { $(Self::$alarm => $critical,)* }
            }

            pub(super) const fn texts(self, language: Language) -> AlarmTexts {
                match (self, language) {
                    $((Self::$alarm, Language::English) => AlarmTexts {
                        summary: $en_summary,
                        description: $en_description,
                        act: $en_act,
                    },
                    (Self::$alarm, Language::Chinese) => AlarmTexts {
                        summary: $zh_summary,
                        description: $zh_description,
                        act: $zh_act,
                    },)*
                }
            }
        }
    };
}

alarms! {
    StoreFails = "The store fails", true {
        en: "The store fails", "Operations of the store fail.", "`the disk is full`: free some space; it recovers by itself. `failed until a restart`: once the disk works, `systemctl restart menshen`. It does not start: move the directory aside and restore the last backup (Restore); never repair it by deleting files.";
        zh: "存储出现故障", "存储操作失败。", "`the disk is full`：腾出磁盘空间，会自动恢复。`failed until a restart`：磁盘恢复后执行 `systemctl restart menshen`。无法启动：移走数据目录并恢复最近的备份（Restore）；切勿通过删除文件来修复。";
    }
    Overloaded = "MenshenOverloaded", true {
        en: "menshen turns clients away", "{value} connections and requests in 5 minutes were more than it may hold.", "A flood from few addresses: block it in front. A slow backend makes requests pile up: fix that first. Real growth: raise `server.max_connections` or `server.max_requests` (a reload), with `LimitNOFILE=` and memory for it.";
        zh: "menshen 正在拒绝客户端", "5 分钟内有 {value} 个连接和请求超出上限。", "来自少数地址的洪水：在前面拦截。后端变慢使请求堆积：先修复后端。真实增长：提高 `server.max_connections` 或 `server.max_requests`（重载即可），同时提高 `LimitNOFILE=` 和内存。";
    }
    Failing = "MenshenFailing", true {
        en: "menshen answers {label}", "Requests that failed with it in 5 minutes: {value}. docs/errors.md says what the code means.", "`store_unavailable`: the store. `wechat_misconfigured`: WeChat refuses this installation. `sms_unavailable`: the vendor. `registration_unavailable`: the hooks. `issuer_unavailable`: its keys. `proof_unavailable`: the assertions. `internal`: a panic.";
        zh: "menshen 返回 {label}", "5 分钟内因此失败的请求：{value}。错误码含义见 docs/errors.md。", "`store_unavailable`：存储。`wechat_misconfigured`：微信拒绝了本部署。`sms_unavailable`：短信服务商。`registration_unavailable`：hooks。`issuer_unavailable`：其密钥。`proof_unavailable`：断言。`internal`：程序崩溃（panic）。";
    }
    WechatDown = "WeChat does not answer", true {
        en: "WeChat does not answer", "More than a fifth of the calls of one of WeChat's APIs fail.", "`unreachable`: DNS, firewall, proxy here. `busy`, `timeout` from everywhere: wait, or `wechat.base_url = \"https://api2.weixin.qq.com\"` (a reload). `unusable`: something in between answers for WeChat.";
        zh: "微信没有响应", "某个微信接口的调用有超过五分之一失败。", "`unreachable`：本机的 DNS、防火墙或代理。到处都是 `busy`、`timeout`：等待，或设置 `wechat.base_url = \"https://api2.weixin.qq.com\"`（重载即可）。`unusable`：中间有设备代替微信作答。";
    }
    LoginsFailing = "MenshenLoginsFailing", true {
        en: "Logins by {label} fail", "Only {value} of them succeed.", "`wechat_busy`: WeChat does not answer. `wechat_misconfigured`: that. `wechat_code_invalid`: a client release that sends a code twice, sends the phone button's code, or has another AppID than `wechat.app_id`. `code_invalid`: people guess, or codes arrive late. `store_unavailable`: the store. `sms_unavailable`: the vendor. `registration_unavailable`: the hooks.";
        zh: "{label} 登录失败", "只有 {value} 成功。", "`wechat_busy`：微信没有响应。`wechat_misconfigured`：微信拒绝了本部署。`wechat_code_invalid`：客户端版本重复使用 code、误传手机号按钮的 code，或 AppID 与 `wechat.app_id` 不同。`code_invalid`：有人猜测，或验证码到达太晚。`store_unavailable`：存储。`sms_unavailable`：短信服务商。`registration_unavailable`：hooks。";
    }
    RefreshesFailing = "MenshenRefreshesFailing", false {
        en: "Most refresh tokens are refused", "Only {value} are good. Their users have to sign in again.", "After a move or restore: a store without the sessions (this ends as users sign in again), or with another key. Clients that talk to two deployments. After `sessions revoke` it is expected.";
        zh: "多数刷新令牌被拒绝", "只有 {value} 有效。其余用户需要重新登录。", "迁移或恢复之后：存储里没有这些会话（用户重新登录后消失），或换了密钥。客户端同时访问两套部署。执行 `sessions revoke` 之后属于正常现象。";
    }
    RequestsRefused = "MenshenRequestsRefused", true {
        en: "Most requests are refused", "{value} of all requests. menshen_errors_total has the reasons.", "`token_expired` everywhere: the clock. `token_invalid`: another key or issuer (a new store, a changed `tokens.issuer` or `audience`). `token_missing` on one path: a rule that was public; `menshen explain GET PATH`. From few addresses: a scanner, harmless.";
        zh: "多数请求被拒绝", "占全部请求的 {value}。原因见 menshen_errors_total。", "到处都是 `token_expired`：时钟。`token_invalid`：密钥或签发者不同（新的存储，或改了 `tokens.issuer`、`audience`）。只有一条路径 `token_missing`：某条规则原先是公开的；执行 `menshen explain GET PATH`。来自少数地址：扫描器，无害。";
    }
    UpstreamFailing = "MenshenUpstreamFailing", true {
        en: "The backend fails requests", "{value} of them got no answer, or half of one.", "`connect`: it does not listen. `timeout`: slow; some paths only: give their rule an `idle_timeout`. `closed_early` now and then: the backend closes kept connections first: `upstream.idle_timeout` below its own.";
        zh: "后端请求失败", "其中 {value} 没有响应或只有半个响应。", "`connect`：后端没有监听。`timeout`：太慢；只有部分路径：为其规则设置 `idle_timeout`。偶尔 `closed_early`：后端先关闭了保持的连接：把 `upstream.idle_timeout` 设得比后端更短。";
    }
    AllBackendsUnhealthy = "All backends are unhealthy", true {
        en: "All backends are unhealthy", "No backend is healthy. menshen keeps trying all of them.", "As MenshenUpstreamFailing. All unhealthy just after a release: perhaps the health path needs a login.";
        zh: "所有后端都不健康", "没有健康的后端。menshen 会继续尝试所有后端。", "同 MenshenUpstreamFailing。刚发布后全部不健康：健康检查路径可能需要登录。";
    }
    BackendUnhealthy = "A backend is unhealthy", false {
        en: "A backend is unhealthy", "One of several backends gets no requests.", "That instance, or `upstream.health.path` (2xx and 3xx are healthy). The log has the result of the check. 400: the backend accepts only some values of `Host` (Django's `ALLOWED_HOSTS`); set one as `upstream.health.host`. `menshen doctor` sends the same request.";
        zh: "一个后端不健康", "多个后端之一不再收到请求。", "检查该实例，或 `upstream.health.path`（2xx 和 3xx 为健康）。日志里有检查结果。400：后端只接受某些 `Host`（Django 的 `ALLOWED_HOSTS`），请把其中一个设为 `upstream.health.host`。`menshen doctor` 发送同样的请求。";
    }
    SmsVendorRefuses = "MenshenSmsVendorRefuses", true {
        en: "The SMS vendor {label} refuses this account", "The reason is {value}. Messages go to the next vendor, if there is one.", "`balance`: pay. `perm`, `config`: the key or its rights. `content`: signature or template not approved. Put another vendor first in `sms.providers` meanwhile (a reload).";
        zh: "短信服务商 {label} 拒绝了本账户", "原因是 {value}。如有下一个服务商，短信会改由它发送。", "`balance`：充值。`perm`、`config`：密钥或其权限。`content`：签名或模板未通过审核。同时在 `sms.providers` 中把另一个服务商放到最前（重载即可）。";
    }
    SmsVendorDown = "An SMS vendor does not answer", true {
        en: "An SMS vendor does not answer", "More than a fifth of a vendor's calls fail without a clear no.", "The vendor or the way to it. After a timeout no other vendor is tried, on purpose: put another one first.";
        zh: "短信服务商没有响应", "某个服务商的调用有超过五分之一失败且没有明确拒绝。", "检查服务商或到它的网络。超时后有意不再尝试其他服务商：请把另一个放到最前。";
    }
    SmsBudgetSpent = "MenshenSmsBudgetSpent", true {
        en: "No more text messages today", "The day's budget is spent. Nobody gets a code until midnight in China.", "Decide whether it is growth (raise `sms.daily_budget`, reload) or pumping. The budget is what an attack can cost at most.";
        zh: "今天不再发送短信", "当日预算已用完。北京时间零点之前无人能收到验证码。", "判断是业务增长（提高 `sms.daily_budget` 并重载）还是刷量。预算就是一次攻击最多能造成的花费。";
    }
    ConfigRefused = "MenshenConfigRefused", false {
        en: "menshen has refused its new config", "It works on with the old one; a restart would fail.", "Correct the line that `check` names, and reload. If `check` finds nothing, the log has the reason, such as a file that menshen's user cannot read.";
        zh: "menshen 拒绝了新配置", "仍在使用旧配置；但重启会失败。", "修正 `check` 指出的那一行并重载。如果 `check` 没有发现问题，原因在日志里，例如 menshen 的用户无法读取某个文件。";
    }
    ReportOnly = "MenshenReportOnly", false {
        en: "menshen has been in report-only mode for a day", "The gate, or one of its rules, lets through what it would refuse.", "Remove `report_only` rule by rule; 0016 says what it lets through.";
        zh: "menshen 处于仅报告模式已有一天", "网关或其某条规则会放行本应拒绝的请求。", "逐条规则去掉 `report_only`；它会放行什么见 0016。";
    }
    CertificateExpiresSoon = "MenshenCertificateExpiresSoon", false {
        en: "The TLS certificate of menshen ends within 14 days", "Whatever renews it has not done so.", "Find out why it was not renewed. If the file is new and the old certificate is served: A new certificate is not taken.";
        zh: "menshen 的 TLS 证书将在 14 天内到期", "负责续期的程序没有完成续期。", "查明为何没有续期。如果文件是新的而仍在使用旧证书：见“A new certificate is not taken”。";
    }
    CertificateExpiresNow = "MenshenCertificateExpiresNow", true {
        en: "The TLS certificate of menshen ends within two days, or has ended", "After that no client connects.", "Renew by hand and write both files; they are loaded within seconds.";
        zh: "menshen 的 TLS 证书将在两天内到期，或已到期", "到期之后客户端无法连接。", "手动续期并写入两个文件；几秒内会自动加载。";
    }
    RevocationsLate = "MenshenRevocationsLate", true {
        en: "Revocations reach menshen late", "Sessions that were ended elsewhere, bans among them, go on here.", "The store, or the way from this replica to the database. Earlier revocations stay in force.";
        zh: "撤销信息迟迟没有到达 menshen", "在别处结束的会话（包括封禁）在这里仍然有效。", "检查存储，或本副本到数据库的链路。较早的撤销仍然有效。";
    }
    HookBacklog = "MenshenHookBacklog", false {
        en: "The backend has not heard what happened", "The oldest event has waited for {value}.", "The backend does not take a hook. Nothing is lost for `hooks.give_up_after` (3 days).";
        zh: "后端还没有收到事件", "最早的事件已等待 {value}。", "见“The backend does not take a hook”。在 `hooks.give_up_after`（3 天）之内不会丢失。";
    }
    HookEventsLost = "MenshenHookEventsLost", false {
        en: "The backend will not hear of some events", "{value} of {label} were given up in the last hour. The audit log has them.", "Apply those lines by hand in the backend; the data of an erased user must be erased there too.";
        zh: "后端将收不到某些事件", "过去一小时放弃了 {value} 个 {label}。审计日志里有它们。", "在后端手动执行这些事件；已删除用户的数据也必须在后端删除。";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = include_str!("../../deploy/prometheus/rules.yaml");
    const OPERATIONS: &str = include_str!("../../docs/operations.md");

    /// The text behind a word, up to an empty line.
    fn paragraph(chapter: &str, word: &str) -> String {
        let text = chapter.split(&format!("**{word}**: ")).nth(1).unwrap();
        let text = text.split("\n\n").next().unwrap().replace('\n', " ");
        // Links as their text.
        let mut plain = String::new();
        for part in text.trim().split("](") {
            let behind = if plain.is_empty() {
                part
            } else {
                part.split_once(')').unwrap().1
            };
            plain.push_str(&behind.replace('[', ""));
        }
        plain
    }

    /// An annotation of an alert, with our placeholders.
    fn annotation(alert: &str, name: &str) -> String {
        let rule = RULES.split(&format!("- alert: {alert}\n")).nth(1).unwrap();
        let line = rule
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
        let mut text = line
            .unwrap()
            .trim_matches('\'')
            .replace(" on {{ $labels.instance }}", "");
        while let Some(start) = text.find("{{ $") {
            let end = start + text[start..].find("}}").unwrap() + 2;
            // An alarm has one label and one value.
            let is_value = ["{{ $value", "{{ $labels.result"]
                .iter()
                .any(|name| text[start..].starts_with(name));
            let ours = if is_value { "{value}" } else { "{label}" };
            text.replace_range(start..end, ours);
        }
        text
    }

    #[test]
    fn the_texts_are_those_of_the_alerts_and_of_the_manual() {
        for alarm in AlarmKind::ALL {
            let name = alarm.chapter();
            let heading = format!("### {name}\n");
            let chapter = OPERATIONS
                .split(&heading)
                .nth(1)
                .unwrap_or_else(|| panic!("no chapter: {name}"));
            let chapter = chapter.split("\n##").next().unwrap();
            let (summary, description) = if name.starts_with("Menshen") {
                (annotation(name, "summary"), annotation(name, "description"))
            } else {
                (name.to_owned(), paragraph(chapter, "Means"))
            };
            let texts = alarm.texts(Language::English);
            assert_eq!(texts.summary, summary, "{name}");
            assert_eq!(texts.description, description, "{name}");
            assert_eq!(texts.act, paragraph(chapter, "Do"), "{name}");
        }
    }

    #[test]
    fn a_translation_has_the_same_placeholders_and_names() {
        for alarm in AlarmKind::ALL {
            let (english, chinese) = (
                alarm.texts(Language::English),
                alarm.texts(Language::Chinese),
            );
            for (english, chinese) in [
                (english.summary, chinese.summary),
                (english.description, chinese.description),
                (english.act, chinese.act),
            ] {
                for placeholder in ["{label}", "{value}"] {
                    assert_eq!(
                        english.contains(placeholder),
                        chinese.contains(placeholder),
                        "{english}"
                    );
                }
                let names = |text: &str| {
                    let mut names: Vec<_> = text
                        .split('`')
                        .skip(1)
                        .step_by(2)
                        .map(str::to_owned)
                        .collect();
                    names.sort();
                    names
                };
                assert_eq!(names(english), names(chinese), "{english}");
            }
        }
    }
}
