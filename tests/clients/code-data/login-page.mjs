// The login page of seed D: a phone and the code that was sent to it, or one tap with WeChat.

import { Api } from "./request.mjs";

export class LoginPage {
  /** Whether whoever has signed in can be signed in again without a question. */
  #byWechat = false;

  constructor(device, baseUrl) {
    this.wx = device.wx;
    this.api = new Api(device, baseUrl, () => this.#renew());
  }

  /** The button beside the phone; gives the seconds to count down, 0 when nothing was sent. */
  async sendCode(phone) {
    return (await this.#told(() => this.api.post("/sendsms", { phone }))) ? 60 : 0;
  }

  loginByPhone(phone, verificationCode) {
    return this.#signIn(() => this.api.post("/login", { phone, verificationCode }), false);
  }

  loginByWechat() {
    return this.#signIn(() => this.#wechatLogin(), true);
  }

  /** Loads something of the backend; `undefined` when the user was told why not. */
  async load(path) {
    const data = await this.#told(() => this.api.get(path), false);
    return data?.data;
  }

  logout() {
    this.api.forget();
    this.wx.reLaunch({ url: "/pages/login/login" });
  }

  async #signIn(login, byWechat) {
    const data = await this.#told(login);
    if (!data) return;
    this.api.token = data.data.token;
    this.#byWechat = byWechat;
  }

  async #wechatLogin() {
    const { code } = await new Promise((success, fail) => this.wx.login({ success, fail }));
    return this.api.post("/wechatlogin", { code });
  }

  /** The document has no refresh: with WeChat the user is signed in again, with a phone a person has to. */
  async #renew() {
    const answer = this.#byWechat ? await this.#wechatLogin() : undefined;
    if (answer?.statusCode === 200) this.api.token = answer.data.data.token;
    else this.logout();
  }

  /** The body of a success, whose message is shown too; of a refusal the user sees why. */
  async #told(send, showsSuccess = true) {
    let answer;
    try {
      answer = await send();
    } catch {
      return this.#show("网络错误，请稍后再试");
    }
    const { statusCode, data } = answer;
    if (statusCode !== 200) return this.#show(data.errors?.[0].msg ?? data.error);
    if (showsSuccess) this.#show(data.message);
    return data;
  }

  #show(title) {
    this.wx.showToast({ title, icon: "none" });
  }
}
