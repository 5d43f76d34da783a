// The package as it is published, on a telephone with WeChat on it (the package's own stand-in), over the network to a menshen.

import { createRequire } from "node:module";
import { Phone } from "../../../clients/miniprogram/test/stand-in/wx.mjs";
import { api, inbox } from "../story.mjs";

const require = createRequire(new URL("../../../clients/miniprogram/", import.meta.url));
globalThis.Behavior = (definition) => definition;
/** An entry of the package: `load("phone")`. */
export const load = (entry = "index") => require(`./miniprogram_dist/${entry}.js`);

const { createClient } = load();
const { texts } = load("texts");
// No code of an earlier run, where one WeChat serves several.
let codes = Date.now() % 1e10;

/** A phone of a person, and a client on it. */
export function open(person, options = {}, phoneOptions = {}) {
  const phone = new Phone({ serve: send, person, ...phoneOptions });
  const { login } = phone.wx;
  phone.wx.login = (wanted) => {
    // Each code of a run is another one, on whichever phone.
    phone.codes = codes += 1;
    login(wanted);
  };
  phone.wx.cloud = { callFunction: (wanted) => callFunction(phone, wanted) };
  const start = (more = {}) => createClient({ baseUrl: api, platform: phone.wx, texts, ...options, ...more });
  return { phone, client: start(), start };
}

async function send({ url, method, header, data }) {
  const withBody = data !== undefined && method !== "GET";
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers: { ...(withBody && { "content-type": "application/json" }), ...header },
      body: withBody ? JSON.stringify(data) : undefined,
    });
  } catch {
    return "offline";
  }
  return { status: answer.status, data: await answer.text(), header: Object.fromEntries(answer.headers) };
}

/** The cloud function `api-proxy`, which hides headers. */
function callFunction(phone, { data: { method, path, headers, body }, success, fail }) {
  const request = { url: api + path, path, method, header: headers, data: body };
  phone.sent.push(request);
  send(request).then((answer) => {
    if (typeof answer === "string") return fail({ errMsg: "cloud.callFunction:fail" });
    request.status = answer.status;
    success({ errMsg: "cloud.callFunction:ok", result: { statusCode: answer.status, data: parsed(answer.data) } });
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** What the phone number button gives: a code for this number, and the older way's data by the key of the last login. */
export async function press(phone, number, { legacy = false } = {}) {
  if (!legacy) return { errMsg: "getPhoneNumber:ok", code: `phone.${number}-${(codes += 1)}` };
  const answer = await fetch(`${inbox}/encrypted?login=${phone.code}&phone=${number}&age=0`);
  return { errMsg: "getPhoneNumber:ok", ...(await answer.json()) };
}

/** The last text message that was sent to any phone. */
export const lastMessage = async () => (await fetch(`${inbox}/last`)).json();

/** The error that a promise rejects with. */
export async function refusal(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`it resolves with ${JSON.stringify(value)}`);
}

/** Asks until the token is refused. */
export async function untilRefused(phone, path, token) {
  const end = Date.now() + 20_000;
  const headers = { Authorization: token };
  while ((await fetch(api + path, { headers })).status !== 401) {
    if (Date.now() > end) throw new Error("the token does not expire");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
