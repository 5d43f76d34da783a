import { defineConfig } from "@tarojs/cli";

export default defineConfig({
  projectName: "menshen-example-taro",
  designWidth: 750,
  deviceRatio: { 750: 1, 375: 2 },
  sourceRoot: "src",
  outputRoot: `dist/${process.env.TARO_ENV}`,
  framework: "react",
  compiler: "webpack5",
  plugins: [],
  // Where the server is; a build for another one sets MENSHEN_BASE_URL.
  defineConstants: { BASE_URL: JSON.stringify(process.env.MENSHEN_BASE_URL ?? "https://api.example.com") },
  h5: { publicPath: "./", router: { mode: "hash" } },
});
