/** What to tell a person for each code, in Chinese and English: `createClient({ texts })`. */

import type { Texts } from "./errors.js";

/** Codes, Chinese, English. The first line that has a code counts. */
const LINES = `
sign_in_needed token_missing|请先登录|Please sign in
sign_in_cancelled|已取消登录|Sign-in was cancelled
signed_out|您已退出登录|You have signed out
session_revoked token_revoked|您已在别处退出登录|You were signed out elsewhere
session_expired token_invalid token_expired refresh_invalid refresh_reused|登录已过期，请重新登录|Please sign in again
user_changed|登录账号已变更，请重试|Another account is signed in now
login_failed wechat_code_invalid|登录失败，请重试|Signing in failed. Try again
credentials_invalid|用户名或密码错误|Wrong name or password
reauthentication_required|请验证身份后重试|Please confirm that it is you
user_disabled|账号已被停用|This account is disabled
registration_closed|暂未开放注册|New accounts are not open
wechat_blocked|微信限制了此账号登录|WeChat has blocked this sign-in
wechat_busy|微信服务繁忙，请稍后再试|WeChat is busy. Try again
wechat_misconfigured|微信登录暂不可用|WeChat sign-in is not available
phone_code_invalid phone_decrypt_failed|获取手机号失败，请重新点击按钮|Please tap the button again
phone_conflict|该手机号已绑定其他账号|This phone belongs to another account
phone_refused|您未授权手机号|You did not share your phone number
phone_privacy|请先同意隐私保护指引|Please agree to the privacy notice first
phone_quota phone_unavailable phone_undeclared|暂时无法获取手机号，请使用短信验证码|Please use a code by text message
sms_cooldown rate_limited http_429|操作过于频繁，请稍后再试|Too often. Please wait a moment
sms_quota|今日获取验证码次数已达上限|No more codes for now
sms_unavailable|短信发送失败，请稍后再试|The message was not sent. Try later
code_invalid|验证码错误或已过期|The code is wrong or has expired
validation_failed|填写的内容有误，请检查|Please check what you entered
body_too_large|内容过大|That is too large
forbidden http_401 http_403|没有权限执行此操作|You may not do that
not_found http_404|内容不存在|There is nothing here
path_ambiguous request_malformed method_not_allowed websocket_version_unsupported|请求有误|The request is not right
upstream_timeout timeout|网络超时，请重试|No answer in time. Try again
offline|网络不可用，请检查网络后重试|No connection. Check your network
aborted|已取消|Cancelled
domain_not_listed|服务器域名未配置|The server's domain is not configured
unsupported|当前微信版本过低，请升级微信|Please update WeChat
registration_unavailable store_unavailable issuer_unavailable proof_unavailable upstream_unavailable upstream_busy overloaded internal bad_answer|服务繁忙，请稍后再试|The service is busy. Try later
`;

export const texts: Texts = (code) => {
  const found = new RegExp("^(?:[\\w ]* )?" + code + "(?: [\\w ]*)?\\|(.*)\\|(.*)$", "m").exec(/^\w+$/.test(code) ? LINES : "");
  return found ? ([found[1], found[2]] as [string, string]) : undefined;
};
