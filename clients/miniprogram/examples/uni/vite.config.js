import { defineConfig } from "vite";
import plugin from "@dcloudio/vite-plugin-uni";

export default defineConfig({
  base: "./",
  plugins: [plugin.default ? plugin.default() : plugin()],
  // Where the server is; a build for another one sets MENSHEN_BASE_URL.
  define: { BASE_URL: JSON.stringify(process.env.MENSHEN_BASE_URL ?? "https://api.example.com") },
});
