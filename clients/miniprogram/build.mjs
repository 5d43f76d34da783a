// Builds the package: `miniprogram_dist` (CommonJS, ES2015, small, for 构建 npm and `require`), `dist` (ESM for Taro and uni-app),
// types beside both.

import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { bundled, names, small } from "./bundle.mjs";

const root = new URL(".", import.meta.url).pathname;
process.chdir(root);
const manifest = JSON.parse(readFileSync("package.json", "utf8"));
/** `index` and one for each sub-path of `exports`. */
const entries = Object.keys(manifest.exports)
  .filter((path) => path !== "./package.json")
  .map((path) => (path === "." ? "index" : path.slice(2)));

for (const dir of ["dist", "miniprogram_dist"]) rmSync(dir, { recursive: true, force: true });
execFileSync("node_modules/.bin/tsc", ["-p", ".", "--noEmit", "false", "--emitDeclarationOnly", "--outDir", "dist"], { stdio: "inherit" });
mkdirSync("miniprogram_dist");
for (const file of readdirSync("dist")) copyFileSync(`dist/${file}`, `miniprogram_dist/${file}`);
writeFileSync("dist/package.json", '{ "type": "module" }\n');

for (const entry of entries) {
  const { code, names: used } = await bundled({ entryPoints: [`src/${entry}.ts`] });
  if (JSON.stringify(used) !== JSON.stringify(names)) {
    writeFileSync("names.json", JSON.stringify(used, null, 2) + "\n");
    throw new Error("names.json lacked names and has them now: build again, and commit it");
  }
  writeFileSync(`dist/${entry}.js`, code);
  writeFileSync(`miniprogram_dist/${entry}.js`, await small(commonJs(code)));
}

/** esbuild ends a bundle with one `export { a, b as c };`. Its own CommonJS has 350 bytes of helpers in each file. */
function commonJs(code) {
  const found = /export \{([^}]*)\};\s*$/.exec(code);
  if (!found) throw new Error("no exports at the end of a bundle");
  const exported = found[1].split(",").map((name) => name.trim()).filter(Boolean);
  const lines = exported.map((name) => {
    const [own, other = own] = name.split(" as ");
    return `exports.${other} = ${own};`;
  });
  return `"use strict";\n${code.slice(0, found.index)}${lines.join("\n")}\n`;
}

console.log(`${basename(root)}: ${entries.length} entries`);
