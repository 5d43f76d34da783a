// The story of seed B: a native mini program in front of NestJS, through the cloud function `api-proxy`.
//
// The document shows `timestamp` in the answers of wx-login alone; it is in every one, since issue 4 wants the whole envelope.

import { Device } from "../stand-in/wx.mjs";
import {
  ISO_MILLIS, JWT, anId, api, ask, atOnce, claimsOf, holds, inbox, reached, refused, same, step, succeeded, tell,
  untilExpired,
} from "../story.mjs";
import { Pages } from "./pages.mjs";

const LOGIN = "/api/v1/auth/wx-login";
const REFRESH = "/api/v1/auth/refresh";
const LOGOUT = "/api/v1/auth/logout";
const PROFILE = "/api/v1/user/profile";
const OFFICE = "/api/v1/office/orders";
const WEEK = 604800;

const HOME = "page /pages/index/index";
const LOGIN_PAGE = "page /pages/login/login";
const OPENID = /^o[A-Za-z0-9]{27}$/;

const success = (data, message = "success") => ({ code: 200, message, data, timestamp: ISO_MILLIS });
const failure = (code, error, message) => ({ code, message, error, timestamp: ISO_MILLIS });
const tokens = (expires_in, user) => success({ access_token: JWT, token_type: "Bearer", expires_in, user });
const renewed = (expires_in) => success({ access_token: JWT, expires_in });

const NOBODY = failure(401, "Unauthorized", "请先登录");
const GARBAGE = failure(401, "Unauthorized", "登录凭证无效，请重新登录");
const OVER = failure(401, "Unauthorized", "登录已失效，请重新登录");

function openAs(person, profile) {
  const device = new Device({ person, api, inbox, profile });
  return { device, pages: new Pages(device) };
}

const ALICE = { nickName: "张三", avatarUrl: "https://example.com/zhang.png" };

async function signIn({ device, pages }) {
  await pages.handleWechatLogin();
  same(device.shown(), [HOME], "what the user saw");
  return device.last.body.data;
}

/** A login that is refused: the exchange, and that the user was told this. */
async function refusedLogin(person, toast) {
  const { device, pages } = openAs(person, ALICE);
  await pages.handleWechatLogin();
  same(device.shown(), [`toast ${toast}`], "what the user saw");
  holds(!pages.auth.checkLoginStatus(), "a token was stored");
  return device.last;
}

const refresh = (token) => ask("POST", REFRESH, { bearer: token });

async function day() {
  const alice = openAs("alice", ALICE);
  let first;
  await step("who has not signed in is sent to the login page", async () => {
    same(await alice.pages.load(PROFILE), undefined);
    same([alice.device.shown(), alice.device.exchanges], [[LOGIN_PAGE], []]);
  });

  await step("first login: the answer of the document to the letter, token and user stored", async () => {
    first = await signIn(alice);
    const user = { id: anId, openid: OPENID, nickname: "张三", avatar: ALICE.avatarUrl, created_at: ISO_MILLIS };
    succeeded(alice.device.on(LOGIN).at(-1), tokens(WEEK, user));
    same(alice.device.on(LOGIN).at(-1).sent, { code: alice.device.code, ...ALICE }, "what was sent");
    same([alice.pages.auth.getLocalToken(), alice.pages.auth.getLocalUserInfo()], [first.access_token, first.user], "stored");
  });

  await step("the token says sub, openid and nickname, and lives for 7 days", () => {
    const { sub, openid, nickname, iat, exp } = claimsOf(first.access_token);
    same({ sub: Number(sub), openid, nickname }, { sub: first.user.id, openid: first.user.openid, nickname: "张三" }, "claims");
    same(exp - iat, WEEK, "life");
  });

  await step("a call through the cloud function reaches the backend as that user", async () => {
    same((await alice.pages.load(PROFILE)).user_id, String(first.user.id), "X-User-Id");
    reached(alice.device.last, first.user.id);
  });

  await step("second login: the same user, with the nickname and avatar of this login", async () => {
    alice.device.profile = { nickName: "张三丰", avatarUrl: "https://example.com/feng.png" };
    const second = await signIn(alice);
    same(second.user, { ...first.user, nickname: "张三丰", avatar: "https://example.com/feng.png" }, "user");
    holds(second.access_token !== first.access_token, "the token is that of before");
    same((await signIn(openAs("bob"))).user.id, (id) => anId(id) && id !== first.user.id, "another person");
  });

  await step("`微信用户`, WeChat's name for everybody, overwrites no nickname, and is one where there is none", async () => {
    alice.device.profile = { nickName: "微信用户", avatarUrl: "https://example.com/feng.png" };
    same((await signIn(alice)).user.nickname, "张三丰", "nickname");
    const { user } = await signIn(openAs("dave", { nickName: "微信用户", avatarUrl: "" }));
    same(user, { ...first.user, id: anId, openid: OPENID, nickname: "微信用户", avatar: "", created_at: ISO_MILLIS }, "a new user");
  });

  await step("a double tap: one code sent twice at once is one login", async () => {
    const { device } = openAs("double");
    const body = { code: device.newCode(), ...ALICE };
    const answers = await atOnce(2, () => ask("POST", LOGIN, { body }));
    answers.forEach((answer) => same(answer.status, 200, "status"));
    same(answers[0].body.data.access_token, answers[1].body.data.access_token, "the token");
  });

  await step("who does not share the profile, or gets no code, is told so, and nothing is sent", async () => {
    const shy = openAs("shy");
    shy.device.taps.profile = [false];
    await shy.pages.handleWechatLogin();
    shy.device.canLogin = false;
    await shy.pages.handleWechatLogin();
    same([shy.device.shown(), shy.device.exchanges], [["toast 您拒绝了授权", "toast 获取登录凭证失败"], []]);
    const offline = openAs("offline");
    offline.device.online = false;
    await offline.pages.handleWechatLogin();
    same(offline.device.shown(), ["toast 网络错误，请稍后重试"], "what the user saw");
  });

  await step("401 with WeChat's number for every code that WeChat refuses, shown", async () => {
    for (const [errcode, errmsg, code] of [
      [40029, "invalid code", "wechat_code_invalid"],
      [40163, "code been used", "wechat_code_invalid"],
      [40226, "code blocked", "wechat_blocked"],
    ]) {
      const says = `微信登录失败: ${errmsg} (错误码: ${errcode})`;
      refused(await refusedLogin(`fail.${errcode}`, says), 401, code, failure(401, "Unauthorized", says));
    }
    const says = "微信登录失败: system error (错误码: -1)";
    refused(await refusedLogin("busy", says), 401, "wechat_busy", failure(401, "Unauthorized", says));
  });

  await step("503 where WeChat does not answer in time or not usably, shown", async () => {
    for (const [person, says] of [
      ["slow.3000", "微信登录失败: 微信服务暂时不可用，请稍后再试"],
      ["no-openid", "微信登录失败: 微信返回的数据无效"],
      ["empty", "微信登录失败: 微信服务暂时不可用，请稍后再试"],
    ]) {
      refused(await refusedLogin(person, says), 503, "wechat_busy", failure(503, "Service Unavailable", says));
    }
  });

  await step("400 without a code", async () => {
    for (const body of [ALICE, { ...ALICE, code: "" }]) {
      const answer = await ask("POST", LOGIN, { body });
      refused(answer, 400, "validation_failed", failure(400, "Bad Request", "缺少登录凭证 code"));
    }
  });

  await step("401 for calls without a token and with garbage, 403 by a rule, shown", async () => {
    refused(await ask("GET", PROFILE), 401, "token_missing", NOBODY);
    refused(await ask("GET", PROFILE, { bearer: "garbage" }), 401, "token_invalid", GARBAGE);
    same(await alice.pages.load(OFFICE), undefined);
    refused(alice.device.last, 403, "forbidden", failure(403, "Forbidden", "没有权限执行此操作"));
    same(alice.device.shown(), ["toast 没有权限执行此操作"], "what the user saw");
  });

  await step("a token is renewed with itself, for 7 days", async () => {
    const { access_token: before } = await signIn(alice);
    await alice.pages.auth.refreshToken();
    succeeded(alice.device.last, renewed(WEEK));
    const after = alice.pages.auth.getLocalToken();
    holds(after !== before, "the token is that of before");
    const { sub, openid, nickname, iat, exp } = claimsOf(after);
    same([Number(sub), openid, nickname, exp - iat], [first.user.id, first.user.openid, "张三丰", WEEK], "claims");
    reached(await ask("GET", PROFILE, { bearer: after }), first.user.id);
  });

  await step("ten renewals at once with one token all succeed", async () => {
    const answers = await atOnce(10, () => refresh(alice.pages.auth.getLocalToken()));
    for (const answer of answers) {
      succeeded(answer, renewed(WEEK));
      reached(await ask("GET", PROFILE, { bearer: answer.body.data.access_token }), first.user.id);
    }
  });

  await step("401 for a renewal without a token and with garbage", async () => {
    refused(await ask("POST", REFRESH), 401, "token_missing", NOBODY);
    refused(await refresh("garbage"), 401, "token_invalid", GARBAGE);
  });

  await step("logout: said and shown, and the token is dead for the gate and for a renewal", async () => {
    const token = alice.pages.auth.getLocalToken();
    await alice.pages.handleLogout();
    succeeded(alice.device.last, success({ message: "退出成功" }, "退出成功"));
    same([alice.device.shown(), alice.pages.auth.checkLoginStatus()], [["toast 退出成功"], false]);
    same(alice.pages.auth.getLocalUserInfo(), "", "user_info");
    refused(await ask("GET", PROFILE, { bearer: token }), 401, "token_revoked", OVER);
    refused(await refresh(token), 401, "session_revoked", OVER);
    refused(await ask("POST", LOGOUT, { bearer: token }), 401, "token_revoked", OVER);
    refused(await ask("POST", LOGOUT), 401, "token_missing", NOBODY);
  });

  await step("whose session was ended elsewhere is sent to the login page", async () => {
    const carol = openAs("carol");
    const { access_token } = await signIn(carol);
    same((await ask("POST", LOGOUT, { bearer: access_token })).status, 200, "status");
    same(await carol.pages.load(PROFILE), undefined);
    same(carol.device.shown(), ["toast 登录已过期", LOGIN_PAGE], "what the user saw");
  });
}

async function expiry() {
  const alice = openAs("alice", ALICE);
  let first;
  await step("a token expires", async () => {
    first = await signIn(alice);
    same(first.expires_in, (life) => anId(life) && life < 10, "expires_in");
    const answer = await untilExpired(PROFILE, first.access_token);
    refused(answer, 401, "token_expired", failure(401, "Unauthorized", "登录已过期，请重新登录"));
  });

  await step("the next call renews it with itself, and the user sees nothing", async () => {
    same((await alice.pages.load(PROFILE)).user_id, String(first.user.id), "X-User-Id");
    const sent = alice.device.exchanges.slice(-3).map(({ path, status }) => `${path} ${status}`);
    same(sent, [`${PROFILE} 401`, `${REFRESH} 200`, `${PROFILE} 200`], "what was sent");
    same(alice.device.on(REFRESH).at(-1).sentHeaders.Authorization, `Bearer ${first.access_token}`, "the expired token");
    succeeded(alice.device.on(REFRESH).at(-1), renewed(first.expires_in));
    same(alice.device.shown(), [], "what the user saw");
  });

  await step("ten calls at once with an expired token: one renewal, ten answers", async () => {
    await untilExpired(PROFILE, alice.pages.auth.getLocalToken());
    const renewals = alice.device.on(REFRESH).length;
    const answers = await atOnce(10, () => alice.pages.load(PROFILE));
    answers.forEach((answer) => same(answer?.user_id, String(first.user.id), "X-User-Id"));
    const statuses = alice.device.on(PROFILE).slice(-20).map(({ status }) => status);
    same(statuses.sort(), [...Array(10).fill(200), ...Array(10).fill(401)], "statuses");
    same(alice.device.on(REFRESH).length - renewals, 1, "renewals");
    same(alice.device.shown(), [], "what the user saw");
  });

  await step("the first token, long expired, is renewed ten times at once", async () => {
    const answers = await atOnce(10, () => refresh(first.access_token));
    answers.forEach((answer) => succeeded(answer, renewed(first.expires_in)));
  });

  await step("once its session has ended no token of it can be renewed, and the user is sent to the login page", async () => {
    const token = alice.pages.auth.getLocalToken();
    await untilExpired(PROFILE, token);
    const { access_token } = (await refresh(token)).body.data;
    same((await ask("POST", LOGOUT, { bearer: access_token })).status, 200, "status");
    for (const dead of [first.access_token, token, access_token]) refused(await refresh(dead), 401, "session_revoked", OVER);
    same(await alice.pages.load(PROFILE), undefined);
    same(alice.device.shown(), ["toast 登录已过期", LOGIN_PAGE], "what the user saw");
    holds(!alice.pages.auth.checkLoginStatus(), "a token is still stored");
  });
}

async function errors() {
  await step("502 where the backend is down, shown", async () => {
    const alice = openAs("alice", ALICE);
    await signIn(alice);
    same(await alice.pages.load(PROFILE), undefined);
    refused(alice.device.last, 502, "upstream_unavailable", failure(502, "Bad Gateway", "服务暂时不可用，请稍后再试"));
    same(alice.device.shown(), ["toast 服务暂时不可用，请稍后再试"], "what the user saw");
  });

  await step("429 for too many logins, with the time to wait, shown", async () => {
    await signIn(openAs("bob"));
    const answer = await refusedLogin("carol", "请求过于频繁，请稍后再试");
    refused(answer, 429, "rate_limited", failure(429, "Too Many Requests", "请求过于频繁，请稍后再试"));
    same(answer.headers["retry-after"], /^[1-9]\d*$/, "Retry-After");
  });
}

await tell({ day, expiry, errors });
