const { client, tell, withSession } = require("../../services/session");
const { accountOf } = require("menshen-miniprogram/account");

const account = accountOf(client);
const NAMES = { miniprogram: "微信小程序", app: "手机应用", web: "网页" };

Component({
  behaviors: [withSession],
  data: { devices: [] },
  lifetimes: {
    attached() {
      this.load();
    },
  },
  methods: {
    async load() {
      try {
        const devices = await account.devices();
        this.setData({ devices: devices.map((device) => ({ ...device, name: NAMES[device.client_type] || device.client_type })) });
      } catch (error) {
        tell(error);
      }
    },
    async end({ currentTarget }) {
      const device = this.data.devices[currentTarget.dataset.index];
      try {
        await account.signOutDevice(device);
        this.setData({ devices: this.data.devices.filter(({ id }) => id !== device.id) });
      } catch (error) {
        tell(error);
      }
    },
    others() {
      account.signOutOthers().then(() => this.load(), tell);
    },
    everywhere() {
      account.signOutEverywhere().then(() => this.setData({ devices: [] }), tell);
    },
  },
});
