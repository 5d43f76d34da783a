import fc from "fast-check";
import { afterEach, beforeEach, test, vi } from "vitest";
import { createClient, native } from "../src/index.js";
import { phoneButton } from "../src/phone.js";
import { live, lives } from "./model.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const runs = Number(process.env.MENSHEN_MODEL_RUNS ?? 300);

test("whatever happens to a phone, what must hold does", { timeout: 600_000 }, () =>
  fc.assert(
    fc.asyncProperty(lives, (life) => live(life, { createClient, native, phoneButton }, (milliseconds) => vi.advanceTimersByTimeAsync(milliseconds))),
    { numRuns: runs },
  ),
);
