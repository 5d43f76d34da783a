/** Two routes: `{success, data}`. `session_key` is a handle for the older phone button; menshen's tokens stand beside it. */

import { bearerIn, FINAL, OF_TOKEN, text } from "./api.js";
import type { Api, BoundPhone, Grant } from "./api.js";
import { claimsOf } from "./claims.js";
import { grantOf, leaveBy } from "./native.js";
import { boundOf } from "./phone-answer.js";
import { assign } from "./plain.js";

export interface SuccessDataOptions {
  /** `/api` unless this says otherwise. */
  prefix?: string;
  /** Where menshen's native API is, for what this one does not have: `/auth`. */
  auth?: string;
}

export const successData = ({ prefix = "/api", auth = "/auth" }: SuccessDataOptions = {}): Api => {
  const bearer = bearerIn();
  return {
    name: "success-data",
    auth,
    bearer,
    wechat: (code) => ({ url: prefix + "/login", data: { code }, read: tokensOf }),
    renew: ({ refresh }) => (refresh ? { url: auth + "/refresh", data: { refresh_token: refresh }, read: grantOf } : undefined),
    leave: leaveBy(auth, bearer),
    phone(proof, { extra = {} }) {
      if ("code" in proof) return { url: auth + "/phone/wechat", data: { code: proof.code }, read: boundOf };
      const { encryptedData, iv } = proof;
      return {
        url: prefix + "/decrypt-phone",
        data: { encryptedData, iv, sessionKey: extra.session_key, openid: extra.openid },
        read: phoneOf,
      };
    },
    refusal(data) {
      const { code, request_id, detail, message, error } = data || {};
      // Of the routes that are native.
      if (request_id) return { code: text(code), detail: text(detail), requestId: request_id };
      return { code: error && text(error.code), detail: text(message) };
    },
    refusesToken: (code) => OF_TOKEN.test(code),
    ends: (code) => FINAL.test(code),
  };
};

const tokensOf = (answer: any): Grant | undefined => {
  const data = answer && answer.success === true && answer.data;
  const grant = grantOf(data);
  if (!grant) return undefined;
  const { session_key, openid } = data;
  const id = text(claimsOf(grant.access).sub);
  const extra: Record<string, string> = {};
  if (text(session_key)) extra.session_key = session_key;
  if (text(openid)) extra.openid = openid;
  return assign(grant, { extra, user: id ? { id, openid: text(openid) } : undefined });
};

const phoneOf = (answer: any): BoundPhone | undefined => {
  const data = answer && answer.success === true && answer.data;
  if (!data || !text(data.phoneNumber)) return undefined;
  const { phoneNumber: masked, purePhoneNumber: phone, countryCode, access_token } = data;
  return { masked, phone, countryCode, grant: access_token ? tokensOf(answer) : undefined };
};
