/**
 * What is kept of a session: one value under one key, written at once, so that there is never an access token without its refresh
 * token.
 */

import { text } from "./api.js";
import type { Tokens, User } from "./api.js";

export interface Stored {
  /** Which form this is. */
  v: 1;
  /** Counts the writes, so that two windows know whose value is the newer one. */
  n: number;
  _tokens?: Tokens | undefined;
  /** How long the access token is good for, and when it came by the phone's clock. Milliseconds. */
  _life?: number | undefined;
  _at?: number | undefined;
  user?: User | undefined;
  /** How the session began: `wechat`, `sms`, `password`. */
  _by?: string | undefined;
  /** Nobody signs in by itself until the user does: signed out on purpose, or ended by the server on purpose. */
  _hold?: boolean | undefined;
  /** Why there is no session. */
  reason?: string | undefined;
  /** The session that was signed out while the server could not be told. */
  _untold?: Tokens | undefined;
}

/** The value if it is one of ours, whatever else is under the key. */
export const storedOf = (value: any): Stored | undefined =>
  value && value.v === 1 && (!value._tokens || text(value._tokens.access)) ? value : undefined;
