const { client } = require("../../services/session");
const { smsForm } = require("menshen-miniprogram/sms");

// A form for a code by text message: signs in, or binds the phone (`purpose="bind"`).
Component({
  properties: { purpose: { type: String, value: "login" } },
  data: { phone: "", code: "", hint: "", sms: { left: 0, sending: false, submitting: false } },

  lifetimes: {
    attached() {
      this.form = smsForm(client, { purpose: this.properties.purpose });
      this.end = this.form.subscribe((sms) => this.setData({ sms }));
    },
    detached() {
      this.end();
      this.form.close();
    },
  },

  methods: {
    phoneInput({ detail }) {
      this.setData({ phone: detail.value, hint: "" });
      // The countdown of this number, also where the page was closed meanwhile.
      this.form.setPhone(detail.value);
    },
    codeInput({ detail }) {
      this.setData({ code: detail.value, hint: "" });
    },
    async send() {
      try {
        await this.form.send();
      } catch (error) {
        this.setData({ hint: error.zh });
      }
    },
    async submit() {
      try {
        const bound = await this.form.submit(this.data.code);
        this.triggerEvent("done", bound || {});
      } catch (error) {
        this.setData({ hint: error.zh });
      }
    },
  },
});
