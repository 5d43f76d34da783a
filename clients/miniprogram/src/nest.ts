/**
 * NestJS: `{code, message, data, timestamp}`. There is no refresh token: an access token renews itself, also when it has expired.
 * Often through a cloud function, which hides headers: then the envelope says what is refused.
 */

import { bearerIn, FINAL, OF_TOKEN, seconds, text } from "./api.js";
import type { Api, Call, Grant } from "./api.js";

export interface NestOptions {
  /** `/api/v1` unless this says otherwise. */
  prefix?: string;
  /** Where menshen's native API is, for what this one does not have: `/auth`. */
  auth?: string;
}

export const nest = ({ prefix = "/api/v1", auth = "/auth" }: NestOptions = {}): Api => {
  const bearer = bearerIn();
  const own = <T>(path: string, access: string, read: (data: any) => T | undefined): Call<T> => {
    const [name, value] = bearer(access);
    return { url: prefix + path, header: { [name]: value }, read };
  };
  /** A 401 in the envelope, where no header says more. */
  const is401 = (code: string, data: any) => code == "http_401" && !!data && data.code === 401;
  return {
    name: "nest",
    auth,
    bearer,
    wechat: (code, { nickname, avatarUrl }) => ({
      url: prefix + "/auth/wx-login",
      data: { code, nickName: nickname, avatarUrl },
      read: grantOf,
    }),
    renew: ({ access }) => own("/auth/refresh", access, grantOf),
    leave: ({ access }) => own("/auth/logout", access, () => true),
    refusal: (data) => (data ? { detail: text(data.message) } : {}),
    refusesToken: (code, { data }) => OF_TOKEN.test(code) || is401(code, data),
    // The token itself is what is refused here: `token_revoked`, `token_invalid`.
    ends: (code, { data }) => OF_TOKEN.test(code) || FINAL.test(code) || is401(code, data),
  };
};

const grantOf = (envelope: any): Grant | undefined => {
  const data = envelope && envelope.data;
  const access = data && text(data.access_token);
  const { user } = data || {};
  return access
    ? {
        access,
        expiresIn: seconds(data.expires_in),
        user:
          user && user.id != null
            ? { id: String(user.id), nickname: text(user.nickname), avatarUrl: text(user.avatar), openid: text(user.openid) }
            : undefined,
      }
    : undefined;
};
