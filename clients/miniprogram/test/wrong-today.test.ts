// What goes wrong in mini programs today, each as a promise of this package.

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { problem } from "./stand-in/server.mjs";
import { refusal, settle, soon, world } from "./setup.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const many = (count: number, run: (n: number) => Promise<any>) => Promise.all(Array.from({ length: count }, (_, n) => run(n)));

test("ten parallel 401s make one refresh, and ten answers", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  server.expire();
  const answers = await soon(many(10, (n) => client.request(`/orders/${n}`)));
  expect(answers.map(({ data }) => data.user)).toEqual(Array(10).fill("alice"));
  expect(server.calls("/auth/refresh")).toBe(1);
});

test("a hundred calls with a token near its end make one refresh and a hundred requests", async () => {
  const { client, server, phone } = world();
  await soon(client.signIn());
  await settle(850_000);
  const before = phone.sent.length;
  await soon(many(100, (n) => client.request(`/orders/${n}`)));
  expect(server.calls("/auth/refresh")).toBe(1);
  expect(phone.sent.length - before).toBe(101);
  expect(phone.most).toBe(10);
});

test("a late 401 of an old token does not refresh the new one", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  server.expire();
  let release: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  server.faults.push(async ({ path, header }: any) => {
    if (path !== "/slow" || !header.Authorization.endsWith(".1")) return undefined;
    await held;
    return problem(401, "token_expired");
  });
  const late = client.request("/slow");
  await soon(client.request("/quick"));
  expect(server.calls("/auth/refresh")).toBe(1);
  release();
  expect((await soon(late)).data.user).toBe("alice");
  expect(server.calls("/auth/refresh")).toBe(1);
});

test("a 401 of the backend to a good token is passed on, and renews nothing", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  server.backend = () => ({ status: 401, data: { message: "not yours" } });
  for (let n = 0; n < 20; n++) expect((await refusal(client.request("/orders"))).code).toBe("http_401");
  expect([server.calls("/auth/refresh"), server.calls("/orders")]).toEqual([0, 20]);
});

test("a 401 that says `token_invalid` to each token makes one renewal, and then one request a call", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  server.faults.push(({ path }: any) => (path === "/orders" ? problem(401, "token_invalid") : undefined));
  for (let n = 0; n < 50; n++) expect((await refusal(client.request("/orders"))).code).toBe("token_invalid");
  expect(server.calls("/auth/refresh")).toBe(1);
  await settle(30_000);
  // The token may be at fault by now.
  await refusal(client.request("/orders"));
  expect(server.calls("/auth/refresh")).toBe(2);
  expect(client.getState().status).toBe("signed-in");
});

test.each([
  ["429", () => problem(429, "rate_limited", { "Retry-After": "7" }), { code: "rate_limited", retryable: true, retryAfter: 7 }],
  ["503", () => problem(503, "store_unavailable", { "Retry-After": "2" }), { code: "store_unavailable", retryable: true }],
  ["502 with a page", () => ({ status: 502, data: "<html>" }), { code: "http_502", retryable: true }],
  ["a time-out", () => "timeout", { code: "timeout", retryable: true }],
  ["no network", () => "offline", { code: "offline", retryable: true }],
  ["a page for an answer", () => ({ status: 200, data: "<html>" }), { code: "bad_answer" }],
  ["half an answer", () => ({ status: 200, data: '{"access_token":"a' }), { code: "bad_answer" }],
  ["nothing in the answer", () => ({ status: 200, data: "" }), { code: "bad_answer" }],
  ["a 401 of somebody else", () => ({ status: 401, data: "<html>login</html>" }), { code: "http_401", retryable: false }],
])("a refresh that ends with %s keeps the session and rejects what waits", async (_, fault, expected) => {
  const { client, server, open } = world();
  await soon(client.signIn());
  server.expire();
  server.faults.push(({ path }: any) => (path === "/auth/refresh" ? fault() : undefined));
  expect(await refusal(client.request("/orders"))).toMatchObject(expected);
  expect(client.getState().status).toMatch(/signed-in|offline/);
  // The same phone after a restart.
  server.faults.length = 0;
  const again = open();
  expect((await soon(again.request("/orders"))).data.user).toBe("alice");
  expect(server.calls("/auth/wechat/login")).toBe(1);
});

test("requests that wait for a refresh settle when it fails, all with one error", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  server.expire();
  server.faults.push(({ path }: any) => (path === "/auth/refresh" ? problem(503, "overloaded") : undefined));
  const faults = await soon(many(5, (n) => client.request(`/orders/${n}`).catch((fault: unknown) => fault)));
  expect(new Set(faults).size).toBe(1);
  expect(faults[0]).toMatchObject({ code: "overloaded", status: 503 });
});

test("a server that never answers does not hang a request", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  server.faults.push(() => "nothing");
  expect((await refusal(client.request("/orders"), 30_100)).code).toBe("timeout");
});

test("429 for an hour: one refresh an hour, and the session is kept", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  server.expire();
  server.faults.push(({ path }: any) => (path === "/auth/refresh" ? (server.log.push(path), problem(429, "rate_limited", { "Retry-After": "3600" })) : undefined));
  for (let n = 0; n < 60; n++) {
    expect((await refusal(client.request("/orders"))).code).toBe("rate_limited");
    await settle(59_000);
  }
  expect(server.calls("/auth/refresh")).toBe(1);
  await settle(70_000);
  await refusal(client.request("/orders"));
  expect(server.calls("/auth/refresh")).toBe(2);
});

test("five pages that need a user open the login page once, and go on after the login", async () => {
  const opened: string[] = [];
  const { client } = world({ onSignInNeeded: (cause) => void opened.push(cause.code) });
  const pages = many(5, (n) => client.request(`/page/${n}`));
  await settle();
  expect(opened).toEqual(["sign_in_needed"]);
  await soon(client.signIn());
  expect((await soon(pages)).map(({ data }) => data.user)).toEqual(Array(5).fill("alice"));
});

test("closing the login page rejects all that wait with one error, which is one toast", async () => {
  const { client } = world({ onSignInNeeded: () => undefined });
  const pages = many(5, (n) => client.request(`/page/${n}`).catch((fault: unknown) => fault));
  await settle();
  client.cancelSignIn();
  const faults = await soon(pages);
  expect(new Set(faults).size).toBe(1);
  expect(faults[0]).toMatchObject({ code: "sign_in_cancelled", retryable: false });
});

test("a login page that is never closed rejects what waits after ten minutes", async () => {
  const { client } = world({ onSignInNeeded: () => undefined });
  expect((await refusal(client.request("/page"), 600_100)).code).toBe("sign_in_cancelled");
});

test("a refused login is a refused login, not a session that has ended", async () => {
  const { client, server } = world();
  server.faults.push(({ path }: any) => (path === "/auth/wechat/login" ? problem(403, "wechat_blocked") : undefined));
  expect(await refusal(client.signIn())).toMatchObject({ code: "wechat_blocked", status: 403 });
  expect(client.getState()).toEqual({ status: "signed-out", reason: undefined });
});

test("a sign-out tells the server, also with an access token that has expired", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  await settle(2000_000);
  const done = client.signOut();
  await settle(0);
  expect(client.getState()).toMatchObject({ status: "signed-out", reason: "signed_out" });
  expect(await soon(done)).toBe(true);
  expect([...server.sessions.values()].map(({ over }: any) => over)).toEqual([true]);
});

test("a sign-out without a network is a sign-out here at once, and the server hears of it at the next start", async () => {
  const { client, server, open } = world();
  await soon(client.signIn());
  server.faults.push(() => "offline");
  expect(await soon(client.signOut())).toBe(false);
  expect(client.getState().status).toBe("signed-out");
  server.faults.length = 0;
  const again = open();
  await settle();
  expect(again.getState().status).toBe("signed-out");
  expect([...server.sessions.values()].map(({ over }: any) => over)).toEqual([true]);
});

test("a session is one write of one value under one key", async () => {
  const { client, phone } = world();
  const writes: unknown[][] = [];
  const write = phone.wx.setStorageSync;
  phone.wx.setStorageSync = (...args: unknown[]) => (writes.push(args), write(...args));
  await soon(client.signIn());
  expect(writes.map(([key]) => key)).toEqual(["menshen.session"]);
  expect(JSON.stringify(writes[0]?.[1])).toMatch(/a\.s1\.1.*r\.s1\.0/);
});

test("a login needs neither getUserProfile nor a tap", async () => {
  const { client, phone } = world();
  phone.wx.getUserProfile = () => {
    throw new Error("it was called");
  };
  expect((await soon(client.signIn())).status).toBe("signed-in");
});

test("who signed out on purpose is not signed in again silently, not even after a restart", async () => {
  const { client, server, open } = world({ silent: "always" });
  expect((await soon(client.request("/orders"))).data.user).toBe("alice");
  await soon(client.signOut());
  expect((await refusal(client.request("/orders"))).code).toBe("signed_out");
  const again = open();
  expect((await refusal(again.request("/orders"))).code).toBe("signed_out");
  expect(server.calls("/auth/wechat/login")).toBe(1);
  expect((await soon(again.signIn())).status).toBe("signed-in");
});

test("a device that was signed out from another one does not sign in again silently; one whose session expired does", async () => {
  const { client, server } = world();
  await soon(client.signIn());
  server.revoke();
  expect((await refusal(client.request("/orders"))).code).toBe("session_revoked");
  expect(server.calls("/auth/wechat/login")).toBe(1);
  await soon(client.signIn());
  server.sessions.clear();
  expect((await soon(client.request("/orders"))).data.user).toBe("alice");
  expect(server.calls("/auth/wechat/login")).toBe(3);
});
