/** The account: profile, devices, signing out elsewhere, a copy of one's data, and its end. */

import { text } from "./api.js";
import type { Tokens, User } from "./api.js";
import type { Client } from "./client.js";
import type { MenshenError } from "./errors.js";
import { grantOf, userOf } from "./native.js";
import { freshly } from "./phone-answer.js";
import { assign } from "./plain.js";

export interface Profile extends User {
  bio?: string | undefined;
  birthday?: string | undefined;
}

/** What is absent stays, null clears. */
export interface ProfileChange {
  nickname?: string | null;
  avatarUrl?: string | null;
  bio?: string | null;
  birthday?: string | null;
}

/** One login on one device, as the API gives it. */
export interface Device {
  id: string;
  client_type: string;
  created_at: string;
  last_used_at: string;
  expires_at: string;
  /** This one. */
  current: boolean;
}

const ANONYMOUS = "微信用户";

export const accountOf = (client: Client) => {
  const { api, _inside: inside } = client;
  const me = api.auth + "/me";
  const done = () => true as const;

  const profileOf = (data: any): Profile | undefined => {
    const user = userOf(data);
    return user && assign(user, { bio: text(data.bio), birthday: text(data.birthday) });
  };

  const shown = (profile: Profile): Profile => {
    const { nickname, avatarUrl, phone, userType } = profile;
    client.learn({ id: profile.id, nickname, avatarUrl, phone, userType });
    return profile;
  };

  /** By POST: `wx.request` knows no PATCH. */
  const update = ({ nickname, avatarUrl, bio, birthday }: ProfileChange): Promise<Profile> =>
    client.call({ url: me, data: { nickname, avatar_url: avatarUrl, bio, birthday }, read: profileOf }).then(shown);

  /** With the tokens that were taken; they are renewed for this where they have expired. */
  const everywhere = async (tokens: Tokens, mayRenew: boolean): Promise<boolean> => {
    const [name, value] = api.bearer(tokens.access);
    try {
      return await inside._ask({ url: api.auth + "/logout", data: { scope: "global" }, header: { [name]: value }, read: done });
    } catch (error) {
      const call = api.renew && api.renew(tokens);
      if ((error as MenshenError).status != 401 || !mayRenew || !call) return false;
      return inside._ask(call).then(
        (grant) => everywhere(grant, false),
        () => false,
      );
    }
  };

  return {
    me: (): Promise<Profile> => client.call({ method: "GET", url: me, read: profileOf }).then(shown),
    update,
    /** `detail.value` of `<input type="nickname">`. WeChat's name for everybody is none. */
    setNickname(value: string): Promise<Profile> {
      const nickname = value.trim();
      if (!nickname || nickname == ANONYMOUS) {
        const message = "not a name";
        return Promise.reject(inside._error("validation_failed", { fields: [{ field: "nickname", message }] }));
      }
      return update({ nickname });
    },
    /**
     * `detail.avatarUrl` of `<button open-type="chooseAvatar">`, a file of this phone: `upload` puts it where others can see it, and
     * gives its address.
     */
    setAvatar: (file: string, upload: (file: string) => Promise<string>): Promise<Profile> =>
      upload(file).then((avatarUrl) => update({ avatarUrl })),
    devices: (): Promise<Device[]> =>
      client.call({
        method: "GET",
        url: api.auth + "/sessions",
        read: (data) => (data && Array.isArray(data.sessions) ? data.sessions : undefined),
      }),
    /** Signs a device out. This one is signed out here too. */
    signOutDevice: ({ current, id }: Device): Promise<boolean> =>
      current
        ? client.signOut()
        : client.call<boolean>({ method: "DELETE", url: api.auth + "/sessions/" + encodeURIComponent(id), read: done }),
    signOutOthers: (): Promise<true> => client.call({ url: api.auth + "/logout", data: { scope: "others" }, read: done }),
    /** Signs out everywhere: here at once. False where the server could not be told; this device is told later all the same. */
    async signOutEverywhere(): Promise<boolean> {
      await client.ready;
      const taken = inside._take();
      if (!taken) return true;
      const told = await everywhere(taken, true);
      await inside._tell();
      return told;
    },
    /** All that is stored about me. */
    exportData: (): Promise<object> => client.call({ method: "GET", url: me + "/export", read: (data) => (data && data.user ? data : undefined) }),
    /** Erases the account. It is signed out here. */
    async remove(): Promise<void> {
      await freshly(client, { method: "DELETE", url: me, data: {}, read: done });
      inside._take();
      await inside._tell();
    },
    /** Takes the phone away from the account. */
    unbindPhone: (): Promise<void> =>
      freshly(client, { method: "DELETE", url: api.auth + "/phone", data: {}, read: done }).then(() => client.learn({ phone: "" })),
    /** For administrators. */
    signInWithPassword(username: string, password: string): Promise<void> {
      const data = { username, password };
      const call = api.passwordLogin
        ? api.passwordLogin(username, password)
        : { url: api.auth + "/password/login", data, read: grantOf };
      return inside._enter("password " + username + " " + password, "password", () => inside._ask(call));
    },
  };
};

export type Account = ReturnType<typeof accountOf>;
