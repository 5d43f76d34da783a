// What is published is looked at as others will: sizes, the language, the package's map, its types, and the list of its files.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { together } from "./bundle.mjs";

process.chdir(new URL(".", import.meta.url).pathname);
const bin = (name, ...args) => {
  console.log(`== ${name} ${args.join(" ")}`);
  execFileSync(`node_modules/.bin/${name}`, args, { stdio: "inherit" });
};

bin("size-limit");
for (const file of readdirSync("miniprogram_dist").filter((name) => name.endsWith(".js"))) {
  console.log(`${String(statSync(`miniprogram_dist/${file}`).size).padStart(6)}  ${file}`);
}
// What shares code is loaded once by a bundler: the features with one platform, and with every dialect.
const features = ["index", "wx", "transfer", "phone", "privacy", "sms", "account", "texts"];
const dialects = ["simplejwt", "nest", "success-data", "code-data"];
const all = await together([...features, ...dialects]);
console.log(`${await together(features)}  all features, ${all} with every dialect`);
console.log(`${await together([...features, ...dialects, "intercept", "cloud", "encrypted"])}  with interceptors, cloud and encryption besides`);
if (all > 24 * 1024) throw new Error(`everything is ${all} bytes, more than 24 KiB`);

bin("es-check", "es6", "miniprogram_dist/*.js", "--checkFeatures");
bin("es-check", "es6", "dist/*.js", "--module");
bin("publint", "--strict");
// A mini program's `require` and the bundlers of Taro and uni-app read `exports` or a path; node10's resolution knows no sub-paths.
const aside = mkdtempSync(join(tmpdir(), "menshen-pack-"));
execFileSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", aside]);
bin("attw", join(aside, readdirSync(aside)[0]), "--profile", "node16");
rmSync(aside, { recursive: true });
