// The story of seed C: a native mini program with two routes, the older phone button, and `session_key` in its hands.

import { createDecipheriv, createHash } from "node:crypto";

import { Device } from "../stand-in/wx.mjs";
import {
  ISO_MILLIS, JWT, aText, anId, api, ask, atOnce, claimsOf, holds, inbox, reached, refused, same, step, succeeded, tell,
  untilExpired,
} from "../story.mjs";
import { Page } from "./page.mjs";

const ORDERS = "/api/orders";
const OFFICE = "/api/office/orders";
const PROFILE_PAGE = "page /pages/profile/profile";
const ASKS_FOR_PHONE = "modal 获取手机号: 是否授权获取手机号？";
const ASKS_TO_RETRY = "modal 网络错误: 请检查网络后重试";
const OPENID = /^o[A-Za-z0-9]{27}$/;
const NUMBER = "13888888888";
const APP_ID = "wx7d2f0f1c9a8b6e5d";

/** The document's two fields, and the tokens beside them. */
const LOGIN = {
  success: true,
  data: { openid: OPENID, session_key: aText, access_token: JWT, token_type: "Bearer", expires_in: anId, refresh_token: aText },
};
const failure = (message, error) => ({ success: false, message, error });
const UNDECRYPTED = failure("手机号解密失败", { code: "phone_decrypt_failed" });

function openAs(person) {
  const profile = { nickName: "用户昵称", avatarUrl: "https://example.com/a.jpg" };
  const device = new Device({ person, api, inbox, profile });
  const page = new Page(device, api);
  page.onShow();
  return { device, page };
}

/** Signs in, and is asked for the phone; gives what was answered. */
async function signIn({ device, page }) {
  await page.handleLogin();
  same(device.shown(), ["loading 登录中...", "toast 登录成功", ASKS_FOR_PHONE], "what the user saw");
  holds(!device.loading, "something still turns on the screen");
  return device.last.body.data;
}

/** A login that is refused: the exchange, and that the user was told this. */
async function refusedLogin(person, toast) {
  const { device, page } = openAs(person);
  await page.handleLogin();
  same(device.shown(), ["loading 登录中...", `toast ${toast}`], "what the user saw");
  same([page.shows, device.loading], [["未登录", "点击登录"], false], "the page");
  return device.last;
}

/** The key that WeChat gives for a code, which menshen has and nobody else. */
const wechatsKey = (code) => createHash("sha256").update(`session key ${APP_ID} ${code}`).digest().subarray(0, 16);

/** A session, what its phone button gave, and the request that would be right. */
async function pressed(person, { phone = NUMBER, age = 0 } = {}) {
  const opened = openAs(person);
  const { openid, session_key: sessionKey, access_token: token } = await signIn(opened);
  const { encryptedData, iv } = (await opened.device.pressPhoneButton(phone, age)).detail;
  return { ...opened, token, body: { encryptedData, iv, sessionKey, openid } };
}

const decrypt = (body) => ask("POST", "/api/decrypt-phone", { body });

/** Base64 that decodes to something else in its first block. */
const damaged = (text) => (text.startsWith("A") ? "B" : "A") + text.slice(1);

async function day() {
  const alice = openAs("alice");
  let first;
  await step("the page shows that nobody has signed in", () => same(alice.page.shows, ["未登录", "点击登录"]));

  await step("first login: the document's answer with the tokens beside it, stored, shown", async () => {
    first = await signIn(alice);
    succeeded(alice.device.on("/api/login").at(-1), LOGIN);
    const stored = { ...first, loginTime: ISO_MILLIS, nickName: "用户昵称", avatarUrl: "https://example.com/a.jpg" };
    same(alice.device.wx.getStorageSync("userInfo"), stored, "userInfo");
    same([alice.page.shows, alice.page.data.showPhoneAuth], [["用户昵称", "点击查看更多"], true], "the page");
  });

  await step("session_key is a handle: not WeChat's key, and no token", async () => {
    const key = wechatsKey(alice.device.code);
    const { encryptedData, iv } = (await alice.device.pressPhoneButton(NUMBER)).detail;
    const cipher = createDecipheriv("aes-128-cbc", key, Buffer.from(iv, "base64"));
    const plain = cipher.update(encryptedData, "base64", "utf8") + cipher.final("utf8");
    same(JSON.parse(plain).purePhoneNumber, NUMBER, "what WeChat's key opens");
    const told = JSON.stringify(alice.device.on("/api/login").at(-1));
    for (const form of ["base64", "base64url", "hex"]) holds(!told.includes(key.toString(form)), "WeChat's key was told");
    const { session_key: handle, access_token, refresh_token } = first;
    holds(handle !== access_token && handle !== refresh_token, "it is one of the tokens");
    same((await ask("GET", ORDERS, { bearer: handle })).status, 401, "status with it as a token");
    same((await ask("POST", "/auth/refresh", { body: { refresh_token: handle } })).status, 401, "status as a refresh token");
  });

  await step("a call with the token reaches the backend as that user", async () => {
    same((await alice.page.load(ORDERS)).user_id, claimsOf(first.access_token).sub, "X-User-Id");
    reached(alice.device.last, claimsOf(first.access_token).sub);
  });

  await step("the phone: decrypted by handle, in the document's shape, stored masked, shown", async () => {
    const event = await alice.device.pressPhoneButton(NUMBER);
    await alice.page.onGetPhoneNumber(event);
    const { encryptedData, iv, timestamp } = event.detail;
    const sent = { encryptedData, iv, sessionKey: first.session_key, openid: first.openid };
    same(alice.device.last.sent, sent, "what was sent");
    const watermark = { timestamp, appid: APP_ID };
    const data = { phoneNumber: "138****8888", purePhoneNumber: NUMBER, countryCode: "86", watermark };
    succeeded(alice.device.last, { success: true, data });
    same(alice.device.shown(), ["toast 手机号获取成功", PROFILE_PAGE], "what the user saw");
    const { phoneNumber, phoneUpdateTime } = alice.device.wx.getStorageSync("userInfo");
    same({ phoneNumber, phoneUpdateTime }, { phoneNumber: "138****8888", phoneUpdateTime: ISO_MILLIS }, "userInfo");
    same(alice.page.data.showPhoneAuth, false, "showPhoneAuth");
  });

  await step("second login: the same openid and user, another handle, and both handles are good", async () => {
    const again = openAs("alice");
    const second = await signIn(again);
    same(second, { ...LOGIN.data, openid: first.openid });
    same(claimsOf(second.access_token).sub, claimsOf(first.access_token).sub, "sub");
    holds(second.session_key !== first.session_key, "the handle is that of before");
    const { encryptedData, iv } = (await again.device.pressPhoneButton(NUMBER)).detail;
    for (const { session_key: sessionKey } of [first, second]) {
      same((await decrypt({ encryptedData, iv, sessionKey, openid: first.openid })).status, 200, "status");
    }
  });

  await step("every phone that cannot be decrypted has the one documented failure", async () => {
    const [eve, other] = [await pressed("eve"), await pressed("mallory")];
    const hostile = [
      ["the handle of another session", { ...eve.body, sessionKey: other.body.sessionKey }],
      ["another session's handle and openid", { ...eve.body, sessionKey: other.body.sessionKey, openid: other.body.openid }],
      ["a wrong handle", { ...eve.body, sessionKey: damaged(eve.body.sessionKey) }],
      ["a token for a handle", { ...eve.body, sessionKey: eve.token }],
      ["WeChat's key for a handle", { ...eve.body, sessionKey: wechatsKey(eve.device.code).toString("base64") }],
      ["garbage for a handle", { ...eve.body, sessionKey: "garbage" }],
      ["a wrong openid", { ...eve.body, openid: other.body.openid }],
      ["damaged data", { ...eve.body, encryptedData: damaged(eve.body.encryptedData) }],
      ["a damaged iv", { ...eve.body, iv: damaged(eve.body.iv) }],
      ["no base64", { ...eve.body, encryptedData: "%%%" }],
      ["data of long ago", (await pressed("slowpoke", { age: 3600 })).body],
      ["a number that is none", (await pressed("nobody", { phone: "12345" })).body],
    ];
    for (const [what, body] of hostile) {
      try {
        refused(await decrypt(body), 400, "phone_decrypt_failed", UNDECRYPTED);
      } catch (fault) {
        fault.message = `${what}: ${fault.message}`;
        throw fault;
      }
    }
    same((await decrypt((await pressed("frank", { phone: "13900139000" })).body)).status, 200, "status of what is right");
  });

  await step("a field that is missing or empty is that failure too", async () => {
    for (const field of ["encryptedData", "iv", "sessionKey", "openid"]) {
      const { [field]: _, ...rest } = (await pressed("gina")).body;
      for (const sent of [rest, { ...rest, [field]: "" }]) {
        refused(await decrypt(sent), 400, "phone_decrypt_failed", UNDECRYPTED);
      }
    }
  });

  await step("a phone that cannot be decrypted is shown, and so is a user who shares none", async () => {
    const { device, page } = await pressed("hank");
    const event = await device.pressPhoneButton("13700137000");
    await page.onGetPhoneNumber({ detail: { ...event.detail, iv: damaged(event.detail.iv) } });
    device.taps.phone = [false];
    await page.onGetPhoneNumber(await device.pressPhoneButton("13700137000"));
    same(device.shown(), ["toast 手机号解密失败", "toast 您拒绝了授权"], "what the user saw");
    same(page.data.userInfo.phoneNumber, undefined, "phoneNumber");
  });

  await step("a phone of somebody else is refused and shown", async () => {
    const bob = await pressed("bob");
    await bob.page.onGetPhoneNumber(await bob.device.pressPhoneButton(NUMBER));
    refused(bob.device.last, 409, "phone_conflict", failure("该手机号已绑定其他账号", { code: "phone_conflict" }));
    same(bob.device.shown(), ["toast 该手机号已绑定其他账号"], "what the user saw");
  });

  await step("429 for a session that fails too often, with the time to wait", async () => {
    const { body } = await pressed("ivan");
    for (let n = 0; n < 5; n++) same((await decrypt({ ...body, iv: damaged(body.iv) })).status, 400, "status");
    const limited = await decrypt(body);
    refused(limited, 429, "rate_limited", failure("请求过于频繁，请稍后再试", { code: "rate_limited" }));
    same(limited.headers["retry-after"], /^[1-9]\d*$/, "Retry-After");
  });

  await step("a login without a code", async () => {
    for (const body of [{}, { code: "" }, { code: null }]) {
      const answer = await ask("POST", "/api/login", { body });
      refused(answer, 400, "validation_failed", { success: false, message: "缺少登录凭证code" });
    }
  });

  await step("whatever goes wrong between menshen and WeChat is `微信登录失败` for the user", async () => {
    for (const [person, status, code, wechat] of [
      ["fail.40029", 401, "wechat_code_invalid", { errcode: 40029, errmsg: "invalid code" }],
      ["fail.40163", 401, "wechat_code_invalid", { errcode: 40163, errmsg: "code been used" }],
      ["fail.40226", 403, "wechat_blocked", { errcode: 40226, errmsg: "code blocked" }],
      ["busy", 503, "wechat_busy", { errcode: -1, errmsg: "system error" }],
      ["slow.3000", 503, "wechat_busy", {}],
      ["no-openid", 503, "wechat_busy", {}],
      ["empty", 503, "wechat_busy", {}],
    ]) {
      const answer = await refusedLogin(person, "微信登录失败");
      refused(answer, status, code, failure("微信登录失败", { code, ...wechat }));
    }
  });

  await step("no code of WeChat and no network are shown, and another try is offered", async () => {
    const { device, page } = openAs("judy");
    device.canLogin = false;
    await page.handleLogin();
    same(device.shown(), ["loading 登录中...", "toast 获取登录凭证失败"], "what the user saw");
    Object.assign(device, { canLogin: true, online: false });
    // To the question after the failed try: yes, and to the one after the second: no.
    device.taps.modal = [true, false];
    await page.handleLogin();
    same(device.shown(), ["loading 登录中...", ASKS_TO_RETRY, "loading 登录中...", ASKS_TO_RETRY], "what the user saw");
    same([device.exchanges, page.shows, device.loading], [[], ["未登录", "点击登录"], false]);
  });

  await step("who shares neither profile nor phone has signed in all the same", async () => {
    const { device, page } = openAs("shy");
    device.taps.profile = [false];
    device.taps.modal = [false];
    await page.handleLogin();
    same(device.shown(), ["loading 登录中...", "toast 登录成功", ASKS_FOR_PHONE, PROFILE_PAGE], "what the user saw");
    same([page.shows, page.data.showPhoneAuth], [["已登录", "点击设置资料"], false], "the page");
  });

  await step("401 for calls without a token and with garbage, 403 by a rule, shown", async () => {
    refused(await ask("GET", ORDERS), 401, "token_missing", failure("请先登录", { code: "token_missing" }));
    const garbage = await ask("GET", ORDERS, { bearer: "garbage" });
    refused(garbage, 401, "token_invalid", failure("登录凭证无效，请重新登录", { code: "token_invalid" }));
    same(await openAs("stranger").page.load(ORDERS), undefined);
    same(await alice.page.load(OFFICE), undefined);
    refused(alice.device.last, 403, "forbidden", failure("没有权限执行此操作", { code: "forbidden" }));
    same(alice.device.shown(), ["toast 没有权限执行此操作"], "what the user saw");
  });

  await step("the menu of somebody who has signed in: edit, look, sign out after a question", async () => {
    alice.device.taps.menu = [0, 1, 2, 2];
    // To the user's data, and to the question twice.
    alice.device.taps.modal = [true, false, true];
    for (let n = 0; n < 4; n++) await alice.page.handleLogin();
    const [menu, asks] = ["menu 编辑资料 / 查看信息 / 退出登录", "modal 提示: 确定要退出登录吗？"];
    const looked = "modal 用户信息: 用户昵称";
    same(alice.device.shown(), [menu, PROFILE_PAGE, menu, looked, menu, asks, menu, asks, "toast 已退出登录"]);
    same([alice.page.shows, alice.device.wx.getStorageSync("userInfo")], [["未登录", "点击登录"], ""], "the page");
  });

  await step("once the session has ended its token and its handle are dead", async () => {
    const { device, token, body } = await pressed("alice");
    same((await ask("POST", "/auth/logout", { bearer: token })).status, 204, "status");
    const over = failure("登录已失效，请重新登录", { code: "token_revoked" });
    refused(await ask("GET", ORDERS, { bearer: token }), 401, "token_revoked", over);
    refused(await decrypt(body), 400, "phone_decrypt_failed", UNDECRYPTED);
    holds(device.on("/api/login").length === 1, "it was signed in again");
  });
}

async function expiry() {
  const alice = openAs("alice");
  let first;
  await step("a token expires", async () => {
    first = await signIn(alice);
    same(first.expires_in, (life) => anId(life) && life < 10, "expires_in");
    const answer = await untilExpired(ORDERS, first.access_token);
    refused(answer, 401, "token_expired", failure("登录已过期，请重新登录", { code: "token_expired" }));
  });

  await step("the next call signs in again by itself, and the user sees nothing", async () => {
    same((await alice.page.load(ORDERS)).user_id, claimsOf(first.access_token).sub, "X-User-Id");
    const sent = alice.device.exchanges.slice(-3).map(({ path, status }) => `${path} ${status}`);
    same(sent, [`${ORDERS} 401`, "/api/login 200", `${ORDERS} 200`], "what was sent");
    same([alice.device.shown(), alice.page.shows], [[], ["用户昵称", "点击查看更多"]]);
  });

  await step("ten calls at once with an expired token: one login, ten answers", async () => {
    await untilExpired(ORDERS, alice.device.wx.getStorageSync("userInfo").access_token);
    const logins = alice.device.on("/api/login").length;
    const answers = await atOnce(10, () => alice.page.load(ORDERS));
    answers.forEach((answer) => same(answer?.user_id, claimsOf(first.access_token).sub, "X-User-Id"));
    const statuses = alice.device.on(ORDERS).slice(-20).map(({ status }) => status);
    same(statuses.sort(), [...Array(10).fill(200), ...Array(10).fill(401)], "statuses");
    same(alice.device.on("/api/login").length - logins, 1, "logins");
    same(alice.device.shown(), [], "what the user saw");
  });

  await step("a client that keeps the refresh token beside may use it, ten times at once", async () => {
    const { refresh_token } = alice.device.wx.getStorageSync("userInfo");
    const answers = await atOnce(10, () => ask("POST", "/auth/refresh", { body: { refresh_token } }));
    answers.forEach((answer) => same([answer.status, answer.body.access_token], [200, JWT], "answer"));
  });

  await step("the handle outlives the token: the phone is decrypted while the session lives", async () => {
    await untilExpired(ORDERS, alice.device.wx.getStorageSync("userInfo").access_token);
    await alice.page.onGetPhoneNumber(await alice.device.pressPhoneButton(NUMBER));
    same([alice.device.last.status, alice.device.last.body.data.phoneNumber], [200, "138****8888"], "answer");
    same(alice.device.shown(), ["toast 手机号获取成功", PROFILE_PAGE], "what the user saw");
  });
}

async function errors() {
  await step("502 where the backend is down, shown", async () => {
    const alice = openAs("alice");
    await signIn(alice);
    same(await alice.page.load(ORDERS), undefined);
    const says = failure("服务暂时不可用，请稍后再试", { code: "upstream_unavailable" });
    refused(alice.device.last, 502, "upstream_unavailable", says);
    same(alice.device.shown(), ["toast 服务暂时不可用，请稍后再试"], "what the user saw");
  });

  await step("429 for too many logins, with the time to wait, shown", async () => {
    await signIn(openAs("bob"));
    const answer = await refusedLogin("carol", "请求过于频繁，请稍后再试");
    refused(answer, 429, "rate_limited", failure("请求过于频繁，请稍后再试", { code: "rate_limited" }));
    same(answer.headers["retry-after"], /^[1-9]\d*$/, "Retry-After");
  });
}

await tell({ day, expiry, errors });
