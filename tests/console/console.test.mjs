// The console in Chromium, before the real binary: `MENSHEN=target/debug/menshen node --test console.test.mjs`. Each page is read and used,
// in both languages, on a phone, in the dark, without JavaScript and by keyboard alone. Screenshots: target/console-screenshots.

import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { ATTACK, PHONE, TOKEN, look, open, shoot, signIn, start } from "./stand.mjs";


let world;
/** The user of the test phone, and one who has chosen a dangerous name. */
let person, attacker;

before(async () => {
  world = await start(process.env.MENSHEN);
  person = await world.loginByPhone();
  attacker = await world.login("openid-of-an-attacker", { nickname: ATTACK });
  const bearer = { authorization: `Bearer ${person.access_token}` };
  await world.get("/orders", bearer);
  await world.get("/office/reports", bearer);
  await world.get("/orders");
  await world.get("/orders/%3Cscript%3Ealert(1)%3C/script%3E", { "user-agent": ATTACK, "x-request-id": ATTACK });
});

after(() => world?.stop());

const PAGES = ["", "/why", "/people", "/audit", "/config", "/keys"];
const pathOf = (page) => new URL(page.url()).pathname.replace("/console", "") || "/";

/** Loads the page again until it says this; 200 times are far more than a reload of the config takes. */
async function reloadUntil(page, text) {
  for (let n = 0; n < 200; n += 1) {
    if ((await page.getByText(text).count()) > 0) return;
    await page.reload();
  }
  assert.fail(`the page never says: ${text}`);
}

const submit = (page, name) => page.getByRole("button", { name }).click();

async function find(page, by, value) {
  await page.getByRole("link", { name: "People" }).click();
  await page.getByLabel(by, { exact: true }).check();
  await page.getByLabel("Value").fill(value);
  await submit(page, "Find");
}

test("a wrong token is refused, and the right one signs in and out", async () => {
  const page = await open(world);
  await page.goto(`${world.console}/keys`);
  await look(page, "sign-in");
  await shoot(page, "sign-in");
  await page.getByLabel("Admin token").fill(TOKEN.slice(1));
  await submit(page, "Sign in");
  await page.getByText("This is not the admin token.").waitFor();
  await page.getByLabel("Admin token").fill(TOKEN);
  await submit(page, "Sign in");
  await page.getByRole("heading", { name: "Signing keys" }).waitFor();
  const [cookie] = await page.context().cookies(world.console);
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/console"]);
  const stored = await page.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]);
  assert.deepEqual(stored, ["", 0, 0]);
  await submit(page, "Sign out");
  await page.getByLabel("Admin token").waitFor();
  await page.goBack();
  await page.getByLabel("Admin token").waitFor();
  await page.done();
});

test("every page is sound in both languages, both themes, and on a phone", async () => {
  const id = person.user.id;
  const pages = [...PAGES, "/config?all=yes", "/keys/rotate", `/people/${id}`, `/people/${id}/delete`, `/people/${attacker.user.id}`];
  for (const [name, options] of [
    ["light", {}],
    ["dark", { colorScheme: "dark" }],
    ["phone", { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2 }],
    ["chinese", { locale: "zh-CN" }],
    ["chinese-phone", { locale: "zh-CN", viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, colorScheme: "dark" }],
  ]) {
    const page = await open(world, options);
    await signIn(world, page);
    for (const path of pages) {
      const response = await page.goto(world.console + path);
      assert.equal(response.status(), 200, path);
      const lang = await page.getAttribute("html", "lang");
      assert.equal(lang, name.startsWith("chinese") ? "zh-CN" : "en");
      const label = path.replace(id, "person").replace(attacker.user.id, "attacker").replace(/[^a-z]+/g, "-");
      await look(page, `${name} ${path}`);
      await shoot(page, `${name}${label || "-now"}`);
    }
    await page.done();
  }
});

test("the language is the browser's until another one is chosen", async () => {
  const page = await open(world, { locale: "zh-CN" });
  await signIn(world, page);
  await page.getByRole("link", { name: "用户" }).click();
  await page.getByRole("link", { name: "English" }).click();
  assert.equal(pathOf(page), "/people");
  await page.getByRole("heading", { name: "Find a person" }).waitFor();
  await page.getByRole("link", { name: "Keys" }).click();
  await page.getByRole("heading", { name: "Signing keys" }).waitFor();
  await page.done();
});

// What operators do most, with the clicks that each takes from the first page. What is typed is no click.
test("the most common actions take at most three clicks", async () => {
  const page = await open(world);
  let clicks = 0;
  const click = async (locator) => {
    clicks += 1;
    await locator.click();
  };
  const from = async () => {
    await page.goto(world.console);
    clicks = 0;
  };
  await signIn(world, page);

  // Find a user by phone.
  await from();
  await click(page.getByRole("link", { name: "People" }));
  await page.getByLabel("Value").fill(PHONE);
  await click(page.getByRole("button", { name: "Find" }));
  await page.getByRole("heading", { name: "Profile" }).waitFor();
  assert.ok(clicks <= 3, `${clicks}`);

  // Sign somebody out.
  await click(page.getByRole("button", { name: "Sign out everywhere" }));
  await page.getByText("Signed out. Ended sessions: 1").waitFor();
  assert.ok(clicks <= 3, `${clicks}`);

  // See why a request was refused.
  await from();
  await click(page.getByRole("link", { name: "Why" }));
  const row = page.getByRole("row").filter({ hasText: "/office/reports" });
  await row.getByText("forbidden").waitFor();
  await click(row.getByRole("link"));
  await page.getByRole("heading", { name: "403 forbidden" }).waitFor();
  assert.ok(clicks <= 3, `${clicks}`);

  // See whether WeChat is down: no click.
  await from();
  await page.locator(".states").getByText("WeChat").waitFor();
  assert.equal(clicks, 0);
  person = await world.loginByPhone();
  await page.done();
});

test("a person is found, banned, and the ban bites at once", async () => {
  const page = await open(world);
  await signIn(world, page);
  await find(page, "Phone", "138 0000 0002");
  await page.getByText("There is no such person.").waitFor();
  await find(page, "Phone", `+86 ${PHONE}`);
  assert.equal(pathOf(page), `/people/${person.user.id}`);
  assert.ok(!(await page.content()).includes(PHONE), "the phone is masked");
  const bearer = { authorization: `Bearer ${person.access_token}` };
  assert.equal((await world.get("/orders", bearer)).status, 200);
  await submit(page, "Ban");
  await page.getByText("Banned. Ended sessions: 1").waitFor();
  await page.locator("h1 .tag").getByText("banned").waitFor();
  assert.equal((await world.get("/orders", bearer)).status, 401);
  await submit(page, "Unban");
  await page.getByText("Unbanned.").waitFor();
  person = await world.loginByPhone();
  const second = await world.loginByPhone();
  await page.reload();
  // One of two sessions.
  await page.getByRole("row").nth(1).getByRole("button", { name: "Sign out" }).click();
  await page.getByText("Signed out. Ended sessions: 1").waitFor();
  const statuses = await Promise.all([person, second].map(async (session) => (await world.get("/orders", { authorization: `Bearer ${session.access_token}` })).status));
  assert.deepEqual(statuses.toSorted(), [200, 401]);
  // Each act is an audit event, by the console.
  await page.getByRole("link", { name: "Events of this person" }).click();
  for (const event of ["rights.changed", "sessions.revoked", "account.shown"]) {
    await page.getByRole("row").filter({ hasText: event }).first().getByText("console").waitFor();
  }
  await page.getByLabel("Event", { exact: true }).selectOption("rights.changed");
  await submit(page, "Filter");
  assert.equal(await page.locator("tbody tr").count(), 2);
  await shoot(page, "audit-filtered");
  await page.done();
  person = await world.loginByPhone();
});

test("what a user has chosen is a text, whatever it is", async () => {
  const page = await open(world);
  await signIn(world, page);
  await find(page, "openid", "openid-of-an-attacker");
  assert.equal((await page.locator("h1").textContent()).trim(), ATTACK);
  assert.equal(await page.locator("main img, main script").count(), 0);
  await page.getByRole("link", { name: "Why" }).click();
  await page.getByText("script", { exact: false }).first().waitFor();
  assert.equal(await page.locator("main img, main script").count(), 0);
  await page.done();
});

test("a deletion is asked about again", async () => {
  const victim = await world.login("openid-of-somebody-who-leaves");
  const page = await open(world);
  await signIn(world, page);
  await find(page, "User id", victim.user.id);
  await page.getByRole("link", { name: "Delete …" }).click();
  await submit(page, "Delete");
  // The browser asks for the box; without it nothing was sent.
  assert.equal(pathOf(page), `/people/${victim.user.id}/delete`);
  await page.getByLabel("Yes, delete this person for good.").check();
  await submit(page, "Delete");
  await page.getByText("The person and all personal data were deleted.").waitFor();
  await find(page, "User id", victim.user.id);
  await page.getByText("This person was deleted").waitFor();
  await page.done();
});

test("a signing key is rotated after a second question", async () => {
  const page = await open(world);
  await signIn(world, page);
  await page.getByRole("link", { name: "Keys" }).click();
  assert.equal(await page.locator("tbody tr").count(), 1);
  await page.getByRole("link", { name: "Rotate …" }).click();
  await page.getByLabel("Yes, sign with a new key.").check();
  await submit(page, "Rotate");
  await page.getByText("A new key signs from now on.").waitFor();
  assert.equal(await page.locator("tbody tr").count(), 2);
  const published = await (await world.get("/auth/jwks.json")).json();
  assert.equal(published.keys.length, 2);
  await shoot(page, "keys-rotated");
  await page.done();
});

test("a request is explained as the gate decides on it", async () => {
  const page = await open(world);
  await signIn(world, page);
  await page.getByRole("link", { name: "Why" }).click();
  await page.getByLabel("Path").fill("/office/reports");
  await page.getByText("Token, headers, address").click();
  await page.getByLabel("Access token").fill(person.access_token);
  await page.getByLabel("Headers, one on each line").fill("X_User_Id: 1\nAccept: */*");
  await submit(page, "Explain");
  await page.getByRole("heading", { name: "It is refused" }).waitFor();
  await page.locator(".rules").getByText("office").first().waitFor();
  const text = await page.content();
  assert.ok(!text.includes(person.access_token) && !text.includes(person.user.id));
  await look(page, "explain");
  await shoot(page, "explain-refused");
  await page.getByLabel("Path").fill("/orders");
  await page.getByText("Token, headers, address").click();
  await page.getByLabel("Access token").fill(person.access_token);
  await page.getByLabel("Headers, one on each line").fill("X_User_Id: 1");
  await submit(page, "Explain");
  await page.getByRole("heading", { name: "It passes to the backend" }).waitFor();
  await page.getByText("x_user_id").waitFor();
  await shoot(page, "explain-forwarded");
  await page.done();
});

test("a config that is refused is shown, and one can be checked before", async () => {
  const page = await open(world);
  await signIn(world, page);
  await page.getByRole("link", { name: "Config" }).click();
  await page.getByText("has not been read again").waitFor();
  world.writeConfig(`${world.config}[server2]\nx = 1\n`);
  // Until the file has been read.
  await reloadUntil(page, "The new config was refused");
  await page.getByText("server2").waitFor();
  await look(page, "refused config");
  await shoot(page, "config-refused");
  await page.getByRole("link", { name: "Now", exact: true }).click();
  await page.getByText("menshen has refused its new config").waitFor();
  await look(page, "now with an alarm");
  await shoot(page, "now-config-refused");
  await page.getByRole("link", { name: "Config", exact: true }).click();
  await page.getByLabel("config.toml").fill(`${world.config}[server2]\nx = 1\n`);
  await submit(page, "Check");
  await page.getByText("It is invalid. Problems: 1").waitFor();
  await page.getByLabel("config.toml").fill(world.config);
  await submit(page, "Check");
  await page.getByText("It is valid.").waitFor();
  world.writeConfig(`${world.config}# again\n`);
  await page.getByRole("link", { name: "Config", exact: true }).click();
  await reloadUntil(page, "was read again and is in use");
  await page.done();
});

test("the first page says within a sample that WeChat is down", async () => {
  const page = await open(world);
  await signIn(world, page);
  world.wechatWorks = false;
  for (let n = 0; n < 20; n += 1) await world.login(`somebody-${n}`);
  // The page updates itself.
  await page.getByRole("heading", { name: "WeChat does not answer" }).waitFor();
  await page.locator(".states .bad").getByText("does not answer").waitFor();
  await look(page, "now with WeChat down");
  await shoot(page, "now-wechat-down");
  await page.emulateMedia({ colorScheme: "dark" });
  await shoot(page, "now-wechat-down-dark");
  await page.setViewportSize({ width: 360, height: 740 });
  await look(page, "now with WeChat down, on a phone");
  await shoot(page, "now-wechat-down-phone");
  world.wechatWorks = true;
  await page.done();
});

test("a page whose session is over asks for the token", async () => {
  const page = await open(world);
  await signIn(world, page);
  const other = await page.context().newPage();
  await other.goto(`${world.console}/keys`);
  await submit(other, "Sign out");
  // The first page is told by its updates.
  await page.getByLabel("Admin token").waitFor();
  await signIn(world, page);
  await page.goto(`${world.console}/people`);
  await page.context().clearCookies();
  await page.getByLabel("Value").fill(PHONE);
  await submit(page, "Find");
  await page.getByLabel("Admin token").waitFor();
  await page.done();
});

test("everything works without JavaScript", async () => {
  const page = await open(world, { javaScriptEnabled: false });
  await signIn(world, page);
  await page.getByText("Requests", { exact: true }).first().waitFor();
  await page.getByRole("link", { name: "Load again" }).click();
  await find(page, "Phone", PHONE);
  await page.getByRole("heading", { name: "Profile" }).waitFor();
  await shoot(page, "no-script-person");
  await submit(page, "Sign out everywhere");
  await page.getByText("Signed out.").waitFor();
  await page.getByRole("link", { name: "Why" }).click();
  await page.getByLabel("Path").fill("/catalogue/1");
  await submit(page, "Explain");
  await page.getByRole("heading", { name: "It passes to the backend" }).waitFor();
  await page.getByRole("link", { name: "Audit" }).click();
  await page.getByLabel("Event", { exact: true }).selectOption("console.signed_in");
  await submit(page, "Filter");
  assert.ok((await page.locator("tbody tr").count()) > 0);
  await page.getByRole("link", { name: "Config" }).click();
  await page.getByLabel("config.toml").fill("x = 1\n");
  await submit(page, "Check");
  await page.getByText("It is invalid.").waitFor();
  await page.getByRole("link", { name: "中文" }).click();
  await page.getByRole("heading", { name: "检查配置" }).waitFor();
  await page.getByRole("button", { name: "退出" }).click();
  await page.getByRole("heading", { name: "登录控制台" }).waitFor();
  await page.done();
  person = await world.loginByPhone();
});

test("everything is reached by the keyboard alone", async () => {
  const page = await open(world);
  const press = (...keys) => keys.reduce((before, key) => before.then(() => page.keyboard.press(key)), Promise.resolve());
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
  /** Presses Tab until this has the focus, which must be visible. */
  const tabTo = async (text) => {
    for (let n = 0; n < 40; n += 1) {
      await press("Tab");
      if ((await focused()) === text) {
        const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        assert.equal(outline, "solid", text);
        return;
      }
    }
    assert.fail(`Tab does not come to ${text}`);
  };
  await page.goto(world.console);
  // The field has the focus.
  await page.keyboard.type(TOKEN);
  await press("Enter");
  await page.locator("#figures").waitFor();
  // The first stop leads past the navigation.
  await press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "content");
  await page.goto(world.console);
  await tabTo("People");
  await press("Enter");
  await page.getByRole("heading", { name: "Find a person" }).waitFor();
  await page.keyboard.type(PHONE);
  await press("Enter");
  await page.getByRole("heading", { name: "Profile" }).waitFor();
  await tabTo("Ban");
  await press("Enter");
  await page.getByText("Banned.").waitFor();
  await tabTo("Unban");
  await press("Space");
  await page.getByText("Unbanned.").waitFor();
  await tabTo("Why");
  await press("Enter");
  await page.getByRole("heading", { name: "Last refusals" }).waitFor();
  // Past the list.
  await tabTo("Explain a request");
  await press("Enter");
  await tabTo("Token, headers, address");
  await press("Enter");
  await page.getByLabel("Access token").waitFor();
  await page.done();
});
