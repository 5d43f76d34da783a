// WeChat's own 构建 npm (`packNpmManually` of miniprogram-ci) takes the package as it is packed, and what comes out of it loads.

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const path = require("node:path");
const vm = require("node:vm");
const ci = require("miniprogram-ci");

const root = path.join(__dirname, "../..");
const project = mkdtempSync(path.join(tmpdir(), "menshen-npm-"));

async function main() {
  const installed = path.join(project, "node_modules/menshen-miniprogram");
  mkdirSync(installed, { recursive: true });
  execFileSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", project], { cwd: root });
  const [tarball] = readdirSync(project).filter((name) => name.endsWith(".tgz"));
  execFileSync("tar", ["xzf", path.join(project, tarball), "-C", installed, "--strip-components=1"]);
  writeFileSync(path.join(project, "package.json"), JSON.stringify({ dependencies: { "menshen-miniprogram": "*" } }));
  const result = await ci.packNpmManually({ packageJsonPath: path.join(project, "package.json"), miniprogramNpmDistDir: project });
  assert.deepEqual([result.miniProgramPackNum, result.otherNpmPackNum, result.warnList], [1, 0, []]);
  const built = path.join(project, "miniprogram_npm/menshen-miniprogram");
  const files = readdirSync(built).filter((name) => name.endsWith(".js"));
  assert.ok(files.length > 15, files.join(" "));
  for (const file of files) {
    const exports = {};
    vm.runInNewContext(readFileSync(path.join(built, file), "utf8"), { exports, module: { exports }, setTimeout, clearTimeout });
    assert.ok(Object.keys(exports).length > 0, file);
  }
  console.log(`ok: packNpmManually, ${files.length} files`);
}

main().then(
  () => rmSync(project, { recursive: true, force: true }),
  (fault) => {
    console.error(fault);
    process.exitCode = 1;
  },
);
