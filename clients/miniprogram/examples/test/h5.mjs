// The Taro and uni-app examples, built for H5, in Chromium before a running menshen (CORS on): `node h5.mjs MENSHEN_BINARY EXAMPLE...`.
// Chromium is Debian's; a screenshot of each is kept in `shots/`.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [binary, ...examples] = process.argv.slice(2);
const here = new URL(".", import.meta.url).pathname;
/** A phone for each example: a code was sent to the one before a moment ago. */
const phones = examples.map((_, n) => `1380000000${n}`);

const listen = (handler) =>
  new Promise((resolve) => {
    const server = createServer(handler).listen(0, "127.0.0.1", () => resolve({ server, url: `http://127.0.0.1:${server.address().port}` }));
  });

/** A backend that says whose request it got. */
const backend = await listen((request, response) => {
  response.setHeader("content-type", "application/json");
  response.setHeader("access-control-allow-origin", "*");
  response.end(JSON.stringify({ user: request.headers["x-user-id"] ?? null }));
});

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": "application/json", ".svg": "image/svg+xml" };
let root = here;
const pages = await listen((request, response) => {
  const path = join(root, decodeURIComponent(new URL(request.url, "http://x").pathname));
  const file = existsSync(path) && statSync(path).isFile() ? path : join(root, "index.html");
  response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
  response.end(readFileSync(file));
});

const directory = mkdtempSync(join(tmpdir(), "menshen-h5-"));
writeFileSync(
  join(directory, "config.toml"),
  `mode = "development"\n[server]\nlisten = ["127.0.0.1:0"]\nunready_grace = "1ms"\n[admin]\nlisten = "127.0.0.1:0"\n` +
    `[upstream]\nurls = ["${backend.url}"]\n[store]\nurl = "memory:"\n[cors]\nallowed_origins = ["${pages.url}"]\n` +
    `[sms]\nproviders = ["log"]\n${phones.map((phone) => `[[sms.test_phone]]\nphone = "+86${phone}"\ncode = "123456"\nuntil = "2099-01-01"\n`).join("")}` +
    `[[rule]]\nname = "orders"\npath = "/orders"\ncors = true\n`,
);
const menshen = spawn(binary, ["run"], { cwd: directory, stdio: ["ignore", "pipe", "inherit"] });
const address = await new Promise((resolve, reject) => {
  let text = "";
  menshen.stdout.on("data", (part) => {
    text += part;
    const found = /"http":"(127\.0\.0\.1:\d+)"/.exec(text);
    if (found) resolve(found[1]);
  });
  menshen.on("exit", () => reject(new Error(`menshen ended:\n${text}`)));
});

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  for (const [n, example] of examples.entries()) {
    const folder = join(here, "..", example);
    execFileSync("npm", ["run", "--silent", "build:h5"], {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, MENSHEN_BASE_URL: `http://${address}`, NODE_ENV: "production" },
    });
    root = join(folder, example === "uni" ? "dist/build/h5" : "dist/h5");
    await drive(example, phones[n]);
    console.log(`ok: ${example}`);
  }
} finally {
  await browser.close();
  menshen.kill();
  pages.server.close();
  backend.server.close();
  rmSync(directory, { recursive: true, force: true });
}

async function drive(example, phone) {
  const context = await browser.newContext({ viewport: { width: 375, height: 720 }, deviceScaleFactor: 2, locale: "zh-CN" });
  const page = await context.newPage();
  const requests = [];
  page.on("request", (request) => requests.push(`${request.method()} ${new URL(request.url()).pathname}`));
  if (process.env.DEBUG_H5) page.on("response", async (r) => console.log(r.status(), r.request().method(), r.url(), (await r.text().catch(() => "")).slice(0, 150)));
  if (process.env.DEBUG_H5) page.on("console", (m) => console.log("console", m.text()));
  if (process.env.DEBUG_H5) page.on("requestfailed", (r) => console.log("failed", r.method(), r.url(), r.failure().errorText));
  page.on("pageerror", (fault) => assert.fail(`${example}: ${fault.stack}`));
  const sees = (text) => page.getByText(text).first().waitFor({ timeout: 6_000 });
  const count = (line) => requests.filter((request) => request === line).length;
  mkdirSync(join(here, "shots"), { recursive: true });
  const shoot = (name) => page.screenshot({ path: join(here, "shots", `${example}-${name}.png`) });

  await page.goto(`${pages.url}/index.html`);
  await sees("未登录");
  await shoot("signed-out");
  await page.locator(".orders").click();
  await sees("登录后继续");
  await page.locator(".consent").click();
  await page.locator(".phone input").fill(phone);
  await page.locator(".send").click();
  await sees(/秒后重发/).catch(async (e) => { await shoot("fault"); throw e; });
  await page.locator(".code input").fill("000000");
  await page.locator(".submit").click();
  await sees("验证码错误或已过期");
  await shoot("sheet");
  await page.locator(".code input").fill("123456");
  await page.locator(".submit").click();
  await sees("订单已加载");
  await sees(`138****${phone.slice(-4)}`);
  assert.equal(count("GET /orders"), 1, "the request that opened the sheet goes on, once");
  await page.locator(".devices").click();
  await sees("（本机）");
  await shoot("signed-in");
  // A page that is loaded again is still signed in.
  await page.reload();
  await sees(`138****${phone.slice(-4)}`);
  await page.locator(".orders").click();
  await sees("订单已加载");
  await page.locator(".sign-out").click();
  await sees("未登录");
  assert.equal(count("POST /auth/logout"), 1);
  assert.equal(count("POST /auth/sms/login"), 2);
  await context.close();
}
