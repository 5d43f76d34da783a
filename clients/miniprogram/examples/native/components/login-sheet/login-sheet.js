const { client, tell, sheets } = require("../../services/session");
const { phoneButton } = require("menshen-miniprogram/phone");
const { privacyConsent } = require("menshen-miniprogram/privacy");

// The login sheet: opens by itself when a request needs a user. Put one into each page.
Component({
  data: { shown: false, agreed: false, hint: "", busy: false, bySms: false, phone: {}, consent: { needed: false } },

  lifetimes: {
    attached() {
      this.button = phoneButton(client);
      this.privacy = privacyConsent(wx);
      this.ends = [
        this.button.subscribe((phone) => this.setData({ phone })),
        this.privacy.subscribe((consent) => this.setData({ consent })),
        client.subscribe(({ status }) => status === "signed-in" && this.setData({ shown: false, bySms: false })),
      ];
      sheets.push(this);
    },
    detached() {
      sheets.splice(sheets.indexOf(this), 1);
      this.ends.forEach((end) => end());
      this.privacy.close();
      if (this.data.shown) client.cancelSignIn();
    },
  },

  methods: {
    open() {
      this.setData({ shown: true, hint: "" });
    },
    close() {
      this.setData({ shown: false, bySms: false });
      client.cancelSignIn();
    },
    agree() {
      this.setData({ agreed: !this.data.agreed, hint: "" });
    },
    /** Consent comes first: no code leaves the phone without it. */
    mayGoOn() {
      if (!this.data.agreed) this.setData({ hint: "请先阅读并同意用户协议与隐私政策" });
      return this.data.agreed;
    },
    async wechat() {
      if (!this.mayGoOn() || this.data.busy) return;
      this.setData({ busy: true });
      try {
        await client.signIn();
      } catch (error) {
        this.setData({ hint: error.zh });
      }
      this.setData({ busy: false });
    },
    /** `bindgetphonenumber`: signs in and binds the phone, with one tap. */
    async phoneTapped({ detail }) {
      if (!this.mayGoOn()) return;
      try {
        await this.button.tapped(detail);
      } catch (error) {
        this.setData({ hint: error.zh, bySms: error.code === "phone_quota" || error.code === "phone_unavailable" });
      }
    },
    retry() {
      this.button.retry().catch((error) => this.setData({ hint: error.zh }));
    },
    sms() {
      if (this.mayGoOn()) this.setData({ bySms: !this.data.bySms });
    },
    privacyAgreed() {
      this.privacy.agree("privacy-agree");
    },
    privacyRefused() {
      this.privacy.refuse();
    },
    readPrivacy() {
      this.privacy.read().then((opened) => opened || tell({ zh: "请在设置中查看隐私保护指引" }));
    },
  },
});
