// Phone, SMS, account, transfers, interceptors, storage, privacy and the platforms.

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import axios from "axios";
import { createAlova } from "alova";
import { createClient } from "../src/index.js";
import { accountOf } from "../src/account.js";
import { claimsOf, lifeOf } from "../src/claims.js";
import { cloudContainer, cloudFunction } from "../src/cloud.js";
import { codeData } from "../src/code-data.js";
import { encryptedStorage, sealedStorage } from "../src/encrypted.js";
import { alovaAdapter, authorizer, axiosRequest, luchRequest } from "../src/intercept.js";
import { native } from "../src/native.js";
import { nest } from "../src/nest.js";
import { phoneButton } from "../src/phone.js";
import { privacyConsent } from "../src/privacy.js";
import { simplejwt } from "../src/simplejwt.js";
import { smsForm } from "../src/sms.js";
import { successData } from "../src/success-data.js";
import { sessionHook, taroPlatform } from "../src/taro.js";
import { texts } from "../src/texts.js";
import { transfers } from "../src/transfer.js";
import { uniPlatform, useSession } from "../src/uni.js";
import { sessionBehavior } from "../src/wx.js";
import { problem } from "./stand-in/server.mjs";
import { BASE, refusal, settle, soon, world } from "./setup.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const answer = (data: object, status = 200) => ({ status, data });
const at = (path: string, reply: (request: any) => unknown) => (request: any) => (request.path === path ? reply(request) : undefined);

describe("the phone button", () => {
  test.each([
    [{ errMsg: "getPhoneNumber:fail user deny" }, "phone_refused", "refused"],
    [{ errMsg: "getPhoneNumber:fail:user cancel" }, "phone_refused", "refused"],
    [{ errMsg: "getPhoneNumber:fail privacy permission is not authorized", errno: 104 }, "phone_privacy", "consent"],
    [{ errMsg: "getPhoneNumber:fail api scope is not declared in the privacy agreement", errno: 112 }, "phone_undeclared", "failed"],
    [{ errMsg: "getPhoneNumber:fail", errno: "1400001" }, "phone_quota", "failed"],
    [{ errMsg: "getPhoneNumber:fail jsapi has no permission", errno: 102 }, "phone_unavailable", "failed"],
    [{}, "phone_unavailable", "failed"],
  ])("%o is %s", async (detail, code, step) => {
    const { client } = world();
    const button = phoneButton(client);
    const error = await refusal(button.tapped(detail));
    expect([error.code, texts(code)?.[0]]).toEqual([code, expect.stringMatching(/[一-龥]/)]);
    expect(button.getState()).toMatchObject({ step, error, canRetry: false });
  });

  test("a bad connection keeps the code for another try, for as long as it is good", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    const bind = at("/auth/phone/wechat", ({ data }) => answer({ phone: "+86138", masked: `masked ${data.code}`, country_code: "86" }));
    const button = phoneButton(client);
    server.faults.push(() => "offline");
    expect((await refusal(button.tapped({ code: "p1" }))).code).toBe("offline");
    expect(button.getState()).toMatchObject({ step: "failed", canRetry: true });
    server.faults = [bind];
    const both = [button.retry(), button.retry(), button.tapped({ code: "p2" })];
    expect((await soon(Promise.all(both))).map(({ masked }) => masked)).toEqual(Array(3).fill("masked p1"));
    expect(button.getState()).toMatchObject({ step: "bound", masked: "masked p1" });
    expect((await refusal(button.retry())).code).toBe("phone_code_invalid");
    server.faults = [() => "offline"];
    await refusal(button.tapped({ code: "p3" }));
    await settle(300_000);
    expect((await refusal(button.retry())).code).toBe("phone_code_invalid");
  });

  test("the login takes both codes in one call; what is no matter of the phone is tried once more", async () => {
    const { client, server, phone } = world();
    const refused: Record<string, string> = { theirs: "phone_conflict", busy: "wechat_busy" };
    const login = ({ data }: any) => {
      const { code, phone_code } = data;
      const why = refused[phone_code];
      const granted = server.answer({ path: "/auth/wechat/login", data: why ? { code } : data });
      return why ? answer({ ...granted.data, phone_error: why, user: { ...granted.data.user, phone_masked: null } }) : granted;
    };
    server.faults.push(at("/auth/wechat/login", login));
    const button = phoneButton(client);
    expect((await soon(button.tapped({ code: "good" }))).masked).toBe("masked good");
    expect([phone.sent.length, phone.sent[0].data]).toEqual([1, { code: "alice-1", phone_code: "good" }]);
    expect([button.getState().step, client.getState().phoneBound]).toEqual(["bound", true]);
    for (const [code, why, phoneBound] of [
      ["theirs", "phone_conflict", false],
      ["good", "phone_code_invalid", true],
    ] as const) {
      await soon(client.signOut());
      expect((await refusal(button.tapped({ code }))).code).toBe(why);
      expect(button.getState()).toMatchObject({ step: "failed", canRetry: false });
      expect(client.getState()).toMatchObject({ status: "signed-in", phoneBound });
    }
    await soon(client.signOut());
    expect((await soon(button.tapped({ code: "busy" }))).masked).toBe("masked busy");
    expect([server.calls("/auth/wechat/login"), server.calls("/auth/phone/wechat")]).toEqual([4, 1]);
  });

  test("a lost answer to the login: the same tap is sent again, with another login code", async () => {
    const { client, server, phone } = world();
    for (const [code, reaches] of [
      ["p1", false],
      ["p2", true],
    ] as const) {
      server.faults = [at("/auth/wechat/login", (request) => ((reaches && server.answer(request)) || true) && "timeout")];
      const button = phoneButton(client);
      expect((await refusal(button.tapped({ code }))).code).toBe("timeout");
      expect([button.getState().canRetry, client.getState().status]).toEqual([true, "signed-out"]);
      server.faults = [];
      // Where the server had it, the code of the button is spent: the phone is bound, and another tap says so too.
      if (reaches) expect((await refusal(button.retry())).code).toBe("phone_code_invalid");
      else expect((await soon(button.retry())).masked).toBe(`masked ${code}`);
      expect(client.getState()).toMatchObject({ status: "signed-in", phoneBound: true, user: { phone: `masked ${code}` } });
      await soon(client.signOut());
    }
    expect(phone.on("/auth/wechat/login").map(({ data }: any) => [data.code, data.phone_code])).toEqual([
      ["alice-1", "p1"],
      ["alice-2", "p1"],
      ["alice-3", "p2"],
      ["alice-4", "p2"],
    ]);
  });

  test("a sign-out while a tap waits for a renewal wins over its sign-in", async () => {
    const { client, server, phone } = world();
    await soon(client.signIn());
    server.sessions.clear();
    await settle(880_000);
    let release: () => void = () => undefined;
    server.faults = [at("/auth/refresh", () => new Promise((resolve) => (release = () => resolve(undefined))))];
    const tapped = phoneButton(client).tapped({ code: "p1" });
    const error = tapped.catch(({ code }) => code);
    await settle();
    await soon(client.signOut());
    release();
    await settle();
    expect([await error, client.getState().status]).toEqual(["signed_out", "signed-out"]);
    // What the tap has opened is ended.
    expect([...server.sessions.values()].filter(({ over }: any) => !over)).toEqual([]);
    expect(phone.storage.get("menshen.session")).not.toMatchObject({ user: expect.anything() });
  });

  test("a dialect binds after its login, in a call of its own", async () => {
    const { client, server, phone } = world({ api: Object.assign(native(), { phoneAtLogin: false }) });
    server.faults.push(at("/auth/phone/wechat", ({ data }) => answer({ masked: `masked ${data.code}` })));
    expect((await soon(phoneButton(client).tapped({ code: "p1" }))).masked).toBe("masked p1");
    expect(phone.sent.map(({ path }: any) => path)).toEqual(["/auth/wechat/login", "/auth/phone/wechat"]);
  });

  test("the older way: no login in the handler, one before it where WeChat's key is stale, and the next tap works", async () => {
    const { client, server, phone } = world();
    server.faults.push(at("/auth/phone/wechat", ({ data }) => answer({ masked: data.encrypted_data })));
    const proof = { encryptedData: "e", iv: "i", code: "c" };
    const button = phoneButton(client, { legacy: true });
    expect((await refusal(button.tapped(proof))).code).toBe("phone_decrypt_failed");
    await settle();
    expect([client.getState().status, phone.codes]).toEqual(["signed-in", 1]);
    expect((await soon(button.tapped(proof))).masked).toBe("e");
    expect(phone.codes).toBe(1);
    await soon(button.prepare());
    expect([phone.codes, button.getState().step]).toEqual([2, "idle"]);
    phone.wx.checkSession = ({ success }: any) => success();
    await soon(phoneButton(client, { legacy: true }).prepare());
    expect(phone.codes).toBe(2);
    phone.wx.checkSession = ({ fail }: any) => fail();
    phone.canLogin = false;
    expect((await refusal(button.prepare())).code).toBe("login_failed");
    expect(button.getState().step).toBe("failed");
    expect((await refusal(button.tapped({ code: "only" }))).code).toBe("unsupported");
  });

  test("two accounts that have become one are the session's", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    server.faults.push(
      at("/auth/phone/wechat", () => answer({ masked: "m", merged: true, tokens: { access_token: "a.new.1", user: { id: "older" } } })),
    );
    expect((await soon(phoneButton(client).tapped({ code: "c" }))).merged).toBe(true);
    expect(client.getState().user).toMatchObject({ id: "older", phone: "m" });
    server.faults = [at("/auth/phone/wechat", () => answer({}))];
    expect((await refusal(phoneButton(client).tapped({ code: "c" }))).code).toBe("bad_answer");
  });
});

describe("the SMS form", () => {
  const sending = (resend_after = 60) => at("/auth/sms/send", () => answer({ expires_in: 300, resend_after }));

  test("counts down what the server says, and goes on where the page was closed", async () => {
    const { client, server } = world();
    server.faults.push(sending(30));
    const form = smsForm(client);
    const shown: number[] = [];
    const end = form.subscribe(({ left }) => shown.push(left));
    form.setPhone("138 0013-8000");
    await soon(form.send());
    await settle(2000);
    end();
    expect([...new Set(shown)].slice(0, 4)).toEqual([0, 30, 29, 28]);
    form.close();
    form.setPhone("13800138000");
    await settle(10_000);
    const again = smsForm(client);
    again.setPhone("13800138000");
    await settle(0);
    expect(again.getState().left).toBeGreaterThan(15);
    expect(again.getState().left).toBeLessThan(19);
    again.setPhone("13900139000");
    expect(again.getState().left).toBe(0);
    again.setPhone("13800138000");
    await settle(30_000);
    expect([again.getState().left, vi.getTimerCount()]).toEqual([0, 0]);
  });

  test("429 counts down its Retry-After; other failures count nothing", async () => {
    const { client, server } = world();
    const form = smsForm(client);
    server.faults = [at("/auth/sms/send", () => problem(429, "sms_cooldown", { "Retry-After": "42" }))];
    expect((await refusal(form.send("13800138000"), 10)).code).toBe("sms_cooldown");
    expect(form.getState()).toMatchObject({ left: 42, sending: false, sent: false, error: { code: "sms_cooldown" } });
    server.faults = [at("/auth/sms/send", () => problem(503, "sms_unavailable", { "Retry-After": "5" }))];
    await refusal(form.send("13900139000"), 10);
    expect(form.getState().left).toBe(0);
    server.faults = [at("/auth/sms/send", () => answer({}))];
    await soon(form.send("13700137000"), 10);
    expect(form.getState().left).toBe(60);
    form.close();
  });

  test("a tap while it is sent sends nothing; a clock that is set back starts again; storage may fail", async () => {
    const { client, server, phone } = world();
    phone.broken = "all";
    server.faults.push(sending());
    const form = smsForm(client, { storageKey: "mine" });
    form.setPhone("13800138000");
    const both = Promise.all([form.send(), form.send()]);
    expect(await soon(both, 10)).toEqual([true, false]);
    expect(await form.send()).toBe(false);
    vi.setSystemTime(Date.now() - 864e5);
    await settle(1000);
    expect(form.getState().left).toBeGreaterThan(55);
    form.close();
    expect(phone.storage.has("mine.login")).toBe(false);
  });

  test("two taps on `submit` are one login; who signed in by phone is not signed in by WeChat", async () => {
    const { client, server } = world({ silent: "always" });
    const form = smsForm(client);
    expect((await refusal(form.submit("000000", "13800138000"))).code).toBe("code_invalid");
    expect(form.getState()).toMatchObject({ submitting: false, error: { code: "code_invalid" } });
    await soon(Promise.all([form.submit("123 456"), form.submit("123456")]));
    expect([server.calls("/auth/sms/login"), client.getState().user?.id]).toEqual([2, "phone 13800138000"]);
    server.sessions.clear();
    expect((await refusal(client.request("/orders"))).code).toBe("refresh_invalid");
  });

  test("binding asks for a code of wx.login where the login is old", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    server.faults.push(
      at("/auth/phone/sms", ({ data }) => (data.wechat_code ? answer({ masked: data.wechat_code }) : problem(401, "reauthentication_required"))),
    );
    const form = smsForm(client, { purpose: "bind" });
    expect((await soon(form.submit("123456", "13800138000")))?.masked).toBe("alice-2");
    server.faults = [at("/auth/phone/sms", () => problem(409, "phone_conflict"))];
    expect((await refusal(form.submit("123456"))).code).toBe("phone_conflict");
  });
});

describe("the account", () => {
  test("a profile is changed by POST, and what the server refuses", async () => {
    const { client, server, phone } = world();
    await soon(client.signIn());
    const account = accountOf(client);
    server.faults.push(at("/auth/me", () => answer({ id: "alice", nickname: "x", avatar_url: "https://cdn/a.jpg", bio: "b" })));
    expect((await soon(account.update({ nickname: "小明", bio: null }))).nickname).toBe("x");
    expect(phone.sent.at(-1)).toMatchObject({ method: "POST", data: { nickname: "小明", bio: null } });
    await soon(account.setAvatar("wxfile://a", async () => "https://cdn/a.jpg"));
    expect(phone.sent.at(-1).data).toEqual({ avatar_url: "https://cdn/a.jpg" });
    expect((await soon(account.me())).bio).toBe("b");
    expect(client.getState().profileMissing).toBe(false);
    expect((await refusal(account.setNickname("  "))).fields).toEqual([{ field: "nickname", message: "not a name" }]);
    expect((await soon(account.setNickname(" y "))).nickname).toBe("x");
    server.faults = [at("/auth/me", () => "offline")];
    expect((await refusal(account.me())).code).toBe("offline");
    server.faults = [at("/auth/me", () => answer({}))];
    expect((await refusal(account.me())).code).toBe("bad_answer");
  });

  test("devices, a copy, the end", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    const account = accountOf(client);
    server.faults = [
      at("/auth/sessions", () => answer({ sessions: [{ id: "s9", client_type: "web", current: false }, { id: "s1", current: true }] })),
      at("/auth/sessions/s9", ({ method }) => (method === "DELETE" ? { status: 204 } : undefined)),
      at("/auth/me/export", () => answer({ user: {} })),
      at("/auth/phone", ({ data }) => (data.wechat_code ? answer({}) : problem(401, "reauthentication_required"))),
      at("/auth/me", () => ({ status: 204 })),
    ];
    const [other, mine] = await soon(account.devices());
    await soon(account.signOutDevice(other as never));
    expect(await soon(account.exportData())).toEqual({ user: {} });
    await soon(account.signOutOthers());
    await soon(account.unbindPhone());
    await soon(account.signOutDevice(mine as never));
    expect(client.getState().status).toBe("signed-out");
    await soon(client.signIn());
    await soon(account.remove());
    expect(client.getState()).toMatchObject({ status: "signed-out", reason: "signed_out" });
    server.faults = [at("/auth/me", () => problem(503, "overloaded")), at("/auth/sessions", () => answer({}))];
    await soon(client.signIn());
    expect((await refusal(account.remove())).code).toBe("overloaded");
    expect((await refusal(account.devices())).code).toBe("bad_answer");
  });

  test("everywhere: with a token that has expired, without a network, without a session, and with a session that is over", async () => {
    const { client, server } = world();
    const account = accountOf(client);
    expect(await soon(account.signOutEverywhere())).toBe(true);
    await soon(client.signIn());
    let bad = true;
    server.faults = [at("/auth/logout", ({ data }) => (data.scope && bad ? ((bad = false), problem(401, "token_expired")) : undefined))];
    expect(await soon(account.signOutEverywhere())).toBe(true);
    for (const fault of ["offline", problem(401, "token_revoked")]) {
      await soon(client.signIn());
      server.faults = [(request: any) => (/logout|refresh/.test(request.path) ? fault : undefined)];
      expect(await soon(account.signOutEverywhere())).toBe(false);
      expect(client.getState().status).toBe("signed-out");
      server.faults = [];
    }
  });

  test("an administrator signs in with a password, on the native API and on Django's", async () => {
    const { client, server } = world();
    server.faults = [at("/auth/password/login", ({ data }) => (data.password === "p" ? server.login("root") : problem(401, "credentials_invalid")))];
    expect((await refusal(accountOf(client).signInWithPassword("root", "x"))).code).toBe("credentials_invalid");
    await soon(accountOf(client).signInWithPassword("root", "p"));
    expect(client.getState().user?.id).toBe("root");
    const django = world({ api: simplejwt() });
    django.server.faults = [at("/api/admin/login/", () => answer({ access: "a", refresh: "r", user: { id: 1, user_type: "admin" } }))];
    await soon(accountOf(django.client).signInWithPassword("root", "p"));
    expect(django.client.getState().user?.userType).toBe("admin");
  });
});

describe("transfers", () => {
  test("upload, with progress, a text that is JSON, and a token that has to be renewed", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    server.expire();
    server.backend = ({ data }: any) => ({ status: 200, data: JSON.stringify({ name: data.name }) });
    const onProgress = vi.fn();
    const { upload } = transfers(client);
    expect((await soon(upload({ url: "/files", filePath: "wxfile://a", name: "file", formData: { a: 1 }, onProgress }))).data).toEqual({ name: "file" });
    expect([server.calls("/auth/refresh"), onProgress.mock.calls]).toEqual([1, Array(2).fill([{ progress: 100 }])]);
    for (const text of ["{half", "plain"]) {
      server.backend = () => ({ status: 200, data: text });
      expect((await soon(upload({ url: "/files", filePath: "a", name: "f" }))).data).toBe(text);
    }
  });

  test("download, and a phone that has none of them", async () => {
    const { client, phone, open } = world();
    await soon(client.signIn());
    expect((await soon(transfers(client).download({ url: "/files/1", onProgress: () => undefined }))).tempFilePath).toBe("http://tmp/file");
    const { uploadFile, downloadFile, connectSocket, ...less } = phone.wx;
    const bare = open({ platform: less });
    const { download, upload, socket } = transfers(bare);
    for (const run of [() => download({ url: "/f" }), () => upload({ url: "/f", filePath: "a", name: "f" }), () => socket({ url: "/ws" })]) {
      expect((await refusal(run() as Promise<unknown>)).code).toBe("unsupported");
    }
  });

  const bytes = (text: string) => new TextEncoder().encode(text);
  const textOf = (chunks: ArrayBuffer[]) => chunks.map((chunk) => new TextDecoder().decode(chunk)).join("|");

  test("a stream passes on pieces of a success alone, on new phones and whole on old ones", async () => {
    for (const [library, expected] of [["3.0.0", "a|b"], ["2.10.0", "ab"]] as const) {
      const { client, server } = world({}, { library });
      await soon(client.signIn());
      server.expire();
      server.backend = () => ({ status: 200, chunks: [bytes("a"), bytes("b")] });
      const chunks: ArrayBuffer[] = [];
      await soon(transfers(client).stream({ url: "/events", onChunk: (chunk) => chunks.push(chunk) }));
      expect([textOf(chunks), server.calls("/auth/refresh")]).toEqual([expected, 1]);
      server.backend = () => ({ status: 409, data: { code: "taken", request_id: "r", detail: "满" } });
      const error = await refusal(transfers(client).stream({ url: "/events", onChunk: () => expect.unreachable() }));
      expect(error).toMatchObject({ code: "taken", detail: "满", status: 409 });
      server.backend = () => ({ status: 500, chunks: [new Uint8Array([0xff])] });
      expect((await refusal(transfers(client).stream({ url: "/events", onChunk: () => expect.unreachable() }))).code).toBe("http_500");
    }
  });

  test("a stream on a phone that tells no status of its headers, or returns no task", async () => {
    const { client, phone } = world();
    await soon(client.signIn());
    const chunks: ArrayBuffer[] = [];
    phone.wx.request = (options: any) => {
      const task = { onHeadersReceived: (tell: any) => setTimeout(() => tell({ header: {} })), onChunkReceived: (tell: any) => setTimeout(() => tell({ data: bytes("x").buffer })) };
      setTimeout(() => options.success({ statusCode: 200, data: "", header: {} }), 5);
      return options.url.endsWith("none") ? undefined : task;
    };
    for (const url of ["/events", "/none"]) await soon(transfers(client).stream({ url, onChunk: (chunk) => chunks.push(chunk) }));
    expect(textOf(chunks)).toBe("x");
  });

  function sockets(phone: any) {
    const opened: any[] = [];
    phone.wx.connectSocket = (options: any) => {
      const listeners: any = {};
      const task: any = { options, closed: false, close: () => void (task.closed = true) };
      for (const name of ["Open", "Error", "Close", "Message"]) task[`on${name}`] = (listener: any) => void (listeners[name] = listener);
      task.tell = (name: string, event: object = {}) => listeners[name](event);
      opened.push(task);
      return task;
    };
    return opened;
  }

  test("a WebSocket has the token in its header, or in its query where there are no headers", async () => {
    const { client, phone, open } = world();
    await soon(client.signIn());
    const opened = sockets(phone);
    const { socket } = transfers(client);
    const waits = socket({ url: "wss://api.example.com/ws", header: { "x-a": "b" }, protocols: ["chat"] });
    await settle();
    expect(opened[0].options).toMatchObject({ url: "wss://api.example.com/ws", header: { "x-a": "b", Authorization: "Bearer a.s1.1" }, protocols: ["chat"] });
    opened[0].tell("Open");
    expect(await soon(waits)).toBe(opened[0]);
    const query = transfers(open({ platform: Object.assign({}, phone.wx, { tokenInSocketQuery: true }) })).socket;
    for (const [url, sent] of [["/ws", "wss://api.example.com/ws?access_token=a.s1.1"], ["/ws?a=1", "wss://api.example.com/ws?a=1&access_token=a.s1.1"]] as const) {
      query({ url }).catch(() => undefined);
      await settle();
      expect([opened.at(-1).options.url, opened.at(-1).options.header]).toEqual([sent, {}]);
      opened.at(-1).tell("Open");
      await settle();
    }
    socket({ url: "wss://other.example/ws" }).catch(() => undefined);
    await settle();
    expect(opened.at(-1).options).toMatchObject({ url: "wss://other.example/ws", header: {} });
    opened.at(-1).tell("Open");
    await settle();
  });

  test("a handshake that is refused with 401 is tried again with another token, once; others are not", async () => {
    const { client, phone, server } = world();
    await soon(client.signIn());
    const opened = sockets(phone);
    const { socket } = transfers(client);
    const waits = socket({ url: "/ws" });
    await settle();
    opened[0].tell("Error", { errMsg: "Unexpected response code: 401" });
    await settle();
    opened[1].tell("Open");
    expect(await soon(waits)).toBe(opened[1]);
    expect(server.calls("/auth/refresh")).toBe(1);
    const refused = socket({ url: "/ws" });
    refused.catch(() => undefined);
    await settle();
    opened[2].tell("Close", { code: 1006 });
    expect((await refusal(refused)).message).toMatch(/1006/);
    const silent = socket({ url: "/ws", timeout: 1000 });
    silent.catch(() => undefined);
    await settle(1100);
    expect([(await refusal(silent)).code, opened[3].closed]).toEqual(["timeout", true]);
  });

  test("one that the server closes for the session's sake has the session looked at", async () => {
    const { client, phone, server } = world();
    await soon(client.signIn());
    const opened = sockets(phone);
    const waits = transfers(client).socket({ url: "/ws" });
    await settle();
    opened[0].tell("Open");
    await soon(waits);
    server.revoke();
    opened[0].tell("Close", { code: 1008 });
    await settle();
    expect(client.getState()).toMatchObject({ status: "signed-out", reason: "session_revoked" });
  });
});

describe("requests of one's own", () => {
  test("authorize and recover: once, and not for what is no matter of the token", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    const { authorize, recover, headers, error } = authorizer(client);
    const { header } = await soon(authorize({ url: "/orders", header: { a: "b" } }));
    expect(header).toEqual({ a: "b", Authorization: "Bearer a.s1.1" });
    const refused = { statusCode: 401, data: "", header: { "X-Menshen-Error": "token_expired" } };
    expect(await soon(recover(header, { statusCode: 403, data: "", header: {} }))).toBe(false);
    expect(await soon(recover({}, refused))).toBe(false);
    expect(await soon(recover(undefined, refused))).toBe(false);
    expect(await soon(recover({ Authorization: "Basic x" }, refused))).toBe(false);
    expect(await soon(recover(header, refused))).toBe(true);
    const again = await soon(headers("/orders"));
    expect(again).toEqual({ Authorization: "Bearer a.s1.2" });
    expect(await soon(recover(again, refused, true))).toBe(false);
    expect(await soon(recover(again, refused))).toBe(false);
    expect(server.calls("/auth/refresh")).toBe(1);
    expect(await soon(headers("https://other.example/x", { a: "b" }))).toEqual({ a: "b" });
    expect(error({ statusCode: 404, data: "", header: {} }).code).toBe("http_404");
    expect(await soon(authorize({}))).toEqual({ header: { Authorization: "Bearer a.s1.2" } });
  });

  test("axios: ten calls with an expired token, one refresh; other refusals are passed on", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    const instance = axios.create({
      baseURL: BASE,
      adapter: async (config: any) => {
        const served = await server.serve({ path: config.url, header: config.headers.toJSON(), data: config.data });
        const response: any = { status: served.status, data: served.data, headers: served.header ?? {}, config };
        if (served.status < 300) return response;
        throw Object.assign(new Error("refused"), { config, response });
      },
    });
    axiosRequest(client, instance);
    server.expire();
    const answers = await soon(Promise.all(Array.from({ length: 10 }, () => instance.get("/orders"))));
    expect([answers.map(({ data }) => data.user), server.calls("/auth/refresh")]).toEqual([Array(10).fill("alice"), 1]);
    server.backend = () => ({ status: 404, data: "" });
    expect((await refusal(instance.get("/orders")) as any).response.status).toBe(404);
    server.faults = [at("/orders", () => problem(401, "token_invalid"))];
    expect((await refusal(instance.get("/orders")) as any).response.status).toBe(401);
    expect(server.calls("/auth/refresh")).toBe(2);
    server.faults = [() => { throw new Error("offline"); }];
    expect((await refusal(instance.get("/orders")) as any).message).toBe("offline");
  });

  test("luch-request", async () => {
    const { client, server } = world();
    await soon(client.signIn());
    const { default: Luch } = (await import("luch-request")) as any;
    vi.stubGlobal("uni", {
      request: (options: any) => {
        server.serve({ path: options.url.replace(BASE, ""), header: options.header, data: options.data }).then((served: any) => {
          const result = { statusCode: served.status, data: served.data, header: served.header ?? {}, errMsg: "request:ok" };
          setTimeout(() => options.complete(result));
        });
        return { abort: () => undefined };
      },
    });
    const http = new Luch({ baseURL: BASE });
    luchRequest(client, http);
    server.expire();
    const answers: any[] = await soon(Promise.all(Array.from({ length: 10 }, () => http.get("/orders"))));
    expect([answers.map(({ data }) => data.user), server.calls("/auth/refresh")]).toEqual([Array(10).fill("alice"), 1]);
    server.faults = [at("/orders", () => problem(401, "token_invalid"))];
    expect((await refusal(http.get("/orders")) as any).statusCode).toBe(401);
    expect((await refusal(http.get("/orders", { custom: { auth: "none" } })) as any).statusCode).toBe(401);
    expect(server.calls("/auth/refresh")).toBe(2);
  });

  test.each(["wx", "fetch"])("alova with an adapter that answers as %s does", async (form) => {
    const { client, server } = world();
    await soon(client.signIn());
    const progress = vi.fn();
    const adapter = (elements: any) => {
      let done: Promise<any> | undefined;
      const send = () => (done = done ?? server.serve({ path: elements.url.replace(BASE, ""), header: elements.headers }).then((served: any) =>
        form === "wx"
          ? { statusCode: served.status, data: served.data, header: served.header ?? {} }
          : new Response(JSON.stringify(served.data), { status: served.status, headers: served.header ?? {} })));
      return { response: send, headers: () => send().then(({ header, headers }: any) => header ?? headers), abort: () => undefined, onDownload: (run: any) => run(1, 2), onUpload: (run: any) => run(1, 2) };
    };
    const alova = createAlova({
      baseURL: BASE,
      cacheFor: null,
      requestAdapter: alovaAdapter(client, adapter) as never,
      responded: async (response: any) => response.data ?? (await response.json()),
    });
    server.expire();
    const answers: any[] = await soon(Promise.all(Array.from({ length: 10 }, (_, n) => alova.Get(`/orders/${n}`).send())));
    expect([answers.map(({ user }) => user), server.calls("/auth/refresh")]).toEqual([Array(10).fill("alice"), 1]);
    server.faults = [at("/orders", () => problem(401, "token_invalid"))];
    expect(await soon(alova.Get("/orders", { meta: { auth: "required" } }).send())).toMatchObject({ code: "token_invalid" });
    expect(await soon(alova.Get("/orders").send())).toMatchObject({ code: "token_invalid" });
    expect(server.calls("/auth/refresh")).toBe(2);
    const raw = alovaAdapter(client, adapter)({ url: `${BASE}/x`, headers: undefined }, {});
    raw.onDownload(progress);
    raw.onUpload(progress);
    expect(await soon(raw.headers())).toBeDefined();
    raw.abort();
    expect(progress).toHaveBeenCalledTimes(2);
    const given = alovaAdapter(client, adapter)({ url: `${BASE}/x`, headers: {} }, {});
    given.abort();
    expect((await refusal(given.response())).message).toBe("aborted");
    const nothing = alovaAdapter(client, () => ({ response: async () => undefined, headers: async () => ({}) }))({ url: `${BASE}/x` }, {});
    expect(await soon(nothing.response())).toBe(undefined);
  });
});

describe("dialects", () => {
  const jwt = (claims: object) => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;

  test("claims of a JWT are read without `atob`, and anything else is none", () => {
    expect(claimsOf(jwt({ sub: "7", name: "小明" }))).toEqual({ sub: "7", name: "小明" });
    for (const text of ["", "x", "a.b.c", "a.____.c", jwt(null as never)]) expect(Object.keys(claimsOf(text))).toEqual([]);
    expect([lifeOf({ iat: 1, exp: 3601 }), lifeOf({ iat: 1 }), lifeOf({})]).toEqual([3600, undefined, undefined]);
  });

  const answer401 = (data: unknown) => ({ statusCode: 401, data, header: {} });

  test.each([simplejwt(), nest(), successData(), codeData()])("$name: hostile bodies are no grant, and no refusal of a token", (api) => {
    const calls: any[] = [api.wechat("c", {}), api.renew?.({ access: "a", refresh: "r" }), api.smsLogin?.("1", "2")].filter(Boolean);
    for (const data of [undefined, null, "", "<html>", 7, [], {}, { data: null }, { code: 200, data: {} }, { success: true, data: {} }]) {
      for (const call of calls) expect(call.read(data)).toBe(undefined);
      expect(api.refusal(data, 500)).toBeDefined();
      expect([api.refusesToken("http_401", answer401(data)), api.ends("http_401", answer401(data))]).toEqual([false, false]);
    }
    expect([api.refusesToken("token_expired", answer401("")), api.refusesToken("token_missing", answer401(""))]).toEqual([true, false]);
    expect([api.ends("session_revoked", answer401("")), api.ends("overloaded", answer401(""))]).toEqual([true, false]);
    expect(JSON.stringify(api.leave({ access: "acc", refresh: "ref" }))).toMatch(/acc|ref/);
  });

  test("simplejwt", () => {
    const api = simplejwt({ prefix: "/v", auth: "/m" });
    expect(api.renew?.({ access: "a" })).toBe(undefined);
    expect(api.wechat("c", {})).toMatchObject({ url: "/v/login/", data: { code: "c" } });
    const user = { id: 1, username: "u", avatar_url: "", phone: "", openid: "o" };
    expect(api.wechat("c", {}).read({ access: jwt({ iat: 0, exp: 60 }), refresh: "r", user })).toMatchObject({ refresh: "r", expiresIn: 60, user: { id: "1", nickname: "u", phone: "" } });
    expect(api.refusal({ username: ["needed"], password: "no" }, 400)).toEqual({ code: "validation_failed", detail: "needed", fields: [{ field: "username", message: "needed" }] });
    expect(api.refusal({ error: "WeChat API error", errmsg: "invalid code" }, 400).detail).toBe("invalid code");
    const gate = { detail: "Given token not valid for any token type", code: "token_not_valid" };
    expect([api.refusal(gate, 401).code, api.refusesToken("token_not_valid", answer401(gate)), api.ends("token_not_valid", answer401(gate))]).toEqual(["token_not_valid", true, true]);
  });

  test("nest", () => {
    const api = nest({ prefix: "/v", auth: "/m" });
    expect(api.renew?.({ access: "a" })).toMatchObject({ url: "/v/auth/refresh", header: { Authorization: "Bearer a" } });
    expect(api.wechat("c", { nickname: "n", avatarUrl: "u" }).data).toEqual({ code: "c", nickName: "n", avatarUrl: "u" });
    expect(api.wechat("c", {}).read({ data: { access_token: "a", expires_in: 5, user: { id: 3, nickname: "n", avatar: "", openid: "o" } } })).toMatchObject({ expiresIn: 5, user: { id: "3" } });
    expect(api.wechat("c", {}).read({ data: { access_token: "a" } })).toMatchObject({ access: "a", user: undefined });
    const refused = { code: 401, message: "m" };
    expect([api.refusesToken("http_401", answer401(refused)), api.ends("http_401", answer401(refused))]).toEqual([true, true]);
    expect([api.refusal(refused, 401).detail, api.leave({ access: "a" }).read("")]).toEqual(["m", true]);
  });

  test("success-data", () => {
    const api = successData({ prefix: "/v", auth: "/m" });
    expect(api.renew?.({ access: "a" })).toBe(undefined);
    const good = { success: true, data: { access_token: jwt({ sub: "u1" }), refresh_token: "r", session_key: "k", openid: "o" } };
    expect(api.wechat("c", {}).read(good)).toMatchObject({ extra: { session_key: "k", openid: "o" }, user: { id: "u1", openid: "o" } });
    expect(api.wechat("c", {}).read({ success: true, data: { access_token: "x" } })).toMatchObject({ extra: {}, user: undefined });
    expect(api.phone?.({ encryptedData: "e", iv: "i" }, { access: "a", extra: { session_key: "k", openid: "o" } }).data).toEqual({ encryptedData: "e", iv: "i", sessionKey: "k", openid: "o" });
    const call = api.phone?.({ encryptedData: "e", iv: "i" }, { access: "a" });
    expect([call?.read({}), call?.read({ success: true, data: { phoneNumber: "m" } })]).toEqual([undefined, { masked: "m", grant: undefined }]);
    expect(call?.read({ success: true, data: { ...good.data, phoneNumber: "m" } })?.grant?.refresh).toBe("r");
    expect(api.phone?.({ code: "c" }, { access: "a" })).toMatchObject({ url: "/m/phone/wechat", data: { code: "c" } });
    expect(api.refusal({ success: false, message: "m", error: { code: "c" } }, 400)).toMatchObject({ code: "c", detail: "m" });
    expect(api.refusal({ request_id: "r", code: "x" }, 400)).toMatchObject({ code: "x" });
  });

  test("code-data", () => {
    const api = codeData({ prefix: "/v", auth: "/m", clientType: "app" });
    expect(api.bearer("a")).toEqual(["Authorization", "a"]);
    expect(api.wechat("c", {}).data).toEqual({ code: "c", clientType: "app" });
    expect(api.wechat("c", {}).read({ code: 200, data: { token: jwt({ sub: "s" }) } })).toMatchObject({ user: { id: "s" } });
    expect(api.wechat("c", {}).read({ code: 200, data: { token: "opaque" } })).toMatchObject({ access: "opaque", user: undefined });
    expect(api.smsSend?.("1", "login")).toMatchObject({ url: "/v/sendsms" });
    expect(api.smsSend?.("1", "bind")).toMatchObject({ url: "/m/sms/send" });
    expect([api.smsSend?.("1", "bind").read({ resend_after: 9 }), api.smsSend?.("1", "login").read({ code: 200 }), api.smsSend?.("1", "login").read({})]).toEqual([{ resendAfter: 9 }, {}, undefined]);
    expect(api.smsLogin?.("1", "2").data).toMatchObject({ phone: "1", verificationCode: "2" });
    expect(api.refusal({ code: 429, error: "请在42秒后再试" }, 429)).toMatchObject({ detail: "请在42秒后再试", retryAfter: 42 });
    expect(api.refusal({ request_id: "r", code: "x" }, 400)).toMatchObject({ code: "x" });
    expect(api.refusal({ errors: [{ path: "phone", msg: "bad" }] }, 400)).toMatchObject({ code: "validation_failed", detail: "bad" });
    expect(api.refusesToken("http_401", answer401({ error: "无效的 token" }))).toBe(true);
    expect(api.leave({ access: "a" }).read("")).toBe(true);
  });
});

describe("storage and transport", () => {
  test("WeChat's encryption: what was stored before is found, writes keep their order", async () => {
    const { phone, open } = world();
    await soon(open().signIn());
    const secret = new Map<string, unknown>();
    Object.assign(phone.wx, {
      getStorage: ({ key, success, fail }: any) => setTimeout(() => (secret.has(key) ? success({ data: secret.get(key) }) : fail({ errMsg: "getStorage:fail data not found" }))),
      setStorage: ({ key, data, encrypt, success }: any) => setTimeout(() => (secret.set(key, structuredClone(data)), success({ encrypt }))),
    });
    const platform = encryptedStorage(phone.wx);
    const client = open({ platform });
    await settle();
    expect(client.getState().status).toBe("signed-in");
    client.learn({ nickname: "a" });
    client.learn({ nickname: "b" });
    await settle();
    phone.storage.clear();
    const again = open({ platform });
    await settle();
    expect(again.getState().user?.nickname).toBe("b");
    secret.clear();
    phone.broken = "all";
    const broken = open({ platform });
    await settle();
    expect(broken.getState().status).toBe("signed-out");
  });

  test("a seal of one's own", async () => {
    const { phone, open } = world();
    const platform = sealedStorage(phone.wx, (text) => `sealed ${text}`, (text) => text.slice(7));
    await soon(open({ platform }).signIn());
    expect(phone.storage.get("menshen.session")).toMatch(/^sealed /);
    const again = open({ platform });
    await settle();
    expect(again.getState().status).toBe("signed-in");
    phone.storage.clear();
    const none = open({ platform });
    await settle();
    expect(none.getState().status).toBe("signed-out");
  });

  test("a cloud function and a container", async () => {
    const { phone, server, open } = world();
    const serve = async ({ path, header, headers, data, body }: any) => {
      const served = await server.serve({ path, header: header ?? headers, data: data ?? body });
      return { statusCode: served.status, data: served.data };
    };
    const calls: any[] = [];
    phone.wx.cloud = {
      callFunction: ({ name, data, success }: any) => (calls.push([name, data]), serve(data).then((result) => success({ result }))),
      callContainer: (options: any) => (calls.push(options), serve(options).then((result) => options.success({ ...result, header: {} }))),
    };
    const client = open({ platform: cloudFunction(phone.wx) });
    await soon(client.signIn());
    expect((await soon(client.request("/orders?a=1"))).statusCode).toBe(200);
    expect(calls[1]).toEqual(["api-proxy", { method: "GET", path: "/orders?a=1", headers: { Authorization: "Bearer a.s1.1" }, body: undefined }]);
    const own = open({
      platform: cloudFunction(phone.wx, { name: "mine", data: ({ path }) => ({ path }), answer: () => ({ statusCode: 200, data: { user: "mine" } }) }),
    });
    expect((await soon(own.request("/orders"))).data.user).toBe("mine");
    expect(calls[2]).toEqual(["mine", { path: "/orders" }]);
    const container = open({ platform: cloudContainer(phone.wx, { env: "prod", service: "shop" }) });
    expect((await soon(container.request({ url: "/orders", method: "POST", data: { a: 1 } }))).data.user).toBe("alice");
    expect(calls[3]).toMatchObject({ path: "/orders", method: "POST", data: { a: 1 }, config: { env: "prod" }, header: { "X-WX-SERVICE": "shop" } });
  });
});

describe("privacy", () => {
  test("each API that waits is answered: agreed, refused, or the page closed", async () => {
    let ask: any;
    const consent = privacyConsent({ onNeedPrivacyAuthorization: (listener: any) => void (ask = listener) });
    const results: any[] = [];
    const seen: boolean[] = [];
    consent.subscribe(({ needed }) => seen.push(needed));
    for (const settle of [() => consent.agree("button"), consent.refuse, consent.close]) {
      ask((result: any) => results.push(result), { referrer: "getPhoneNumber" });
      ask((result: any) => results.push(result));
      consent.shown();
      settle();
    }
    expect(results.map(({ event }) => event)).toEqual(
      ["agree", "disagree", "disagree"].flatMap((event) => ["exposureAuthorization", "exposureAuthorization", event, event]),
    );
    expect([results[2], consent.getState(), seen.at(-1)]).toEqual([{ event: "agree", buttonId: "button" }, { needed: false }, false]);
  });

  test("what an old phone lacks is no need", async () => {
    const old = privacyConsent({});
    expect([await soon(old.isMissing()), await soon(old.read())]).toEqual([false, false]);
    const wx = (works: boolean) => ({
      getPrivacySetting: ({ success, fail }: any) => (works ? success({ needAuthorization: true }) : fail()),
      openPrivacyContract: ({ success, fail }: any) => (works ? success() : fail()),
    });
    for (const works of [true, false]) expect([await soon(privacyConsent(wx(works)).isMissing()), await soon(privacyConsent(wx(works)).read())]).toEqual([works, works]);
  });
});

describe("platforms", () => {
  test("wx: a Behavior keeps data.session", async () => {
    vi.stubGlobal("Behavior", (definition: object) => definition);
    const { client } = world();
    const behavior: any = sessionBehavior(client);
    const page: any = { data: behavior.data, setData: (data: object) => Object.assign(page.data, data) };
    behavior.lifetimes.attached.call(page);
    await soon(client.signIn());
    expect(page.data.session.status).toBe("signed-in");
    behavior.lifetimes.detached.call(page);
    await soon(client.signOut());
    expect(page.data.session.status).toBe("signed-in");
    await soon(behavior.pageLifetimes.show());
  });

  test("Taro: promises are callbacks, sockets come later, and a hook", async () => {
    const { phone, client: plainClient } = world();
    const promised = (name: string) => (options: any) => new Promise((success, fail) => phone.wx[name]({ ...options, success, fail }));
    const task = { send: vi.fn(), close: vi.fn(), onOpen: (tell: any) => tell(), onClose: vi.fn(), onError: vi.fn(), onMessage: vi.fn() };
    const Taro: any = {
      getEnv: () => "WEB",
      request: promised("request"),
      uploadFile: promised("uploadFile"),
      downloadFile: promised("downloadFile"),
      login: promised("login"),
      getStorageSync: phone.wx.getStorageSync,
      setStorageSync: phone.wx.setStorageSync,
      connectSocket: async () => task,
    };
    const client = createClient({ baseUrl: BASE, platform: taroPlatform(Taro) });
    await soon(client.signIn());
    expect((await soon(client.request("/orders"))).data.user).toBe("alice");
    phone.serve = async () => "offline";
    expect((await refusal(client.request("/orders"))).code).toBe("offline");
    const socket = await soon(transfers(client).socket({ url: "/ws" }));
    socket.send({ data: "x" });
    socket.onMessage(() => undefined);
    await settle();
    expect([task.send.mock.calls.length, task.onMessage.mock.calls.length]).toEqual([1, 1]);
    Taro.connectSocket = () => Promise.reject({ errMsg: "connectSocket:fail" });
    const broken = taroPlatform(Taro).connectSocket?.({ url: "x" });
    const failed = vi.fn();
    broken?.onError(failed);
    await settle();
    expect(failed).toHaveBeenCalled();
    expect(taroPlatform({}).tokenInSocketQuery).toBeFalsy();

    let state: any;
    let cleanup: any;
    const useState = (first: any) => [(state ??= first()), (next: any) => (state = next)] as never;
    const useSession = sessionHook(plainClient, { useState, useEffect: (run) => void (cleanup = run()) });
    useSession();
    await soon(plainClient.reload());
    plainClient.learn({});
    expect(state.status).toBe("signed-in");
    cleanup();
  });

  test("uni: a provider, a task for sockets, and a composable", async () => {
    const { phone } = world();
    const sent: any[] = [];
    const uni: any = { ...phone.wx, getSystemInfoSync: () => ({ uniPlatform: "web" }), login: (options: any) => (sent.push(options), phone.wx.login(options)), connectSocket: (options: any) => (sent.push(options), "task") };
    const platform = uniPlatform(uni);
    const client = createClient({ baseUrl: BASE, platform });
    await soon(client.signIn());
    expect([sent[0].provider, platform.tokenInSocketQuery, uniPlatform({}).tokenInSocketQuery]).toEqual(["weixin", true, false]);
    expect(platform.connectSocket?.({ url: "x" })).toBe("task");
    sent[1].complete();
    await soon(transfers(client).upload({ url: "/f", filePath: "a", name: "f" }));
    await soon(transfers(client).download({ url: "/f" }));
    let dispose: any;
    const session = useSession(client, { shallowRef: (value) => ({ value }), onScopeDispose: (run) => void (dispose = run) });
    await soon(client.signOut());
    expect(session.value.status).toBe("signed-out");
    dispose();
    await soon(client.signIn());
    expect(session.value.status).toBe("signed-out");
  });
});

test("each code of docs/errors.md has its own words", async () => {
  const { readFileSync } = await import("node:fs");
  let document: string;
  try {
    document = readFileSync(new URL("../../../docs/errors.md", import.meta.url), "utf8");
  } catch {
    return; // The folder stands alone.
  }
  const codes = [...document.matchAll(/^\| `(\w+)` \|/gm)].map(([, code]) => code as string);
  expect(codes.length).toBeGreaterThan(35);
  for (const code of codes) expect(texts(code), code).toEqual([expect.stringMatching(/[一-龥]/), expect.stringMatching(/^[ -~]+$/)]);
  expect(texts("toString")).toBe(undefined);
});
