// What is published is looked at as others will: sizes, the language, the package's map, its types, and the list of its files.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

process.chdir(new URL(".", import.meta.url).pathname);
const bin = (name, ...args) => {
  console.log(`== ${name} ${args.join(" ")}`);
  execFileSync(`node_modules/.bin/${name}`, args, { stdio: "inherit" });
};

bin("size-limit");
for (const file of readdirSync("miniprogram_dist").filter((name) => name.endsWith(".js"))) {
  console.log(`${String(statSync(`miniprogram_dist/${file}`).size).padStart(6)}  ${file}`);
}
bin("es-check", "es6", "miniprogram_dist/*.js", "--checkFeatures");
bin("es-check", "es6", "dist/*.js", "--module");
bin("publint", "--strict");
// A mini program's `require` and the bundlers of Taro and uni-app read `exports` or a path; node10's resolution knows no sub-paths.
const aside = mkdtempSync(join(tmpdir(), "menshen-pack-"));
execFileSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", aside]);
bin("attw", join(aside, readdirSync(aside)[0]), "--profile", "node16");
rmSync(aside, { recursive: true });
