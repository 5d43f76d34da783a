// The story of seed A: Taro in front of Django REST framework with SimpleJWT.
//
// The document has no bodies, so they are those of issue 4, of Django REST framework and of SimpleJWT 5.5.1.

import { Device } from "../stand-in/wx.mjs";
import {
  JWT, aText, anId, api, ask, atOnce, claimsOf, holds, inbox, reached, refused, same, step, succeeded, tell, untilExpired,
} from "../story.mjs";
import { ProfilePage } from "./profile.mjs";

const BASE = `${api}/api`;
/** As the client writes paths, and as they are on the wire. */
const [MINE, ORDERS] = ["/users/me/", "/admin/orders/"];
const [ME, OFFICE] = [`/api${MINE}`, `/api${ORDERS}`];
/** As a serializer of Django writes a DateTimeField. */
const ISO_MICROS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$/;

const USER = {
  id: anId,
  username: "",
  avatar_url: "",
  phone: "",
  email: "",
  user_type: "wechat",
  is_staff: false,
  last_login_at: ISO_MICROS,
};
const TOKENS = { access: JWT, refresh: JWT };

const NO_TOKEN = { detail: "Authentication credentials were not provided." };
const badRefresh = (detail) => ({ detail, code: "token_not_valid" });
const TAKEN_BACK = badRefresh("Token is blacklisted");
const badToken = (message) => ({
  detail: "Given token not valid for any token type",
  code: "token_not_valid",
  messages: [{ token_class: "AccessToken", token_type: "access", message }],
});

function openAs(person) {
  const device = new Device({ person, api, inbox });
  return { device, page: new ProfilePage(device, BASE) };
}

/** Signs in and gives what was answered. */
async function signIn({ device, page }) {
  await page.handleLogin();
  const answer = device.on("/api/login/").at(-1);
  same(device.shown(), ["loading 登录中...", "toast 登录成功"], "what the user saw");
  holds(!device.loading, "something still turns on the screen");
  return answer.body;
}

/** A login that is refused: the exchange, and that the user was told this. */
async function refusedLogin(person, toast) {
  const { device, page } = openAs(person);
  await page.handleLogin();
  same(device.shown(), ["loading 登录中...", `toast ${toast}`], "what the user saw");
  holds(!page.isLoggedIn && !device.loading, "the page takes it for a login");
  return device.last;
}

const refresh = (token) => ask("POST", "/api/token/refresh/", { body: { refresh: token } });

async function day() {
  const alice = openAs("alice");
  let first;
  await step("first login: {access, refresh, user} to the letter, stored, told to the other pages and to the user", async () => {
    let told = null;
    alice.page.Taro.eventCenter.on("userLogin", (user) => (told = user));
    alice.page.didShow();
    same(alice.page.isLoggedIn, false);
    first = await signIn(alice);
    succeeded(alice.device.on("/api/login/").at(-1), { ...TOKENS, user: USER });
    same(told, first.user, "userLogin");
    same([alice.page.isLoggedIn, alice.page.tokens.getRefreshToken()], [true, first.refresh], "the page");
  });

  await step("both tokens carry token_type, user_id and jti", () => {
    const [access, again] = [claimsOf(first.access), claimsOf(first.refresh)];
    const shown = ({ token_type, user_id, jti, exp }) => ({ token_type, user_id, jti, exp });
    same(shown(access), { token_type: "access", user_id: String(first.user.id), jti: aText, exp: anId }, "access");
    same(shown(again), { token_type: "refresh", user_id: String(first.user.id), jti: aText, exp: anId }, "refresh");
    holds(access.jti !== again.jti, "both have the same jti");
    holds(again.exp > access.exp, "the refresh token does not outlive the access token");
  });

  await step("a call with the token reaches the backend as that user", async () => {
    same((await alice.page.load(MINE)).data.user_id, String(first.user.id), "X-User-Id");
    reached(alice.device.last, first.user.id);
  });

  await step("second login: the same user with other tokens, later", async () => {
    const second = await signIn(alice);
    same(second, { ...TOKENS, user: { ...USER, id: first.user.id } });
    holds(second.access !== first.access && second.refresh !== first.refresh, "the tokens are those of before");
    const at = ({ user }) => Date.parse(user.last_login_at);
    holds(at(second) > at(first), "last_login_at does not move");
    same((await signIn(openAs("bob"))).user.id, (id) => anId(id) && id !== first.user.id, "another person");
  });

  await step("refreshing gives {access} and does not rotate: the first refresh token goes on working", async () => {
    for (let n = 0; n < 5; n++) {
      const answer = await refresh(first.refresh);
      succeeded(answer, { access: JWT });
      reached(await ask("GET", ME, { bearer: answer.body.access }), first.user.id);
      same(claimsOf(answer.body.access).token_type, "access");
    }
  });

  await step("ten refreshes at once with one token all succeed, and so does another one after them", async () => {
    const answers = await atOnce(10, () => refresh(first.refresh));
    answers.forEach((answer) => succeeded(answer, { access: JWT }));
    for (const { body } of answers) reached(await ask("GET", ME, { bearer: body.access }), first.user.id);
    succeeded(await refresh(first.refresh), { access: JWT });
  });

  await step("a phone that was bound by WeChat's button is in the user of the next login, masked", async () => {
    const bound = await ask("POST", "/auth/phone/wechat", { bearer: first.access, body: { code: "phone.13800138000-1" } });
    same(bound.status, 200, "status");
    same((await signIn(alice)).user, { ...USER, phone: "138****8000" });
  });

  await step("an administrator signs in with name and password, and may enter the office", async () => {
    const root = openAs("nobody");
    await root.page.handleAdminLogin("root", "correct horse battery staple");
    same(root.device.shown(), ["loading 登录中...", "toast 登录成功"], "what the user saw");
    const admin = { ...USER, username: "root", user_type: "admin", is_staff: true, is_superuser: true };
    succeeded(root.device.last, { ...TOKENS, user: admin });
    const { id } = root.device.last.body.user;
    await root.page.load(ORDERS);
    reached(root.device.last, id, "admin");
  });

  await step("a wrong password and an unknown name are one refusal, missing fields another, all shown", async () => {
    for (const name of ["root", "nobody"]) {
      const { device, page } = openAs("nobody");
      await page.handleAdminLogin(name, "correct horse battery stable");
      const says = { detail: "No active account found with the given credentials" };
      refused(device.last, 401, "credentials_invalid", says);
      same(device.shown(), ["loading 登录中...", `toast ${says.detail}`], "what the user saw");
    }
    const missing = ["This field is required."];
    const { device, page } = openAs("nobody");
    await page.handleAdminLogin(undefined, undefined);
    refused(device.last, 400, "validation_failed", { username: missing, password: missing });
    same(device.shown(), ["loading 登录中...", `toast ${missing[0]}`], "what the user saw");
  });

  await step("403 for a user who is no administrator, in the words of Django REST framework, shown", async () => {
    const says = { detail: "You do not have permission to perform this action." };
    same(await alice.page.load(ORDERS), undefined);
    refused(alice.device.last, 403, "forbidden", says);
    same(alice.device.shown(), [`toast ${says.detail}`], "what the user saw");
  });

  await step("in production a code that begins with `admin` grants nothing", async () => {
    const eve = openAs("admin");
    holds(eve.device.newCode().startsWith("admin-"), "the code is no such code");
    same((await signIn(eve)).user, USER);
    await eve.page.load(ORDERS);
    same(eve.device.last.status, 403, "the office");
  });

  await step("400 without a code", async () => {
    for (const body of [{}, { code: "" }, { code: null }]) {
      refused(await ask("POST", "/api/login/", { body }), 400, "validation_failed", { error: "Code is required" });
    }
  });

  await step("400 with errcode and errmsg for what WeChat refuses, shown", async () => {
    for (const [errcode, errmsg, code] of [
      [40029, "invalid code", "wechat_code_invalid"],
      [40163, "code been used", "wechat_code_invalid"],
      [40226, "code blocked", "wechat_blocked"],
    ]) {
      const answer = await refusedLogin(`fail.${errcode}`, `WeChat API error: ${errmsg}`);
      refused(answer, 400, code, { error: "WeChat API error", errcode, errmsg });
    }
    const busy = await refusedLogin("busy", "WeChat API error: system error");
    refused(busy, 400, "wechat_busy", { error: "WeChat API error", errcode: -1, errmsg: "system error" });
  });

  await step("503 where WeChat does not answer in time, breaks off, or answers no JSON, shown", async () => {
    for (const person of ["slow.3000", "empty", "garbage", "cut", "down"]) {
      const answer = await refusedLogin(person, "Failed to connect to WeChat API");
      refused(answer, 503, "wechat_busy", { error: "Failed to connect to WeChat API" });
    }
  });

  await step("500 where the answer has no openid, shown", async () => {
    const answer = await refusedLogin("no-openid", "Invalid WeChat response");
    refused(answer, 500, "wechat_busy", { error: "Invalid WeChat response" });
  });

  await step("the user is told where WeChat gives no code, or there is no network", async () => {
    for (const broken of ["canLogin", "online"]) {
      const { device, page } = openAs("carol");
      device[broken] = false;
      await page.handleLogin();
      same(device.shown(), ["loading 登录中...", "toast 网络错误，请重试"], "what the user saw");
      same(device.exchanges, [], "what was sent");
    }
  });

  await step("401 without a token, with garbage, and with a refresh token in the place of an access token", async () => {
    refused(await ask("GET", ME), 401, "token_missing", NO_TOKEN);
    refused(await ask("GET", ME, { bearer: "garbage" }), 401, "token_invalid", badToken("Token is invalid"));
    refused(await ask("GET", ME, { bearer: first.refresh }), 401, "token_invalid", badToken(/^Token /));
    const stranger = openAs("stranger");
    await stranger.page.load(MINE);
    same(stranger.device.shown(), [`toast ${NO_TOKEN.detail}`], "what the user saw");
  });

  await step("400 for a refresh without a token, 401 for garbage and for an access token", async () => {
    for (const [body, says] of [
      [{}, "This field is required."],
      [{ refresh: null }, "This field may not be null."],
      [{ refresh: "" }, "This field may not be blank."],
    ]) {
      refused(await ask("POST", "/api/token/refresh/", { body }), 400, "validation_failed", { refresh: [says] });
    }
    refused(await refresh("garbage"), 401, "refresh_invalid", badRefresh("Token is invalid"));
    refused(await refresh(first.access), 401, "refresh_invalid", badRefresh("Token has wrong type"));
  });

  await step("logout: the page forgets its tokens, and the next call has none", async () => {
    alice.page.handleLogout();
    same(alice.device.shown(), ["toast 已退出登录"], "what the user saw");
    same([alice.page.isLoggedIn, alice.page.tokens.getRefreshToken()], [false, ""], "the page");
    await alice.page.load(MINE);
    refused(alice.device.last, 401, "token_missing", NO_TOKEN);
  });

  await step("a session that was ended elsewhere: both tokens are dead, and the user is told to sign in again", async () => {
    const carol = openAs("carol");
    const { access, refresh: kept } = await signIn(carol);
    same((await ask("POST", "/auth/logout", { bearer: access })).status, 204, "status");
    refused(await ask("GET", ME, { bearer: access }), 401, "token_revoked", badToken(/^Token /));
    refused(await refresh(kept), 401, "session_revoked", TAKEN_BACK);
    same(await carol.page.load(MINE), undefined);
    same(carol.device.shown(), ["toast 登录已过期，请重新登录"], "what the user saw");
    same([carol.page.isLoggedIn, carol.page.tokens.getRefreshToken()], [false, ""], "the page");
  });
}

async function expiry() {
  const alice = openAs("alice");
  let first;
  await step("an access token expires, with SimpleJWT's 401", async () => {
    first = await signIn(alice);
    refused(await untilExpired(ME, first.access), 401, "token_expired", badToken("Token is expired"));
  });

  await step("the next call renews it by itself, and the user sees nothing", async () => {
    same((await alice.page.load(MINE)).data.user_id, String(first.user.id), "X-User-Id");
    const sent = alice.device.exchanges.slice(-3).map(({ path, status }) => `${path} ${status}`);
    same(sent, [`${ME} 401`, "/api/token/refresh/ 200", `${ME} 200`], "what was sent");
    same(alice.device.on("/api/token/refresh/").at(-1).sent, { refresh: first.refresh }, "the body");
    same([alice.device.shown(), alice.page.tokens.getRefreshToken()], [[], first.refresh]);
  });

  await step("ten calls at once with an expired token: one refresh, ten answers", async () => {
    await untilExpired(ME, alice.page.tokens.getAccessToken());
    const refreshes = alice.device.on("/api/token/refresh/").length;
    const answers = await atOnce(10, () => alice.page.load(MINE));
    answers.forEach((answer) => same(answer?.data.user_id, String(first.user.id), "X-User-Id"));
    const statuses = alice.device.on(ME).slice(-20).map(({ status }) => status);
    same(statuses.sort(), [...Array(10).fill(200), ...Array(10).fill(401)], "statuses");
    same(alice.device.on("/api/token/refresh/").length - refreshes, 1, "refreshes");
    same(alice.device.shown(), [], "what the user saw");
  });

  await step("the first refresh token still works, ten times at once", async () => {
    const answers = await atOnce(10, () => refresh(first.refresh));
    answers.forEach((answer) => succeeded(answer, { access: JWT }));
  });

  await step("a session that has ended cannot be renewed: the tokens go, and the user is told", async () => {
    const { access } = (await refresh(first.refresh)).body;
    same((await ask("POST", "/auth/logout", { bearer: access })).status, 204, "status");
    await untilExpired(ME, alice.page.tokens.getAccessToken());
    same(await alice.page.load(MINE), undefined);
    refused(alice.device.last, 401, "session_revoked", TAKEN_BACK);
    same(alice.device.shown(), ["toast 登录已过期，请重新登录"], "what the user saw");
    same([alice.page.isLoggedIn, alice.page.tokens.getRefreshToken()], [false, ""], "the page");
  });
}

async function errors() {
  await step("502 where the backend is down, shown", async () => {
    const alice = openAs("alice");
    await signIn(alice);
    const says = { detail: "The service behind is not reachable." };
    await alice.page.load(MINE);
    refused(alice.device.last, 502, "upstream_unavailable", says);
    same(alice.device.shown(), [`toast ${says.detail}`], "what the user saw");
  });

  await step("429 for too many logins, throttled as Django REST framework says it, shown", async () => {
    await signIn(openAs("bob"));
    const { device, page } = openAs("carol");
    await page.handleLogin();
    const wait = Number(device.last.headers["retry-after"]);
    holds(wait > 1, "Retry-After is not a number of seconds");
    const says = { detail: `Request was throttled. Expected available in ${wait} seconds.` };
    refused(device.last, 429, "rate_limited", says);
    same(device.shown(), ["loading 登录中...", `toast ${says.detail}`], "what the user saw");
  });
}

/** Mock login, as the document has it for a backend in DEBUG without credentials: the code is the openid. */
async function development() {
  const codesOf = (...codes) => {
    const opened = openAs("");
    opened.device.newCode = () => codes.shift();
    return opened;
  };

  await step("a code is its own openid, which the option shows: the same code is the same user", async () => {
    const alice = codesOf("alice", "alice");
    const first = await signIn(alice);
    same(first, { ...TOKENS, user: { ...USER, openid: "alice" } });
    same((await signIn(alice)).user.id, first.user.id, "id");
    same((await signIn(codesOf("bob"))).user.id, (id) => anId(id) && id !== first.user.id, "another code");
  });

  await step("a code that begins with `admin` signs in an administrator, who may enter the office", async () => {
    const admin = codesOf("admin123");
    const { user } = await signIn(admin);
    const expected = { ...USER, openid: "admin123", user_type: "admin", is_staff: true, is_superuser: true };
    same(user, expected);
    await admin.page.load(ORDERS);
    reached(admin.device.last, user.id, "admin");
  });

  await step("others may not enter it", async () => {
    const alice = codesOf("alice");
    await signIn(alice);
    await alice.page.load(ORDERS);
    refused(alice.device.last, 403, "forbidden", { detail: "You do not have permission to perform this action." });
  });
}

await tell({ day, expiry, errors, development });
