// The pages of seed B that a story walks through: the login page, and one that shows something of the backend.

import { proxyOn } from "./proxy.mjs";
import { wechatAuthOn } from "./wechat-login.mjs";

export class Pages {
  constructor(device) {
    this.wx = device.wx;
    this.auth = wechatAuthOn(device);
    this.proxy = proxyOn(device.wx);
  }

  /** The button of the login page. */
  async handleWechatLogin() {
    try {
      await this.auth.wechatLogin();
      this.wx.switchTab({ url: "/pages/index/index" });
    } catch (fault) {
      this.#tell(fault);
    }
  }

  /** A page that needs somebody; gives what it shows, `undefined` when the user was sent away or told why not. */
  async load(path) {
    if (!this.auth.checkLoginStatus()) {
      this.wx.navigateTo({ url: "/pages/login/login" });
      return undefined;
    }
    const token = this.auth.getLocalToken();
    let { statusCode, data } = await this.proxy("GET", path, { token });
    if (statusCode === 401) {
      try {
        await this.auth.refreshToken(token);
      } catch {
        return this.#signInAgain();
      }
      ({ statusCode, data } = await this.proxy("GET", path, { token: this.auth.getLocalToken() }));
    }
    if (statusCode === 401) return this.#signInAgain();
    if (statusCode !== 200) return this.#tell(new Error(data.message));
    return data.data;
  }

  async handleLogout() {
    this.#tell({ message: await this.auth.logout() });
  }

  #signInAgain() {
    this.auth.forget();
    this.#tell({ message: "登录已过期" });
    this.wx.reLaunch({ url: "/pages/login/login" });
  }

  #tell({ message }) {
    this.wx.showToast({ title: message, icon: "none" });
  }
}
