// A telephone with WeChat on it, as far as the package uses it, which behaves as the real one where that matters: `success` is called
// for every HTTP status, callbacks come in a later task, ten requests are under way at once and the others wait, `abort` ends with
// `fail`, storage keeps copies and may fail, there is no `PATCH`, and `getUserProfile` works in a tap alone.

/** @typedef {{ status: number, data?: unknown, header?: Record<string, string>, chunks?: Iterable<Uint8Array> | AsyncIterable<Uint8Array> }} Served */

const later = (run) => setTimeout(run, 0);

/** What `wx.request` sends. */
const METHODS = ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"];

export class Phone {
  /**
   * `serve` answers a request: a `Served`, or "offline", "timeout", "nothing" (which never ends). `person` is who signs in;
   * `library` is the version of the base library: one of 2019 has no chunks, no phone codes and no `timeout`.
   */
  constructor({ serve, person = "alice", library = "3.0.0", storage = new Map() }) {
    Object.assign(this, { serve, person, library, storage });
    this.codes = 0;
    this.canLogin = true;
    this.inTap = false;
    /** "get", "set" or "all": what of storage throws. */
    this.broken = "";
    this.sent = [];
    this.shown = [];
    this.running = 0;
    this.most = 0;
    this.waiting = [];
    this.wx = this.#wx();
  }

  /** What runs here runs as in the handler of a tap. */
  tap(run) {
    this.inTap = true;
    try {
      return run();
    } finally {
      this.inTap = false;
    }
  }

  on(path) {
    return this.sent.filter((request) => request.path === path);
  }

  #slot(run) {
    const start = () => {
      this.running += 1;
      this.most = Math.max(this.most, this.running);
      run(() => {
        this.running -= 1;
        this.waiting.shift()?.();
      });
    };
    if (this.running < 10) start();
    else this.waiting.push(start);
  }

  #exchange(options, { name, sentAs, answerOf }) {
    const listeners = { headers: [], chunk: [], progress: [] };
    let over = false;
    let free = () => undefined;
    const end = (callback, result) => {
      if (over) return;
      over = true;
      later(() => {
        free();
        options[callback]?.(result);
        options.complete?.(result);
      });
    };
    const work = async () => {
      const request = { method: "GET", header: {}, api: name, chunked: Boolean(options.enableChunked), ...sentAs(options) };
      if (!METHODS.includes(request.method)) return end("fail", { errMsg: `${name}:fail method is invalid` });
      request.path = request.url.replace(/^\w+:\/\/[^/]+/, "").replace(/\?.*/, "");
      // As on the wire: what is no JSON is not in it.
      request.data = request.data === undefined ? undefined : JSON.parse(JSON.stringify(request.data));
      this.sent.push(request);
      let served = await this.serve(request, this);
      if (served === "nothing") return;
      if (served === "offline") return end("fail", { errMsg: `${name}:fail net::ERR_INTERNET_DISCONNECTED`, errno: 600001 });
      if (served === "timeout") return end("fail", { errMsg: `${name}:fail timeout`, errno: 5 });
      if (typeof served === "string") return end("fail", { errMsg: `${name}:fail ${served}` });
      const { status, data = "", header = {}, chunks } = served;
      request.status = status;
      if (over) return;
      if (options.enableChunked && this.#atLeast("2.20.2")) {
        const parts = chunks ?? [new TextEncoder().encode(typeof data === "string" ? data : JSON.stringify(data))];
        later(() => listeners.headers.forEach((tell) => tell({ statusCode: status, header })));
        for await (const part of parts) later(() => !over && listeners.chunk.forEach((tell) => tell({ data: bytes(part) })));
        return later(() => end("success", { errMsg: `${name}:ok`, statusCode: status, header, data: new ArrayBuffer(0) }));
      }
      listeners.progress.forEach((tell) => later(() => tell({ progress: 100 })));
      served = answerOf(options, { status, data, header, chunks });
      end("success", { errMsg: `${name}:ok`, statusCode: status, header, ...served });
    };
    this.#slot((done) => {
      free = done;
      if (over) return done();
      work().catch((fault) => end("fail", { errMsg: `${name}:fail ${fault.message}` }));
    });
    const task = {
      abort: () => end("fail", { errMsg: `${name}:fail abort` }),
      onHeadersReceived: (tell) => listeners.headers.push(tell),
      onProgressUpdate: (tell) => listeners.progress.push(tell),
    };
    if (this.#atLeast("2.20.2")) task.onChunkReceived = (tell) => listeners.chunk.push(tell);
    return task;
  }

  #atLeast(version) {
    const [a, b] = [this.library, version].map((text) => text.split(".").reduce((sum, part) => sum * 1000 + Number(part), 0));
    return a >= b;
  }

  #wx() {
    const phone = this;
    const check = (what) => {
      if (phone.broken === what || phone.broken === "all") throw new Error(`${what}StorageSync:fail exceed storage max size 10Mb`);
    };
    return {
      login(options) {
        later(() => {
          if (!phone.canLogin) return options.fail?.({ errMsg: "login:fail:system error" });
          phone.codes += 1;
          phone.code = `${phone.person}-${phone.codes}`;
          options.success?.({ errMsg: "login:ok", code: phone.code });
        });
      },
      request: (options) =>
        phone.#exchange(options, {
          name: "request",
          sentAs: ({ url, method, data, header }) => ({ url, data, ...(method && { method }), ...(header && { header }) }),
          answerOf: ({ responseType, dataType = "json" }, { data, chunks }) => {
            if (responseType === "arraybuffer") return { data: bytes(chunks ? concat(chunks) : new TextEncoder().encode(asText(data))) };
            return { data: dataType === "json" ? asJson(data) : asText(data) };
          },
        }),
      uploadFile: (options) =>
        phone.#exchange(options, {
          name: "uploadFile",
          sentAs: ({ url, header, filePath, name, formData }) => ({ url, method: "POST", header, data: { filePath, name, formData } }),
          answerOf: (_, { data }) => ({ data: asText(data) }),
        }),
      downloadFile: (options) =>
        phone.#exchange(options, {
          name: "downloadFile",
          sentAs: ({ url, header }) => ({ url, header }),
          answerOf: ({ filePath }) => (filePath ? { filePath } : { tempFilePath: "http://tmp/file" }),
        }),
      getUserProfile({ success, fail }) {
        later(() =>
          phone.inTap ? success?.({ userInfo: { nickName: "微信用户", avatarUrl: "https://thirdwx.qlogo.cn/grey" } }) : fail?.({ errMsg: "getUserProfile:fail can only be invoked by user TAP gesture." }),
        );
      },
      getStorageSync(key) {
        check("get");
        return phone.storage.has(key) ? structuredClone(phone.storage.get(key)) : "";
      },
      setStorageSync(key, value) {
        check("set");
        phone.storage.set(key, structuredClone(value));
      },
      removeStorageSync: (key) => void phone.storage.delete(key),
      showToast: ({ title }) => void phone.shown.push(`toast ${title}`),
      navigateTo: ({ url }) => void phone.shown.push(`page ${url}`),
    };
  }
}

const asText = (data) => (typeof data === "string" ? data : JSON.stringify(data));
const bytes = (part) => part.buffer.slice(part.byteOffset, part.byteOffset + part.byteLength);
function asJson(data) {
  if (typeof data !== "string") return structuredClone(data);
  try {
    return JSON.parse(data);
  } catch {
    return data;
  }
}
function concat(chunks) {
  const all = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
