/** What pages show: the state of the session, and who is told when it changes. */

import type { User } from "./api.js";
import type { Stored } from "./record.js";

export interface State {
  /** `offline`: there is a session, and the server could not be reached just now. */
  readonly status: "unknown" | "signed-out" | "signed-in" | "offline";
  readonly user?: User | undefined;
  /** The user has no nickname yet. `undefined`: the API does not tell. */
  readonly profileMissing?: boolean | undefined;
  readonly phoneBound?: boolean | undefined;
  /** Why there is no session: `signed_out`, or the code that ended it. */
  readonly reason?: string | undefined;
}

export function stateOf({ _tokens: tokens, user, reason }: Stored, online: boolean): State {
  if (!tokens) return { status: "signed-out", reason };
  return {
    status: online ? "signed-in" : "offline",
    user,
    // WeChat's name for everybody who shares none.
    profileMissing: user && (!user.nickname || user.nickname == "微信用户"),
    phoneBound: user && user.phone != null ? !!user.phone : undefined,
  };
}

export interface Store<T> {
  get(): T;
  set(next: T): void;
  /** Returns what ends it. */
  subscribe(listener: (value: T) => void): () => void;
}

/** A value, and those who are told of a new one. */
export function store<T>(value: T): Store<T> {
  let listeners: ((value: T) => void)[] = [];
  return {
    get: () => value,
    set(next) {
      if (JSON.stringify(next) == JSON.stringify(value)) return;
      value = next;
      // A copy: a listener may end a subscription. Where one has set another value, this one is old.
      listeners.slice().forEach((listener) => {
        if (value == next && listeners.indexOf(listener) > -1) {
          // Its own promise: a page that fails keeps no other from knowing, and `App.onUnhandledRejection` sees it.
          new Promise(() => listener(next));
        }
      });
    },
    subscribe(listener) {
      const mine = (next: T) => listener(next);
      listeners.push(mine);
      return () => {
        listeners = listeners.filter((other) => other != mine);
      };
    },
  };
}
