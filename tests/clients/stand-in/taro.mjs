// The part of Taro that seed A uses: `wx` with promises, and the event centre.

import { EventEmitter } from "node:events";

/** `Taro` on this device. */
export function taroOn({ wx }) {
  const promised = (call) => (options = {}) => new Promise((success, fail) => call({ ...options, success, fail }));
  const events = new EventEmitter();
  return {
    login: promised(wx.login),
    request: promised(wx.request),
    setStorageSync: wx.setStorageSync,
    getStorageSync: wx.getStorageSync,
    removeStorageSync: wx.removeStorageSync,
    showToast: wx.showToast,
    showLoading: wx.showLoading,
    hideLoading: wx.hideLoading,
    eventCenter: {
      on: (name, listener) => void events.on(name, listener),
      trigger: (name, ...args) => void events.emit(name, ...args),
    },
  };
}
