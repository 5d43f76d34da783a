// The one page of seed C: signing in, the phone, the menu of somebody who has signed in.

import { guardedGet, post } from "./request.mjs";

const STORED = "userInfo";

export class Page {
  data = { isLoggedIn: false, userInfo: {}, showPhoneAuth: false };

  constructor(device, baseUrl) {
    this.wx = device.wx;
    this.baseUrl = baseUrl;
    this.get = guardedGet(this.wx, baseUrl, () => this.#signInAgain());
  }

  onShow() {
    const userInfo = this.wx.getStorageSync(STORED);
    this.data = { ...this.data, isLoggedIn: Boolean(userInfo), userInfo: userInfo || {} };
  }

  /** What the page shows of its user: name and hint. */
  get shows() {
    const { isLoggedIn, userInfo } = this.data;
    if (!isLoggedIn) return ["未登录", "点击登录"];
    return userInfo.nickName && userInfo.avatarUrl ? [userInfo.nickName, "点击查看更多"] : ["已登录", "点击设置资料"];
  }

  /** The user taps on the head of the page. */
  async handleLogin() {
    if (this.data.isLoggedIn) return this.#menu();
    this.wx.showLoading({ title: "登录中..." });
    try {
      this.#store({ ...(await this.#login()), ...(await this.#profile()) });
    } catch (fault) {
      this.wx.hideLoading();
      return this.#tell(fault, () => this.handleLogin());
    }
    this.wx.hideLoading();
    this.wx.showToast({ title: "登录成功", icon: "success" });
    if (await this.#asks("获取手机号", "是否授权获取手机号？")) {
      this.data.showPhoneAuth = true;
    } else {
      this.wx.navigateTo({ url: "/pages/profile/profile" });
    }
  }

  /** The handler of `<button open-type="getPhoneNumber">`. */
  async onGetPhoneNumber({ detail: { encryptedData, iv } }) {
    if (!encryptedData) return this.wx.showToast({ title: "您拒绝了授权", icon: "none" });
    const { session_key: sessionKey, openid } = this.data.userInfo;
    try {
      const { data } = await post(this.wx, `${this.baseUrl}/api/decrypt-phone`, { encryptedData, iv, sessionKey, openid });
      if (!data.success) throw new Error(data.message);
      this.#store({ phoneNumber: data.data.phoneNumber, phoneUpdateTime: new Date().toISOString() });
    } catch (fault) {
      return this.#tell(fault, () => this.onGetPhoneNumber({ detail: { encryptedData, iv } }));
    }
    this.data.showPhoneAuth = false;
    this.wx.showToast({ title: "手机号获取成功", icon: "success" });
    this.wx.navigateTo({ url: "/pages/profile/profile" });
  }

  /** Loads something of the backend; `undefined` when the user was told why not. */
  async load(path) {
    try {
      const { statusCode, data } = await this.get(path);
      if (statusCode !== 200) throw new Error(data.message);
      return data.data;
    } catch (fault) {
      return this.#tell(fault, () => this.load(path));
    }
  }

  async #login() {
    const { code } = await new Promise((resolve, reject) =>
      this.wx.login({ success: resolve, fail: () => reject(new Error("获取登录凭证失败")) }),
    );
    const { data } = await post(this.wx, `${this.baseUrl}/api/login`, { code });
    if (!data.success) throw new Error(data.message);
    return { ...data.data, loginTime: new Date().toISOString() };
  }

  /** Nobody has to share it. */
  #profile() {
    const only = ({ userInfo: { nickName, avatarUrl } }) => ({ nickName, avatarUrl });
    return new Promise((resolve) => {
      const desc = "用于完善用户资料";
      this.wx.getUserProfile({ desc, success: (shared) => resolve(only(shared)), fail: () => resolve({}) });
    });
  }

  async #signInAgain() {
    this.#store(await this.#login());
  }

  async #menu() {
    const tapped = await new Promise((success) => {
      this.wx.showActionSheet({ itemList: ["编辑资料", "查看信息", "退出登录"], success });
    });
    if (tapped.tapIndex === 0) return this.wx.navigateTo({ url: "/pages/profile/profile" });
    if (tapped.tapIndex === 1) return this.#asks("用户信息", this.data.userInfo.nickName);
    if (!(await this.#asks("提示", "确定要退出登录吗？"))) return;
    this.wx.removeStorageSync(STORED);
    this.onShow();
    this.wx.showToast({ title: "已退出登录", icon: "none" });
  }

  #store(news) {
    this.wx.setStorageSync(STORED, { ...(this.wx.getStorageSync(STORED) || {}), ...news });
    this.onShow();
  }

  async #asks(title, content) {
    return (await new Promise((success) => this.wx.showModal({ title, content, success }))).confirm;
  }

  /** What menshen or the backend said; where there is no network, with another try. */
  async #tell(fault, again) {
    if (fault instanceof Error) return void this.wx.showToast({ title: fault.message, icon: "none" });
    return (await this.#asks("网络错误", "请检查网络后重试")) ? again() : undefined;
  }
}
