import Taro from "@tarojs/taro";
import React from "react";
import { createClient, type MenshenError } from "menshen-miniprogram";
import { sessionHook, taroPlatform } from "menshen-miniprogram/taro";
import { texts } from "menshen-miniprogram/texts";
// import { simplejwt } from "menshen-miniprogram/simplejwt";   also nest, success-data, code-data

declare const BASE_URL: string;

/** What shows the login sheet. */
export const sheet = { open: () => undefined as void };

export const client = createClient({
  baseUrl: BASE_URL,
  // Each function by its name: Taro leaves those out of a page for browsers that nothing names.
  platform: taroPlatform({
    request: Taro.request,
    uploadFile: Taro.uploadFile,
    downloadFile: Taro.downloadFile,
    connectSocket: Taro.connectSocket,
    login: Taro.login,
    getStorageSync: Taro.getStorageSync,
    setStorageSync: Taro.setStorageSync,
    getEnv: Taro.getEnv,
  }),
  texts,
  // api: simplejwt(),
  onSignInNeeded: () => sheet.open(),
});

export const useSession = sessionHook(client, React);

let told: unknown;
/** Tells a person once what went wrong, however many requests it stopped. */
export function tell(error: MenshenError): void {
  if (error === told || error.code === "sign_in_cancelled") return;
  told = error;
  Taro.showToast({ title: error.zh, icon: "none" });
}
