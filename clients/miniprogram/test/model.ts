// Random lives of a phone: requests, refusals, lost answers, restarts, two windows, sign-outs, in every order; and what must hold.

import fc from "fast-check";
import { Phone } from "./stand-in/wx.mjs";
import { problem, Server } from "./stand-in/server.mjs";

export type Action =
  | { do: "request" | "signIn" | "signOut" | "phone" | "phoneAgain" | "expire" | "revoke" | "forget" | "restart" | "window" | "reload" | "cancel" }
  | { do: "wait"; for: number }
  | { do: "fault"; fault: Fault }
  | { do: "storage"; broken: "" | "get" | "set" | "all" };

/** What becomes of an exchange. `lost` is done by the server, and its answer does not arrive. */
export type Fault = "none" | "lost" | "offline" | "503" | "429" | "html" | "401";

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Action>({ do: "request" }) },
  { weight: 3, arbitrary: fc.constantFrom<Action>({ do: "signIn" }, { do: "signOut" }, { do: "revoke" }, { do: "forget" }) },
  { weight: 3, arbitrary: fc.constantFrom<Action>({ do: "phone" }, { do: "phoneAgain" }) },
  { weight: 4, arbitrary: fc.constantFrom<Action>({ do: "expire" }, { do: "restart" }, { do: "window" }, { do: "reload" }, { do: "cancel" }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("wait" as const), for: fc.constantFrom(0, 5, 30, 1000, 31_000, 300_000, 870_000) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("fault" as const), fault: fc.constantFrom<Fault>("none", "lost", "offline", "503", "429", "html", "401") }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("storage" as const), broken: fc.constantFrom("" as const, "get" as const, "set" as const, "all" as const) }) },
);

export const lives = fc.record({
  actions: fc.array(action, { maxLength: 40 }),
  delays: fc.array(fc.constantFrom(0, 1, 10, 200), { minLength: 1, maxLength: 8 }),
  silent: fc.constantFrom("returning" as const, "always" as const, "never" as const),
  asks: fc.boolean(),
  /** Whether the API renews tokens, or only WeChat signs in again. */
  renews: fc.boolean(),
});

type Life = typeof lives extends fc.Arbitrary<infer T> ? T : never;

/** Lives it. `create` is `createClient`; `pass` moves the time. Throws where something does not hold. */
export async function live({ actions, delays, silent, asks, renews }: Life, { createClient: create, native, phoneButton }: any, pass: (milliseconds: number) => Promise<unknown>) {
  const server: any = new Server();
  const storage = new Map<string, any>();
  let broken: "" | "get" | "set" | "all" = "";
  const sent: any[] = [];
  let fault: Fault = "none";
  let turn = 0;
  server.faults.push(async (request: any) => {
    const mine = fault;
    const delay = delays[turn++ % delays.length] as number;
    await new Promise((resolve) => setTimeout(resolve, delay));
    if (mine === "offline") return "offline";
    if (mine === "503") return problem(503, "overloaded", { "Retry-After": "2" });
    if (mine === "429") return problem(429, "rate_limited", { "Retry-After": "60" });
    if (mine === "html") return { status: 200, data: "<html>" };
    if (mine === "401") return { status: 401, data: "<html>" };
    const answer = server.answer(request);
    return mine === "lost" ? "timeout" : answer;
  });

  const problems: string[] = [];
  const fail = (what: string) => {
    problems.push(what);
    return new Error(what);
  };
  let codes = 0;
  /** One window: a process of its own on the storage that all share. */
  const open = () => {
    const alive = { yes: true, pending: 0 };
    const refreshing = new Set<string>();
    const serve = async (request: any) => {
      if (!alive.yes) return "nothing";
      sent.push(request);
      const token = request.path === "/auth/refresh" && request.data.refresh_token;
      if (token && refreshing.has(token)) fail("the same refresh twice at once");
      refreshing.add(token);
      const answer = await server.serve(request);
      refreshing.delete(token);
      return answer;
    };
    const phone: any = new Phone({ serve, storage });
    const { setStorageSync, login } = phone.wx;
    phone.wx.setStorageSync = (key: string, value: unknown) => {
      phone.broken = alive.yes ? broken : "all";
      setStorageSync(key, value);
    };
    const { getStorageSync } = phone.wx;
    phone.wx.getStorageSync = (key: string) => {
      phone.broken = broken;
      return getStorageSync(key);
    };
    phone.wx.login = (options: any) => {
      phone.codes = codes += 1;
      login(options);
    };
    const client = create({ baseUrl: "https://api.example.com", platform: phone.wx, api: Object.assign(native(), !renews && { renew: undefined }), silent, ...(asks && { onSignInNeeded: () => undefined }) });
    return { client, alive, button: phoneButton(client) };
  };
  let windows = [open()];
  let calls = 0;
  let taps = 0;
  /** A tap on the phone number button: what it says is bound is bound, and it signs in. */
  const tap = async (work: () => Promise<{ masked: string }>) => {
    const { masked } = await work();
    if (!server.phoneCodes.has(masked.replace(/^masked /, ""))) fail(`${masked} was never bound`);
  };
  let brokenOnce = false;
  /** Signed out by the user, and not signed in since. */
  let out = false;
  let signIns = 0;
  let loginsWhenOut = 0;
  const logins = () => sent.filter(({ path }) => path === "/auth/wechat/login").length;
  const pending = () => windows.reduce((sum, { alive }) => sum + alive.pending, 0);

  const watch = (alive: { pending: number }, promise: Promise<unknown>) => {
    alive.pending += 1;
    const done = () => void (alive.pending -= 1);
    promise.then(done, (error) => {
      done();
      if (!error || typeof error.code !== "string" || typeof error.retryable !== "boolean") fail(`an error without a code: ${error && error.stack}`);
    });
  };

  for (const each of actions) {
    const { client, alive, button } = windows[turn % windows.length] as (typeof windows)[0];
    if (each.do === "request") {
      calls += 1;
      watch(alive, client.request("/orders"));
    } else if (each.do === "signIn") {
      signIns += 1;
      out = false;
      watch(alive, client.signIn());
    } else if (each.do === "phone" || each.do === "phoneAgain") {
      calls += 1;
      signIns += 1;
      out = false;
      const code = `phone${(taps += 1)}`;
      watch(alive, tap(() => (each.do === "phone" ? button.tapped({ code }) : button.retry())));
    } else if (each.do === "signOut" && windows.length === 1) {
      watch(alive, client.signOut());
      await pass(20);
      if (client.getState().status !== "signed-out") fail("a sign-out is not at once");
      out = signIns === 0 || pending() === 0;
      loginsWhenOut = logins();
    } else if (each.do === "expire") server.expire();
    else if (each.do === "revoke") server.revoke();
    else if (each.do === "forget") server.sessions.clear();
    else if (each.do === "restart") {
      windows.forEach((window) => void (window.alive.yes = false));
      windows = [open()];
    }
    else if (each.do === "window" && windows.length < 2) windows.push(open());
    else if (each.do === "reload") watch(alive, client.reload());
    else if (each.do === "cancel") client.cancelSignIn();
    else if (each.do === "wait") await pass(each.for);
    else if (each.do === "fault") fault = each.fault;
    else if (each.do === "storage") {
      broken = each.broken;
      brokenOnce = brokenOnce || each.broken !== "";
    }
    await pass(0);
    if (out && !brokenOnce && windows.length === 1 && logins() > loginsWhenOut) fail("signed in silently after a sign-out");
  }

  // Everything ends: the longest wait is for the login page.
  fault = "none";
  broken = "";
  await pass(700_000);
  if (pending()) fail(`${pending()} promises do not settle`);

  // Nothing was sent in a loop: a request is at most two, each with a refresh; silent logins are few.
  if (sent.length > 8 * (calls + actions.length) + 8) fail(`${sent.length} requests for ${calls} calls`);

  // Whoever was signed in still is, unless the server ended it, or the user did. Two windows with broken storage know nothing of each
  // other, and a refresh token of before is theft to the server.
  const { client } = windows[0] as (typeof windows)[0];
  client.reload();
  await pass(0);
  const reused = sent.filter(({ status, path }: any) => path === "/auth/refresh" && status === 401);
  const endedByServer = actions.some(({ do: what }) => what === "revoke" || what === "forget");
  if (reused.length && !endedByServer && !brokenOnce && !actions.some((a) => a.do === "signOut" || (a.do === "fault" && a.fault === "401"))) {
    fail("a refresh was refused although nothing ended the session");
  }
  const leftBehind = (!renews && silent === "never") || actions.some(({ do: what }) => what === "signOut" || what === "revoke" || what === "forget") || brokenOnce;
  const everIn = sent.some(({ path, status }: any) => path === "/auth/wechat/login" && status === 200);
  const accepted = storage.get("menshen.session");
  if (!leftBehind && everIn && accepted && !/signed-in|offline/.test(client.getState().status) && JSON.stringify(accepted).includes("a.s")) {
    fail(`signed out by a bad connection: ${JSON.stringify(client.getState())}`);
  }

  // A code of the button was good once, whatever was sent again.
  const bound = sent.filter(({ path, status, data }: any) => path === "/auth/phone/wechat" && status === 200 && data.code).length;
  if (bound > taps) fail(`${bound} phones of ${taps} taps`);

  // And it can always be used again.
  let works = false;
  client.signIn().then(
    () => client.request("/orders").then(() => (works = true), (error: unknown) => fail(`a request after all: ${error}`)),
    (error: unknown) => fail(`a login after all: ${error}`),
  );
  await pass(40_000);
  if (!works) fail("it does not work again");
  if (problems.length) throw new Error(problems.join("\n"));
}
