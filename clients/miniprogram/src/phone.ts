/**
 * The phone number button (`<button open-type="getPhoneNumber">`), from the tap to the bound phone.
 *
 * Its code is not one of `wx.login`: here the two cannot be mixed up, because pages only ever see this one. The older way
 * (`encryptedData`) needs a login *before* the tap, since `wx.login` in the handler changes the key: `prepare` is for that.
 */

import type { BoundPhone, Call, PhoneProof } from "./api.js";
import type { Client } from "./client.js";
import type { MenshenError } from "./errors.js";
import { boundOf, takePhone } from "./phone-answer.js";
import { store } from "./state.js";

export interface PhoneState {
  /**
   * `idle`; `preparing` (before the older way's tap); `working`; `bound`; `refused` by the user; `consent`: the privacy notice has to
   * be agreed to first; `failed`: see `error`.
   */
  readonly step: "idle" | "preparing" | "working" | "bound" | "refused" | "consent" | "failed";
  readonly error?: MenshenError | undefined;
  /** The bound phone with its middle hidden. */
  readonly masked?: string | undefined;
  /** `retry` can send the same again: the network or the server was at fault. */
  readonly canRetry: boolean;
}

/** `event.detail` of `bindgetphonenumber`. */
export interface PhoneDetail {
  errMsg?: string;
  errno?: number | string;
  code?: string;
  encryptedData?: string;
  iv?: string;
}

export interface PhoneOptions {
  /** Send `encryptedData` although there is a code: for a server that knows the older way only. */
  legacy?: boolean;
}

/** A code is good for five minutes. */
const CODE_LIFE = 280e3;

export const phoneButton = (client: Client, { legacy }: PhoneOptions = {}) => {
  const { api, _inside: inside } = client;
  const platform: any = client.platform;
  const idle: PhoneState = { step: "idle", canRetry: false };
  const state = store<PhoneState>(idle);
  let pending: { proof: PhoneProof; at: number } | undefined;
  let working: Promise<BoundPhone> | undefined;

  function fail(error: MenshenError): never {
    const step = error.code == "phone_refused" ? "refused" : error.code == "phone_privacy" ? "consent" : "failed";
    if (!error.retryable) pending = undefined;
    state.set({ step, error, canRetry: !!pending });
    throw error;
  }

  const fault = (code: string, detail?: string) => inside._error(code, { detail });

  /** What the button gave, or why it gave nothing. */
  const proofOf = (detail: PhoneDetail): PhoneProof => {
    const { errMsg = "", code, encryptedData, iv } = detail;
    const errno = Number(detail.errno);
    if (code && !legacy) return { code };
    if (encryptedData && iv) return { encryptedData, iv };
    if (code) throw fault("unsupported", "no encryptedData");
    if (errno == 1400001) throw fault("phone_quota", errMsg);
    if (errno == 112 || /not declared/.test(errMsg)) throw fault("phone_undeclared", errMsg);
    if (errno == 104 || /privacy/.test(errMsg)) throw fault("phone_privacy", errMsg);
    if (/deny|denied|cancel|reject/i.test(errMsg)) throw fault("phone_refused", errMsg);
    throw fault("phone_unavailable", errMsg);
  };

  const bind = async (proof: PhoneProof): Promise<BoundPhone> => {
    const since = inside._epoch();
    const tokens = await inside._tokens("optional");
    if (!tokens) {
      if (!("code" in proof)) {
        // Another tap after this login decrypts.
        prepare().catch(() => 0);
        throw fault("phone_decrypt_failed", "signed in after the tap");
      }
      const phoneCode = proof.code;
      let why: string | undefined;
      const login = () =>
        inside._byWechat({ phoneCode }).then((grant) => {
          why = grant.phoneError;
          return grant;
        });
      await inside._enter("phone " + phoneCode, "wechat", login, since);
      // Signed in all the same. Where the phone itself is not to blame, its code is sent once more, alone.
      if (why && /^phone_/.test(why)) throw fault(why);
      const { user } = client.getState();
      if (api.phoneAtLogin && !why && user && user.phone) return { masked: user.phone };
    }
    const call = api.phone
      ? api.phone(proof, (await inside._tokens()) as { access: string })
      : ({
          url: api.auth + "/phone/wechat",
          data: "code" in proof ? { code: proof.code } : { encrypted_data: proof.encryptedData, iv: proof.iv },
          read: boundOf,
        } as Call<BoundPhone>);
    return takePhone(client, await client.call(call));
  };

  const work = (proof: PhoneProof, at: number): Promise<BoundPhone> => {
    pending = { proof, at };
    state.set({ step: "working", canRetry: false });
    const done = () => {
      working = undefined;
    };
    working = bind(proof).then((bound) => {
      pending = undefined;
      state.set({ step: "bound", masked: bound.masked, canRetry: false });
      return bound;
    }, fail);
    working.then(done, done);
    return working;
  };

  /** For the older way, before the button is shown: a login whose key the tap is encrypted under. */
  const prepare = async (): Promise<void> => {
    state.set({ step: "preparing", canRetry: false });
    try {
      await client.ready;
      const signedIn = !!(await inside._tokens("optional"));
      if (!signedIn || !(await fresh())) await client.signIn();
      state.set(idle);
    } catch (error) {
      fail(error as MenshenError);
    }
  };

  /** Whether WeChat's key of the last login is still good. */
  const fresh = () =>
    new Promise<boolean>((resolve) => {
      if (platform.checkSession) platform.checkSession({ success: () => resolve(true), fail: () => resolve(false) });
      else resolve(false);
    });

  return {
    getState: state.get,
    subscribe: state.subscribe,
    prepare,
    /** The handler of the tap: signs in if need be, and binds the phone. Two taps are one. */
    tapped(detail: PhoneDetail): Promise<BoundPhone> {
      if (working) return working;
      try {
        return work(proofOf(detail), Date.now());
      } catch (error) {
        return new Promise(() => fail(error as MenshenError));
      }
    },
    /** Sends the same code again, where the network or the server was at fault. */
    retry(): Promise<BoundPhone> {
      if (working) return working;
      const { proof, at } = pending || {};
      if (!proof || !at || Date.now() - at > CODE_LIFE) return new Promise(() => fail(fault("phone_code_invalid", "tap again")));
      return work(proof, at);
    },
  };
};

export type PhoneButton = ReturnType<typeof phoneButton>;
