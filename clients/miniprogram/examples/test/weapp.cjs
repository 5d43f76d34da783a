// What Taro and uni-app compile for WeChat is loaded as WeChat loads it: the app, then its page, in a place without a browser's globals.

const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

function load(root) {
  const registered = [];
  const calls = [];
  const storage = new Map();
  const own = {
    getStorageSync: (key) => (calls.push(`get ${key}`), storage.get(key) ?? ""),
    setStorageSync: (key, value) => void storage.set(key, value),
    canIUse: () => true,
    getSystemInfoSync: () => ({ platform: "ios", SDKVersion: "3.0.0", windowWidth: 375, windowHeight: 700, pixelRatio: 2, language: "zh_CN" }),
    getAccountInfoSync: () => ({ miniProgram: { appId: "wx0" } }),
    getLaunchOptionsSync: () => ({ path: "pages/index/index", query: {}, scene: 1001 }),
    getEnterOptionsSync: () => ({ path: "pages/index/index", query: {}, scene: 1001 }),
    getMenuButtonBoundingClientRect: () => ({ top: 0, bottom: 0, height: 0 }),
  };
  for (const name of ["getAppBaseInfo", "getWindowInfo", "getDeviceInfo", "getSystemSetting", "getAppAuthorizeSetting"]) own[name] = own.getSystemInfoSync;
  // uni-app copies what is there.
  for (const name of ["setStorage", "getStorage", "request", "login", "onAppShow", "onAppHide", "onError"]) own[name] = () => undefined;
  const wx = new Proxy(own, { get: (target, name) => target[name] ?? (typeof name === "string" && /^[a-z]/.test(name) && name !== "webpackJsonp" ? () => undefined : undefined) });
  const register = (kind) => (definition) => void registered.push([kind, definition]);
  const context = vm.createContext({
    wx, global: {}, console, setTimeout, clearTimeout, setInterval, clearInterval,
    App: register("App"), Page: register("Page"), Component: register("Component"), Behavior: (definition) => definition,
    getApp: () => ({}), getCurrentPages: () => [],
  });
  const modules = new Map();
  const run = (file) => {
    if (modules.has(file)) return modules.get(file).exports;
    const module = { exports: {} };
    modules.set(file, module);
    const wanted = (name) => run(path.join(path.dirname(file), /\.js$/.test(name) ? name : `${name}.js`));
    vm.runInContext(`(function (require, module, exports) {${readFileSync(file, "utf8")}\n})`, context, { filename: file })(wanted, module, module.exports);
    return module.exports;
  };
  run(path.join(root, "app.js"));
  run(path.join(root, "pages/index/index.js"));
  return { kinds: registered.map(([kind]) => kind), calls };
}

for (const [name, root] of [["taro", "../taro/dist/weapp"], ["uni", "../uni/dist/build/mp-weixin"]]) {
  const { kinds, calls } = load(path.join(__dirname, root));
  assert.ok(kinds.includes("App"), `${name}: no App`);
  assert.ok(kinds.includes("Page") || kinds.includes("Component"), `${name}: no page`);
  assert.ok(calls.includes("get menshen.session"), `${name}: the session does not look into storage`);
  console.log(`ok: ${name} for WeChat, ${kinds.join(" ")}`);
}
