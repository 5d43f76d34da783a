/** What to tell a person for each code, in Chinese and English: `createClient({ texts })`. */

import type { Texts } from "./errors.js";

const SIGN_IN = "请先登录|Please sign in";
const EXPIRED = "登录已过期，请重新登录|Your session has expired. Please sign in again";
const BUSY = "服务繁忙，请稍后再试|The service is busy. Please try again in a moment";
const LOGIN = "登录失败，请重试|Signing in did not work. Please try again";
const NETWORK = "网络不可用，请检查网络后重试|No connection. Please check your network and try again";
const OFTEN = "操作过于频繁，请稍后再试|Too many attempts. Please wait a moment";
const UPDATE = "当前微信版本过低，请升级微信后重试|This needs a newer version of WeChat";
const WECHAT = "微信登录暂不可用，请稍后再试|WeChat sign-in is not available now. Please try again later";
const PHONE = "获取手机号失败，请重新点击按钮|The phone number did not come through. Please tap the button again";
const WRONG = "请求有误，请检查后重试|Something in the request is not right. Please check it";
const DENIED = "没有权限执行此操作|You may not do that";

const TEXTS: Record<string, string> = {
  offline: NETWORK,
  timeout: "网络超时，请重试|The network is slow. Please try again",
  aborted: "已取消|Cancelled",
  bad_answer: BUSY,
  domain_not_listed: "服务器域名未配置|The server's domain is not listed in the mini program's settings",
  login_failed: "获取登录凭证失败，请重试|WeChat gave no login code. Please try again",
  sign_in_needed: SIGN_IN,
  sign_in_cancelled: "已取消登录|Sign-in was cancelled",
  signed_out: "您已退出登录|You have signed out",
  session_expired: EXPIRED,
  user_changed: "登录账号已变更，请重试|Another account is signed in now. Please try again",
  unsupported: UPDATE,
  token_missing: SIGN_IN,
  token_invalid: EXPIRED,
  token_expired: EXPIRED,
  token_revoked: "您已在别处退出登录|This session was signed out elsewhere",
  refresh_invalid: EXPIRED,
  refresh_reused: EXPIRED,
  session_revoked: "您已在别处退出登录|This session was signed out elsewhere",
  forbidden: DENIED,
  path_ambiguous: WRONG,
  request_malformed: WRONG,
  body_too_large: "内容过大|That is too large",
  validation_failed: "填写的内容有误，请检查|Some of this is not valid. Please check it",
  rate_limited: OFTEN,
  sms_cooldown: "验证码发送过于频繁，请稍后再试|A code was sent a moment ago. Please wait",
  sms_quota: "今日获取验证码次数已达上限|No more codes for now. Please try again later",
  sms_unavailable: "短信发送失败，请稍后再试|The message could not be sent. Please try again later",
  code_invalid: "验证码错误或已过期|The code is wrong or has expired",
  user_disabled: "账号已被停用|This account is disabled",
  wechat_code_invalid: LOGIN,
  wechat_blocked: "微信限制了此账号登录|WeChat has blocked this sign-in",
  wechat_busy: "微信服务繁忙，请稍后再试|WeChat is busy. Please try again",
  wechat_misconfigured: WECHAT,
  phone_code_invalid: PHONE,
  phone_decrypt_failed: PHONE,
  phone_conflict: "该手机号已绑定其他账号|This phone number belongs to another account",
  phone_refused: "您未授权手机号|You did not share your phone number",
  phone_privacy: "请先同意隐私保护指引|Please agree to the privacy notice first",
  phone_quota: "手机号快速验证暂不可用，请使用短信验证码|Quick verification is not available now. Please use a code by text message",
  phone_unavailable: "无法获取手机号，请使用短信验证码|The phone number is not available. Please use a code by text message",
  phone_undeclared: "隐私保护指引未声明手机号|The privacy notice does not declare phone numbers",
  credentials_invalid: "用户名或密码错误|The name or the password is wrong",
  reauthentication_required: "请验证身份后重试|Please confirm that it is you",
  registration_closed: "暂未开放注册|New accounts are not open",
  registration_unavailable: BUSY,
  store_unavailable: BUSY,
  issuer_unavailable: BUSY,
  proof_unavailable: BUSY,
  upstream_unavailable: "服务暂时不可用，请稍后再试|The service is not available. Please try again later",
  upstream_timeout: "服务响应超时，请稍后再试|The service did not answer in time. Please try again",
  upstream_busy: BUSY,
  overloaded: BUSY,
  not_found: "内容不存在|There is nothing here",
  method_not_allowed: WRONG,
  websocket_version_unsupported: WRONG,
  internal: "服务器开小差了，请稍后再试|Something went wrong on our side. Please try again later",
  http_401: DENIED,
  http_403: DENIED,
  http_404: "内容不存在|There is nothing here",
  http_429: OFTEN,
};

export const texts: Texts = (code) => {
  const found = Object.prototype.hasOwnProperty.call(TEXTS, code) ? TEXTS[code] : undefined;
  return found ? (found.split("|") as [string, string]) : undefined;
};
