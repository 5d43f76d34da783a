// The demo's page in Chromium, before the real binary: `MENSHEN=target/debug/menshen node --test demo.test.mjs`. Each button is pressed; in
// both languages, on a phone, in the dark, without JavaScript and by keyboard alone. Screenshots: target/console-screenshots; those of the
// READMEs (docs/images) are written again where README_SCREENSHOTS is set.

import { after, before, beforeEach, afterEach, test } from "node:test";
import { spawn } from "node:child_process";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { crc32, deflateSync, inflateSync } from "node:zlib";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { ATTACK, look, open, shoot } from "./stand.mjs";

const IMAGES = new URL("../../docs/images/", import.meta.url).pathname;

let browser, demo;

before(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
});
after(() => browser?.close());

// Each test has a demo of its own, whose Alice has not signed in yet.
beforeEach(async () => {
  demo = await startDemo();
});
afterEach(() => demo?.stop());

/** Starts the demo; resolves when its tour is over. */
async function startDemo() {
  const child = spawn(process.env.MENSHEN, ["demo"], { env: { PATH: process.env.PATH }, stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  await new Promise((resolve, reject) => {
    child.stdout.on("data", (part) => {
      text += part;
      if (text.includes("Ctrl-C ends")) resolve();
    });
    child.on("exit", () => reject(new Error(`the demo ended:\n${text}`)));
  });
  const [first] = text.trim().split("\n");
  const url = first.match(/^In a browser: (http:\/\/127\.0\.0\.1:\d+)$/)?.[1];
  assert.ok(url, `the address is printed first, not: ${first}`);
  return {
    url,
    browser,
    stop: () =>
      new Promise((resolve) => {
        child.removeAllListeners("exit");
        child.on("exit", (code) => resolve(assert.equal(code, 0)));
        child.kill("SIGINT");
      }),
  };
}

/** The page, in a browser session of its own. */
async function load(options = {}) {
  const page = await open(demo, options);
  const response = await page.goto(demo.url);
  assert.equal(response.status(), 200);
  return page;
}

const button = (page, step) => page.locator(`button[data-step="${step}"]`);
const latest = (page) => page.locator("#latest");

/** Presses a button; waits until the story of this tap stands there. */
async function tap(page, step, status) {
  const number = Number((await latest(page).locator(".count").count()) ? await latest(page).locator(".count").textContent() : 0) + 1;
  await button(page, step).click();
  await latest(page).locator(".count").getByText(String(number), { exact: true }).waitFor();
  await latest(page).locator("header .tag").getByText(status).waitFor();
  return latest(page).innerText();
}

/** All that a phone number needs: a login, the number, and a logout. */
async function bindAndLeave(page) {
  await tap(page, "sign-in", "200 OK");
  await tap(page, "add-phone", "200 OK");
  await tap(page, "sign-out", "204 No Content");
}

async function everyButton(page) {
  for (const step of ["send-sms-code", "sign-in-by-sms", "forged-headers", "old-token"]) {
    assert.ok(await button(page, step).isDisabled(), step);
    assert.ok((await page.locator(`#why-not-${step}`).innerText()).length > 5, step);
  }
  let text = await tap(page, "sign-in", "200 OK");
  for (const shown of ["POST /auth/wechat/login", '"code": "alice-of-the-page-1"', "/sns/jscode2session", "js_code=alice-of-the-page-1", '"openid"', '"is_new_user": true']) {
    assert.ok(text.includes(shown), `${shown} in ${text}`);
  }
  await page.locator(".profile").getByText("no number yet").waitFor();

  text = await tap(page, "orders", "200 OK");
  const id = text.match(/x-user-id: ([0-9a-f-]{36})/)[1];
  assert.match(text, /Authorization: Bearer eyJ\S{7}…/);
  assert.ok(!/eyJ[\w.-]{30}/.test(await page.content()), "no whole token is on the page");
  assert.equal(await latest(page).locator(".line.stripped .name").getByText("Authorization").count(), 1);
  assert.ok((await page.locator(".toast").innerText()).includes(id.slice(-6)));

  text = await tap(page, "forged-headers", "200 OK");
  const stripped = await latest(page).locator(".line.stripped").allInnerTexts();
  for (const name of ["X-User-Id: 1", "x_user_id: 1", "X-User-Role: administrator"]) {
    assert.ok(stripped.some((line) => line.includes(name) && /only menshen may set it|reserved_prefixes/.test(line)), `${name} in ${stripped}`);
  }
  const set = await latest(page).locator(".line.set").allInnerTexts();
  assert.equal(set.filter((line) => line.includes("x-user-id")).length, 1);
  assert.ok(set.some((line) => line.includes(`x-user-id: ${id}`)));

  text = await tap(page, "forged-headers-on-public-page", "200 OK");
  assert.ok(text.includes("x-auth-state: anonymous") && !text.includes(`x-user-id: ${id}`), text);
  text = await tap(page, "orders-without-token", "401 Unauthorized");
  assert.ok(text.includes("x-menshen-error: token_missing") && text.includes("was not asked"), text);
  text = await tap(page, "odd-path", "400 Bad Request");
  assert.ok(text.includes("GET /menu/%2e%2e/orders") && text.includes("path_ambiguous"), text);

  text = await tap(page, "refresh", "200 OK");
  assert.ok(text.includes("both tokens are new") && text.includes(id), text);
  text = await tap(page, "add-phone", "200 OK");
  assert.ok(text.includes("/wxa/business/getuserphonenumber"), text);
  await page.locator(".profile").getByText("139****9000").waitFor();
  await tap(page, "sign-out", "204 No Content");
  text = await tap(page, "old-token", "401 Unauthorized");
  assert.ok(text.includes("token_revoked") && text.includes("was not asked"), text);

  text = await tap(page, "come-back", "200 OK");
  assert.ok(text.includes('"is_new_user": false') && text.includes(id), text);
  await tap(page, "sign-out", "204 No Content");
  text = await tap(page, "send-sms-code", "200 OK");
  const code = (await page.locator(".message .digits").innerText()).trim();
  assert.match(code, /^\d{6}$/);
  assert.ok(text.includes("PhoneNumbers=13900139000") && text.includes(code), text);
  assert.equal(await page.locator("#code").inputValue(), code);
  // The gap between two messages.
  await tap(page, "send-sms-code", "429 Too Many Requests");
  text = await tap(page, "sign-in-by-sms", "200 OK");
  assert.ok(text.includes(id), text);
  assert.equal(await page.locator(".message").count(), 0);
  assert.equal(await page.locator("details.tap").count(), 14);
}

test("each button does what it says, and its story is of what was sent", async () => {
  const page = await load();
  await everyButton(page);
  assert.equal(await page.locator(".claims .bad").count(), 1, "only the second message was not sent");
  await page.locator("details.tap summary").first().click();
  await look(page, "all taps");
  await shoot(page, "demo-all-taps");
  await page.done();
});

test("everything works without JavaScript", async () => {
  const page = await load({ javaScriptEnabled: false });
  await everyButton(page);
  assert.equal(new URL(page.url()).hash, "#latest");
  await page.getByRole("link", { name: "中文" }).click();
  await page.getByRole("heading", { name: "每次点击的经过" }).waitFor();
  await tap(page, "sign-out", "204 No Content");
  await page.getByRole("button", { name: "微信登录" }).waitFor();
  await page.done();
});

test("the page is sound in both languages, both themes, and on a phone", async () => {
  const phone = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 };
  for (const [name, options] of [
    ["light", {}],
    ["dark", { colorScheme: "dark" }],
    ["phone", phone],
    ["chinese", { locale: "zh-CN" }],
    ["chinese-phone", { ...phone, locale: "zh-CN", colorScheme: "dark" }],
  ]) {
    const page = await load(options);
    assert.equal(await page.getAttribute("html", "lang"), name.startsWith("chinese") ? "zh-CN" : "en");
    const shot = async (of) => {
      await look(page, `${name} ${of}`);
      await shoot(page, `demo-${name}-${of}`);
    };
    await shot("first");
    // The first one is new; in the turns after it she comes back.
    const signIn = (await button(page, "sign-in").count()) > 0 ? "sign-in" : "come-back";
    await tap(page, signIn, "200 OK");
    await shot("sign-in");
    await tap(page, "forged-headers", "200 OK");
    await shot("forged");
    await tap(page, "add-phone", "200 OK");
    await tap(page, "odd-path", "400 Bad Request");
    await shot("odd-path");
    await tap(page, "sign-out", "204 No Content");
    if (name === "light") {
      await tap(page, "send-sms-code", "200 OK");
    }
    await shot("signed-out");
    await page.done();
  }
});

test("on a phone a tap leads to its story, and on a desk it does not jump", async () => {
  const top = (page) => page.evaluate(() => document.getElementById("story").getBoundingClientRect().top);
  const small = await load({ viewport: { width: 360, height: 740 }, reducedMotion: "reduce" });
  await tap(small, "sign-in", "200 OK");
  assert.ok((await top(small)) < 100);
  await small.done();
  const page = await load();
  await tap(page, "orders", "200 OK");
  assert.equal(await page.evaluate(() => scrollY), 0);
  assert.equal(await page.evaluate(() => document.activeElement.dataset.step), "orders");
  assert.match(await page.locator("#announcement").textContent(), /200 OK/);
  await page.done();
});

test("a tap in another window leaves a clear sentence", async () => {
  const page = await load();
  const other = await page.context().newPage();
  await other.goto(demo.url);
  await tap(page, "sign-in", "200 OK");
  // This window still has the button.
  await button(other, "sign-in").click();
  await latest(other).getByText("Alice is signed in.").waitFor();
  await latest(other).getByText("Nothing was sent.").waitFor();
  await page.done();
});

test("what is typed is a text, whatever it is", async () => {
  const page = await load();
  await bindAndLeave(page);
  await tap(page, "send-sms-code", "200 OK");
  await page.locator("#code").fill(ATTACK.slice(0, 64));
  await button(page, "sign-in-by-sms").click();
  await latest(page).locator("header .tag").getByText(/^4/).waitFor();
  assert.ok((await latest(page).innerText()).includes("<img src=x"));
  assert.equal(await page.locator("main img, main script").count(), 0);
  // A wrong code is refused, and the right one still signs in.
  await page.locator("#code").fill("000000");
  await tap(page, "sign-in-by-sms", /^40/);
  await tap(page, "sign-in-by-sms", "200 OK");
  await page.done();
});

test("everything is reached by the keyboard alone", async () => {
  const page = await load();
  const tabTo = async (step) => {
    for (let n = 0; n < 40; n += 1) {
      await page.keyboard.press("Tab");
      if ((await page.evaluate(() => document.activeElement.dataset.step)) === step) {
        assert.equal(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "solid", step);
        return;
      }
    }
    assert.fail(`Tab does not come to ${step}`);
  };
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await tabTo("sign-in");
  await page.keyboard.press("Enter");
  await latest(page).getByText("Alice signs in").waitFor();
  // The button is gone, so the story has the focus.
  assert.equal(await page.evaluate(() => document.activeElement.id), "story");
  await page.keyboard.press("Shift+Tab");
  await page.goto(demo.url);
  await tabTo("forged-headers");
  await page.keyboard.press("Space");
  await latest(page).getByText("Alice claims to be user 1").waitFor();
  await page.keyboard.press("Space");
  await page.locator("details.tap").nth(1).waitFor();
  await page.done();
});

test("another name and a page of another origin are refused", async () => {
  const { port } = new URL(demo.url);
  const status = await new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`GET / HTTP/1.1\r\nHost: evil.example:${port}\r\nConnection: close\r\n\r\n`));
    let text = "";
    socket.on("data", (part) => (text += part));
    socket.on("end", () => resolve(text.split(" ")[1]));
  });
  assert.equal(status, "421");
  // A page of another port posts a form.
  const other = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end(`<form method="post" action="${demo.url}/tap"><input name="step" value="odd-path"><button>go</button></form>`);
  });
  await new Promise((resolve) => other.listen(0, "127.0.0.1", resolve));
  const page = await open(demo);
  await page.goto(`http://127.0.0.1:${other.address().port}/`);
  const [response] = await Promise.all([page.waitForResponse((one) => one.url().endsWith("/tap")), page.getByRole("button").click()]);
  assert.equal(response.status(), 403);
  await page.goto(demo.url);
  assert.equal(await latest(page).count(), 0, "nothing was sent");
  other.close();
  other.closeAllConnections();
  await page.done();
});

/** The rows of a PNG of the browser (8-bit RGB, not interlaced), without their filters. */
function pixelRows(header, data) {
  assert.deepEqual([...header.subarray(8)], [8, 2, 0, 0, 0]);
  const [stride, height] = [3 * header.readUInt32BE(0), header.readUInt32BE(4)];
  const bytes = inflateSync(data);
  const rows = [];
  for (let y = 0; y < height; y += 1) {
    const filter = bytes[y * (stride + 1)];
    const row = bytes.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1));
    const above = rows[y - 1] ?? Buffer.alloc(stride);
    for (let x = 0; x < stride; x += 1) {
      const [left, up, corner] = [x < 3 ? 0 : row[x - 3], above[x], x < 3 ? 0 : above[x - 3]];
      const distances = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      const paeth = distances[0] <= distances[1] && distances[0] <= distances[2] ? left : distances[1] <= distances[2] ? up : corner;
      row[x] += [0, left, up, (left + up) >> 1, paeth][filter];
    }
    rows.push(row);
  }
  return rows;
}

/** A PNG with the 256 commonest of its colours, which takes half the space and looks the same. */
function smaller(png) {
  const chunks = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at)) {
    chunks.push({ type: png.toString("latin1", at + 4, at + 8), data: png.subarray(at + 8, at + 8 + png.readUInt32BE(at)) });
  }
  const header = Buffer.from(chunks.find(({ type }) => type === "IHDR").data);
  const rows = pixelRows(header, Buffer.concat(chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data)));
  const counts = new Map();
  const colours = rows.map((row) => Array.from({ length: row.length / 3 }, (_, x) => row.readUIntBE(3 * x, 3)));
  for (const colour of colours.flat()) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const palette = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one)).slice(0, 256);
  const channels = (colour) => [colour >> 16, (colour >> 8) & 255, colour & 255];
  const distance = (one, other) => channels(one).reduce((sum, value, n) => sum + (value - channels(other)[n]) ** 2, 0);
  const nearest = (colour) => palette.reduce((best, candidate, n) => (distance(colour, candidate) < distance(colour, palette[best]) ? n : best), 0);
  const indexes = new Map([...counts.keys()].map((colour) => [colour, nearest(colour)]));
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  header[9] = 3;
  const data = Buffer.concat(colours.map((row) => Buffer.from([0, ...row.map((colour) => indexes.get(colour))])));
  return Buffer.concat([
    png.subarray(0, 8),
    chunk("IHDR", header),
    chunk("PLTE", Buffer.from(palette.flatMap(channels))),
    chunk("IDAT", deflateSync(data, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

// The pictures of the READMEs.
for (const [file, locale] of [
  ["demo.en.png", "en-GB"],
  ["demo.zh-CN.png", "zh-CN"],
]) {
  test(`the picture ${file} can be taken`, async () => {
    const page = await load({ locale, viewport: { width: 1100, height: 1290 } });
    await tap(page, "sign-in", "200 OK");
    await tap(page, "add-phone", "200 OK");
    await tap(page, "forged-headers", "200 OK");
    await page.evaluate(() => document.activeElement.blur());
    mkdirSync(IMAGES, { recursive: true });
    const picture = smaller(await page.screenshot({ clip: { x: 0, y: 57, width: 1100, height: 1230 } }));
    if (process.env.README_SCREENSHOTS) writeFileSync(join(IMAGES, file), picture);
    for (const size of [picture.length, statSync(join(IMAGES, file)).size]) assert.ok(size < 200 * 1024, `${size} bytes`);
    await page.done();
  });
}
