const { client, tell, withSession } = require("../../services/session");

// What a page shows of the session, and a request that needs a user: the login sheet opens, and the request goes on after it.
Component({
  behaviors: [withSession],
  data: { orders: [] },

  methods: {
    async load() {
      try {
        const { data } = await client.request("/orders");
        this.setData({ orders: data.orders || [data] });
      } catch (error) {
        tell(error);
      }
    },
    /** The menu of who has signed in. */
    menu() {
      if (this.data.session.status === "signed-out") return client.ensure().catch(tell);
      wx.showActionSheet({
        itemList: ["编辑资料", "登录设备", "退出登录"],
        success: ({ tapIndex }) => {
          if (tapIndex === 0) wx.navigateTo({ url: "/pages/profile/profile" });
          if (tapIndex === 1) wx.navigateTo({ url: "/pages/devices/devices" });
          if (tapIndex === 2) this.signOut();
        },
      });
    },
    async signOut() {
      await client.signOut();
      this.setData({ orders: [] });
      wx.showToast({ title: "已退出登录", icon: "none" });
    },
  },
});
