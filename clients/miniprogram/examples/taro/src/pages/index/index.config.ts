export default definePageConfig({ navigationBarTitleText: "menshen" });
