/** The one class of errors, and how answers and failures of the platform become one. */

import type { Answer } from "./platform.js";
import { assign, keys } from "./plain.js";

/** A field that was refused (`validation_failed`). */
export interface FieldError {
  field: string;
  message: string;
}

/** What is known of an error besides its code. */
export interface ErrorInit {
  /** 0 where there was no answer. */
  status?: number | undefined;
  /** What the server or the platform said, in its own words. */
  detail?: string | undefined;
  /** Seconds until another try can help. */
  retryAfter?: number | undefined;
  requestId?: string | undefined;
  fields?: FieldError[] | undefined;
  answer?: Answer | undefined;
}

/** Chinese and English for a code; `undefined` where it knows none. */
export type Texts = (code: string) => readonly [zh: string, en: string] | undefined;

/**
 * Everything that this package rejects with. `code` is menshen's (`X-Menshen-Error`, docs/errors.md), or one of this package:
 * `offline`, `timeout`, `aborted`, `bad_answer` (not what was expected), `domain_not_listed`, `login_failed` (`wx.login`),
 * `sign_in_needed`, `sign_in_cancelled`, `signed_out`, `session_expired`, `user_changed`, `unsupported`, or `http_404` and the like
 * for a refusal of the backend.
 */
export class MenshenError extends Error implements ErrorInit {
  /** Set by `createClient({ texts })`. */
  static texts: Texts | undefined;

  readonly status!: number;
  /** Whether the same call can succeed later without a change. */
  readonly retryable: boolean;
  /** What to tell a person, in Chinese. */
  readonly zh: string;
  /** What to tell a person, in English. */
  readonly en: string;
  readonly detail?: string;
  readonly retryAfter?: number;
  readonly requestId?: string;
  readonly fields?: FieldError[];
  readonly answer?: Answer;

  constructor(
    readonly code: string,
    init?: ErrorInit,
  ) {
    super(code);
    assign(this, { name: "MenshenError", status: 0 }, init);
    const { status, detail } = this;
    if (detail) this.message += ": " + detail;
    const lost = /^(offline|timeout|bad_)/.test(code);
    this.retryable = lost || status == 408 || status == 429 || (status > 499 && code != "wechat_misconfigured");
    const { texts } = MenshenError;
    [this.zh, this.en] = (texts && texts(code)) || ["请稍后再试", "Please try again later"];
  }
}

/** What `fail` of the platform was called with. */
export const failure = (fault: any, otherwise: string): MenshenError => {
  const detail = String((fault && (fault.errMsg || fault.message)) || fault);
  const code = /abort/.test(detail)
    ? "aborted"
    : /time ?d? ?out/i.test(detail)
      ? "timeout"
      : /domain list/.test(detail)
        ? "domain_not_listed"
        : otherwise;
  return new MenshenError(code, { detail });
};

/** A header of an answer, whatever case the platform gives its name in. */
export const headerOf = (header: any, name: string): string | undefined => {
  const key = keys(header || {}).filter((key) => key.toLowerCase() == name)[0];
  return key && header[key] ? String(header[key]) : undefined;
};
