import { createClient } from "menshen-miniprogram";
import { uniPlatform } from "menshen-miniprogram/uni";
import { texts } from "menshen-miniprogram/texts";
// import { nest } from "menshen-miniprogram/nest";   also simplejwt, success-data, code-data

/** What shows the login sheet. */
export const sheet = { open() {} };

export const client = createClient({
  // eslint-disable-next-line no-undef -- vite.config.js
  baseUrl: BASE_URL,
  // Each function by its name: uni-app leaves those out of a page for browsers that nothing names.
  platform: uniPlatform({
    request: uni.request,
    uploadFile: uni.uploadFile,
    downloadFile: uni.downloadFile,
    connectSocket: uni.connectSocket,
    login: uni.login,
    getStorageSync: uni.getStorageSync,
    setStorageSync: uni.setStorageSync,
    getSystemInfoSync: uni.getSystemInfoSync,
  }),
  texts,
  // api: nest(),
  onSignInNeeded: () => sheet.open(),
});

let told;
/** Tells a person once what went wrong, however many requests it stopped. */
export function tell(error) {
  if (error === told || error.code === "sign_in_cancelled") return;
  told = error;
  uni.showToast({ title: error.zh, icon: "none" });
}
