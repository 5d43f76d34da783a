//! The Chinese message of each error code, for dialects with `language = "zh"`. The English messages
//! are in `error`.

use crate::error::ErrorCode;

/// The Chinese message of a code.
pub(super) const fn chinese_message(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::TokenMissing => "请先登录",
        ErrorCode::TokenInvalid => "登录凭证无效，请重新登录",
        ErrorCode::TokenExpired => "登录已过期，请重新登录",
        ErrorCode::TokenRevoked | ErrorCode::SessionRevoked => "登录已失效，请重新登录",
        ErrorCode::RefreshInvalid | ErrorCode::RefreshReused => "登录状态已失效，请重新登录",
        ErrorCode::ReauthenticationRequired => "请重新登录后再操作",
        ErrorCode::Forbidden => "没有权限执行此操作",
        ErrorCode::PathAmbiguous | ErrorCode::RequestMalformed => "请求格式有误",
        ErrorCode::BodyTooLarge => "请求内容过大",
        ErrorCode::ValidationFailed => "请求参数有误",
        ErrorCode::RateLimited => "请求过于频繁，请稍后再试",
        ErrorCode::SmsCooldown => "验证码已发送，请稍后再试",
        ErrorCode::SmsQuota => "验证码发送次数过多，请稍后再试",
        ErrorCode::SmsUnavailable => "短信发送失败，请稍后再试",
        ErrorCode::CodeInvalid => "验证码不正确或已过期",
        ErrorCode::UserDisabled => "账号已被停用",
        ErrorCode::WechatCodeInvalid => "登录凭证 code 已失效，请重试",
        ErrorCode::WechatBlocked => "微信限制了此次登录",
        ErrorCode::WechatBusy => "微信服务繁忙，请稍后再试",
        ErrorCode::WechatMisconfigured => "微信登录配置有误，请联系管理员",
        ErrorCode::PhoneCodeInvalid => "手机号授权已失效，请重新授权",
        ErrorCode::PhoneDecryptFailed => "手机号解密失败",
        ErrorCode::PhoneConflict => "该手机号已绑定其他账号",
        ErrorCode::CredentialsInvalid => "用户名或密码错误",
        ErrorCode::RegistrationClosed => "暂未开放注册",
        ErrorCode::RegistrationUnavailable => "暂时无法注册，请稍后重新登录",
        ErrorCode::StoreUnavailable
        | ErrorCode::IssuerUnavailable
        | ErrorCode::ProofUnavailable => "服务繁忙，请稍后再试",
        ErrorCode::UpstreamUnavailable => "服务暂时不可用，请稍后再试",
        ErrorCode::UpstreamTimeout => "服务响应超时，请稍后再试",
        ErrorCode::NotFound => "请求的资源不存在",
        ErrorCode::MethodNotAllowed => "不支持的请求方法",
        ErrorCode::WebsocketVersionUnsupported => "不支持的 WebSocket 版本",
        ErrorCode::UpstreamBusy | ErrorCode::Overloaded => "服务繁忙，请稍后重试",
        ErrorCode::Internal => "服务器内部错误",
    }
}
