/** menshen's own API (docs/api.md). */

import { bearerIn, FINAL, OF_TOKEN, seconds, text } from "./api.js";
import type { Api, Grant, Refusal, User } from "./api.js";
import { assign } from "./plain.js";

export interface NativeOptions {
  /** `auth.prefix` of menshen. */
  prefix?: string;
  /** The header of the access token, where a team has another one than `Authorization` (`gate.token_header` of menshen). */
  tokenHeader?: string;
  /** The text before the token: `Bearer ` unless this says otherwise, or empty. */
  tokenPrefix?: string;
  /** The app id, where one menshen serves several mini programs. */
  appId?: string;
  /** `miniprogram` unless this says otherwise. */
  clientType?: "miniprogram" | "app" | "web";
}

export const native = (options: NativeOptions = {}): Api => {
  const { prefix: auth = "/auth", tokenHeader, tokenPrefix, clientType, appId } = options;
  const bearer = bearerIn(tokenHeader, tokenPrefix);
  return {
    name: "native",
    auth,
    bearer,
    phoneAtLogin: true,
    wechat: (code, { phoneCode, nickname, avatarUrl }) => ({
      url: auth + "/wechat/login",
      data: { code, phone_code: phoneCode, nickname, avatar_url: avatarUrl, client_type: clientType, app_id: appId },
      read: grantOf,
    }),
    renew: ({ refresh }) => (refresh ? { url: auth + "/refresh", data: { refresh_token: refresh }, read: grantOf } : undefined),
    leave: leaveBy(auth, bearer),
    refusal: problemOf,
    refusesToken: (code) => OF_TOKEN.test(code),
    ends: (code) => FINAL.test(code),
  };
};

/** Signing out by the refresh token where there is one: that works whatever became of the access token. */
export const leaveBy =
  (auth: string, bearer: Api["bearer"]): Api["leave"] =>
  ({ access, refresh }) => {
    const [name, value] = bearer(access);
    const call = { url: auth + "/logout", read: () => true };
    return refresh
      ? assign(call, { data: { refresh_token: refresh } })
      : assign(call, { data: {}, header: { [name]: value } });
  };

/** The token answer. */
export const grantOf = (data: any): Grant | undefined => {
  const access = data && text(data.access_token);
  return access
    ? {
        access,
        refresh: text(data.refresh_token),
        expiresIn: seconds(data.expires_in),
        user: userOf(data.user),
        phoneError: text(data.phone_error),
      }
    : undefined;
};

/** The user beside tokens, and that of `/auth/me`. */
export const userOf = (user: any): User | undefined =>
  user && user.id != null
    ? {
        id: String(user.id),
        userType: text(user.user_type),
        nickname: text(user.nickname),
        avatarUrl: text(user.avatar_url),
        phone: text(user.phone_masked) || "",
        openid: text(user.openid),
      }
    : undefined;

/** A problem document of menshen (RFC 9457). One of the backend has no `request_id` beside its `code`. */
export const problemOf = (data: any): Refusal =>
  data && data.request_id ? { code: text(data.code), detail: text(data.detail), requestId: data.request_id, fields: data.errors } : {};
