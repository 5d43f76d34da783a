/**
 * WeChat's privacy notice (`wx.onNeedPrivacyAuthorization`): an API that needs consent waits until `resolve` is called. Here it is
 * called in any case: when the user agrees, refuses, or closes the page.
 */

import { store } from "./state.js";

export interface PrivacyState {
  /** The popup is to be shown. */
  readonly needed: boolean;
  /** The API that waits. */
  readonly referrer?: string | undefined;
}

type Resolve = (result: { event: "exposureAuthorization" | "agree" | "disagree"; buttonId?: string }) => void;

export const privacyConsent = (wx: any) => {
  const state = store<PrivacyState>({ needed: false });
  let waiting: Resolve[] = [];

  const settle = (result: Parameters<Resolve>[0]) => {
    const all = waiting;
    waiting = [];
    state.set({ needed: false });
    all.forEach((resolve) => resolve(result));
  };

  // Base libraries before 2.32.3 ask by themselves.
  if (wx.onNeedPrivacyAuthorization) {
    wx.onNeedPrivacyAuthorization((resolve: Resolve, event?: { referrer?: string }) => {
      waiting.push(resolve);
      state.set({ needed: true, referrer: event && event.referrer });
    });
  }

  return {
    getState: state.get,
    subscribe: state.subscribe,
    /** The popup is on the screen: WeChat wants to know. */
    shown: (): void => waiting.forEach((resolve) => resolve({ event: "exposureAuthorization" })),
    /** The handler of `<button open-type="agreePrivacyAuthorization" bindagreeprivacyauthorization>`, with the button's `id`. */
    agree: (buttonId: string): void => settle({ event: "agree", buttonId }),
    refuse: (): void => settle({ event: "disagree" }),
    /** The page is closed: what still waits is refused. */
    close: (): void => settle({ event: "disagree" }),
    /** Whether consent is still missing, to ask for it before it is needed. */
    isMissing: (): Promise<boolean> =>
      new Promise((resolve) => {
        const no = () => resolve(false);
        if (!wx.getPrivacySetting) return no();
        wx.getPrivacySetting({ success: (result: any) => resolve(!!result.needAuthorization), fail: no });
      }),
    /** Opens the notice itself. */
    read: (): Promise<boolean> =>
      new Promise((resolve) => {
        const no = () => resolve(false);
        if (!wx.openPrivacyContract) return no();
        wx.openPrivacyContract({ success: () => resolve(true), fail: no });
      }),
  };
};
