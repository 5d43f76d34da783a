// Signing in with WeChat, as seed B's `utils/wechat-login.js` offers it to the pages.

import { proxyOn } from "./proxy.mjs";

const TOKEN = "access_token";
const USER = "user_info";

/** What the pages call, on this device. */
export function wechatAuthOn({ wx }) {
  const proxy = proxyOn(wx);
  let refreshing = null;

  const getCode = () =>
    new Promise((resolve, reject) => {
      wx.login({ success: ({ code }) => resolve(code), fail: () => reject(new Error("获取登录凭证失败")) });
    });

  const getUserProfile = () =>
    new Promise((resolve, reject) => {
      const desc = "用于完善用户资料";
      wx.getUserProfile({ desc, success: ({ userInfo }) => resolve(userInfo), fail: () => reject(new Error("您拒绝了授权")) });
    });

  const getLocalToken = () => wx.getStorageSync(TOKEN);

  function forget() {
    wx.removeStorageSync(TOKEN);
    wx.removeStorageSync(USER);
  }

  async function wechatLogin() {
    const code = await getCode();
    const { nickName, avatarUrl } = await getUserProfile();
    const { statusCode, data } = await proxy("POST", "/api/v1/auth/wx-login", { body: { code, nickName, avatarUrl } });
    if (statusCode !== 200) throw new Error(data.message);
    const { access_token: token, user: userInfo } = data.data;
    wx.setStorageSync(TOKEN, token);
    wx.setStorageSync(USER, userInfo);
    return { token, userInfo };
  }

  /** Renews the token that was refused, with itself; calls that are refused together renew it once. */
  async function refreshToken(refused = getLocalToken()) {
    if (getLocalToken() !== refused) return;
    refreshing ??= proxy("POST", "/api/v1/auth/refresh", { token: refused })
      .then(({ statusCode, data }) => {
        if (statusCode !== 200) throw new Error(data.message);
        wx.setStorageSync(TOKEN, data.data.access_token);
      })
      .finally(() => (refreshing = null));
    await refreshing;
  }

  async function logout() {
    const { data } = await proxy("POST", "/api/v1/auth/logout", { token: getLocalToken() });
    forget();
    return data.message;
  }

  return {
    wechatLogin,
    refreshToken,
    logout,
    forget,
    getLocalToken,
    getLocalUserInfo: () => wx.getStorageSync(USER),
    checkLoginStatus: () => getLocalToken() !== "",
  };
}
