// Runs the parts of the story before a menshen of one's own, without cargo: `node by-hand.mjs path/to/menshen [PART...]`.
//
// `tests/it/miniprogram.rs` does the same in `./run test`. WeChat is the simulated one of `menshen demo`, which stays up meanwhile.

import { spawn } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve as absolute } from "node:path";

const [given, ...wanted] = process.argv.slice(2);
/** From wherever it is started. */
const binary = absolute(given);
const APP_ID = "wx0000000000000000";
const SHORT = 'access_ttl = "3s"\n';
const TOKENS = `[tokens]\n${SHORT}leeway = "0s"\n`;
const dialect = (kind) => `[[dialect]]\nkind = "${kind}"\n${SHORT}${TOKENS}`;

/** Each part, and what its menshen has besides. */
export const parts = {
  day: "",
  expiry: TOKENS,
  header: `[gate]\ntoken_header = "_token"\n${TOKENS}`,
  errors: `[limits]\nlogin_per_ip = "2/1h"\n[upstream]\nurls = ["unix:/nonexistent/backend.sock"]\n`,
  time: "",
  simplejwt: dialect("simplejwt"),
  nest: dialect("nest"),
  cloud: dialect("nest"),
  "success-data": dialect("success-data"),
  "code-data": dialect("code-data"),
};

const listen = (handler) =>
  new Promise((resolve) => {
    const server = createServer(handler).listen(0, "127.0.0.1", () => resolve({ server, url: `http://127.0.0.1:${server.address().port}` }));
  });

const bodyOf = async (request) => {
  let body = "";
  for await (const part of request) body += part;
  return body;
};

/** Until a process has printed something that matches. */
const printed = (child, pattern) =>
  new Promise((resolve, reject) => {
    let text = "";
    const look = (part) => {
      text += part;
      const found = pattern.exec(text);
      if (found) resolve(found);
    };
    child.stdout.on("data", look);
    child.stderr.on("data", look);
    child.on("exit", () => reject(new Error(`it ended:\n${text}`)));
  });

let last = "{}";
const inbox = await listen(async (request, response) => {
  const url = new URL(request.url, "http://inbox");
  if (url.pathname === "/send") last = await bodyOf(request);
  response.setHeader("content-type", "application/json");
  response.end(url.pathname === "/encrypted" ? encrypted(url.searchParams) : url.pathname === "/last" ? last : "{}");
});
const backend = await listen((request, response) => {
  const data = { user_id: request.headers["x-user-id"] ?? null, user_type: request.headers["x-user-type"] ?? null };
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ code: 200, success: true, message: "success", data }));
});

function encrypted(query) {
  const login = query.get("login");
  const timestamp = Math.floor(Date.now() / 1000);
  const first16 = (text) => createHash("sha256").update(text).digest().subarray(0, 16);
  const number = query.get("phone");
  const plain = JSON.stringify({ phoneNumber: number, purePhoneNumber: number, countryCode: "86", watermark: { timestamp, appid: APP_ID } });
  const iv = first16(`iv ${APP_ID} ${login} ${timestamp}`);
  const cipher = createCipheriv("aes-128-cbc", first16(`session key ${APP_ID} ${login}`), iv);
  return JSON.stringify({ encryptedData: cipher.update(plain, "utf8", "base64") + cipher.final("base64"), iv: iv.toString("base64") });
}

const demo = spawn(binary, ["demo"], { stdio: ["ignore", "pipe", "pipe"], cwd: tmpdir() });
const [, wechat] = await printed(demo, /simulated WeChat (127\.0\.0\.1:\d+)/);
let failed = false;
for (const part of wanted.length ? wanted : Object.keys(parts)) {
  const directory = mkdtempSync(join(tmpdir(), "menshen-story-"));
  const extra = parts[part];
  const upstream = extra.includes("[upstream]") ? "" : `[upstream]\nurls = ["${backend.url}"]\n`;
  writeFileSync(
    join(directory, "config.toml"),
    `mode = "development"\n[server]\nlisten = ["127.0.0.1:0"]\nunready_grace = "1ms"\n[admin]\nlisten = "127.0.0.1:0"\n${upstream}[store]\nurl = "memory:"\n` +
      `[wechat]\nbase_url = "http://${wechat}"\napp_id = "${APP_ID}"\nsecret = "the-demo-has-nothing-to-hide"\nlegacy_decrypt = true\n` +
      `[sms]\nproviders = ["webhook"]\n[sms.webhook]\nurl = "${inbox.url}/send"\nsecret = "a secret of the webhook, long enough"\nallow_private = true\n` +
      `${extra.includes("[limits]") ? "" : '[limits]\nenabled = false\n'}${extra}`,
  );
  const menshen = spawn(binary, ["run"], { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
  const [, address] = await printed(menshen, /"http":"(127\.0\.0\.1:\d+)"/);
  const script = new URL("story.mjs", import.meta.url).pathname;
  const story = spawn(process.execPath, [script, part], {
    stdio: "inherit",
    env: { ...process.env, MENSHEN: `http://${address}`, INBOX: inbox.url },
  });
  console.log(`== ${part}`);
  failed = (await new Promise((resolve) => story.on("exit", resolve))) !== 0 || failed;
  menshen.kill();
  rmSync(directory, { recursive: true, force: true });
}
demo.kill();
inbox.server.close();
backend.server.close();
process.exitCode = failed ? 1 : 0;
