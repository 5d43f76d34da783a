// The story of seed D: Express with codes by text message and WeChat, and a bare token in `Authorization`.
//
// The arrays of express-validator are what its version 7 gave for the document's own rules.

import { Device } from "../stand-in/wx.mjs";
import {
  JWT, anId, aText, api, ask, atOnce, claimsOf, holds, inbox, reached, refused, same, step, succeeded, tell, untilExpired,
} from "../story.mjs";
import { LoginPage } from "./login-page.mjs";

const ORDERS = "/orders";
const OFFICE = "/office/orders";
const LOGIN_PAGE = "page /pages/login/login";

const SENT = { code: 200, message: "验证码已发送" };
const signedIn = (message) => ({ code: 200, message, data: { token: JWT } });
const failure = (code, error) => ({ code, error });
const BAD_TOKEN = failure(401, "无效的 token");

const ELEVEN = "手机号必须是11位";
const VALID = "请输入有效的手机号";
const SIX = "验证码必须是6位数字";

function openAs(person) {
  const device = new Device({ person, api, inbox });
  return { device, page: new LoginPage(device, api) };
}

/** The last message that was sent to any phone. */
async function lastMessage() {
  return (await fetch(`${inbox}/last`)).json();
}

const wrong = (code) => String((Number(code) + 1) % 1_000_000).padStart(6, "0");

/** Signs in with a code; gives the token. */
async function signInByPhone({ device, page }, phone) {
  await page.sendCode(phone);
  await page.loginByPhone(phone, (await lastMessage()).code);
  same(device.shown(), ["toast 验证码已发送", "toast 登录成功"], "what the user saw");
  return device.last.body.data.token;
}

async function signInByWechat({ device, page }) {
  await page.loginByWechat();
  same(device.shown(), ["toast 微信登录成功"], "what the user saw");
  return device.last.body.data.token;
}

/** What the document's payload has, and what menshen itself needs left out. */
function payload(token) {
  const { iss, aud, sub, sid, iat, exp, jti, user_type, roles, client_type, ep, gep, token_use, ...rest } = claimsOf(token);
  return rest;
}

async function day() {
  const alice = openAs("alice");
  const phone = "13800138000";
  let message;
  await step("a code is asked for, said to be sent, and is on the phone", async () => {
    same(await alice.page.sendCode(phone), 60, "seconds to count down");
    succeeded(alice.device.last, SENT);
    same(alice.device.last.sent, { phone }, "what was sent");
    same(alice.device.shown(), ["toast 验证码已发送"], "what the user saw");
    message = await lastMessage();
    const { phone: to, code, purpose, expires_in } = message;
    same({ to, code, purpose, expires_in }, { to: `+86${phone}`, code: /^\d{6}$/, purpose: "login", expires_in: anId });
  });

  await step("429 for another one at once: 请在N秒后再试, where N is Retry-After, shown", async () => {
    same(await alice.page.sendCode(phone), 0, "seconds to count down");
    const wait = Number(alice.device.last.headers["retry-after"]);
    holds(wait >= 1 && wait <= 60, `Retry-After is ${wait}`);
    refused(alice.device.last, 429, "sms_cooldown", failure(429, `请在${wait}秒后再试`));
    same(alice.device.shown(), [`toast 请在${wait}秒后再试`], "what the user saw");
    same((await lastMessage()).id, message.id, "the last message");
  });

  await step("a wrong code is 验证码不正确, shown", async () => {
    await alice.page.loginByPhone(phone, wrong(message.code));
    refused(alice.device.last, 400, "code_invalid", failure(400, "验证码不正确"));
    same(alice.device.shown(), ["toast 验证码不正确"], "what the user saw");
  });

  await step("a code where none was sent is 验证码不存在或已过期, shown", async () => {
    await alice.page.loginByPhone("13900139000", "123456");
    refused(alice.device.last, 400, "code_invalid", failure(400, "验证码不存在或已过期"));
    same(alice.device.shown(), ["toast 验证码不存在或已过期"], "what the user saw");
  });

  let token;
  await step("first login with the right code: the document's answer, stored and shown", async () => {
    await alice.page.loginByPhone(phone, message.code);
    succeeded(alice.device.last, signedIn("登录成功"));
    same(alice.device.last.sent, { phone, verificationCode: message.code }, "what was sent");
    same(alice.device.shown(), ["toast 登录成功"], "what the user saw");
    token = alice.page.api.token;
    same(alice.device.last.body.data.token, token, "the stored token");
  });

  await step("the token's payload has _id, the masked phone and clientType, and lives for an hour", () => {
    same(payload(token), { _id: aText, phone: "138****8000", clientType: "miniprogram" }, "payload");
    const { _id, sub, iat, exp } = claimsOf(token);
    same([_id, exp - iat], [sub, 3600], "_id and life");
  });

  await step("a code that was used is 验证码不存在或已过期", async () => {
    await alice.page.loginByPhone(phone, message.code);
    refused(alice.device.last, 400, "code_invalid", failure(400, "验证码不存在或已过期"));
    same(alice.device.shown(), ["toast 验证码不存在或已过期"], "what the user saw");
  });

  await step("a call with the bare token reaches the backend as that user, and so does one with Bearer", async () => {
    same((await alice.page.load(ORDERS)).user_id, claimsOf(token).sub, "X-User-Id");
    same(alice.device.last.sentHeaders.Authorization, token, "Authorization");
    reached(alice.device.last, claimsOf(token).sub);
    reached(await ask("GET", ORDERS, { bearer: token }), claimsOf(token).sub);
  });

  const bob = openAs("bob");
  await step("first and second login with WeChat: the same user, whose payload has no phone", async () => {
    const first = await signInByWechat(bob);
    succeeded(bob.device.last, signedIn("微信登录成功"));
    same(payload(first), { _id: aText, clientType: "miniprogram" }, "payload");
    same((await bob.page.load(ORDERS)).user_id, claimsOf(first)._id, "X-User-Id");
    const second = await signInByWechat(bob);
    same(claimsOf(second)._id, claimsOf(first)._id, "_id");
    holds(claimsOf(first)._id !== claimsOf(token)._id, "two people are one user");
  });

  await step("an app says so: clientType", async () => {
    const body = { code: bob.device.newCode(), clientType: "app" };
    const answer = await ask("POST", "/wechatlogin", { body });
    succeeded(answer, signedIn("微信登录成功"));
    same(payload(answer.body.data.token), { _id: aText, clientType: "app" }, "payload");
  });

  await step("400 with WeChat's text for what it refuses, and for a login without a code, shown", async () => {
    for (const [errcode, errmsg, code] of [
      [40029, "invalid code", "wechat_code_invalid"],
      [40163, "code been used", "wechat_code_invalid"],
      [40226, "code blocked", "wechat_blocked"],
    ]) {
      const { device, page } = openAs(`fail.${errcode}`);
      await page.loginByWechat();
      refused(device.last, 400, code, failure(400, errmsg));
      same([device.shown(), page.api.token], [[`toast ${errmsg}`], ""]);
    }
    refused(await ask("POST", "/wechatlogin", { body: {} }), 400, "validation_failed", failure(400, "missing code"));
  });

  await step("500 服务器内部错误 where WeChat or the SMS vendor fails, shown", async () => {
    for (const person of ["slow.3000", "no-openid", "empty"]) {
      const { device, page } = openAs(person);
      await page.loginByWechat();
      refused(device.last, 500, "wechat_busy", failure(500, "服务器内部错误"));
      same(device.shown(), ["toast 服务器内部错误"], "what the user saw");
    }
    same(await alice.page.sendCode("19900000500"), 0, "seconds to count down");
    refused(alice.device.last, 500, "sms_unavailable", failure(500, "服务器内部错误"));
    same(alice.device.shown(), ["toast 服务器内部错误"], "what the user saw");
  });

  await step("the user is told where WeChat gives no code, or there is no network", async () => {
    for (const broken of ["canLogin", "online"]) {
      const { device, page } = openAs("carol");
      device[broken] = false;
      await page.loginByWechat();
      same([device.shown(), device.exchanges], [["toast 网络错误，请稍后再试"], []]);
    }
  });

  const item = (path, msg, value) => ({ type: "field", ...value, msg, path, location: "body" });
  await step("a bad phone at /sendsms: the arrays of express-validator", async () => {
    for (const [value, ...messages] of [
      [undefined, ELEVEN, VALID],
      [null, ELEVEN, VALID],
      ["", ELEVEN, VALID],
      ["123", ELEVEN, VALID],
      ["138001380001", ELEVEN, VALID],
      ["03800138000", VALID],
      ["1380013800a", VALID],
    ]) {
      const sent = value === undefined ? {} : { value };
      const answer = await ask("POST", "/sendsms", { body: { phone: value } });
      refused(answer, 400, "validation_failed", { errors: messages.map((msg) => item("phone", msg, sent)) });
    }
    await alice.page.sendCode("123");
    same(alice.device.shown(), [`toast ${ELEVEN}`], "what the user saw");
  });

  await step("a bad phone or code at /login: the arrays of express-validator, with `code`", async () => {
    const good = "13800138000";
    for (const [body, ...errors] of [
      [{}, ["phone", ELEVEN], ["phone", VALID], ["phone", VALID], ["verificationCode", SIX], ["verificationCode", SIX]],
      [
        { phone: "123", verificationCode: "12" },
        ["phone", ELEVEN], ["phone", VALID], ["verificationCode", SIX], ["verificationCode", SIX],
      ],
      [{ phone: 13800138000, verificationCode: "123456" }, ["phone", VALID]],
      [{ phone: good, verificationCode: "abcdef" }, ["verificationCode", SIX]],
      [{ phone: good, verificationCode: "" }, ["verificationCode", SIX], ["verificationCode", SIX]],
    ]) {
      const listed = errors.map(([path, msg]) => item(path, msg, path in body ? { value: body[path] } : {}));
      refused(await ask("POST", "/login", { body }), 400, "validation_failed", { code: 400, errors: listed });
    }
    await alice.page.loginByPhone(good, "12");
    same(alice.device.shown(), [`toast ${SIX}`], "what the user saw");
  });

  await step("401 没有提供 token, 401 无效的 token, 403 by a rule, shown", async () => {
    refused(await ask("GET", ORDERS), 401, "token_missing", failure(401, "没有提供 token"));
    for (const authorization of ["garbage", "Bearer garbage"]) {
      refused(await ask("GET", ORDERS, { authorization }), 401, "token_invalid", BAD_TOKEN);
    }
    const stranger = openAs("stranger");
    same(await stranger.page.load(ORDERS), undefined);
    same(stranger.device.shown(), ["toast 没有提供 token"], "what the user saw");
    same(await alice.page.load(OFFICE), undefined);
    refused(alice.device.last, 403, "forbidden", failure(403, "没有权限执行此操作"));
    same(alice.device.shown(), ["toast 没有权限执行此操作"], "what the user saw");
  });

  await step("logout: the page forgets the token", async () => {
    bob.page.logout();
    same([bob.device.shown(), bob.page.api.token], [[LOGIN_PAGE], ""]);
    await bob.page.load(ORDERS);
    refused(bob.device.last, 401, "token_missing", failure(401, "没有提供 token"));
  });

  await step("once the session has ended the token is 无效的 token, and the page of a phone user asks to sign in", async () => {
    same((await ask("POST", "/auth/logout", { bearer: token })).status, 204, "status");
    same(await alice.page.load(ORDERS), undefined);
    refused(alice.device.last, 401, "token_revoked", BAD_TOKEN);
    same([alice.device.shown(), alice.page.api.token], [[LOGIN_PAGE, "toast 无效的 token"], ""]);
  });
}

async function expiry() {
  const alice = openAs("alice");
  let first;
  await step("a token expires: 无效的 token", async () => {
    first = await signInByWechat(alice);
    refused(await untilExpired(ORDERS, first), 401, "token_expired", BAD_TOKEN);
    const bare = await ask("GET", ORDERS, { authorization: first });
    refused(bare, 401, "token_expired", BAD_TOKEN);
  });

  await step("the next call of a WeChat user signs in again by itself, and the user sees nothing", async () => {
    same((await alice.page.load(ORDERS)).user_id, claimsOf(first)._id, "X-User-Id");
    const sent = alice.device.exchanges.slice(-3).map(({ path, status }) => `${path} ${status}`);
    same(sent, [`${ORDERS} 401`, "/wechatlogin 200", `${ORDERS} 200`], "what was sent");
    same(alice.device.shown(), [], "what the user saw");
  });

  await step("ten calls at once with an expired token: one login, ten answers", async () => {
    await untilExpired(ORDERS, alice.page.api.token);
    const logins = alice.device.on("/wechatlogin").length;
    const answers = await atOnce(10, () => alice.page.load(ORDERS));
    answers.forEach((answer) => same(answer?.user_id, claimsOf(first)._id, "X-User-Id"));
    const statuses = alice.device.on(ORDERS).slice(-20).map(({ status }) => status);
    same(statuses.sort(), [...Array(10).fill(200), ...Array(10).fill(401)], "statuses");
    same(alice.device.on("/wechatlogin").length - logins, 1, "logins");
    same(alice.device.shown(), [], "what the user saw");
  });

  await step("a phone user whose token has expired is told, and comes to the login page", async () => {
    const bob = openAs("bob");
    await untilExpired(ORDERS, await signInByPhone(bob, "13800138000"));
    same(await bob.page.load(ORDERS), undefined);
    refused(bob.device.last, 401, "token_expired", BAD_TOKEN);
    same([bob.device.shown(), bob.page.api.token], [[LOGIN_PAGE, "toast 无效的 token"], ""]);
  });
}

async function errors() {
  await step("502 where the backend is down, shown", async () => {
    const alice = openAs("alice");
    await signInByWechat(alice);
    same(await alice.page.load(ORDERS), undefined);
    refused(alice.device.last, 502, "upstream_unavailable", failure(502, "服务暂时不可用，请稍后再试"));
    same(alice.device.shown(), ["toast 服务暂时不可用，请稍后再试"], "what the user saw");
  });

  await step("429 for too many logins and too many messages: 请在N秒后再试, shown", async () => {
    await signInByWechat(openAs("bob"));
    const { device, page } = openAs("carol");
    const limited = async (path) => {
      const wait = Number(device.last.headers["retry-after"]);
      holds(wait >= 1, `Retry-After is ${wait}`);
      same(device.last.path, path, "path");
      refused(device.last, 429, "rate_limited", failure(429, `请在${wait}秒后再试`));
      same(device.shown(), [`toast 请在${wait}秒后再试`], "what the user saw");
    };
    await page.loginByWechat();
    await limited("/wechatlogin");
    await page.sendCode("13800138000");
    same(device.shown(), ["toast 验证码已发送"], "what the user saw");
    await page.sendCode("13900139000");
    await limited("/sendsms");
  });
}

/** With `phone = "full"`, `openid = true` and one second between two messages. */
async function full() {
  const alice = openAs("alice");
  const phone = "13800138000";
  let first;
  await step("the payload has the whole phone where the option says so", async () => {
    first = await signInByPhone(alice, phone);
    same(payload(first), { _id: aText, phone, clientType: "miniprogram" }, "payload");
  });

  await step("after the time between two messages another one is sent, and the second login is the same user", async () => {
    const end = Date.now() + 20_000;
    let asked;
    do {
      asked = await ask("POST", "/sendsms", { body: { phone } });
    } while (asked.status === 429 && Date.now() < end);
    succeeded(asked, SENT);
    await alice.page.loginByPhone(phone, (await lastMessage()).code);
    same(claimsOf(alice.page.api.token)._id, claimsOf(first)._id, "_id");
  });

  await step("the payload of a WeChat user has the openid where the option says so, as the document's has", async () => {
    const token = await signInByWechat(openAs("bob"));
    same(payload(token), { _id: aText, openid: /^o[A-Za-z0-9]{27}$/, clientType: "miniprogram" }, "payload");
  });

  await step("a phone that came as a number is one, as express-validator takes it", async () => {
    succeeded(await ask("POST", "/sendsms", { body: { phone: 13700137000 } }), SENT);
    same((await lastMessage()).phone, "+8613700137000", "the phone");
  });
}

await tell({ day, expiry, errors, full });
