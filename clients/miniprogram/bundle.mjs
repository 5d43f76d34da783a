// How code of the package becomes small: esbuild bundles it, terser does the rest.

import { readFileSync } from "node:fs";
import { build } from "esbuild";
import { minify } from "terser";

/** Names of properties that begin with `_` are the package's own. They are short, and the same in each entry and each version. */
export const names = JSON.parse(readFileSync(new URL("names.json", import.meta.url), "utf8"));

/** These files, or this text, as one ES2015 module; and the names that it has. */
export async function bundled(input) {
  const common = { bundle: true, target: "es2015", charset: "utf8", format: "esm", write: false, minifySyntax: true };
  const result = await build({ ...common, mangleProps: /^_[a-z]/, mangleCache: names, ...input });
  return { code: result.outputFiles[0].text, names: result.mangleCache };
}

export async function small(code, module = false) {
  const compress = { passes: 4, unsafe_arrows: true, unsafe_methods: true, pure_getters: true, keep_fargs: false };
  const { code: result } = await minify(code, { module, ecma: 2015, toplevel: true, compress, mangle: { toplevel: true } });
  return `${result}\n`;
}

/** Bytes of these entries in one file, as a bundler makes it: what they share is there once. */
export async function together(entries) {
  const contents = entries.map((entry) => `export * from "./${entry}.js";`).join("\n");
  const { code } = await bundled({ stdin: { contents, resolveDir: new URL("src", import.meta.url).pathname, loader: "ts" } });
  return Buffer.byteLength(await small(code, true));
}
