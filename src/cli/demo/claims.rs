//! What the steps claim, in both languages. `step_run` checks each before it is shown.

use super::text::Text;

macro_rules! claims {
    ($($name:ident: $english:literal, $chinese:literal;)*) => {
        $(pub(super) const $name: Text = Text::new($english, $chinese);)*
    };
}

claims! {
    WECHAT_ASKED_ONCE: "WeChat was asked once", "向微信查询了一次";
    BACKEND_NOT_ASKED: "the backend was not asked", "没有访问后端";
    WECHAT_IDS_STAYED_INSIDE: "WeChat's openid and session_key stayed inside", "微信的 openid 和 session_key 没有外泄";
    NEW_USER: "Alice is a new user, with an id of her own", "Alice 是新用户，有自己的编号";
    REFUSED_TOKEN_MISSING: "refused by menshen: token_missing", "被 menshen 拒绝：token_missing";
    USER_ID_OF_LOGIN: "X-User-Id is the id that the login gave", "X-User-Id 就是登录时给出的编号";
    AUTHENTICATED: "X-Auth-State says that the caller signed in", "X-Auth-State 表明调用者已登录";
    TOKEN_STAYED_AT_GATE: "the token itself stayed at the gate", "令牌本身留在了网关";
    ONE_USER_ID: "X-User-Id is Alice's, and there is only one", "X-User-Id 是 Alice 的，而且只有一个";
    NOTHING_CLAIMED_ARRIVED: "nothing of what she claimed arrived", "她冒充的内容一个也没有到达";
    ANONYMOUS: "X-Auth-State says that the caller is anonymous", "X-Auth-State 表明调用者是匿名的";
    NOTHING_FORGED_ARRIVED: "no forged header arrived", "没有伪造的请求头到达";
    BOTH_TOKENS_NEW: "both tokens are new", "两个令牌都是新的";
    SAME_USER: "the user is the same", "用户没有变";
    WECHAT_NOT_ASKED_AGAIN: "WeChat was not asked again", "没有再次查询微信";
    NEW_TOKEN_WORKS: "the new access token works, and the backend sees the same X-User-Id", "新的访问令牌有效，后端看到的 X-User-Id 不变";
    SESSION_ENDED: "menshen says that her session has ended", "menshen 确认她的会话已经结束";
    REFUSED_TOKEN_REVOKED: "refused by menshen: token_revoked", "被 menshen 拒绝：token_revoked";
    NUMBER_IS_HERS: "the number is hers now", "这个号码现在属于她";
    CODE_SENT: "a code was sent to her phone, by a vendor that checked menshen's signature", "验证码已发到她的手机，服务商校验了 menshen 的签名";
    REFUSED_PATH_AMBIGUOUS: "refused by menshen: path_ambiguous", "被 menshen 拒绝：path_ambiguous";
    BACKEND_ANSWERED: "the backend answered", "后端作出了应答";
    TOKENS_ANSWERED: "menshen answered with an access token and a refresh token", "menshen 返回了访问令牌和刷新令牌";
    SAME_USER_AS_AT_FIRST_LOGIN: "it is the same user as at her first login", "与首次登录时是同一个用户";
    SAME_USER_ID_AT_BACKEND: "with her new token, the backend sees the same X-User-Id", "使用新令牌时，后端看到的 X-User-Id 不变";
    BACKEND_NEVER_HEARD: "the backend never heard of it", "后端对此一无所知";
}
