/** Django REST framework with SimpleJWT: `{access, refresh, user}`. Refreshing gives a new access token, and mostly no other refresh token. */

import { bearerIn, FINAL, OF_TOKEN, text } from "./api.js";
import type { Api, Grant, User } from "./api.js";
import { claimsOf, lifeOf } from "./claims.js";
import type { FieldError } from "./errors.js";
import { keys } from "./plain.js";

export interface SimpleJwtOptions {
  /** `/api` unless this says otherwise. */
  prefix?: string;
  /** Where menshen's native API is, for what this one does not have: `/auth`. */
  auth?: string;
}

export const simplejwt = ({ prefix = "/api", auth = "/auth" }: SimpleJwtOptions = {}): Api => {
  const bearer = bearerIn();
  return {
    name: "simplejwt",
    auth,
    bearer,
    wechat: (code) => ({ url: prefix + "/login/", data: { code }, read: grantOf }),
    renew: ({ refresh }) => (refresh ? { url: prefix + "/token/refresh/", data: { refresh }, read: grantOf } : undefined),
    leave({ access }) {
      const [name, value] = bearer(access);
      return { url: auth + "/logout", data: {}, header: { [name]: value }, read: () => true };
    },
    passwordLogin: (username, password) => ({ url: prefix + "/admin/login/", data: { username, password }, read: grantOf }),
    refusal(data) {
      if (!data || typeof data != "object") return {};
      const fields: FieldError[] = [];
      keys(data).forEach((field) => {
        const [message] = Array.isArray(data[field]) ? data[field] : [];
        if (text(message)) fields.push({ field, message });
      });
      const first = fields[0];
      return {
        code: text(data.code) || (first && "validation_failed"),
        detail: text(data.detail) || text(data.errmsg) || text(data.error) || (first && first.message),
        fields,
      };
    },
    // Without `X-Menshen-Error` the code is SimpleJWT's own.
    refusesToken: (code) => OF_TOKEN.test(code),
    ends: (code) => FINAL.test(code) || /^token_not_valid|^user_inactive/.test(code),
  };
};

const grantOf = (data: any): Grant | undefined => {
  const access = data && text(data.access);
  return access ? { access, refresh: text(data.refresh), expiresIn: lifeOf(claimsOf(access)), user: userOf(data.user) } : undefined;
};

const userOf = (user: any): User | undefined => {
  return user && user.id != null
    ? {
        id: String(user.id),
        userType: text(user.user_type),
        nickname: text(user.username),
        avatarUrl: text(user.avatar_url),
        phone: text(user.phone) || "",
        openid: text(user.openid),
      }
    : undefined;
};
