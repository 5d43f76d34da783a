// The native example, drawn by `miniprogram-simulate` with WeChat's own compiler of templates in jsdom: taps, and the text on the page.

const assert = require("node:assert/strict");
const Module = require("node:module");
const path = require("node:path");
const { before, test } = require("node:test");
const { JSDOM } = require("jsdom");

const root = path.join(__dirname, "../native");
const dist = path.join(__dirname, "../../miniprogram_dist");
// What 构建 npm does with the package.
const resolve = Module._resolveFilename;
Module._resolveFilename = function (request, ...rest) {
  const found = /^menshen-miniprogram(?:\/(.*))?$/.exec(request);
  return found ? path.join(dist, `${found[1] || "index"}.js`) : resolve.call(this, request, ...rest);
};

const dom = new JSDOM("<!doctype html><body></body>", { url: "http://localhost/", pretendToBeVisual: true });
for (const name of ["window", "document", "HTMLElement", "Node", "Event", "CustomEvent", "MutationObserver", "getComputedStyle", "requestAnimationFrame"]) {
  Object.defineProperty(globalThis, name, { value: name === "window" ? dom.window : dom.window[name], configurable: true, writable: true });
}
for (const name of ["navigator", "location"]) Object.defineProperty(globalThis, name, { value: dom.window[name], configurable: true });
const simulate = require("miniprogram-simulate");

let Phone;
let Server;
let problem;
let phone;
let server;
let session;
let messages;

/** A phone on which the app has just been started. */
function start({ person = "alice" } = {}) {
  server = new Server();
  phone = new Phone({ serve: server.serve, person });
  messages = 0;
  const at = (where, reply) => server.faults.push((request) => (request.path === where ? reply(request) : undefined));
  at("/auth/sms/send", () => ((messages += 1), { status: 200, data: { expires_in: 300, resend_after: 60 } }));
  at("/auth/phone/wechat", ({ data, header }) => {
    if (!header.Authorization) return problem(401, "token_missing");
    return data.code === "good" ? { status: 200, data: { phone: "+8613800138000", masked: "138****8000", country_code: "86" } } : problem(409, "phone_conflict");
  });
  let profile = { id: person, user_type: "user", nickname: null, avatar_url: null, phone_masked: null };
  at("/auth/me", ({ method, data }) => {
    if (method === "POST") profile = { ...profile, ...data };
    return { status: 200, data: profile };
  });
  let devices = ["s1", "s2"];
  at("/auth/sessions", () => ({
    status: 200,
    data: { sessions: devices.map((id) => ({ id, client_type: id === "s1" ? "miniprogram" : "app", current: id === "s1", last_used_at: "2026-12-01T10:00:00Z" })) },
  }));
  at("/auth/sessions/s2", () => ((devices = ["s1"]), { status: 204 }));
  phone.wx.showActionSheet = ({ itemList, success }) => {
    phone.shown.push(`menu ${itemList.join(" ")}`);
    setTimeout(() => success({ tapIndex: phone.menu ?? 0 }));
  };
  phone.wx.onNeedPrivacyAuthorization = (listener) => void (phone.privacy = listener);
  phone.wx.openPrivacyContract = ({ success }) => success();
  globalThis.wx = phone.wx;
  for (const file of Object.keys(require.cache)) if (file.startsWith(root) || file.startsWith(dist)) delete require.cache[file];
  session = require("../native/services/session");
}

/** A page on the screen. */
function show(name) {
  const id = simulate.load(path.join(root, `pages/${name}/${name}`), { compiler: "official", rootPath: root });
  const component = simulate.render(id);
  const parent = document.createElement("div");
  document.body.appendChild(parent);
  component.attach(parent);
  return {
    component,
    text: () => parent.textContent.replace(/\s+/g, " ").trim(),
    leave: () => component.detach(),
  };
}

/** An element of the page or of the components in it. */
function find(component, selector, inside) {
  const within = inside ? component.querySelector(inside) : component;
  const found = within && within.querySelector(selector);
  assert.ok(found, `there is no ${selector}`);
  return found;
}

const tap = (element, detail) => element.dispatchEvent("tap", { bubbles: true, detail });
const event = (element, name, detail) => element.dispatchEvent(name, { bubbles: false, detail });

/** Waits until something holds; what happens meanwhile are tasks of the page. */
async function until(holds, what) {
  const end = Date.now() + 5000;
  while (!holds()) {
    assert.ok(Date.now() < end, what);
    await new Promise((done) => setImmediate(done));
  }
}

before(async () => {
  ({ Phone } = await import("../../test/stand-in/wx.mjs"));
  ({ Server, problem } = await import("../../test/stand-in/server.mjs"));
});

test("a page that needs a user opens the sheet, wants consent, and goes on after the login", async () => {
  start();
  const home = show("home");
  await until(() => home.text().includes("未登录"), "it does not show that nobody is signed in");
  assert.match(home.text(), /点击登录/);
  tap(find(home.component, ".orders"));
  await until(() => home.text().includes("微信一键登录"), "the sheet does not open");
  tap(find(home.component, ".wechat", "#login"));
  await until(() => home.text().includes("请先阅读并同意"), "it signs in without consent");
  assert.equal(phone.codes, 0);
  tap(find(home.component, ".consent", "#login"));
  tap(find(home.component, ".wechat", "#login"));
  await until(() => home.text().includes("已登录") && !home.text().includes("微信一键登录"), "the sheet does not close");
  await until(() => phone.on("/orders").length === 1, "the request does not go on");
  await until(() => /订单$/.test(home.text()), "the orders are not shown");
  assert.match(home.text(), /点击设置资料/);
  home.leave();
});

test("closing the sheet tells nothing, a refused login says why", async () => {
  start();
  const home = show("home");
  tap(find(home.component, ".orders"));
  await until(() => home.text().includes("微信一键登录"), "the sheet does not open");
  tap(find(home.component, ".close", "#login"));
  await until(() => !home.text().includes("微信一键登录"), "it does not close");
  assert.deepEqual(phone.shown, []);
  tap(find(home.component, ".orders"));
  await until(() => home.text().includes("微信一键登录"), "the sheet does not open again");
  server.faults.unshift(({ path: where }) => (where === "/auth/wechat/login" ? problem(403, "wechat_blocked") : undefined));
  tap(find(home.component, ".consent", "#login"));
  tap(find(home.component, ".wechat", "#login"));
  await until(() => home.text().includes("微信限制了此账号登录"), "it does not say why");
  home.leave();
});

test("one tap on the phone button signs in and binds; a refusal is shown; the privacy notice is answered", async () => {
  start();
  const home = show("home");
  tap(find(home.component, ".orders"));
  await until(() => home.text().includes("手机号快捷登录"), "no button");
  tap(find(home.component, ".consent", "#login"));
  const button = () => find(home.component, ".phone", "#login");
  event(button(), "getphonenumber", { errMsg: "getPhoneNumber:fail user deny" });
  await until(() => home.text().includes("您未授权手机号"), "the refusal is not shown");
  const answers = [];
  phone.privacy((answer) => answers.push(answer), { referrer: "getPhoneNumber" });
  await until(() => home.text().includes("隐私保护指引"), "no notice");
  event(find(home.component, "#privacy-agree", "#login"), "agreeprivacyauthorization", {});
  await until(() => answers.length === 1, "it is not answered");
  assert.deepEqual(answers, [{ event: "agree", buttonId: "privacy-agree" }]);
  event(button(), "getphonenumber", { errMsg: "getPhoneNumber:ok", code: "good" });
  await until(() => !home.text().includes("手机号快捷登录"), "it does not sign in");
  await until(() => session.client.getState().phoneBound, "it does not bind");
  assert.equal(phone.codes, 1);
  home.leave();
});

test("a code by text message: the countdown, a wrong code, and the login", async () => {
  start();
  const home = show("home");
  tap(find(home.component, ".orders"));
  await until(() => home.text().includes("短信验证码登录"), "no way to it");
  tap(find(home.component, ".consent", "#login"));
  tap(find(home.component, ".other", "#login"));
  await until(() => home.text().includes("获取验证码"), "no form");
  const form = find(home.component, "#sms", "#login");
  event(find(form, ".phone"), "input", { value: "13800138000" });
  tap(find(form, ".send"));
  await until(() => /60 秒后重发/.test(home.text()), "no countdown");
  tap(find(form, ".send"));
  event(find(form, ".code"), "input", { value: "000000" });
  tap(find(form, ".submit"));
  await until(() => home.text().includes("验证码错误或已过期"), "the wrong code is not told");
  event(find(form, ".code"), "input", { value: "123456" });
  tap(find(form, ".submit"));
  await until(() => session.client.getState().status === "signed-in", "it does not sign in");
  assert.equal(messages, 1);
  home.leave();
});

test("the profile: nickname, phone, and somebody else's phone", async () => {
  start();
  await session.client.signIn();
  const profile = show("profile");
  await until(() => profile.text().includes("未绑定"), "no profile");
  event(find(profile.component, ".nickname"), "blur", { value: "小明" });
  await until(() => session.client.getState().user.nickname === "小明", "no nickname");
  event(find(profile.component, ".bind"), "getphonenumber", { errMsg: "getPhoneNumber:ok", code: "taken" });
  await until(() => phone.shown.includes("toast 该手机号已绑定其他账号"), "the conflict is not told");
  event(find(profile.component, ".bind"), "getphonenumber", { errMsg: "getPhoneNumber:ok", code: "good" });
  await until(() => profile.text().includes("138****8000"), "the phone is not shown");
  profile.leave();
});

test("devices: this one is marked, another one is signed out", async () => {
  start();
  await session.client.signIn();
  const page = show("devices");
  await until(() => page.text().includes("手机应用"), "no devices");
  assert.match(page.text(), /微信小程序 本机/);
  const [, other] = page.component.querySelectorAll(".end");
  tap(other);
  await until(() => !page.text().includes("手机应用"), "it is not signed out");
  page.leave();
});

test("the menu of who has signed in, and signing out", async () => {
  start();
  await session.client.signIn();
  const home = show("home");
  await until(() => home.text().includes("已登录"), "not signed in");
  phone.menu = 2;
  tap(find(home.component, ".card"));
  await until(() => home.text().includes("未登录") && phone.shown.length === 2, "it does not sign out");
  assert.deepEqual(phone.shown, ["menu 编辑资料 登录设备 退出登录", "toast 已退出登录"]);
  home.leave();
});
