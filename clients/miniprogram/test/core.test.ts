// The session and its requests: what else is promised, and what bad input does.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createClient, MenshenError, native } from "../src/index.js";
import type { State } from "../src/index.js";
import { storedOf } from "../src/record.js";
import { store } from "../src/state.js";
import { settled } from "../src/wire.js";
import { failure, headerOf } from "../src/errors.js";
import { texts } from "../src/texts.js";
import { problem } from "./stand-in/server.mjs";
import { BASE, refusal, settle, soon, world } from "./setup.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  MenshenError.texts = undefined;
});

describe("state", () => {
  test("unknown until storage has been read, then signed out, then in, with a user", async () => {
    const { client } = world();
    const seen: State[] = [];
    const end = client.subscribe((state) => seen.push(state));
    expect(client.getState()).toEqual({ status: "unknown" });
    await settle();
    await soon(client.signIn());
    end();
    await soon(client.signOut());
    expect(seen.map(({ status }) => status)).toEqual(["signed-out", "signed-in"]);
    expect(seen[1]).toMatchObject({ user: { id: "alice" }, profileMissing: true, phoneBound: false });
  });

  test("offline while the server cannot be reached, and back at the next answer", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    server.faults.push(() => "offline");
    await refusal(client.request("/orders"));
    expect(client.getState().status).toBe("offline");
    server.faults.length = 0;
    await soon(client.request("/orders"));
    expect(client.getState().status).toBe("signed-in");
  });

  test("WeChat's name for everybody is no nickname, and an API that tells no phone leaves that open", async () => {
    const { client } = world();
    client.learn({ nickname: "nobody" });
    await soon(client.signIn());
    client.learn({ nickname: "微信用户", phone: "138****8000" });
    expect(client.getState()).toMatchObject({ profileMissing: true, phoneBound: true });
    client.learn({ nickname: "小明", phone: undefined });
    expect(client.getState()).toMatchObject({ profileMissing: false, phoneBound: undefined });
  });

  test("a listener that fails keeps no other from knowing, one that ends another's subscription does end it", async () => {
    const value = store(1);
    const told: string[] = [];
    const failed = vi.fn();
    const others = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection").on("unhandledRejection", failed);
    value.subscribe(() => {
      throw new Error("a page failed");
    });
    value.subscribe(() => end());
    const end = value.subscribe((next) => told.push(`ended ${next}`));
    value.subscribe((next) => {
      told.push(`a ${next}`);
      if (next === 2) value.set(3);
    });
    value.subscribe((next) => told.push(`b ${next}`));
    value.set(2);
    vi.useRealTimers();
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual(["a 2", "a 3", "b 3"]);
    expect(failed).toHaveBeenCalledTimes(2);
    process.removeAllListeners("unhandledRejection");
    others.forEach((other) => process.on("unhandledRejection", other));
  });
});

describe("storage", () => {
  test.each([
    ["nothing", ""],
    ["null", null],
    ["a text of somebody else", "token"],
    ["an object of somebody else", { token: "x" }],
    ["another version", { v: 2, n: 1, a: { access: "x" } }],
    ["tokens that are none", { v: 1, n: 1, _tokens: { access: 7 } }],
  ])("%s under the key is no session", async (_, value) => {
    expect(storedOf(value)).toBeUndefined();
    const { client, phone } = world({}, { storage: new Map([["menshen.session", value]]) });
    await settle();
    expect(client.getState().status).toBe("signed-out");
    expect((await soon(client.signIn())).status).toBe("signed-in");
    expect(storedOf(phone.storage.get("menshen.session"))).toBeDefined();
  });

  test("storage that fails keeps the session in memory, and is not read again as long as it is older", async () => {
    const { client, server, phone } = world();
    await soon(client.signIn());
    phone.broken = "set";
    server.expire();
    await soon(client.request("/orders"));
    server.expire();
    expect((await soon(client.request("/orders"))).data.user).toBe("alice");
    expect(server.calls("/auth/refresh")).toBe(2);
    phone.broken = "all";
    server.expire();
    expect((await soon(client.request("/orders"))).data.user).toBe("alice");
  });

  test("storage that cannot be read is no session", async () => {
    const { client, phone } = world();
    phone.broken = "get";
    await settle();
    expect(client.getState().status).toBe("signed-out");
    expect((await soon(client.signIn())).status).toBe("signed-in");
  });

  test("storage may answer later", async () => {
    const { phone, open } = world();
    const platform = Object.assign({}, phone.wx, {
      getStorageSync: async (key: string) => phone.storage.get(key),
      setStorageSync: async (key: string, value: unknown) => void phone.storage.set(key, structuredClone(value)),
    });
    await soon(open({ platform }).signIn());
    const again = open({ platform });
    await settle();
    expect(again.getState()).toMatchObject({ status: "signed-in", user: { id: "alice" } });
  });

  test("two windows: the second takes the tokens that the first has renewed", async () => {
    const { client, server, open } = world();
    await soon(client.signIn());
    const other = open();
    await settle();
    server.expire();
    await soon(client.request("/orders"));
    expect((await soon(other.request("/orders"))).data.user).toBe("alice");
    expect(server.calls("/auth/refresh")).toBe(1);
  });

  test("two windows: a sign-out in the first is one in the second, at the next look", async () => {
    const { client, server, open } = world();
    await soon(client.signIn());
    const [other, third] = [open(), open()];
    await settle();
    await soon(client.signOut());
    await soon(other.reload());
    expect(other.getState()).toMatchObject({ status: "signed-out", reason: "signed_out" });
    expect((await refusal(third.request("/orders"))).code).toBe("signed_out");
    expect(server.calls("/auth/refresh")).toBe(0);
  });

  test("two windows: a sign-in in the first lets the requests of the second go on", async () => {
    const { client, open } = world({ onSignInNeeded: () => undefined });
    const other = open();
    const waits = other.request("/orders");
    await settle();
    await soon(client.signIn());
    await soon(other.reload());
    expect((await soon(waits)).data.user).toBe("alice");
  });
});

describe("time", () => {
  test("a token is renewed a little before its end, whatever day the phone's clock shows", async () => {
    vi.setSystemTime(Date.now() + 864e5);
    const { client, server } = world();
    await soon(client.signIn());
    await settle(800_000);
    await soon(client.request("/orders"));
    expect(server.calls("/auth/refresh")).toBe(0);
    await settle(50_000);
    await soon(client.request("/orders"));
    expect(server.calls("/auth/refresh")).toBe(1);
  });

  test("a clock that is set back or forward costs a refresh at most", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    const now = Date.now();
    vi.setSystemTime(now + 864e5);
    server.sessions.get("s1").until = Date.now() + 1000;
    for (let n = 0; n < 10; n++) await soon(client.request("/orders"));
    expect(server.calls("/auth/refresh")).toBe(1);
    vi.setSystemTime(now - 864e5);
    for (let n = 0; n < 10; n++) await soon(client.request("/orders"));
    expect(server.calls("/auth/refresh")).toBe(1);
  });

  test("an early renewal that fails does no harm as long as the token is good", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    await settle(850_000);
    server.faults.push(({ path }: any) => (path === "/auth/refresh" ? "offline" : undefined));
    expect((await soon(client.request("/orders"))).data.user).toBe("alice");
    await settle(60_000);
    expect((await refusal(client.request("/orders"))).code).toBe("offline");
  });

  test("without expires_in the token is renewed on 401", async () => {
    const { client, server } = world();
    server.withoutExpiry = true;
    await soon(client.signIn());
    await settle(900_000);
    expect((await soon(client.request("/orders"))).data.user).toBe("alice");
    expect(server.calls("/auth/refresh")).toBe(1);
  });

  test("what comes while a renewal is under way waits for it", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    server.expire();
    let release = () => undefined as void;
    const held = new Promise<void>((resolve) => (release = resolve));
    server.faults.push(async ({ path }: any) => (path === "/auth/refresh" ? held : undefined));
    const first = client.request("/orders");
    await settle();
    const second = client.request("/orders");
    await settle();
    expect(server.calls("/orders")).toBe(1);
    release();
    await soon(Promise.all([first, second]));
    expect(server.calls("/orders")).toBe(3);
  });
});

describe("signing in", () => {
  test("ten at once are one login", async () => {
    const { client, server } = world();
    await soon(Promise.all(Array.from({ length: 10 }, () => client.signIn())));
    expect(server.calls("/auth/wechat/login")).toBe(1);
  });

  test("one with more to say comes after the one that is under way, also where that fails", async () => {
    const { client, phone, server } = world();
    server.faults.push(({ data }: any) => (data.code === "alice-1" ? problem(503, "wechat_busy") : undefined));
    const first = client.signIn().catch((fault) => fault.code);
    const second = client.signIn({ nickname: "小明", avatarUrl: "https://example.com/a.jpg" });
    expect(await soon(Promise.all([first, second]))).toMatchObject(["wechat_busy", { status: "signed-in" }]);
    expect(phone.sent[1].data).toEqual({ code: "alice-2", nickname: "小明", avatar_url: "https://example.com/a.jpg" });
  });

  test("a spent code is replaced once", async () => {
    const { client, server } = world();
    server.codes.add("alice-1");
    expect((await soon(client.signIn())).status).toBe("signed-in");
    server.codes.add("alice-3").add("alice-4");
    expect((await refusal(client.signIn())).code).toBe("wechat_code_invalid");
  });

  test("WeChat that gives no code, none in its answer, or never answers", async () => {
    const { client, phone } = world();
    phone.canLogin = false;
    expect(await refusal(client.signIn())).toMatchObject({ code: "login_failed", retryable: false });
    phone.wx.login = ({ success }: any) => success({});
    expect((await refusal(client.signIn())).code).toBe("login_failed");
    phone.wx.login = () => undefined;
    expect((await refusal(client.signIn(), 30_100)).code).toBe("timeout");
  });

  test("a sign-out while the answer to a login is on its way wins, and the server hears of both", async () => {
    const { client, server } = world();
    let release = () => undefined as void;
    const held = new Promise<void>((resolve) => (release = resolve));
    server.faults.push(async ({ path }: any) => (path === "/auth/wechat/login" ? held : undefined));
    const signIn = client.signIn();
    signIn.catch(() => undefined);
    await settle();
    await soon(client.signOut());
    release();
    expect((await refusal(signIn)).code).toBe("signed_out");
    await settle();
    expect(server.sessions.get("s1").over).toBe(true);
    expect(client.getState().status).toBe("signed-out");
    server.faults.length = 0;
    server.faults.push(({ path }: any) => (path === "/auth/logout" ? "offline" : undefined));
    const again = client.signIn();
    again.catch(() => undefined);
    await settle(0);
    client.signOut();
    expect((await refusal(again)).code).toBe("signed_out");
  });

  test("signing in, out and in again at once ends signed in", async () => {
    const { client } = world();
    await settle();
    const [first, , last] = [client.signIn(), client.signOut(), client.signIn()];
    first.catch(() => undefined);
    expect((await soon(last)).status).toBe("signed-in");
    expect((await refusal(first)).code).toBe("signed_out");
  });

  test("a login or a sign-out while a refresh is on its way wins over its answer", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    for (const fault of [undefined, problem(401, "refresh_invalid")]) {
      server.expire();
      let release = () => undefined as void;
      const held = new Promise<void>((resolve) => (release = resolve));
      server.faults.push(async ({ path }: any) => (path === "/auth/refresh" ? held.then(() => fault) : undefined));
      const waits = client.request("/orders");
      await settle();
      await soon(client.signIn());
      release();
      expect((await soon(waits)).data.user).toBe("alice");
      expect(client.getState().status).toBe("signed-in");
      server.faults.length = 0;
    }
    server.expire();
    let release = () => undefined as void;
    const held = new Promise<void>((resolve) => (release = resolve));
    server.faults.push(async ({ path }: any) => (path === "/auth/refresh" ? held : undefined));
    const waits = client.request("/orders");
    waits.catch(() => undefined);
    await settle();
    await soon(client.signOut());
    release();
    expect((await refusal(waits)).code).toBe("signed_out");
    expect(client.getState().status).toBe("signed-out");
  });

  test("silent sign-ins are few within five minutes", async () => {
    const { client, server } = world({ silent: "always" });
    server.faults.push(({ path }: any) => (path === "/auth/refresh" ? problem(401, "refresh_invalid") : undefined));
    const codes: string[] = [];
    for (let n = 0; n < 10; n++) {
      server.expire();
      codes.push(await soon(client.request("/orders").then(() => "ok", (fault) => fault.code)));
    }
    expect([codes, server.calls("/auth/wechat/login")]).toEqual([["ok", "ok", "ok", ...Array(7).fill("refresh_invalid")], 3]);
    await settle(300_000);
    expect((await soon(client.request("/orders"))).data.user).toBe("alice");
  });

  test("no silent sign-in with `never`, none for whom a phone signed in, none on a device that nobody signed in on", async () => {
    const never = world({ silent: "never" });
    await soon(never.client.signIn());
    never.server.sessions.clear();
    expect((await refusal(never.client.request("/orders"))).code).toBe("refresh_invalid");
    const { client, server } = world({ silent: "always" });
    await soon(client._inside._enter("sms", "sms", () => client._inside._ask({ url: "/auth/sms/login", data: { phone: "1", code: "123456" }, read: (data) => ({ access: data.access_token, refresh: data.refresh_token }) })));
    server.sessions.clear();
    expect((await refusal(client.request("/orders"))).code).toBe("refresh_invalid");
    const fresh = world();
    expect((await refusal(fresh.client.request("/orders"))).code).toBe("sign_in_needed");
  });

  test("a silent sign-in that the network stops is no reason for the login page; one that is refused is", async () => {
    const opened: string[] = [];
    const { client, server } = world({ silent: "always", onSignInNeeded: ({ code }) => void opened.push(code) });
    server.faults.push(() => "offline");
    expect((await refusal(client.request("/orders"))).code).toBe("offline");
    expect(opened).toEqual([]);
    server.faults.length = 0;
    server.faults.push(({ path }: any) => (path === "/auth/wechat/login" ? problem(403, "wechat_blocked") : undefined));
    const waits = [client.request("/orders"), client.request("/orders")];
    waits.forEach((each) => each.catch(() => undefined));
    await settle();
    expect(opened).toEqual(["wechat_blocked"]);
    client.cancelSignIn();
    expect((await refusal(waits[0] as Promise<unknown>)).code).toBe("sign_in_cancelled");
    client.cancelSignIn();
  });

  test("a login page that cannot be opened, at once or later, is one that was closed", async () => {
    for (const onSignInNeeded of [
      () => {
        throw new Error("no such page");
      },
      () => Promise.reject(new Error("navigateTo:fail")),
    ]) {
      const { client } = world({ onSignInNeeded });
      expect((await refusal(client.request("/orders"))).code).toBe("sign_in_cancelled");
    }
  });

  test("a login page that fails after the login changes nothing", async () => {
    let fail = (_: Error) => undefined as void;
    const { client } = world({ onSignInNeeded: () => new Promise((_, reject) => (fail = reject)) });
    const waits = client.request("/orders");
    await settle();
    await soon(client.signIn());
    fail(new Error("page closed"));
    expect((await soon(waits)).data.user).toBe("alice");
  });

  test("what no user waits for opens no login page, and what needs no user goes without", async () => {
    const opened = vi.fn();
    const { client } = world({ onSignInNeeded: opened });
    expect((await refusal(client.request({ url: "/orders", mayAsk: false }))).code).toBe("sign_in_needed");
    expect((await refusal(client.ensure(false))).code).toBe("sign_in_needed");
    expect((await soon(client.request({ url: "/public/news", auth: "optional" }))).data.user).toBe(null);
    expect((await soon(client.request({ url: "/public/news", auth: "none" }))).data.user).toBe(null);
    expect(opened).not.toHaveBeenCalled();
  });

  test("the login page may be waited for by `ensure`, for as long as an option says", async () => {
    const { client } = world({ onSignInNeeded: () => undefined, signInTimeout: 1000 });
    expect((await refusal(client.ensure(), 1100)).code).toBe("sign_in_cancelled");
    const waits = client.ensure();
    await settle();
    await soon(client.signIn());
    expect((await soon(waits)).status).toBe("signed-in");
    expect((await soon(client.ensure())).status).toBe("signed-in");
  });

  test("another user does not go on with what the one before has begun", async () => {
    const { client, server, phone } = world({ onSignInNeeded: () => undefined, silent: "never" });
    await soon(client.signIn());
    server.sessions.clear();
    const waits = client.request("/orders");
    waits.catch(() => undefined);
    await settle();
    phone.person = "bob";
    await soon(client.signIn());
    expect((await refusal(waits)).code).toBe("user_changed");
    expect(server.calls("/orders")).toBe(1);
  });

  test("an optional request goes on without a session that has ended", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    server.revoke();
    server.backend = (_: unknown, user: unknown) => ({ status: 200, data: { user } });
    const faults = [problem(401, "token_revoked")];
    server.faults.push(({ path, header }: any) => (path === "/public/news" && header.Authorization ? faults[0] : undefined));
    expect((await soon(client.request({ url: "/public/news", auth: "optional" }))).data.user).toBe(null);
    expect(client.getState()).toMatchObject({ status: "signed-out", reason: "session_revoked" });
    await soon(client.signIn());
    server.revoke();
    await settle(899_000);
    expect((await soon(client.request({ url: "/public/news", auth: "optional" }))).data.user).toBe(null);
  });
});

describe("signing out", () => {
  test("when nobody is signed in it is done, and tells nobody", async () => {
    const { client, server } = world();
    expect(await soon(client.signOut())).toBe(true);
    expect(server.calls("/auth/logout")).toBe(0);
  });

  test.each([
    ["a session that is over", problem(401, "token_revoked"), true],
    ["a server without that route", problem(404, "not_found"), false],
  ])("with %s it is not told again", async (_, answer, knows) => {
    const { client, server, open } = world();
    await soon(client.signIn());
    server.faults.push(({ path }: any) => (path === "/auth/logout" ? (server.log.push(path), answer) : undefined));
    expect(await soon(client.signOut())).toBe(knows);
    open();
    await settle();
    expect(server.calls("/auth/logout")).toBe(1);
  });

  test("the server hears of it by the access token where there is no other", async () => {
    const call = native({ prefix: "/a" }).leave({ access: "x" });
    expect(call).toMatchObject({ url: "/a/logout", header: { Authorization: "Bearer x" }, data: {} });
    expect(call.read("")).toBe(true);
  });

  test("a login meanwhile is not undone by the answer, and a second sign-out does not forget the first", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    server.faults.push(({ path }: any) => (path === "/auth/logout" ? "offline" : undefined));
    await soon(client.signOut());
    await soon(client.signIn());
    expect(client.getState().status).toBe("signed-in");
    server.faults.length = 0;
    let release = () => undefined as void;
    const held = new Promise<void>((resolve) => (release = resolve));
    server.faults.push(async ({ path }: any) => (path === "/auth/logout" ? held : undefined));
    const out = client.signOut();
    await settle();
    await soon(client.signIn());
    await soon(client._inside._ask({ url: "/auth/wechat/login", data: { code: "x-1" }, read: () => 1 }));
    client._inside._take();
    release();
    expect(await soon(out)).toBe(true);
    expect(client.getState().status).toBe("signed-out");
  });
});

describe("requests", () => {
  test.each([
    ["/orders", true],
    ["orders", true],
    ["?a=1", true],
    [`${BASE}/orders`, true],
    [BASE, true],
    ["@evil.example/x", true],
    ["https://evil.example/x", false],
    [`${BASE}.evil.example/x`, false],
    [`${BASE}@evil.example/x`, false],
    ["//evil.example/x", false],
  ])("the token goes to the server alone: %s", async (url, ours) => {
    const { client, phone } = world();
    await soon(client.signIn());
    await soon(client.request({ url, header: { authorization: "Bearer mine", "x-other": "1" } }).catch(() => undefined));
    const sent = phone.sent.at(-1);
    expect(sent.header["x-other"]).toBe("1");
    if (ours) expect([sent.url.startsWith(`${BASE}/`) || sent.url.startsWith(`${BASE}?`) || sent.url === BASE, sent.header.Authorization, sent.header.authorization]).toEqual([true, "Bearer a.s1.1", undefined]);
    else expect([sent.url, sent.header.Authorization, sent.header.authorization]).toEqual([url, undefined, "Bearer mine"]);
  });

  test.each(["//evil.example/x", "/\\evil.example/x", "https://evil.example/x"])("a page whose base URL is its own origin sends no token to %s", async (url) => {
    const { open, phone } = world();
    const client = open({ baseUrl: "" });
    await soon(client.signIn());
    await soon(client.request({ url }).catch(() => undefined));
    expect(phone.sent.at(-1).header).toEqual({});
    await soon(client.request("/orders"));
    expect(phone.sent.at(-1).header).toEqual({ Authorization: "Bearer a.s1.1" });
  });

  test("the base URL may end with a slash", async () => {
    const { phone, open } = world();
    open({ baseUrl: `${BASE}/` }).request({ url: "/public/x", auth: "none" });
    await settle();
    expect(phone.sent[0].url).toBe(`${BASE}/public/x`);
  });

  test("options go to the platform; those of this package decide", async () => {
    const { client, phone } = world();
    await soon(client.signIn());
    const request = vi.spyOn(phone.wx, "request");
    await soon(client.request({ url: "/orders", method: "PUT", data: { a: 1 }, timeout: 5, responseType: "arraybuffer" }));
    expect(request.mock.calls[0]?.[0]).toMatchObject({ method: "PUT", data: { a: 1 }, timeout: 5, responseType: "arraybuffer" });
  });

  test("given up: before it is sent, while it is under way, while it waits for a login, and after its end", async () => {
    const { client, phone, server } = world({ onSignInNeeded: () => undefined });
    const waiting = client.request("/orders");
    waiting.catch(() => undefined);
    await settle();
    waiting.abort();
    expect((await refusal(waiting)).code).toBe("aborted");
    await soon(client.signIn());
    expect(phone.on("/orders")).toEqual([]);
    const early = client.request("/orders");
    early.abort();
    expect(await refusal(early)).toMatchObject({ code: "aborted", retryable: false });
    server.faults.push(({ path }: any) => (path === "/orders" ? "nothing" : undefined));
    const under = client.request("/orders");
    under.catch(() => undefined);
    await settle();
    under.abort();
    expect((await refusal(under)).code).toBe("aborted");
    expect([phone.on("/orders").length, phone.running, client.getState().status]).toEqual([1, 0, "signed-in"]);
    server.faults.length = 0;
    const done = client.request("/orders");
    expect((await soon(done)).statusCode).toBe(200);
    done.abort();
  });

  test("a refusal has what the server says, whatever form it has", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    const answers: [object, object][] = [
      [{ ...problem(400, "validation_failed"), data: { code: "validation_failed", request_id: "r", detail: "d", errors: [{ field: "f", message: "m" }] } }, { code: "validation_failed", fields: [{ field: "f", message: "m" }], requestId: "r", detail: "d", message: "validation_failed: d" }],
      [{ status: 500, data: { code: "backend_code" } }, { code: "http_500", retryable: true }],
      [{ status: 500, data: { code: "internal", request_id: "r" } }, { code: "internal" }],
      [{ status: 418, data: null, header: null }, { code: "http_418", retryable: false, message: "http_418" }],
      [{ status: 408, data: "" }, { retryable: true }],
      [{ status: 503, header: { "x-menshen-error": ["wechat_misconfigured"], "Retry-After": "soon" } }, { code: "wechat_misconfigured", retryable: false, retryAfter: undefined }],
      [{ status: 401, header: { "X-MENSHEN-ERROR": "token_missing" } }, { code: "token_missing" }],
      [{ status: 0, data: "" }, { code: "bad_answer", retryable: true }],
    ];
    for (const [answer, expected] of answers) {
      server.faults = [() => answer];
      expect(await refusal(client.request("/orders"))).toMatchObject(expected);
    }
    server.faults = [() => ({ status: 302, data: "" })];
    expect((await soon(client.request("/orders"))).statusCode).toBe(302);
  });

  test("a call of the API needs its own answer, also where the status is a success", async () => {
    const { client, server } = world();
    const read = (data: any) => (data.good ? data.good : undefined);
    server.faults.push(() => ({ status: 200, data: { good: 7 } }));
    expect(await soon(client.call({ url: "/x", read }, "none"))).toBe(7);
    await soon(client.call({ url: "/x", read, method: "GET", header: { a: "b" } }, "none"));
    server.faults = [() => ({ status: 200, data: { code: "internal", request_id: "r" } })];
    expect((await refusal(client.call({ url: "/x", read }, "none"))).code).toBe("internal");
    server.faults = [];
    await soon(client.signIn());
    expect((await soon(client.call({ url: "/x", read: (data) => data.user }))) as string).toBe("alice");
  });

  test("a phone without a function says so, and so does one whose function throws or fails oddly", async () => {
    expect((await refusal(settled(undefined, {}, 10))).code).toBe("unsupported");
    expect((await refusal(settled(() => { throw new Error("boom"); }, {}, 10))).code).toBe("offline");
    expect(failure(undefined, "offline")).toMatchObject({ code: "offline", detail: "undefined" });
    expect(failure({ errMsg: "request:fail url not in domain list" }, "offline").code).toBe("domain_not_listed");
    expect(failure("timed out", "offline").code).toBe("timeout");
    expect(failure({ errMsg: "request:fail abort" }, "offline").code).toBe("aborted");
    expect(failure(new Error("boom"), "offline").detail).toBe("boom");
    expect(headerOf({ "x-a": "" }, "x-a")).toBe(undefined);
    expect(world().client._inside._error("x").code).toBe("x");
    const twice = settled((options: any) => (options.success(1), options.fail(2), options.success(3)), {}, 10);
    expect(await soon(twice)).toBe(1);
    expect(headerOf(undefined, "a")).toBe(undefined);
  });

  test("signs of life let the time begin anew, until it is over", async () => {
    let alive = () => undefined as void;
    let success = (_: unknown) => undefined as void;
    const slow = settled((options: any, live: any) => { alive = live; success = options.success; }, {}, 1000);
    await settle(900);
    alive();
    await settle(900);
    success("done");
    alive();
    expect(await soon(slow)).toBe("done");
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("words", () => {
  test("each error has Chinese and English; those of the table where the table is there", () => {
    expect(new MenshenError("phone_conflict")).toMatchObject({ zh: "请稍后再试", en: "Please try again later", name: "MenshenError", status: 0 });
    createClient({ baseUrl: BASE, platform: world().phone.wx, texts });
    expect(new MenshenError("phone_conflict").zh).toBe("该手机号已绑定其他账号");
    expect(new MenshenError("http_599").zh).toBe("请稍后再试");
  });

  test("answers with less in them than the contract says", () => {
    const { read } = native().wechat("c", {});
    for (const data of [undefined, null, "", "<html>", 7, [], {}, { access_token: "" }, { access_token: 7 }]) expect(read(data)).toBe(undefined);
    expect(read({ access_token: "a", expires_in: -1, user: { nickname: "x" } })).toEqual({ access: "a", refresh: undefined, expiresIn: undefined, user: undefined });
    expect(read({ access_token: "a", expires_in: "900", user: { id: 7 } })).toMatchObject({ expiresIn: 900, user: { id: "7", phone: "" } });
    expect(native().refusal({ request_id: "r", code: 7 }, 400)).toMatchObject({ code: undefined });
  });

  test("a team's own header carries the token, and logs in with what it says of itself", async () => {
    const api = native({ tokenHeader: "_token", tokenPrefix: "", appId: "wx1", clientType: "web" });
    const { client, phone, server } = world({ api });
    server.faults.push(({ path, header }: any) => (path === "/orders" ? { status: 200, data: header } : undefined));
    await soon(client.signIn());
    expect(phone.sent[0].data).toMatchObject({ app_id: "wx1", client_type: "web" });
    expect((await soon(client.request("/orders"))).data).toEqual({ _token: "a.s1.1" });
    expect(api.renew?.({ access: "x" })).toBe(undefined);
  });
});

test("an API that renews nothing signs in by WeChat in its place, and keeps the session where that does not work now", async () => {
  const api = Object.assign(native(), { renew: undefined as never });
  delete (api as any).renew;
  const { client, server } = world({ api });
  await soon(client.signIn());
  server.expire();
  server.faults.push(({ path }: any) => (path === "/auth/wechat/login" ? "offline" : undefined));
  expect((await refusal(client.request("/orders"))).code).toBe("offline");
  // However often: what does not come to the server does not count, and what does often ends nothing either.
  for (let n = 0; n < 10; n++) await refusal(client.request("/orders"));
  expect(client.getState().status).toBe("offline");
  server.faults.length = 0;
  expect((await soon(client.request("/orders"))).data.user).toBe("alice");
  for (let n = 0; n < 5; n++) {
    server.expire();
    await soon(client.request("/orders").catch(() => undefined));
  }
  expect([client.getState().status, server.calls("/auth/wechat/login")]).toEqual(["signed-in", 3]);
  expect((await refusal(client.request("/orders"))).code).toBe("session_expired");
  await settle(300_000);
  expect((await soon(client.request("/orders"))).data.user).toBe("alice");
  const sms = world({ api });
  await soon(sms.client._inside._enter("sms", "sms", () => sms.client._inside._ask({ url: "/auth/sms/login", data: { phone: "1", code: "123456" }, read: (data) => ({ access: data.access_token }) })));
  sms.server.expire();
  expect((await refusal(sms.client.request("/orders"))).code).toBe("session_expired");
  expect(sms.client.getState()).toMatchObject({ status: "signed-out", reason: "session_expired" });
});
