// What the tests of the console run against: the real binary before a backend and a simulated WeChat, and Debian's Chromium.

import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

export const TOKEN = "0123456789abcdef0123456789abcdef-of-the-console";
export const PHONE = "13800000001";
/** What a page would run if it escaped too little. */
export const ATTACK = `<img src=x onerror="alert(1)"><script>alert(2)</script>'"`;
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const APP_ID = "wx0123456789abcdef";

const listen = (handler) =>
  new Promise((resolve) => {
    const server = createServer(handler).listen(0, "127.0.0.1", () => resolve({ server, url: `http://127.0.0.1:${server.address().port}` }));
  });

/** Starts everything. */
export async function start(binary) {
  const world = { wechatWorks: true };
  const backend = await listen((request, response) => {
    request.resume();
    response.end("ok");
  });
  // A code of this WeChat is its own openid.
  const wechat = await listen((request, response) => {
    if (!world.wechatWorks) {
      request.socket.destroy();
      return;
    }
    const code = new URL(request.url, "http://x").searchParams.get("js_code");
    response.end(JSON.stringify({ openid: code, session_key: Buffer.alloc(16, 1).toString("base64") }));
  });
  const directory = mkdtempSync(join(tmpdir(), "menshen-console-"));
  const file = join(directory, "config.toml");
  const config =
    `mode = "development"\n[server]\nlisten = ["127.0.0.1:0"]\nunready_grace = "1ms"\n` +
    `[admin]\nlisten = "127.0.0.1:0"\ntoken = "${TOKEN}"\n[upstream]\nurls = ["${backend.url}"]\n[store]\nurl = "memory:"\n` +
    `[limits]\nenabled = false\n[reload]\ninterval = "100ms"\n` +
    `[wechat]\nbase_url = "${wechat.url}"\napp_id = "${APP_ID}"\nsecret = "00112233445566778899aabbccddeeff"\n` +
    `[sms]\nproviders = ["log"]\n[[sms.test_phone]]\nphone = "+86${PHONE}"\ncode = "123456"\nuntil = "2099-01-01"\n` +
    `[[rule]]\nname = "catalogue"\npath = "/catalogue/**"\naccess = "public"\n[[rule]]\nname = "office"\npath = "/office/**"\nuser_types = ["admin"]\n`;
  writeFileSync(file, config);
  const menshen = spawn(binary, ["run", "--config", file], { cwd: directory, env: {}, stdio: ["ignore", "pipe", "inherit"] });
  const lines = [];
  const { http, admin } = await new Promise((resolve, reject) => {
    let rest = "";
    menshen.stdout.on("data", (part) => {
      const whole = (rest + part).split("\n");
      rest = whole.pop();
      lines.push(...whole);
      for (const line of whole) if (line.includes(`"message":"ready"`)) resolve(JSON.parse(line));
    });
    menshen.on("exit", () => reject(new Error(`menshen ended:\n${lines.join("\n")}`)));
  });
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  const post = (path, body, headers = {}) =>
    fetch(`http://${http}${path}`, { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  return Object.assign(world, {
    browser,
    config,
    lines,
    console: `http://${admin}/console`,
    get: (path, headers = {}) => fetch(`http://${http}${path}`, { headers }),
    post,
    /** Signs in as the user of this openid. */
    login: async (openid, more = {}) => {
      const response = await post("/auth/wechat/login", { code: openid, ...more });
      return { status: response.status, ...(await response.json()) };
    },
    /** Signs in as the user of the test phone. */
    loginByPhone: async () => {
      await post("/auth/sms/send", { phone: PHONE });
      const response = await post("/auth/sms/login", { phone: PHONE, code: "123456" });
      assert.equal(response.status, 200);
      return response.json();
    },
    writeConfig: (text) => writeFileSync(file, text),
    stop: async () => {
      await browser.close();
      menshen.removeAllListeners("exit");
      menshen.kill();
      backend.server.close();
      wechat.server.close();
      backend.server.closeAllConnections();
      wechat.server.closeAllConnections();
      rmSync(directory, { recursive: true, force: true });
    },
  });
}

/** A page of a new browser session, which fails on a dialog and on an error in the browser's console. */
export async function open(world, options = {}) {
  const context = await world.browser.newContext({ locale: "en-GB", viewport: { width: 1180, height: 800 }, ...options });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const faults = [];
  page.on("dialog", (dialog) => faults.push(`a dialog: ${dialog.message()}`));
  page.on("pageerror", (error) => faults.push(error.stack));
  // The browser reports each status of 400 and above; those are looked at by the tests.
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("the server responded with a status")) faults.push(message.text());
  });
  return Object.assign(page, { done: async () => (await context.close(), assert.deepEqual(faults, [])) });
}

export async function signIn(world, page) {
  await page.goto(world.console);
  await page.locator("#token").fill(TOKEN);
  await page.locator("main button").click();
  await page.locator("#figures").waitFor();
}

const shots = new URL("../../target/console-screenshots/", import.meta.url).pathname;

export async function shoot(page, name) {
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
}

/** Fails on what axe-core finds serious, and on a page that is too wide. */
export async function look(page, name) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => `${name}: ${id} ${nodes.map(({ html }) => html).join(" ")}`), []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
}
