// A telephone with WeChat on it: the part of the `wx` API that the four mini programs use, on Node's fetch.
//
// It does what the real one does where a login depends on it: `success` is called for every HTTP status, callbacks come later,
// each code of wx.login is new, and the phone button encrypts under the key of the last login. What the user saw and what went
// over the wire is kept, so that a story can look at both.

let codes = 0;

export class Device {
  /** `person` signs in: the simulated WeChat reads who it is from the code. `api`: where menshen is. `inbox`: the harness. */
  constructor({ person, api, inbox, profile = { nickName: "微信用户", avatarUrl: "" } }) {
    Object.assign(this, { person, api, inbox, profile });
    /** What the user does when asked: taps on a dialog, on a menu, or refuses to share. The first of each is next. */
    this.taps = { modal: [], menu: [], profile: [], phone: [] };
    this.canLogin = true;
    this.online = true;
    this.storage = new Map();
    this.exchanges = [];
    this.seen = [];
    this.loading = false;
    this.wx = wxOf(this);
  }

  /** What the user saw since the last time this was asked. */
  shown() {
    return this.seen.splice(0);
  }

  /** The exchanges with this path. */
  on(path) {
    return this.exchanges.filter((exchange) => exchange.path === path);
  }

  /** The last exchange. */
  get last() {
    return this.exchanges.at(-1);
  }

  newCode() {
    codes += 1;
    this.code = `${this.person}-${codes}`;
    return this.code;
  }

  tap(what, usual) {
    return this.taps[what].shift() ?? usual;
  }

  /** The user presses `<button open-type="getPhoneNumber">`: what its handler is called with. `age`: since then, in seconds. */
  async pressPhoneButton(phone, age = 0) {
    if (!this.tap("phone", true)) return { detail: { errMsg: "getPhoneNumber:fail user deny" } };
    const answer = await fetch(`${this.inbox}/encrypted?login=${this.code}&phone=${phone}&age=${age}`);
    return { detail: { errMsg: "getPhoneNumber:ok", ...(await answer.json()) } };
  }

  /** One request over the network. */
  async exchange({ url, method, headers, sent }) {
    if (!this.online) throw new Error("no network");
    const answer = await fetch(url, { method, headers, body: sent === undefined ? undefined : JSON.stringify(sent) });
    const exchange = {
      method,
      path: new URL(url).pathname,
      sent,
      sentHeaders: headers,
      status: answer.status,
      headers: Object.fromEntries(answer.headers),
      body: parsed(await answer.text()),
    };
    this.exchanges.push(exchange);
    return exchange;
  }
}

/** As `dataType: "json"` has it: what is no JSON stays a text. */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Calls back as wx does; what a callback throws is a fault of the mini program, and ends the story. */
function reply(work, { success, fail, complete }, failed) {
  work
    .catch((fault) => Promise.reject({ errMsg: `${failed} ${fault.message}` }))
    .then(
      (result) => (success?.(result), complete?.(result)),
      (result) => (fail?.(result), complete?.(result)),
    );
}

function wxOf(device) {
  const show = (what) => device.seen.push(what);
  const page = ({ url }) => show(`page ${url}`);
  return {
    login(options) {
      const work = async () => {
        if (!device.canLogin) throw new Error("no code");
        return { errMsg: "login:ok", code: device.newCode() };
      };
      reply(work(), options, "login:fail");
    },

    request({ url, method = "GET", data: sent, header = {}, ...callbacks }) {
      const work = async () => {
        const headers = { "content-type": "application/json", ...header };
        const { status, headers: received, body } = await device.exchange({ url, method, headers, sent });
        return { errMsg: "request:ok", statusCode: status, header: received, data: body };
      };
      reply(work(), callbacks, "request:fail");
    },

    getUserProfile(options) {
      const work = async () => {
        if (!device.tap("profile", true)) throw new Error("auth deny");
        return { errMsg: "getUserProfile:ok", userInfo: { ...device.profile } };
      };
      reply(work(), options, "getUserProfile:fail");
    },

    cloud: {
      /** The function `api-proxy`, as the teams deploy it: it forwards what it is given to the backend's address. */
      callFunction({ name, data: { method, path, headers = {}, body }, ...callbacks }) {
        const work = async () => {
          if (name !== "api-proxy") throw new Error("no such function");
          const all = { "content-type": "application/json", ...headers };
          const answer = await device.exchange({ url: device.api + path, method, headers: all, sent: body });
          return { errMsg: "cloud.callFunction:ok", result: { statusCode: answer.status, data: answer.body } };
        };
        reply(work(), callbacks, "cloud.callFunction:fail");
      },
    },

    setStorageSync: (key, value) => void device.storage.set(key, structuredClone(value)),
    getStorageSync: (key) => structuredClone(device.storage.get(key)) ?? "",
    removeStorageSync: (key) => void device.storage.delete(key),

    showToast: ({ title }) => show(`toast ${title}`),
    showLoading({ title }) {
      device.loading = true;
      show(`loading ${title}`);
    },
    hideLoading: () => void (device.loading = false),
    showModal({ title, content, ...callbacks }) {
      show(`modal ${title}: ${content}`);
      const confirm = device.tap("modal", true);
      reply(Promise.resolve({ errMsg: "showModal:ok", confirm, cancel: !confirm }), callbacks);
    },
    showActionSheet({ itemList, ...callbacks }) {
      show(`menu ${itemList.join(" / ")}`);
      reply(Promise.resolve({ errMsg: "showActionSheet:ok", tapIndex: device.tap("menu", 0) }), callbacks);
    },
    navigateTo: page,
    switchTab: page,
    reLaunch: page,
  };
}
