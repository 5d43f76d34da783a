// What is published, as a mini program of 2019 loads it: CommonJS in a place that has nothing but ES2015, timers and `Promise`, whose
// callbacks are tasks as on old iOS. The same random lives as those of the sources.

import { readdirSync, readFileSync } from "node:fs";
import vm from "node:vm";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { live, lives } from "./model.js";

const dist = new URL("../miniprogram_dist/", import.meta.url);

/** `Promise` of ES2015 in plain code, which calls back with `setTimeout`: not in a microtask. */
const MACRO = `
function Promise(run) {
  var self = this;
  self.s = 0; self.q = [];
  function settle(state, value) {
    if (self.s) return;
    self.s = state; self.v = value;
    self.q.forEach(function (each) { setTimeout(each, 0); });
  }
  function reject(fault) { settle(2, fault); }
  function resolve(value) {
    if (self.d) return; self.d = 1;
    if (value === self) return reject(new TypeError("itself"));
    if (value && (typeof value === "object" || typeof value === "function")) {
      var then;
      try { then = value.then; } catch (fault) { return reject(fault); }
      if (typeof then === "function") {
        setTimeout(function () {
          var done;
          try {
            then.call(value, function (v) { if (!done) { done = 1; self.d = 0; resolve(v); } }, function (f) { if (!done) { done = 1; reject(f); } });
          } catch (fault) { if (!done) { done = 1; reject(fault); } }
        }, 0);
        return;
      }
    }
    settle(1, value);
  }
  try { run(resolve, function (fault) { if (!self.d) { self.d = 1; reject(fault); } }); }
  catch (fault) { if (!self.d) { self.d = 1; reject(fault); } }
}
Promise.prototype.then = function (good, bad) {
  var self = this;
  return new Promise(function (resolve, reject) {
    function call() {
      var by = self.s === 1 ? good : bad;
      if (typeof by !== "function") return self.s === 1 ? resolve(self.v) : reject(self.v);
      try { resolve(by(self.v)); } catch (fault) { reject(fault); }
    }
    if (self.s) setTimeout(call, 0); else self.q.push(call);
  });
};
Promise.prototype.catch = function (bad) { return this.then(undefined, bad); };
Promise.resolve = function (value) { return value instanceof Promise ? value : new Promise(function (resolve) { resolve(value); }); };
Promise.reject = function (fault) { return new Promise(function (_, reject) { reject(fault); }); };
Promise.race = function (all) { return new Promise(function (resolve, reject) { all.forEach(function (each) { Promise.resolve(each).then(resolve, reject); }); }); };
Promise.all = function (all) { return new Promise(function (resolve, reject) { var left = all.length, out = []; all.forEach(function (each, n) { Promise.resolve(each).then(function (v) { out[n] = v; if (!--left) resolve(out); }, reject); }); }); };
`;

/** Loads an entry in a context of its own. */
function load(entry: string, globals: object = {}): any {
  const context = vm.createContext({
    setTimeout: (run: () => void, time: number) => setTimeout(run, time),
    clearTimeout: (timer: never) => clearTimeout(timer),
    Date,
    ...globals,
  });
  // What mini programs do not have, or not all of them.
  vm.runInContext(
    `${MACRO}
    for (const name of ["globalThis", "WebAssembly", "SharedArrayBuffer", "Atomics", "BigInt", "eval", "Function"]) delete this[name];
    delete Object.entries; delete Object.values; delete Array.prototype.includes; delete Array.prototype.flat; delete String.prototype.padStart;
    delete Object.fromEntries; delete String.prototype.replaceAll; delete Array.prototype.at;
    var exports = {}; var module = { exports };`,
    context,
  );
  vm.runInContext(readFileSync(new URL(`${entry}.js`, dist), "utf8"), context, { filename: entry });
  return vm.runInContext("exports", context);
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const files = readdirSync(dist).filter((name) => name.endsWith(".js"));

test("each entry loads alone, and names no global that a mini program lacks", () => {
  expect(files.length).toBeGreaterThan(15);
  for (const file of files) {
    const exported = Object.keys(load(file.replace(/\.js$/, "")));
    expect(exported.length, file).toBeGreaterThan(0);
    const code = readFileSync(new URL(file, dist), "utf8");
    for (const name of ["URL", "fetch", "AbortController", "Event", "globalThis", "eval", "window", "document", "process", "require", "TextDecoder", "atob"]) {
      expect(code, `${file} names ${name}`).not.toMatch(new RegExp(`(?<![\\w.$"'/-])${name}(?=[\\s.(\\[])`));
    }
  }
});

test("whatever happens to an old phone, what must hold does", { timeout: 600_000 }, async () => {
  const package_ = { ...load("index"), ...load("phone") };
  await fc.assert(
    fc.asyncProperty(lives, (life) =>
      // Callbacks are tasks: what took none takes a few.
      live(life, package_, (milliseconds) => vi.advanceTimersByTimeAsync(milliseconds || 5)),
    ),
    { numRuns: Number(process.env.MENSHEN_MODEL_RUNS ?? 300) },
  );
});

test("no name of a property differs between the entries", () => {
  const names = JSON.parse(readFileSync(new URL("../names.json", import.meta.url), "utf8"));
  expect(new Set(Object.values(names)).size).toBe(Object.keys(names).length);
});
