export default defineAppConfig({
  pages: ["pages/index/index"],
  window: { navigationBarTitleText: "menshen", navigationBarBackgroundColor: "#ffffff", backgroundColor: "#f5f6f7" },
});
