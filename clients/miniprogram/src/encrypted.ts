/** Storage that is encrypted: by WeChat (`encrypt: true`, base library 2.21.3), or by two functions of one's own. */

import type { Platform } from "./platform.js";
import { assign } from "./plain.js";

/** Session and countdowns under WeChat's encryption. What was stored without it before is found, and encrypted at the next write. */
export function encryptedStorage(wx: any): Platform {
  let last: Promise<unknown> = Promise.resolve();
  return assign(Object.create(wx), {
    getStorageSync: (key: string) =>
      new Promise((resolve, reject) => {
        wx.getStorage({
          key,
          encrypt: true,
          success: ({ data }: any) => resolve(data),
          fail: () => {
            try {
              resolve(wx.getStorageSync(key));
            } catch (fault) {
              reject(fault);
            }
          },
        });
      }),
    setStorageSync(key: string, data: unknown) {
      const write = () => new Promise((success, fail) => wx.setStorage({ key, data, encrypt: true, success, fail }));
      // In the order of the calls.
      return (last = last.then(write, write));
    },
  });
}

/** Values as texts that `seal` has made, and `open` makes values of again. */
export function sealedStorage(platform: Platform, seal: (text: string) => string, open: (text: string) => string): Platform {
  return assign(Object.create(platform), {
    getStorageSync(key: string) {
      const sealed = platform.getStorageSync(key);
      return typeof sealed == "string" && sealed ? JSON.parse(open(sealed)) : undefined;
    },
    setStorageSync: (key: string, value: unknown) => platform.setStorageSync(key, seal(JSON.stringify(value))),
  });
}
