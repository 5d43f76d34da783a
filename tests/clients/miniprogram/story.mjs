// The package before a menshen: what issue 17 promises, on the native API and on each dialect.

import { api as server, ask, aText, atOnce, claimsOf, holds, same, step, tell } from "../story.mjs";
import { lastMessage, load, open, press, refusal, untilRefused } from "./device.mjs";

const ORDERS = "/orders";
let codes = 1;
const numbers = { alice: "13800138000", bob: "13800138001", carol: "13800138002", dave: "13800138003" };

/** The header that the last request to a path had. */
const sentToken = (phone, path) => phone.on(path).at(-1).header.Authorization;

async function day() {
  const { accountOf } = load("account");
  const { phoneButton } = load("phone");
  const { smsForm } = load("sms");
  const { client, phone, start } = open("alice");
  let user;

  await step("a page that needs a user, and nobody is signed in: a typed error, nothing sent", async () => {
    const error = await refusal(client.request(ORDERS));
    same([error.code, error.zh, error.en, error.retryable], ["sign_in_needed", "请先登录", "Please sign in", false]);
    same([phone.sent.length, client.getState().status], [0, "signed-out"]);
  });

  await step("five pages at once open the login page once, and go on when the user has signed in", async () => {
    const causes = [];
    let opened;
    const page = new Promise((resolve) => (opened = resolve));
    const asking = start({ onSignInNeeded: ({ code }) => opened(causes.push(code)) });
    const pages = atOnce(5, () => asking.request(ORDERS));
    await page;
    ({ user } = await asking.signIn());
    const answers = await pages;
    same([causes, answers.map(({ data }) => data.data.user_id)], [["sign_in_needed"], Array(5).fill(user.id)]);
    same(phone.on("/auth/wechat/login").length, 1, "logins");
    await client.reload();
    same([client.getState().status, client.getState().profileMissing, client.getState().phoneBound], ["signed-in", true, false]);
  });

  await step("ten taps on the login button are one login", async () => {
    const before = phone.on("/auth/wechat/login").length;
    await atOnce(10, () => client.signIn());
    same(phone.on("/auth/wechat/login").length - before, 1, "logins");
  });

  await step("a request reaches the backend as that user, also through a function of one's own", async () => {
    same((await client.request(ORDERS)).data.data.user_id, user.id, "X-User-Id");
    const { authorize, recover } = load("intercept").authorizer(client);
    const options = await authorize({ url: ORDERS, header: { "x-page": "1" } });
    same((await ask("GET", ORDERS, { authorization: options.header.Authorization })).body.data.user_id, user.id);
    same(await recover(options.header, { statusCode: 500, data: "", header: {} }), false);
  });

  await step("the phone number button: one tap binds, two taps are one", async () => {
    const button = phoneButton(client);
    const detail = await press(phone, numbers.alice);
    const [bound, again] = await Promise.all([button.tapped(detail), button.tapped(detail)]);
    same([bound.masked, bound.phone, again === bound], ["138****8000", "+8613800138000", true]);
    same([button.getState().step, client.getState().phoneBound], ["bound", true]);
    same(phone.on("/auth/phone/wechat").length, 1, "requests");
  });

  await step("the phone number button of who has not signed in: one tap signs in and binds", async () => {
    const bob = open("bob");
    const button = phoneButton(bob.client);
    const detail = await press(bob.phone, numbers.bob);
    const taps = await atOnce(10, () => button.tapped(detail));
    same([taps[0].masked, bob.client.getState().status, bob.client.getState().user.phone], ["138****8001", "signed-in", "138****8001"]);
    same(bob.phone.sent.map(({ path }) => path), ["/auth/wechat/login"]);
    same((await bob.client.request(ORDERS)).data.data.user_id, bob.client.getState().user.id);
  });

  await step("the same tap with a phone that cannot be bound: the button says why, and the user is signed in", async () => {
    const used = await press(phone, numbers.carol);
    for (const [detail, code] of [
      [await press(phone, numbers.alice), "phone_conflict"],
      [{ code: "ivan-999" }, "phone_code_invalid"],
      [used, undefined],
      [used, "phone_code_invalid"],
    ]) {
      const ivan = open(`ivan${codes++}`);
      const button = phoneButton(ivan.client);
      if (code) same([(await refusal(button.tapped(detail))).code, button.getState().step], [code, "failed"]);
      else {
        await button.tapped(detail);
        // For whom the number is in the stories below.
        await accountOf(ivan.client).remove();
        await ivan.client.signIn();
      }
      same([ivan.client.getState().status, ivan.client.getState().phoneBound], ["signed-in", false]);
      same((await ivan.client.request(ORDERS)).statusCode, 200);
    }
  });

  await step("a phone code that was used, a login code in its place, a phone of somebody else", async () => {
    const carol = open("carol");
    await carol.client.signIn();
    const button = phoneButton(carol.client);
    const used = await press(carol.phone, numbers.carol);
    await button.tapped(used);
    same((await refusal(button.tapped(used))).code, "phone_code_invalid");
    same((await refusal(button.tapped({ code: "carol-999" }))).code, "phone_code_invalid");
    const conflict = await refusal(button.tapped(await press(carol.phone, numbers.alice)));
    same([conflict.code, conflict.status, conflict.zh], ["phone_conflict", 409, "该手机号已绑定其他账号"]);
    same([button.getState().step, button.getState().canRetry], ["failed", false]);
  });

  await step("the older way: a login before the tap, none in it, and the number is there", async () => {
    const dave = open("dave", {}, { library: "2.10.0" });
    const button = phoneButton(dave.client, { legacy: true });
    await button.prepare();
    const logins = dave.phone.codes;
    const bound = await button.tapped(await press(dave.phone, numbers.dave, { legacy: true }));
    same([bound.masked, dave.phone.codes], ["138****8003", logins]);
  });

  await step("an SMS form: send, count down from what the server says, a closed page, a wrong code, the right one", async () => {
    const eve = open("eve");
    const form = smsForm(eve.client);
    same(await form.send("138 0013 8005"), true);
    const { left } = form.getState();
    holds(left > 55 && left <= 60, `left is ${left}`);
    same(await form.send(), false, "another tap");
    form.close();
    const reopened = smsForm(eve.client);
    await new Promise((resolve) => setTimeout(resolve, 0));
    reopened.setPhone("13800138005");
    holds(reopened.getState().left > 50, "the countdown does not survive");
    const { code } = await lastMessage();
    const error = await refusal(reopened.submit(code === "000000" ? "000001" : "000000"));
    same([error.code, error.zh], ["code_invalid", "验证码错误或已过期"]);
    await Promise.all([reopened.submit(code), reopened.submit(code)]);
    same([eve.client.getState().status, eve.client.getState().user.phone], ["signed-in", "138****8005"]);
    same((await eve.client.request(ORDERS)).data.data.user_id, eve.client.getState().user.id);
    reopened.close();
    // Somebody else's form for the same phone is told how long to wait.
    const frank = smsForm(open("frank").client);
    const cooldown = await refusal(frank.send("13800138005"));
    same([cooldown.code, cooldown.status], ["sms_cooldown", 429]);
    same(frank.getState().left, cooldown.retryAfter, "left");
    frank.close();
  });

  await step("binding a phone by SMS", async () => {
    const gina = open("gina");
    await gina.client.signIn();
    const form = smsForm(gina.client, { purpose: "bind" });
    await form.send("13800138006");
    const { code, purpose } = await lastMessage();
    same(purpose, "bind");
    same((await form.submit(code)).masked, "138****8006");
    same(gina.client.getState().phoneBound, true);
    form.close();
  });

  await step("the profile: nickname and avatar by the user's own choice; WeChat's name for everybody is none", async () => {
    const account = accountOf(client);
    same((await refusal(account.setNickname("微信用户"))).code, "validation_failed");
    same((await account.setNickname(" 小明 ")).nickname, "小明");
    await account.setAvatar("wxfile://tmp/a.jpg", async () => "https://cdn.example.com/a.jpg");
    same((await account.update({ bio: "hello", birthday: "2000-01-02" })).bio, "hello");
    const { nickname, avatarUrl, phone: masked, birthday } = await account.me();
    same([nickname, avatarUrl, masked, birthday], ["小明", "https://cdn.example.com/a.jpg", "138****8000", "2000-01-02"]);
    same([client.getState().profileMissing, client.getState().user.nickname], [false, "小明"]);
    same(phone.on("/auth/me").map(({ method }) => method), ["POST", "POST", "POST", "GET"]);
    const bad = await refusal(account.update({ avatarUrl: "http://tmp/x" }));
    same([bad.code, bad.fields.map(({ field }) => field)], ["validation_failed", ["avatar_url"]]);
  });

  await step("devices: this one is marked, another is signed out, and its client is told why", async () => {
    const other = open("alice");
    await other.client.signIn();
    const account = accountOf(client);
    const devices = await account.devices();
    same(devices.filter(({ current }) => current).length, 1, "this device");
    const theirs = claimsOf(await tokenOf(other.client)).sid;
    await account.signOutDevice(devices.find(({ id }) => id === theirs));
    const error = await refusal(other.client.request(ORDERS));
    same([error.code, error.zh], ["session_revoked", "您已在别处退出登录"]);
    same([other.client.getState().status, other.client.getState().reason], ["signed-out", "session_revoked"]);
    // Not in again by itself.
    const logins = other.phone.codes;
    await refusal(other.client.request(ORDERS));
    same(other.phone.codes, logins, "silent logins");
  });

  await step("the others, then all: the others' sessions end, then this one's, here at once", async () => {
    const other = open("alice");
    await other.client.signIn();
    const account = accountOf(client);
    await account.signOutOthers();
    same((await refusal(other.client.request(ORDERS))).code, "session_revoked");
    same((await client.request(ORDERS)).statusCode, 200);
    await other.client.signIn();
    const all = account.signOutEverywhere();
    await client.ready;
    same(await all, true);
    same(client.getState().status, "signed-out");
    same((await refusal(other.client.request(ORDERS))).code, "session_revoked");
    await client.signIn();
  });

  await step("a copy of all that is stored, the phone taken away, and the account's end", async () => {
    const account = accountOf(client);
    same((await account.exportData()).user.phone, "+8613800138000");
    await account.unbindPhone();
    same(client.getState().phoneBound, false);
    await account.remove();
    same(client.getState().status, "signed-out");
    const again = await client.signIn();
    holds(again.user.id !== user.id, "the account is that of before");
  });

  await step("a sign-out: here at once, at the server too, and nobody signs in by themselves", async () => {
    const token = `Bearer ${await tokenOf(client)}`;
    const out = client.signOut();
    await client.ready;
    await Promise.resolve();
    same([client.getState().status, client.getState().reason], ["signed-out", "signed_out"]);
    same(await out, true);
    same((await ask("GET", ORDERS, { authorization: token })).headers["x-menshen-error"], "token_revoked");
    const restarted = start({ silent: "always" });
    same((await refusal(restarted.request(ORDERS))).code, "signed_out");
  });

  await step("what WeChat refuses is a refused login", async () => {
    for (const [person, code, retryable] of [
      ["fail.40226", "wechat_blocked", false],
      ["busy", "wechat_busy", true],
      ["fail.40029", "wechat_code_invalid", false],
    ]) {
      const error = await refusal(open(person).client.signIn());
      same([error.code, error.retryable], [code, retryable]);
      same(error.zh, aText, "text");
    }
  });
}

/** The access token of a client, as its requests carry it. */
const tokenOf = async (client) => {
  const { authorize } = load("intercept").authorizer(client);
  return (await authorize({ url: ORDERS })).header.Authorization.replace(/^Bearer /, "");
};

/** Access tokens live for 3 seconds. */
async function expiry() {
  const { client, phone, start } = open("alice");
  let user;
  await step("a hundred calls with an expired token: one refresh, a hundred answers", async () => {
    ({ user } = await client.signIn());
    const end = Date.now() + 3000;
    await untilRefused(phone, ORDERS, `Bearer ${await tokenOf(client)}`);
    // `exp` is in whole seconds: the server may end it before it says.
    await new Promise((resolve) => setTimeout(resolve, end - Date.now()));
    const before = phone.sent.length;
    const answers = await atOnce(100, () => client.request(ORDERS));
    answers.forEach(({ data }) => same(data.data.user_id, user.id, "X-User-Id"));
    same([phone.on("/auth/refresh").length, phone.sent.length - before], [1, 101], "refreshes and requests");
    holds(phone.most <= 10, "more than ten at once");
  });

  await step("a hundred calls whose client does not know that it has expired: one refresh, a hundred answers", async () => {
    // As after a change of the phone's clock.
    const stored = phone.storage.get("menshen.session");
    await untilRefused(phone, ORDERS, sentToken(phone, ORDERS));
    for (const key of Object.keys(stored)) if (typeof stored[key] === "number" && stored[key] > 1e12) stored[key] = Date.now() + 1e6;
    const other = start();
    const [refreshes, sent] = [phone.on("/auth/refresh").length, phone.on(ORDERS).length];
    const answers = await atOnce(100, () => other.request(ORDERS));
    answers.forEach(({ data }) => same(data.data.user_id, user.id, "X-User-Id"));
    same(phone.on("/auth/refresh").length - refreshes, 1, "refreshes");
    holds(phone.on(ORDERS).length - sent <= 200, "a request is sent more than twice");
  });

  await step("two windows with an expired token: the second takes what the first has renewed", async () => {
    const [one, two] = [start(), start()];
    await Promise.all([one.ready, two.ready]);
    await untilRefused(phone, ORDERS, sentToken(phone, ORDERS));
    const refreshes = phone.on("/auth/refresh").length;
    await one.request(ORDERS);
    await two.request(ORDERS);
    same(phone.on("/auth/refresh").length - refreshes, 1, "refreshes");
  });

  await step("a lost answer to a refresh ends nothing", async () => {
    const one = start();
    await one.ready;
    await untilRefused(phone, ORDERS, sentToken(phone, ORDERS));
    const { serve } = phone;
    phone.serve = async (request) => {
      const answer = await serve(request);
      return request.path === "/auth/refresh" ? "timeout" : answer;
    };
    same((await refusal(one.request(ORDERS))).code, "timeout");
    same(one.getState().status, "offline");
    phone.serve = serve;
    same((await one.request(ORDERS)).data.data.user_id, user.id);
    same(one.getState().status, "signed-in");
  });

  await step("a sign-out with an access token that has expired ends the session at the server", async () => {
    const one = start();
    await one.ready;
    await untilRefused(phone, ORDERS, sentToken(phone, ORDERS));
    same(await one.signOut(), true);
    same(phone.on("/auth/logout").at(-1).status, 204);
  });

  await step("a sign-out everywhere with an access token that has expired", async () => {
    const { accountOf } = load("account");
    const [first, second] = [open("bob"), open("bob")];
    await first.client.signIn();
    await second.client.signIn();
    await untilRefused(first.phone, ORDERS, `Bearer ${await tokenOf(first.client)}`);
    same(await accountOf(first.client).signOutEverywhere(), true);
    same((await refusal(second.client.request(ORDERS))).code, "session_revoked");
  });
}

/** A backend that is down, one login and one message an hour for each address. */
async function errors() {
  await step("a backend that is down: a typed error, and the session stays", async () => {
    const { client } = open("alice");
    await client.signIn();
    const error = await refusal(client.request(ORDERS));
    same([error.code, error.status, error.retryable, client.getState().status], ["upstream_unavailable", 502, true, "signed-in"]);
  });
  await step("too many logins: how long to wait", async () => {
    await open("bob").client.signIn();
    const error = await refusal(open("carol").client.signIn());
    same([error.code, error.status, error.retryable], ["rate_limited", 429, true]);
    holds(error.retryAfter >= 1, "no Retry-After");
  });
  await step("no server at all", async () => {
    const { client } = open("dave", { baseUrl: "http://127.0.0.1:1" });
    const error = await refusal(client.signIn());
    same([error.code, error.status, error.zh], ["offline", 0, "网络不可用，请检查网络后重试"]);
  });
}

/** A dialect whose access tokens live for 3 seconds: login, calls, renewal, sign-out, all as on the native API. */
async function walk(options, { path = ORDERS, renewal, native = [] }) {
  const { client, phone, start } = open("alice", options);
  let user;
  await step("sign in, and reach the backend", async () => {
    const state = await client.signIn();
    user = (await client.request(path)).data.data.user_id;
    same([state.status, state.user.id], ["signed-in", user]);
  });

  await step("ten calls with an expired token: one renewal, ten answers", async () => {
    await untilRefused(phone, path, sentToken(phone, path));
    const before = phone.on(renewal).length;
    const answers = await atOnce(10, () => client.request(path));
    answers.forEach(({ data }) => same(data.data.user_id, user, "X-User-Id"));
    same(phone.on(renewal).length - before, 1, "renewals");
  });

  await step("the same where the client does not know that it has expired", async () => {
    await untilRefused(phone, path, sentToken(phone, path));
    const stored = phone.storage.get("menshen.session");
    for (const key of Object.keys(stored)) if (typeof stored[key] === "number" && stored[key] > 1e12) stored[key] = Date.now() + 1e6;
    const other = start();
    const before = phone.on(renewal).length;
    const answers = await atOnce(10, () => other.request(path));
    answers.forEach(({ data }) => same(data.data.user_id, user, "X-User-Id"));
    same(phone.on(renewal).length - before, 1, "renewals");
    await client.reload();
  });

  await step("the network fails while a token is renewed: the session stays", async () => {
    await untilRefused(phone, path, sentToken(phone, path));
    const { serve } = phone;
    phone.serve = () => "offline";
    const { cloud } = phone.wx;
    phone.wx.cloud = { callFunction: ({ fail }) => void setTimeout(() => fail({ errMsg: "cloud.callFunction:fail" })) };
    same((await refusal(client.request(path))).code, "offline");
    same(client.getState().status, "offline");
    Object.assign(phone, { serve });
    phone.wx.cloud = cloud;
    same((await client.request(path)).data.data.user_id, user);
  });

  await step("a session that was ended elsewhere: the error says so, and nothing goes on for ever", async () => {
    await client.request(path);
    const token = sentToken(phone, path).replace(/^Bearer /, "");
    same((await ask("POST", "/auth/logout", { bearer: token })).status, 204);
    const error = await refusal(client.request(path));
    holds(native.includes(error.code), `the code is ${error.code}`);
    holds(phone.sent.length < 200, "too many requests");
  });

  await step("sign in again, sign out: the server hears of it", async () => {
    const one = open("bob", options);
    await one.client.signIn();
    await one.client.request(path);
    const token = sentToken(one.phone, path).replace(/^Bearer /, "");
    same(await one.client.signOut(), true);
    same((await ask("GET", path, { bearer: token })).headers["x-menshen-error"], "token_revoked");
    same((await refusal(one.client.request(path))).code, "signed_out");
  });
}

async function simplejwt() {
  const api = load("simplejwt").simplejwt();
  await walk({ api, silent: "never" }, { path: "/api/users/me/", renewal: "/api/token/refresh/", native: ["session_revoked"] });
  await step("a refused login has the texts of Django", async () => {
    const error = await refusal(open("fail.40226", { api }).client.signIn());
    same([error.code, error.status, error.detail], ["wechat_blocked", 400, "code blocked"]);
  });
}

async function nest() {
  const api = load("nest").nest();
  const options = { api, silent: "never" };
  await walk(options, { path: "/api/v1/user/profile", renewal: "/api/v1/auth/refresh", native: ["token_revoked", "session_revoked"] });
}

/** The same through the cloud function, which hides headers. */
async function cloud() {
  const { nest: dialect } = load("nest");
  const { cloudFunction } = load("cloud");
  const { createClient } = load();
  const opened = (person) => {
    const one = open(person);
    const client = createClient({ baseUrl: "https://api-proxy", platform: cloudFunction(one.phone.wx), api: dialect(), silent: "never" });
    return { ...one, client };
  };
  const path = "/api/v1/user/profile";
  const { client, phone } = opened("alice");
  await step("sign in through the cloud function, and reach the backend", async () => {
    const { user } = await client.signIn();
    same((await client.request(path)).data.data.user_id, user.id);
  });
  await step("ten calls with an expired token: one renewal", async () => {
    await untilRefused(phone, path, sentToken(phone, path));
    await atOnce(10, () => client.request(path));
    same(phone.on("/api/v1/auth/refresh").length, 1, "renewals");
  });
  await step("a session that was ended elsewhere, by the envelope alone", async () => {
    await client.request(path);
    same((await ask("POST", "/auth/logout", { bearer: sentToken(phone, path).replace(/^Bearer /, "") })).status, 204);
    same((await refusal(client.request(path))).status, 401);
    same(client.getState().status, "signed-out");
  });
}

async function successData() {
  const api = load("success-data").successData();
  await walk({ api, silent: "never" }, { path: "/api/orders", renewal: "/auth/refresh", native: ["session_revoked"] });
  await step("the older phone button by the handle of the session", async () => {
    const { phoneButton } = load("phone");
    const { client, phone } = open("carol", { api });
    const button = phoneButton(client, { legacy: true });
    await button.prepare();
    const bound = await button.tapped(await press(phone, numbers.carol, { legacy: true }));
    same([bound.masked, client.getState().phoneBound], ["138****8002", true]);
    same((await refusal(button.tapped({ encryptedData: "%%%", iv: "x" }))).code, "phone_decrypt_failed");
    same((await phoneButton(client).tapped(await press(phone, numbers.dave))).masked, "138****8003", "the code's way");
  });
}

async function codeData() {
  const api = load("code-data").codeData();
  await walk({ api }, { path: ORDERS, renewal: "/wechatlogin", native: ["session_expired", "token_revoked"] });
  await step("a phone user: send, the text of the wait, a wrong code, the right one, and the end of the token", async () => {
    const { smsForm } = load("sms");
    const { client, phone } = open("eve", { api });
    const form = smsForm(client);
    await form.send(numbers.alice);
    same(form.getState().left, 60);
    const again = smsForm(open("frank", { api }).client);
    const wait = await refusal(again.send(numbers.alice));
    same([wait.status, wait.detail], [429, `请在${wait.retryAfter}秒后再试`]);
    again.close();
    const bad = await refusal(smsForm(client).send("123").finally(() => undefined));
    same([bad.code, bad.fields[0]], ["validation_failed", { field: "phone", message: "手机号必须是11位" }]);
    const { code } = await lastMessage();
    same((await refusal(form.submit(code === "000000" ? "000001" : "000000"))).detail, "验证码不正确");
    await form.submit(code);
    form.close();
    const user = (await client.request(ORDERS)).data.data.user_id;
    same(client.getState().user.id, user);
    await untilRefused(phone, ORDERS, sentToken(phone, ORDERS));
    same((await refusal(client.request(ORDERS))).code, "session_expired");
  });
}

/** Access tokens live for 3 seconds. Files, a stream and a WebSocket under the session. */
async function transfer() {
  const { transfers } = load("transfer");
  const { client, phone, start } = open("alice");
  const { upload, download, stream, socket } = transfers(client);
  const texts = [];
  const onChunk = (chunk) => texts.push(Buffer.from(chunk).toString());
  const upTo = (limit) => upload({ url: "/upload", filePath: `wxfile://${limit}`, name: "file", formData: { title: "t1" } });
  let user;

  await step("an upload reaches the backend whole, as that user", async () => {
    ({ user } = await client.signIn());
    const progress = [];
    const { data } = await upload({ url: "/upload", filePath: "wxfile://photo", name: "file", formData: { title: "t1" }, onProgress: (event) => progress.push(event) });
    same([data.data.user_id, progress.length], [user.id, 1]);
    for (const part of ['name="file"', "wxfile://photo", 'name="title"', "t1"]) holds(data.data.body.includes(part), `no ${part} in ${data.data.body}`);
  });

  await step("a download, and one that is refused", async () => {
    same((await download({ url: ORDERS })).tempFilePath, "http://tmp/file");
    const error = await refusal(download({ url: "/closed" }));
    same([error.code, error.status], ["forbidden", 403]);
  });

  await step("a stream: its first piece comes before its end, and a refusal is none of it", async () => {
    let first;
    const came = new Promise((resolve) => (first = resolve));
    const whole = stream({ url: "/feed", onChunk: (chunk) => first(onChunk(chunk)) });
    await came;
    same(texts, ["first"]);
    await client.request("/go");
    await whole;
    same(texts.join(""), "firstlast");
    const error = await refusal(stream({ url: "/closed", onChunk }));
    same([error.code, error.zh, texts.join("")], ["forbidden", "没有权限执行此操作", "firstlast"]);
  });

  const opened = async (transfer) => {
    const task = await transfer({ url: "/ws" });
    const echoed = new Promise((resolve) => task.onMessage(resolve));
    task.send({ data: "hello" });
    same((await echoed).data, "hello");
    return task;
  };

  await step("a WebSocket with the token in its header", async () => {
    (await opened(socket)).close({});
    same(Object.keys(phone.sent.at(-1).header), ["Authorization"]);
  });

  await step("with an expired token, all four at once: one refresh, and each goes on", async () => {
    await untilRefused(phone, ORDERS, sentToken(phone, "/ws"));
    // The client does not know that it has expired.
    const stored = phone.storage.get("menshen.session");
    for (const key of Object.keys(stored)) if (typeof stored[key] === "number" && stored[key] > 1e12) stored[key] = Date.now() + 1e6;
    const other = transfers(start());
    const before = phone.on("/auth/refresh").length;
    const [sent, got, , task] = await Promise.all([
      other.upload({ url: "/upload", filePath: "wxfile://b", name: "file" }),
      other.download({ url: ORDERS }),
      other.stream({ url: ORDERS, onChunk }),
      opened(other.socket),
    ]);
    task.close({});
    same([sent.data.data.user_id, got.statusCode], [user.id, 200]);
    holds(texts.at(-1).includes(user.id), texts.at(-1));
    same(phone.on("/auth/refresh").length - before, 1, "refreshes");
  });

  await step("a session that is ended elsewhere closes its WebSocket, and the client knows why", async () => {
    await client.reload();
    const task = await opened(socket);
    const closed = new Promise((resolve) => task.onClose(resolve));
    const seen = new Promise((resolve) => client.subscribe(({ status, reason }) => status === "signed-out" && resolve(reason)));
    same((await ask("POST", "/auth/logout", { authorization: sentToken(phone, "/ws") })).status, 204);
    same([(await closed).code, await seen], [1008, "session_revoked"]);
  });

  await step("nobody is signed in: nothing is sent", async () => {
    const before = phone.sent.length;
    for (const work of [upTo(1), download({ url: ORDERS }), stream({ url: ORDERS, onChunk }), socket({ url: "/ws" })]) {
      same((await refusal(work)).code, "session_revoked");
    }
    same(phone.sent.length, before, "requests");
  });
}

/** Access tokens live for 3 seconds, in a header of the team's own. */
async function header() {
  const { accountOf } = load("account");
  const { native } = load();
  const api = native({ tokenHeader: "_token", tokenPrefix: "" });
  const { client, phone } = open("alice", { api });
  let user;
  const own = () => phone.on(ORDERS).at(-1).header;

  await step("the token goes in the team's header alone, to the backend and to menshen", async () => {
    ({ user } = await client.signIn());
    same((await client.request(ORDERS)).data.data.user_id, user.id, "X-User-Id");
    same(Object.keys(own()), ["_token"]);
    const account = accountOf(client);
    same((await account.setNickname("小明")).nickname, "小明");
    same([(await account.me()).nickname, (await account.devices()).length], ["小明", 1]);
  });

  await step("a second credential is refused", async () => {
    const error = await refusal(client.request({ url: ORDERS, header: { Authorization: "Bearer a.b.c" } }));
    same([error.code, error.status], ["request_malformed", 400]);
  });

  await step("ten calls with an expired token: one refresh, ten answers", async () => {
    await untilRefused(phone, ORDERS, own()._token, "_token");
    const answers = await atOnce(10, () => client.request(ORDERS));
    answers.forEach(({ data }) => same(data.data.user_id, user.id, "X-User-Id"));
    same(phone.on("/auth/refresh").length, 1, "refreshes");
  });

  await step("signing out here and elsewhere", async () => {
    const other = open("alice", { api });
    await other.client.signIn();
    await accountOf(client).signOutOthers();
    same((await refusal(other.client.request(ORDERS))).code, "session_revoked");
    same(await accountOf(client).signOutEverywhere(), true);
    same((await fetch(`${server}${ORDERS}`, { headers: own() })).headers.get("x-menshen-error"), "token_revoked");
  });
}

/** From the tap on the phone number button to "signed in, with a phone", beside what teams write by hand. Nothing depends on it. */
async function time() {
  const { phoneButton } = load("phone");
  const called = (run, options) => new Promise((success, fail) => run({ ...options, success, fail }));
  const byHand = async ({ wx }, { code: phoneCode }) => {
    const { code } = await called(wx.login, {});
    const login = await called(wx.request, { url: `${server}/auth/wechat/login`, method: "POST", data: { code } });
    wx.setStorageSync("access_token", login.data.access_token);
    wx.setStorageSync("refresh_token", login.data.refresh_token);
    const header = { Authorization: `Bearer ${login.data.access_token}` };
    const bound = await called(wx.request, { url: `${server}/auth/phone/wechat`, method: "POST", data: { code: phoneCode }, header });
    same(bound.statusCode, 200, "status");
  };
  for (const distance of [0, 50]) {
    const taken = { package: [], "by hand": [] };
    for (let n = 0; n < 40; n += 1) {
      for (const [name, times] of Object.entries(taken)) {
        const { client, phone } = open(`${name.replace(" ", "")}${distance}x${n}`);
        const { serve } = phone;
        phone.serve = async (request) => {
          await new Promise((resolve) => setTimeout(resolve, distance));
          return serve(request);
        };
        const detail = await press(phone, `139${String(codes++).padStart(8, "0")}`);
        const start = performance.now();
        await (name === "package" ? phoneButton(client).tapped(detail) : byHand(phone, detail));
        times.push(performance.now() - start);
        same(phone.sent.length, name === "package" ? 1 : 2, "requests");
      }
    }
    const median = (times) => times.sort((a, b) => a - b)[times.length / 2].toFixed(1);
    await step(`${distance} ms away: package ${median(taken.package)} ms, by hand ${median(taken["by hand"])} ms`, () => undefined);
  }
}

await tell({ day, expiry, errors, transfer, header, time, simplejwt, nest, cloud, "success-data": successData, "code-data": codeData });
