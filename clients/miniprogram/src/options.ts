/** What a team says of its client and of a request. */

import type { Api } from "./api.js";
import type { MenshenError, Texts } from "./errors.js";
import type { Platform } from "./platform.js";

export interface ClientOptions {
  /** `https://api.example.com`, where menshen listens. Tokens go nowhere else. */
  baseUrl: string;
  /** `wx`, `uni`, or what `menshen-miniprogram/taro` makes of Taro. */
  platform: Platform;
  /** The server's API: `native()` unless this says otherwise. */
  api?: Api;
  /** `menshen.session` unless this says otherwise. */
  storageKey?: string;
  /**
   * When `wx.login` may sign in without a tap: `returning`, where WeChat signed this device in before (the default), `always`, or
   * `never`. Never after a sign-out, nor where the server ended the session on purpose.
   */
  silent?: "returning" | "always" | "never";
  /** Opens the login page, once for all requests that wait. They go on when the user has signed in. */
  onSignInNeeded?: (cause: MenshenError) => unknown;
  /** How long requests wait for the login page. Milliseconds; 10 minutes unless this says otherwise. */
  signInTimeout?: number;
  /** Milliseconds for one request; 30 seconds unless this says otherwise. */
  timeout?: number;
  /** Chinese and English for each code: `menshen-miniprogram/texts`. */
  texts?: Texts;
}

/** Whether a request needs a session, takes one where there is one, or goes without. */
export type Auth = "required" | "optional" | "none";

export interface RequestOptions {
  /** A path after `baseUrl`, or a whole URL. Only one below `baseUrl` gets the token. */
  url: string;
  method?: string;
  data?: unknown;
  header?: Record<string, string>;
  /** Milliseconds. */
  timeout?: number;
  dataType?: string;
  responseType?: string;
  /** `required` unless this says otherwise. */
  auth?: Auth | undefined;
  /** False: rejects with `sign_in_needed` where the login page would open. For what no user waits for. */
  mayAsk?: boolean | undefined;
}

/** A promise that can be given up; it rejects with `aborted` then. */
export type Abortable<T> = Promise<T> & { abort(): void };
