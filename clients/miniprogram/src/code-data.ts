/**
 * Express with codes by text message: `{code, message, data: {token}}`, and `{code, error}` or express-validator's `errors`. The
 * token stands alone in `Authorization`, and nothing renews it: `wx.login` does where WeChat signed in, else the user.
 */

import { bearerIn, FINAL, OF_TOKEN, text } from "./api.js";
import type { Api, Grant } from "./api.js";
import { claimsOf, lifeOf } from "./claims.js";

export interface CodeDataOptions {
  /** Nothing unless this says otherwise. */
  prefix?: string;
  /** Where menshen's native API is, for what this one does not have: `/auth`. */
  auth?: string;
  /** `clientType` of a login. */
  clientType?: string;
}

export const codeData = ({ prefix = "", auth = "/auth", clientType }: CodeDataOptions = {}): Api => {
  return {
    name: "code-data",
    auth,
    bearer: bearerIn("Authorization", ""),
    wechat: (code) => ({ url: prefix + "/wechatlogin", data: { code, clientType }, read: grantOf }),
    leave: ({ access }) => ({
      url: auth + "/logout",
      data: {},
      header: { Authorization: "Bearer " + access },
      read: () => true,
    }),
    smsSend: (phone, purpose) =>
      purpose == "bind"
        ? { url: auth + "/sms/send", data: { phone, purpose }, read: (data) => data && { resendAfter: data.resend_after } }
        : { url: prefix + "/sendsms", data: { phone }, read: (data) => (data && data.code === 200 ? {} : undefined) },
    smsLogin: (phone, code) => ({
      url: prefix + "/login",
      data: { phone, verificationCode: code, clientType },
      read: grantOf,
    }),
    refusal(data, status) {
      const { code, request_id, detail, error, errors } = data || {};
      // Of the routes that are native.
      if (request_id) return { code: text(code), detail: text(detail), requestId: request_id };
      const fields = Array.isArray(errors) ? errors.map(({ path, msg }) => ({ field: String(path), message: String(msg) })) : [];
      const wait = /请在(\d+)秒/.exec(text(error) || "");
      return {
        code: fields[0] && "validation_failed",
        detail: text(error) || (fields[0] && fields[0].message),
        retryAfter: status == 429 && wait ? Number(wait[1]) : undefined,
        fields,
      };
    },
    refusesToken: (code, { data }) => OF_TOKEN.test(code) || (code == "http_401" && !!data && data.error == "无效的 token"),
    ends: (code) => FINAL.test(code),
  };
};

const grantOf = (answer: any): Grant | undefined => {
  const access = answer && answer.code === 200 && answer.data && text(answer.data.token);
  if (!access) return undefined;
  const claims = claimsOf(access);
  const id = claims._id == null ? claims.sub : claims._id;
  return {
    access,
    expiresIn: lifeOf(claims),
    user: id != null ? { id: String(id), phone: text(claims.phone) || "", openid: text(claims.openid) } : undefined,
  };
};
