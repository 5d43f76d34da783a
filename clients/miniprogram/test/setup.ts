import { vi } from "vitest";
import { createClient } from "../src/index.js";
import type { Client, ClientOptions, MenshenError } from "../src/index.js";
import { Phone } from "./stand-in/wx.mjs";
import { Server } from "./stand-in/server.mjs";

export const BASE = "https://api.example.com";

/** A phone and a server on fake time, and the client between them. */
export function world(options: Partial<ClientOptions> = {}, phoneOptions: object = {}) {
  const server: any = new Server();
  const phone: any = new Phone({ serve: server.serve, ...phoneOptions });
  const open = (more: Partial<ClientOptions> = {}): Client =>
    createClient({ baseUrl: BASE, platform: phone.wx, ...options, ...more });
  return { server, phone, client: open(), open };
}

/** Lets everything happen that is due, and what follows from it; moves the clock by no more than that needs. */
export async function settle(milliseconds = 50): Promise<void> {
  await vi.advanceTimersByTimeAsync(milliseconds);
}

/** The result of a promise that is to settle soon. */
export async function soon<T>(promise: Promise<T>, milliseconds = 50): Promise<T> {
  let outcome: { value?: T; fault?: unknown } | undefined;
  promise.then(
    (value) => (outcome = { value }),
    (fault) => (outcome = { fault }),
  );
  await settle(milliseconds);
  if (!outcome) throw new Error("it does not settle");
  if ("fault" in outcome) throw outcome.fault;
  return outcome.value as T;
}

/** The error that a promise rejects with soon. */
export async function refusal(promise: Promise<unknown>, milliseconds = 50): Promise<MenshenError> {
  try {
    await soon(promise, milliseconds);
  } catch (fault) {
    return fault as MenshenError;
  }
  throw new Error("it resolves");
}

export const tick = () => new Promise<void>((resolve) => setImmediate(resolve));
