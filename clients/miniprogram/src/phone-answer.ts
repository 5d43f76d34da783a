/** The answer of the native API to a phone that is bound, and what follows from it for the session. */

import { text } from "./api.js";
import type { BoundPhone, Call } from "./api.js";
import type { Client } from "./client.js";
import { grantOf } from "./native.js";
import { assign } from "./plain.js";

export const boundOf = (data: any): BoundPhone | undefined =>
  data && text(data.masked)
    ? {
        masked: data.masked,
        phone: text(data.phone),
        countryCode: text(data.country_code),
        merged: data.merged === true,
        grant: grantOf(data.tokens),
      }
    : undefined;

/** Pages show the phone; where two accounts have become one, the session is that of the one that stays. */
export const takePhone = (client: Client, bound: BoundPhone): BoundPhone => {
  if (bound.grant) client._inside._accept(bound.grant);
  client.learn({ phone: bound.masked });
  return bound;
};

/** A call that only who has signed in freshly may make: a code of `wx.login` proves that it is them. */
export const freshly = <T>(client: Client, call: Call<T>): Promise<T> =>
  client.call(call).catch((error) => {
    if (error.code != "reauthentication_required") throw error;
    return client._inside
      ._loginCode()
      .then((code) => client.call(assign({}, call, { data: assign({}, call.data, { wechat_code: code }) })));
  });
