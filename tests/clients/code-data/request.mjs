// Requests of seed D: the token stands in `Authorization` as it is, since the backend's middleware reads it so.

const TOKEN = "token";

export class Api {
  #renewing = null;

  /** `renew` signs somebody in again whose token is refused, if that can be done without asking. */
  constructor({ wx }, baseUrl, renew) {
    Object.assign(this, { wx, baseUrl, renew });
  }

  get token() {
    return this.wx.getStorageSync(TOKEN);
  }

  set token(token) {
    this.wx.setStorageSync(TOKEN, token);
  }

  forget() {
    this.wx.removeStorageSync(TOKEN);
  }

  /** Resolves with `{statusCode, data}` for every status; rejects where there is no network. */
  post(path, data) {
    return this.#send({ url: this.baseUrl + path, method: "POST", data });
  }

  /** As whoever has signed in; requests that are refused together renew the token once. */
  async get(path) {
    const { token } = this;
    const ask = () => this.#send({ url: this.baseUrl + path, header: this.token ? { Authorization: this.token } : {} });
    const answer = await ask();
    if (answer.statusCode !== 401 || !token) return answer;
    if (this.token === token) await (this.#renewing ??= this.renew().finally(() => (this.#renewing = null)));
    return this.token ? ask() : answer;
  }

  #send(options) {
    return new Promise((success, fail) => this.wx.request({ ...options, success, fail }));
  }
}
