import { defineConfig } from "vitest/config";

const core = ["client", "errors", "wire", "state", "record", "native", "api", "plain"].map((name) => `src/${name}.ts`);

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 5_000,
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      exclude: ["src/globals.d.ts"],
      reporter: ["text"],
      thresholds: Object.fromEntries(core.map((file) => [file, { branches: 100, functions: 100, lines: 100, statements: 100 }])),
    },
  },
});
