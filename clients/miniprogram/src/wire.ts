/** Something that the platform does, with an end in any case: a result, a failure, a time-out, an abort, or a throw. */

import { failure, MenshenError } from "./errors.js";
import type { Callbacks, Task } from "./platform.js";
import { assign } from "./plain.js";

/** Gives something up. */
export interface Cancel {
  /** Ends what is under way; there while something is. */
  _now?: (() => void) | undefined;
  /** It was given up: nothing more begins. */
  _over?: MenshenError;
}

export function settled<O extends object, R>(
  // `alive` is called at each sign of life: the time begins anew.
  start: ((options: O & Callbacks, alive: () => void) => Task | undefined | void) | undefined,
  options: O,
  timeout: number,
  otherwise = "offline",
  cancel: Cancel = {},
): Promise<R> {
  return new Promise((resolve, reject) => {
    let task: Task | undefined | void;
    let timer: number | undefined;
    let over: boolean | undefined;
    const finish =
      (settle: (result: any) => void) =>
      (result: unknown): void => {
        if (over) return;
        over = true;
        clearTimeout(timer);
        cancel._now = undefined;
        settle(result);
      };
    const fail = finish((fault) => {
      const ours = fault instanceof MenshenError;
      reject(ours ? fault : failure(fault, otherwise));
      // Not waiting for `fail` of the platform: old base libraries do not call it after `abort`.
      if (ours && task && task.abort) task.abort();
    });
    // Not the platform's `timeout` alone: base libraries before 2.10 pass it over.
    const alive = () => {
      clearTimeout(timer);
      if (!over) timer = setTimeout(() => fail(new MenshenError("timeout")), timeout);
    };
    cancel._now = () => fail(new MenshenError("aborted"));
    alive();
    try {
      if (!start) throw new MenshenError("unsupported");
      task = start(assign({ timeout }, options, { success: finish(resolve), fail }), alive);
    } catch (fault) {
      fail(fault);
    }
  });
}
