/**
 * An SMS form: send, count down, submit.
 *
 * The countdown is the server's (`resend_after`, `Retry-After`). It is kept in storage, so that a page that is closed and opened
 * again goes on where it was. It is for one phone: a number that was mistyped keeps no other one waiting.
 */

import { seconds } from "./api.js";
import type { BoundPhone, Call, SmsSent } from "./api.js";
import type { Client } from "./client.js";
import type { MenshenError } from "./errors.js";
import { grantOf } from "./native.js";
import { boundOf, freshly, takePhone } from "./phone-answer.js";
import { store } from "./state.js";
import { assign } from "./plain.js";

export interface SmsState {
  /** Seconds until another code may be asked for. */
  readonly left: number;
  readonly sending: boolean;
  readonly submitting: boolean;
  /** A code was sent to this phone while this form was open. */
  readonly sent: boolean;
  readonly error?: MenshenError | undefined;
}

export interface SmsOptions {
  /** `bind` needs a session; `login` unless this says otherwise. */
  purpose?: "login" | "bind";
  storageKey?: string;
}

/** What is kept: for which phone, how long, and since when. */
interface Wait {
  phone: number;
  at: number;
  length: number;
}

/** Where the server does not say. */
const USUAL = 60;

export const smsForm = (client: Client, { purpose = "login", storageKey = "menshen.sms" }: SmsOptions = {}) => {
  const { api, platform, _inside: inside } = client;
  const key = storageKey + "." + purpose;
  const state = store<SmsState>({ left: 0, sending: false, submitting: false, sent: false });
  let phone = "";
  let wait: Wait | undefined;
  let timer: number | undefined;
  let closed = false;

  const set = (news: Partial<SmsState>) => {
    state.set(assign({}, state.get(), news));
  };

  const count = () => {
    clearTimeout(timer);
    if (closed) return;
    let left = 0;
    if (wait && wait.phone == hash(phone)) {
      const now = Date.now();
      // The clock was set back: nobody waits for it to catch up.
      if (now < wait.at) wait.at = now;
      left = Math.max(0, Math.ceil((wait.at + wait.length - now) / 1000));
    }
    set({ left });
    if (left) timer = setTimeout(count, 1000);
  };

  const waitFor = (length: number) => {
    wait = { phone: hash(phone), at: Date.now(), length: length * 1000 };
    try {
      platform.setStorageSync(key, wait);
    } catch (_) {
      // Then the countdown is as long as the page is open.
    }
    count();
  };

  new Promise((resolve) => resolve(platform.getStorageSync(key)))
    .then((kept: any) => {
      if (kept && kept.length < 864e5 && kept.at > 0 && !wait) wait = kept;
      count();
    })
    // As above.
    .catch(() => 0);

  const sendCall = (): Call<SmsSent> =>
    api.smsSend
      ? api.smsSend(phone, purpose)
      : {
          url: api.auth + "/sms/send",
          data: { phone, purpose },
          read: (data) => data && { expiresIn: seconds(data.expires_in), resendAfter: seconds(data.resend_after) },
        };

  const setPhone = (value: string): void => {
    phone = digits(value);
    set({ sent: false });
    count();
  };

  return {
    getState: state.get,
    subscribe: state.subscribe,
    /** The phone in the field: its countdown is shown. */
    setPhone,
    /** Sends a code to the phone. One tap more while it is sent, or while the countdown runs, sends none. */
    async send(to?: string): Promise<boolean> {
      if (to !== undefined) setPhone(to);
      if (state.get().sending || state.get().left) return false;
      set({ sending: true, error: undefined });
      try {
        const sent = await client.call(sendCall(), "none");
        set({ sent: true });
        waitFor(sent.resendAfter || USUAL);
        return true;
      } catch (error) {
        const { retryAfter } = error as MenshenError;
        set({ error: error as MenshenError });
        if (retryAfter && (error as MenshenError).status == 429) waitFor(retryAfter);
        throw error;
      } finally {
        set({ sending: false });
      }
    },
    /** Signs in with the code, or binds the phone. Two taps are one. */
    async submit(code: string, to?: string): Promise<BoundPhone | undefined> {
      if (to !== undefined) setPhone(to);
      const sent = digits(code);
      set({ submitting: true, error: undefined });
      try {
        if (purpose == "bind") {
          return takePhone(client, await freshly(client, { url: api.auth + "/phone/sms", data: { phone, code: sent }, read: boundOf }));
        }
        const call = api.smsLogin
          ? api.smsLogin(phone, sent)
          : { url: api.auth + "/sms/login", data: { phone, code: sent }, read: grantOf };
        await inside._enter("sms " + phone + " " + sent, "sms", () => inside._ask(call));
        return undefined;
      } catch (error) {
        set({ error: error as MenshenError });
        throw error;
      } finally {
        set({ submitting: false });
      }
    },
    /** The page is closed: no timer goes on. The countdown does, for the next form. */
    close(): void {
      closed = true;
      clearTimeout(timer);
    },
  };
};

export type SmsForm = ReturnType<typeof smsForm>;

/** People paste. */
const digits = (value: string): string => value.replace(/[\s-]/g, "");

/** Not the phone itself: it stays in storage. */
const hash = (value: string): number => {
  let sum = 5381;
  for (let n = 0; n < value.length; n++) sum = (sum * 33 + value.charCodeAt(n)) | 0;
  return sum;
};
