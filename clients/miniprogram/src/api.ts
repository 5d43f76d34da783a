/**
 * What the core knows of a server's API: which requests sign in, renew and sign out, and how a refusal reads. The native API and
 * the four dialects are values of this type.
 */

import type { FieldError } from "./errors.js";
import type { Answer } from "./platform.js";

/** The user, as far as the API tells. */
export interface User {
  id: string;
  userType?: string | undefined;
  nickname?: string | undefined;
  avatarUrl?: string | undefined;
  /** The bound phone with its middle hidden; empty where there is none. */
  phone?: string | undefined;
  openid?: string | undefined;
}

/** What a sign-in or a renewal gives. */
export interface Grant {
  access: string;
  /** Absent: the one of before stays. */
  refresh?: string | undefined;
  /** Seconds that `access` is good for; absent where the server does not say. */
  expiresIn?: number | undefined;
  user?: User | undefined;
  /** What the dialect needs later, such as the handle in `session_key`. */
  extra?: Record<string, string> | undefined;
  /** Why the phone that came with a sign-in was not bound. */
  phoneError?: string | undefined;
}

/** The tokens of a session. */
export interface Tokens {
  access: string;
  refresh?: string | undefined;
  extra?: Record<string, string> | undefined;
}

/** A request of the API, and how its answer is read. */
export interface Call<T> {
  /** POST unless this says otherwise. */
  method?: string;
  /** After `baseUrl`. */
  url: string;
  data?: unknown;
  header?: Record<string, string>;
  /** `undefined`: the answer is not what was expected. */
  read(data: any): T | undefined;
}

/** What a login may send besides the code. */
export interface SignInMore {
  /** Of the phone number button; never a code of `wx.login`. */
  phoneCode?: string;
  nickname?: string;
  avatarUrl?: string;
}

/** What a refusal says in its body. */
export interface Refusal {
  code?: string | undefined;
  detail?: string | undefined;
  retryAfter?: number | undefined;
  requestId?: string | undefined;
  fields?: FieldError[] | undefined;
}

/** What became of a phone. */
export interface BoundPhone {
  /** With its middle hidden. */
  masked: string;
  phone?: string | undefined;
  countryCode?: string | undefined;
  /** Two accounts have become one. */
  merged?: boolean | undefined;
  /** New tokens, where the account that stays is the other one, or the dialect renews its handle. */
  grant?: Grant | undefined;
}

/** What the phone number button gave. */
export type PhoneProof = { code: string } | { encryptedData: string; iv: string };

/** What was said about an SMS code. Seconds. */
export interface SmsSent {
  expiresIn?: number | undefined;
  resendAfter?: number | undefined;
}

export interface Api {
  readonly name: string;
  /** Where the native API is, for what a dialect does not have. */
  readonly auth: string;
  /** Header and value that carry an access token. */
  bearer(access: string): [name: string, value: string];
  wechat(code: string, more: SignInMore): Call<Grant>;
  /** Absent, or `undefined` for these tokens: there is no renewal, only another sign-in. */
  renew?(tokens: Tokens): Call<Grant> | undefined;
  leave(tokens: Tokens): Call<unknown>;
  /** The body of a refusal. */
  refusal(data: any, status: number): Refusal;
  /** Whether a 401 of this code is about the token: a renewal may help. */
  refusesToken(code: string, answer: Answer): boolean;
  /** Whether a renewal that is refused with this code ends the session for good. */
  ends(code: string, answer: Answer): boolean;
  /** Whether `wechat` takes `phoneCode` and binds the phone in the same call. */
  readonly phoneAtLogin?: boolean | undefined;
  /** The dialect's own routes; where they are absent the native ones are used. */
  phone?(proof: PhoneProof, tokens: Tokens): Call<BoundPhone>;
  smsSend?(phone: string, purpose: "login" | "bind"): Call<SmsSent>;
  smsLogin?(phone: string, code: string): Call<Grant>;
  passwordLogin?(username: string, password: string): Call<Grant>;
}

/** `Authorization: Bearer`, unless a team has another header. */
export const bearerIn =
  (header = "Authorization", prefix = "Bearer "): Api["bearer"] =>
  (access) => [header, prefix + access];

/** A text that is not empty. */
export const text = (value: unknown): string | undefined => (typeof value == "string" && value ? value : undefined);

/** Seconds: a number above 0. */
export const seconds = (value: unknown): number | undefined => (Number(value) > 0 && Number(value) < 1e9 ? Number(value) : undefined);

/** A refusal of the token. `token_missing` is not about one: a proxy has dropped it. */
export const OF_TOKEN = /^token_(?!missing)/;

/** What ends a session for good. */
export const FINAL = /^refresh_|revoked|disabled/;
