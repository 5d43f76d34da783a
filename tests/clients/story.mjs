// How a story is told: its steps, its surroundings, and bodies compared field by field.

/** Where menshen is, and the harness: its SMS inbox and what WeChat encrypts. */
export const { MENSHEN: api, INBOX: inbox } = process.env;

/** Tells the part that the command line names; the first difference ends it. */
export async function tell(parts) {
  const part = parts[process.argv[2]];
  if (part === undefined) {
    console.error(`usage: MENSHEN=URL INBOX=URL node story.mjs ${Object.keys(parts).join("|")}`);
    process.exit(64);
  }
  await part();
}

/** One step: a line when it went as told. */
export async function step(name, work) {
  try {
    await work();
  } catch (fault) {
    console.error(`not ok: ${name}\n${fault instanceof Difference ? fault.message : fault.stack}`);
    process.exit(1);
  }
  console.log(`ok: ${name}`);
}

class Difference extends Error {}

/**
 * That a value is exactly the expected one: an object has exactly these keys, a list exactly these elements. Where the expected
 * is a function or a regular expression it decides.
 */
export function same(got, expected, at = "value") {
  const differs = (wanted) => {
    throw new Difference(`${at} is ${JSON.stringify(got)}\n    expected ${wanted}`);
  };
  if (typeof expected === "function") {
    if (!expected(got)) differs(expected.name || expected);
  } else if (expected instanceof RegExp) {
    if (typeof got !== "string" || !expected.test(got)) differs(expected);
  } else if (Array.isArray(expected)) {
    if (!Array.isArray(got) || got.length !== expected.length) differs(JSON.stringify(expected));
    expected.forEach((element, n) => same(got[n], element, `${at}[${n}]`));
  } else if (expected !== null && typeof expected === "object") {
    const keys = (value) => Object.keys(value).sort().join(", ");
    if (got === null || typeof got !== "object" || keys(got) !== keys(expected)) differs(`the keys ${keys(expected)}`);
    for (const [key, value] of Object.entries(expected)) same(got[key], value, `${at}.${key}`);
  } else if (!Object.is(got, expected)) {
    differs(JSON.stringify(expected));
  }
}

/** That something holds. */
export function holds(truth, what) {
  if (!truth) throw new Difference(what);
}

/** What a token looks like. */
export const JWT = /^[\w-]{10,}\.[\w-]{20,}\.[\w-]{40,}$/;
/** `2024-10-16T12:00:00.000Z`, as JavaScript writes it. */
export const ISO_MILLIS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
/** An id as a column of integers has it, a number in JSON. */
export const anId = (value) => Number.isSafeInteger(value) && value > 0;
export const aText = (value) => typeof value === "string" && value !== "";

/** The payload of a token, as anybody can read it. */
export function claimsOf(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
}

/** A request of no client: for what a client would never send. */
export async function ask(method, path, { bearer, authorization = bearer && `Bearer ${bearer}`, body } = {}) {
  const headers = { "content-type": "application/json", ...(authorization && { authorization }) };
  const answer = await fetch(api + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  const isJson = answer.headers.get("content-type")?.includes("json");
  return { status: answer.status, headers: Object.fromEntries(answer.headers), body: isJson ? JSON.parse(text) : text };
}

/** That an answer, or an exchange of a device, is this success. */
export function succeeded({ status, headers, body }, expected) {
  same({ status, body }, { status: 200, body: expected }, "answer");
  same(headers["x-menshen-error"], undefined, "X-Menshen-Error");
}

/** That it is this refusal, made by menshen: status, `X-Menshen-Error` and the body. */
export function refused({ status, headers, body }, expectedStatus, code, expected) {
  same({ status, body, code: headers["x-menshen-error"] }, { status: expectedStatus, body: expected, code }, "answer");
  same(headers["content-type"], /^application\/json\b/, "Content-Type");
}

/** That the backend got the request, and whose it was. */
export function reached({ status, body }, userId, userType = "user") {
  same(status, 200, "status");
  same(body.data.user_id, String(userId), "X-User-Id");
  same(body.data.user_type, userType, "X-User-Type");
}

/** `count` of the same at once. */
export function atOnce(count, work) {
  return Promise.all(Array.from({ length: count }, work));
}

/** Asks until it is answered with 401, which is what a token that has expired gets; gives that answer. */
export async function untilExpired(path, token) {
  const end = Date.now() + 20_000;
  while (Date.now() < end) {
    const answer = await ask("GET", path, { bearer: token });
    if (answer.status === 401) return answer;
    same(answer.status, 200, "status before the end");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Difference(`${path} is not refused within 20 s: the token does not expire`);
}
