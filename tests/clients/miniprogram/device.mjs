// The package as it is published, on a telephone with WeChat on it (the package's own stand-in), over the network to a menshen.

import { request as httpRequest } from "node:http";
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
  phone.wx.connectSocket = (wanted) => connectSocket(phone, wanted);
  phone.wx.cloud = { callFunction: (wanted) => callFunction(phone, wanted) };
  const start = (more = {}) => createClient({ baseUrl: api, platform: phone.wx, texts, ...options, ...more });
  return { phone, client: start(), start };
}

async function send({ api: kind, chunked, url, method, header, data }) {
  const hasBody = data !== undefined && method !== "GET";
  const isJson = hasBody && kind !== "uploadFile";
  const headers = { ...(isJson && { "content-type": "application/json" }), ...header };
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: isJson ? JSON.stringify(data) : hasBody ? form(data) : undefined });
  } catch {
    return "offline";
  }
  const { status } = answer;
  const received = Object.fromEntries(answer.headers);
  return chunked ? { status, chunks: answer.body ?? [], header: received } : { status, data: await answer.text(), header: received };
}

/** A file of the phone, whose content is its path, and the fields beside it. */
function form({ filePath, name, formData = {} }) {
  const body = new FormData();
  Object.entries(formData).forEach(([key, value]) => body.append(key, String(value)));
  body.append(name, new Blob([filePath]), "file.jpg");
  return body;
}

/** A WebSocket (RFC 6455) with the header that it is given, as `wx.connectSocket` makes one and browsers cannot. */
function connectSocket(phone, { url, header = {} }) {
  const listeners = { open: [], error: [], close: [], message: [] };
  const tell = (kind, event) => void setTimeout(() => listeners[kind].forEach((listener) => listener(event)), 0);
  const handshake = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" };
  const request = httpRequest(url.replace(/^ws/, "http"), { headers: { ...header, ...handshake } });
  let connection;
  phone.sent.push({ api: "connectSocket", url, path: new URL(url).pathname, header });
  request.on("error", ({ message }) => tell("error", { errMsg: `connectSocket:fail ${message}` }));
  request.on("response", (response) => {
    response.resume();
    tell("error", { errMsg: `connectSocket:fail Unexpected response code: ${response.statusCode}` });
  });
  request.on("upgrade", (_, socket, head) => {
    connection = socket;
    let buffer = head;
    const read = (part) => {
      buffer = Buffer.concat([buffer, part]);
      // All frames of these stories are short.
      while (buffer.length >= 2 && buffer.length >= 2 + buffer[1]) {
        const [opcode, payload] = [buffer[0] & 15, buffer.subarray(2, 2 + buffer[1])];
        buffer = buffer.subarray(2 + buffer[1]);
        if (opcode === 1) tell("message", { data: payload.toString() });
        if (opcode === 8) {
          tell("close", { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString() });
          socket.end();
        }
      }
    };
    socket.on("data", read);
    socket.on("error", () => undefined);
    tell("open", {});
    read(Buffer.alloc(0));
  });
  request.end();
  return {
    onOpen: (listener) => listeners.open.push(listener),
    onError: (listener) => listeners.error.push(listener),
    onClose: (listener) => listeners.close.push(listener),
    onMessage: (listener) => listeners.message.push(listener),
    // A mask of zeros leaves the payload as it is.
    send: ({ data }) => connection.write(Buffer.concat([Buffer.from([0x81, 0x80 | data.length, 0, 0, 0, 0]), Buffer.from(data)])),
    close: () => (connection ? connection.destroy() : request.destroy()),
  };
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
export async function untilRefused(phone, path, token, name = "Authorization") {
  const end = Date.now() + 20_000;
  const headers = { [name]: token };
  while ((await fetch(api + path, { headers })).status !== 401) {
    if (Date.now() > end) throw new Error("the token does not expire");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
