// The profile page of seed A: the one place where people sign in and out, and see why it did not work.

import { taroOn } from "../stand-in/taro.mjs";
import { authServiceOn } from "./auth.mjs";
import { ApiError, TokenManager, requestOn } from "./request.mjs";

/** The page on this device. */
export class ProfilePage {
  isLoggedIn = false;
  user = null;

  constructor(device, baseUrl) {
    this.Taro = taroOn(device);
    this.tokens = new TokenManager(this.Taro, baseUrl);
    this.request = requestOn(this.Taro, baseUrl, this.tokens);
    this.authService = authServiceOn(this.Taro, this.request);
  }

  /** `useDidShow` */
  didShow() {
    this.isLoggedIn = Boolean(this.tokens.getAccessToken());
  }

  handleLogin() {
    return this.#signIn(() => this.authService.login());
  }

  handleAdminLogin(username, password) {
    return this.#signIn(() => this.authService.adminLogin(username, password));
  }

  async #signIn(login) {
    // A token of before would go with the login, and a bad one would be looked at.
    this.tokens.clearTokens();
    this.Taro.showLoading({ title: "登录中..." });
    try {
      const { access, refresh, user } = await login();
      this.tokens.setTokens({ access, refresh });
      this.user = user;
      this.didShow();
      this.Taro.eventCenter.trigger("userLogin", user);
      this.Taro.showToast({ title: "登录成功", icon: "success" });
    } catch (fault) {
      this.#tell(fault);
    } finally {
      this.Taro.hideLoading();
    }
  }

  /** Loads something of the backend; `undefined` when the user was told why not. */
  async load(path) {
    try {
      return await this.request(path);
    } catch (fault) {
      this.#tell(fault);
      return undefined;
    } finally {
      this.didShow();
    }
  }

  handleLogout() {
    this.tokens.clearTokens();
    this.user = null;
    this.didShow();
    this.Taro.showToast({ title: "已退出登录", icon: "none" });
  }

  #tell(fault) {
    const isOver = fault instanceof ApiError && fault.status === 401 && fault.data.code === "token_not_valid";
    const title = isOver ? "登录已过期，请重新登录" : fault instanceof ApiError ? fault.message : "网络错误，请重试";
    this.Taro.showToast({ title, icon: "none" });
  }
}
