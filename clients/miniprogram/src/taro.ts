/** Taro 3 and 4: its functions with promises as a platform, and a hook. */

import type { Client } from "./client.js";
import type { Callbacks, Platform, SocketTask, Task } from "./platform.js";
import type { State } from "./state.js";
import { assign } from "./plain.js";

/**
 * `taroPlatform(Taro)`; in pages for browsers `taroPlatform({ request: Taro.request, ... })`, each by its name, because Taro leaves out
 * what nothing names. Taro's functions give promises that reject besides calling `fail`; here only the callbacks count, so that
 * nothing is reported as unhandled.
 */
export function taroPlatform(Taro: any): Platform {
  const h5 = Taro.getEnv && Taro.getEnv() == "WEB";
  const called =
    (name: string) =>
    (options: any): Task | undefined => {
      const { success, fail } = options as Callbacks;
      const promise = Taro[name](assign({}, options, { success: undefined, fail: undefined }));
      promise.then(success, fail);
      return promise;
    };
  return {
    request: called("request"),
    uploadFile: called("uploadFile"),
    downloadFile: called("downloadFile"),
    connectSocket: (options) => socketOf(Taro.connectSocket(options)),
    login: called("login"),
    getStorageSync: (key) => Taro.getStorageSync(key),
    setStorageSync: (key, value) => Taro.setStorageSync(key, value),
    tokenInSocketQuery: h5,
  };
}

/** Taro gives the task of a WebSocket in a promise: what is called before it is there waits. */
function socketOf(promise: Promise<SocketTask>): SocketTask {
  const later =
    (name: keyof SocketTask) =>
    (argument: any): void =>
      void promise.then((task) => (task[name] as (argument: any) => void)(argument));
  return {
    send: later("send"),
    close: later("close"),
    onOpen: later("onOpen"),
    onClose: later("onClose"),
    onMessage: later("onMessage"),
    onError(listener) {
      promise.then((task) => task.onError(listener), listener);
    },
  };
}

/** React's two hooks, of whichever React the project has. */
export interface Hooks {
  useState<T>(first: T | (() => T)): [T, (next: T) => void];
  useEffect(effect: () => void | (() => void), deps: unknown[]): void;
}

/** `const useSession = sessionHook(client, React)`: the state, and the component is drawn again when it changes. */
export function sessionHook(client: Client, { useState, useEffect }: Hooks): () => State {
  return watched(client.getState, client.subscribe, { useState, useEffect });
}

/** The same for a phone button or an SMS form: `watched(form.getState, form.subscribe, React)`. */
export function watched<T>(getState: () => T, subscribe: (listener: (state: T) => void) => () => void, hooks: Hooks): () => T {
  return () => {
    const [state, setState] = hooks.useState(getState);
    hooks.useEffect(() => {
      const end = subscribe(setState);
      // It may have changed between the drawing and now.
      setState(getState());
      return end;
    }, []);
    return state;
  };
}
