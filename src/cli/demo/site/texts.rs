//! The texts of the page, each in both languages. Titles and reasons of steps are in `step`.

use super::super::text::Text;

macro_rules! texts {
    ($($name:ident: $english:literal, $chinese:literal;)*) => {
        $(pub(super) const $name: Text = Text::new($english, $chinese);)*
    };
}

texts! {
    TITLE: "Tap the phone, and see what menshen does", "点一点手机，看看 menshen 做了什么";
    LEAD: "Each button sends a real request through this menshen to a sample backend. WeChat and an SMS vendor are simulated on this machine, and no network is used. What stands on the page was sent, decided and received a moment ago.",
          "每个按钮都会通过这里的 menshen 向示例后端发送真实的请求。微信和短信服务商在本机模拟，不使用网络。页面上的内容都是刚刚真实发送、判定和收到的。";
    SKIP: "Skip to the story", "跳到请求记录";

    PHONE: "Alice's phone", "Alice 的手机";
    TEA_HOUSE: "Door god tea house", "门神茶馆";
    WELCOME: "Welcome", "欢迎光临";
    WELCOME_LEAD: "Tea, ordered from your table.", "扫码点茶，送到桌前。";
    SIGN_IN_WITH_WECHAT: "Sign in with WeChat", "微信登录";
    WITHOUT_WECHAT: "Or without WeChat", "或不用微信";
    NUMBER: "Phone number", "手机号";
    GET_CODE: "Get a code", "获取验证码";
    CODE: "Code", "验证码";
    SIGN_IN: "Sign in", "登录";
    TEXT_MESSAGE: "Text message", "短信";
    YOUR_CODE_IS: "Your code:", "您的验证码：";
    MINUTES: "minutes", "分钟内有效";
    ORDERS: "My orders", "我的订单";
    PHONE_BUTTON: "Phone number", "手机号";
    RENEW: "Renew tokens", "令牌续期";
    SIGN_OUT: "Sign out", "退出登录";
    USER: "user", "用户";
    NO_NUMBER: "no number yet", "尚无手机号";
    ORDERS_OF: "Orders of user", "订单所属用户";

    ATTACKER: "The attacker", "攻击者";
    ATTACKER_LEAD: "has a client that sends anything.", "手里的客户端什么都能发。";
    ATTACK_WITHOUT_TOKEN: "Call without a token", "不带令牌调用";
    ATTACK_FORGED: "Claim to be user 1", "冒充 1 号用户";
    ATTACK_FORGED_PUBLIC: "The same on a public page", "在公开页面上冒充";
    ATTACK_OLD_TOKEN: "Use an old token", "使用旧令牌";
    ATTACK_ODD_PATH: "Send an odd path", "发送可疑路径";
    OLD_TOKEN_HINT: "after she has signed out", "在她退出登录之后";

    STORY: "The story of each tap", "每次点击的经过";
    STORY_EMPTY: "Nothing has been tapped yet. A way to begin:", "还没有任何点击。可以这样开始：";
    TRY_SIGN_IN: "Sign in with WeChat: what does menshen ask, and what does the backend hear of it?", "微信登录：menshen 查询了什么，后端知道多少？";
    TRY_ORDERS: "My orders: by what does the backend know Alice?", "我的订单：后端凭什么认出 Alice？";
    TRY_ATTACK: "Claim to be user 1: where do the forged headers end?", "冒充 1 号用户：伪造的请求头到哪里为止？";
    TRY_SIGN_OUT: "Sign out, and use the old token.", "退出登录，再使用旧令牌。";
    TRY_SMS: "Once the number is bound, sign in by text message, with a wrong code first.", "绑定手机号之后，用短信登录，先试一个错误的验证码。";
    SERVERS: "What runs on this machine", "本机正在运行";
    ON_THE_PAGE: "on this page", "就在这个页面上";
    VENDORS: "menshen asks these two, and nothing outside this machine:", "menshen 只访问下面两个，不访问本机以外的任何服务：";
    SIMULATED_WECHAT: "Simulated WeChat", "模拟的微信";
    SIMULATED_SMS: "Simulated SMS vendor", "模拟的短信服务商";
    SAMPLE_BACKEND: "Sample backend", "示例后端";
    EARLIER: "Earlier taps", "更早的点击";
    NOTHING_SENT: "Nothing was sent.", "没有发送任何请求。";
    NOT_POSSIBLE: "not possible now", "现在不可用";
    BROKE_OFF: "The step broke off:", "这一步中断了：";
    WAY: "The way of this request", "这个请求走过的路";

    MINI_PROGRAM: "Mini program", "小程序";
    BACKEND: "Backend", "后端";
    WECHAT: "WeChat", "微信";
    SMS_VENDOR: "SMS vendor", "短信服务商";
    PASSES: "passes", "放行";
    ANSWERS: "answers itself", "自行应答";
    REFUSES: "refuses", "拒绝";
    WAS_ASKED: "was asked", "被访问";
    WAS_NOT_ASKED: "was not asked", "未被访问";
    SENDS: "sends", "发送";
    TRIES: "tries", "尝试";

    WHAT_WAS_SENT: "What was sent", "发送的请求";
    WHAT_MENSHEN_CHECKED: "What menshen checked", "menshen 的检查";
    WHAT_VENDOR_WAS_ASKED: "What menshen asked", "menshen 查询了";
    VENDOR_ANSWERED: "The answer, which stays inside:", "得到的应答，不会外泄：";
    WHAT_BACKEND_SAW: "What the backend saw", "后端看到的请求";
    BACKEND_NOT_ASKED: "Nothing. The backend has not spent a moment on this request.", "什么也没看到。后端没有为这个请求花费任何时间。";
    STRIPPED_AND_SET: "Lines with − were stripped by menshen, lines with + were set by it.", "标 − 的行被 menshen 删除，标 + 的行由它设置。";
    STRIPPED: "stripped:", "删除：";
    SET: "set:", "设置：";
    BYTES_OF_BODY: "bytes of body", "字节的请求体";
    WHAT_CAME_BACK: "What came back", "返回的应答";
    BODY_IS_ECHO: "The body is the request as the backend saw it, which stands above.", "应答体就是后端看到的请求，即上面的内容。";
    WHAT_IS_PROVEN: "Checked just now", "刚刚核对过";
    NOT_SO: "This is not so:", "与预期不符：";

    HEAD: "Framing and head", "报文与请求头部";
    PATH: "Path", "路径";
    RULE: "Rule", "规则";
    OWN_ROUTE: "none: menshen answers this path itself", "无：这个路径由 menshen 自己应答";
    TOKEN: "Access token", "访问令牌";
    DECISION: "Decision", "决定";
    NOT_REACHED: "not reached", "未执行到";
    TOKEN_NONE: "none", "没有";
    TOKEN_NOT_NEEDED: "none, and none is needed", "没有，也不需要";
    TOKEN_VALID: "valid", "有效";
    TOKEN_MALFORMED: "malformed", "格式错误";
    GOOD: "good:", "通过：";
    BAD: "bad:", "不通过：";
    FORWARDED: "it passes to the backend", "放行到后端";
    ANSWERED: "menshen answers it", "由 menshen 应答";
    REFUSED: "it is refused:", "被拒绝：";
}
