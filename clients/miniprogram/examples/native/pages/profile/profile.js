const { client, tell, withSession } = require("../../services/session");
const { accountOf } = require("menshen-miniprogram/account");
const { phoneButton } = require("menshen-miniprogram/phone");
const { transfers } = require("menshen-miniprogram/transfer");

const account = accountOf(client);
const { upload } = transfers(client);

/** Puts the chosen picture where others can see it: a route of your own backend. */
const uploadAvatar = (filePath) => upload({ url: "/files/avatar", filePath, name: "file" }).then(({ data }) => data.url);

Component({
  behaviors: [withSession],
  data: { phone: { step: "idle" }, bySms: false },

  lifetimes: {
    attached() {
      this.button = phoneButton(client);
      this.end = this.button.subscribe((phone) => this.setData({ phone }));
      account.me().catch(tell);
    },
    detached() {
      this.end();
    },
  },

  methods: {
    /** `open-type="chooseAvatar"`: the picture is the user's own choice. */
    chooseAvatar({ detail }) {
      account.setAvatar(detail.avatarUrl, uploadAvatar).catch(tell);
    },
    /** `type="nickname"`, when the field is left. */
    nickname({ detail }) {
      account.setNickname(detail.value).catch(tell);
    },
    phoneTapped({ detail }) {
      this.button.tapped(detail).catch((error) => (error.code === "phone_refused" ? undefined : tell(error)));
    },
    sms() {
      this.setData({ bySms: !this.data.bySms });
    },
    unbind() {
      account.unbindPhone().catch(tell);
    },
    remove() {
      wx.showModal({
        title: "注销账号",
        content: "账号和数据将被删除，且无法恢复",
        success: ({ confirm }) => confirm && account.remove().then(() => wx.navigateBack(), tell),
      });
    },
  },
});
