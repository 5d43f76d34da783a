//! The steps: what each is, and when it can be taken. The tour takes them in order, and each is a
//! button of the page.

use super::{mini_program::MiniProgram, text::Text};

/// Something that Alice, or an attacker, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    SignIn,
    OrdersWithoutToken,
    Orders,
    ForgedHeaders,
    ForgedHeadersOnPublicPage,
    Refresh,
    SignOut,
    OldToken,
    ComeBack,
    AddPhone,
    SendSmsCode,
    SignInBySms,
    OddPath,
}

/// The steps of the tour, in order.
pub(super) const TOUR: [Step; 12] = [
    Step::SignIn,
    Step::OrdersWithoutToken,
    Step::Orders,
    Step::ForgedHeaders,
    Step::ForgedHeadersOnPublicPage,
    Step::Refresh,
    Step::SignOut,
    Step::OldToken,
    Step::ComeBack,
    Step::AddPhone,
    Step::SendSmsCode,
    Step::SignInBySms,
];

impl Step {
    /// All steps that there are.
    pub(super) const ALL: [Self; 13] = {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = TOUR;
        [a, b, c, d, e, f, g, h, i, j, k, l, Self::OddPath]
    };

    /// Its name in a form.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::OrdersWithoutToken => "orders-without-token",
            Self::Orders => "orders",
            Self::ForgedHeaders => "forged-headers",
            Self::ForgedHeadersOnPublicPage => "forged-headers-on-public-page",
            Self::Refresh => "refresh",
            Self::SignOut => "sign-out",
            Self::OldToken => "old-token",
            Self::ComeBack => "come-back",
            Self::AddPhone => "add-phone",
            Self::SendSmsCode => "send-sms-code",
            Self::SignInBySms => "sign-in-by-sms",
            Self::OddPath => "odd-path",
        }
    }

    pub(super) fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.id() == id)
    }

    /// Whether the tour tells it as a part of the step before.
    pub(super) const fn continues(self) -> bool {
        matches!(self, Self::SignInBySms)
    }

    pub(super) const fn title(self) -> Text {
        match self {
            Self::SignIn => Text::new("Alice signs in", "Alice 登录"),
            Self::OrdersWithoutToken => Text::new("A call without a token", "没有令牌的请求"),
            Self::Orders => Text::new(
                "The same call with Alice's token",
                "同一个请求，带上 Alice 的令牌",
            ),
            Self::ForgedHeaders => Text::new(
                "Alice claims to be user 1, and an administrator",
                "Alice 冒充 1 号用户和管理员",
            ),
            Self::ForgedHeadersOnPublicPage => Text::new(
                "A stranger tries the same on a public page",
                "陌生人在公开页面上故技重施",
            ),
            Self::Refresh => Text::new("Alice's tokens are renewed", "Alice 的令牌续期"),
            Self::SignOut => Text::new("Alice signs out", "Alice 退出登录"),
            Self::OldToken => Text::new("An attacker has kept her token", "攻击者留下了她的令牌"),
            Self::ComeBack => Text::new("Alice comes back", "Alice 回来了"),
            Self::AddPhone => Text::new(
                "Alice presses the phone number button",
                "Alice 点击手机号按钮",
            ),
            Self::SendSmsCode => Text::new(
                "Alice signs in on a device without WeChat",
                "Alice 在没有微信的设备上登录",
            ),
            Self::SignInBySms => {
                Text::new("Alice signs in by text message", "Alice 用短信验证码登录")
            }
            Self::OddPath => Text::new(
                "A path that two servers read differently",
                "两台服务器读法不同的路径",
            ),
        }
    }

    /// Its title where no other step came before.
    pub(super) const fn title_alone(self) -> Text {
        match self {
            Self::Orders => Text::new("Alice looks at her orders", "Alice 查看自己的订单"),
            Self::ForgedHeadersOnPublicPage => Text::new(
                "A stranger claims to be user 1 on a public page",
                "陌生人在公开页面上冒充 1 号用户",
            ),
            Self::SendSmsCode => Text::new(
                "Alice asks for a code by text message",
                "Alice 获取短信验证码",
            ),
            _ => self.title(),
        }
    }

    /// What is tried, and why it matters.
    pub(super) const fn why(self) -> Text {
        match self {
            Self::SignIn => Text::new(
                "wx.login gave her phone a code. menshen asks WeChat who that is and answers with tokens of its own. Your backend \
                 needs no login code: it is not even asked.",
                "wx.login 给了她的手机一个 code。menshen 向微信查询这是谁，并返回自己签发的令牌。你的后端不需要任何登录代码：这时根本不会访问它。",
            ),
            Self::OrdersWithoutToken => Text::new(
                "What no rule opens needs a token. menshen itself rejects a request without one, so your backend spends no time on \
                 it.",
                "没有规则放行的路径都需要令牌。没有令牌的请求由 menshen 直接拒绝，不占用后端的时间。",
            ),
            Self::Orders => Text::new(
                "menshen checks the signature and tells the backend who is calling, in headers. That is all your backend has to \
                 read.",
                "menshen 校验签名，并通过请求头告诉后端调用者是谁。后端只需要读取这些请求头。",
            ),
            Self::ForgedHeaders => Text::new(
                "A backend that believes X-User-Id must never get it from a client, in any spelling that some framework reads as \
                 the same name. menshen removes them all before it sets its own.",
                "相信 X-User-Id 的后端绝不能从客户端得到它，任何会被某些框架当成同名的写法也不行。menshen 先全部删除，再设置自己的。",
            ),
            Self::ForgedHeadersOnPublicPage => Text::new(
                "One rule of the demo's config makes /menu public. Forged headers are removed there too: otherwise every public \
                 page would let a client act as any user.",
                "演示配置里有一条规则公开了 /menu。伪造的请求头在这里同样会被删除：否则每个公开页面都能让客户端冒充任何用户。",
            ),
            Self::Refresh => Text::new(
                "An access token lives for minutes, so that a stolen one is soon worthless. Before it ends, the mini program trades \
                 its refresh token for the next pair, and Alice notices nothing.",
                "访问令牌只有几分钟有效期，被盗后很快就会失效。到期之前，小程序用刷新令牌换取下一对令牌，Alice 毫无察觉。",
            ),
            Self::SignOut => Text::new(
                "Her session ends on this device. With the scope \"global\" it would end on all of them.",
                "她在这台设备上的会话结束。如果 scope 为 \"global\"，则所有设备上的会话都会结束。",
            ),
            Self::OldToken => Text::new(
                "It worked a moment ago, its signature is right, and its time is not over. It is refused all the same: menshen \
                 remembers which sessions have ended.",
                "它刚才还有效，签名正确，也没有到期。但仍会被拒绝：menshen 记得哪些会话已经结束。",
            ),
            Self::ComeBack => Text::new(
                "A new code from wx.login, the same person at WeChat: she gets a new session and keeps her id, with which your \
                 backend has stored her orders.",
                "wx.login 给出新的 code，在微信那里是同一个人：她得到新的会话，编号不变，后端正是用它保存了她的订单。",
            ),
            Self::AddPhone => Text::new(
                "The button gave a code that is not a login code. menshen trades it for her number at WeChat, with her openid, so \
                 that no user can use another user's code.",
                "按钮给出的 code 不是登录 code。menshen 带上她的 openid 向微信换取手机号，因此没有人能使用别人的 code。",
            ),
            Self::SendSmsCode => Text::new(
                "She types her number and gets a code by text message. The number leads to the same account, so your backend sees \
                 the same user.",
                "她输入手机号，收到短信验证码。这个号码对应同一个账号，所以后端看到的是同一个用户。",
            ),
            Self::SignInBySms => Text::new(
                "The store has a keyed hash of the code, not the code. Each guess is counted before it is compared, and a right one \
                 is spent at once.",
                "存储里只有验证码的带密钥哈希，没有验证码本身。每次猜测都先计数再比较，猜对的验证码立即作废。",
            ),
            Self::OddPath => Text::new(
                "/menu is public. To a server that decodes %2e%2e first, this path is /orders, which is not. menshen forwards only \
                 paths with one reading, and repairs none.",
                "/menu 是公开的。但在先解码 %2e%2e 的服务器看来，这个路径是不公开的 /orders。menshen 只转发只有一种读法的路径，也不会去修正它。",
            ),
        }
    }

    /// Why it cannot be taken now.
    pub(super) fn obstacle(self, program: &MiniProgram) -> Option<Text> {
        const SIGNED_OUT: Text = Text::new("Sign in first.", "请先登录。");
        const SIGNED_IN: Text = Text::new("Alice is signed in.", "Alice 已经登录。");
        const NO_OLD_TOKEN: Text = Text::new(
            "No token is old yet: sign in, then out.",
            "还没有旧令牌：请先登录再退出。",
        );
        const NO_PHONE: Text = Text::new(
            "First sign in and press the phone number button: it proves that this number is hers.",
            "请先登录并点击手机号按钮：由它证明这个号码属于她。",
        );
        const NO_CODE: Text = Text::new("Get a code first.", "请先获取验证码。");
        let is_signed_in = program.session.is_some();
        match self {
            Self::SignIn | Self::ComeBack => is_signed_in.then_some(SIGNED_IN),
            Self::Orders | Self::ForgedHeaders | Self::Refresh | Self::SignOut | Self::AddPhone => {
                (!is_signed_in).then_some(SIGNED_OUT)
            }
            Self::OldToken => program.old_token.is_none().then_some(NO_OLD_TOKEN),
            Self::SendSmsCode => program.phone.is_none().then_some(NO_PHONE),
            Self::SignInBySms => program.message.is_none().then_some(NO_CODE),
            Self::OrdersWithoutToken | Self::ForgedHeadersOnPublicPage | Self::OddPath => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_name_of_its_own() {
        for step in Step::ALL {
            assert_eq!(Step::from_id(step.id()), Some(step));
        }
        assert_eq!(Step::from_id(""), None);
    }
}
