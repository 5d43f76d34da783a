/** uni-app, Vue 3 and 2.7: a platform, and a composable. */

import type { Client } from "./client.js";
import type { Platform } from "./platform.js";
import type { State } from "./state.js";
import { assign } from "./plain.js";

/**
 * `uniPlatform(uni)`; in pages for browsers `uniPlatform({ request: uni.request, ... })`, each by its name, because uni-app leaves out
 * what nothing names. `provider` is who signs in, `weixin` unless this says otherwise.
 */
export function uniPlatform(uni: any, provider = "weixin"): Platform {
  const info = uni.getSystemInfoSync ? uni.getSystemInfoSync() : {};
  return {
    request: (options) => uni.request(options),
    uploadFile: (options) => uni.uploadFile(options),
    downloadFile: (options) => uni.downloadFile(options),
    // Without a callback uni gives a promise in place of the task.
    connectSocket: (options) => uni.connectSocket(assign({ complete: () => undefined }, options)),
    login: (options) => uni.login(assign({ provider }, options)),
    getStorageSync: (key) => uni.getStorageSync(key),
    setStorageSync: (key, value) => uni.setStorageSync(key, value),
    tokenInSocketQuery: info.uniPlatform == "web",
  };
}

/** Two functions of Vue. */
export interface Vue {
  shallowRef<T>(value: T): { value: T };
  onScopeDispose(run: () => void): void;
}

/** `const session = useSession(client, Vue)`: a ref of the state. */
export function useSession(client: Client, vue: Vue): { readonly value: State } {
  return watched(client.getState, client.subscribe, vue);
}

/** The same for a phone button or an SMS form: `watched(form.getState, form.subscribe, Vue)`. */
export function watched<T>(
  getState: () => T,
  subscribe: (listener: (state: T) => void) => () => void,
  { shallowRef, onScopeDispose }: Vue,
): { readonly value: T } {
  const state = shallowRef(getState());
  const end = subscribe((next) => {
    state.value = next;
  });
  onScopeDispose(end);
  return state;
}
