/** Where `wx.request` does not go to the server itself: a cloud function that forwards, or WeChat Cloud Run's `callContainer`. */

import type { Platform } from "./platform.js";
import { assign } from "./plain.js";

export interface CloudFunction {
  /** `api-proxy` unless this says otherwise. */
  name?: string;
  /** What the function is given; `{method, path, headers, body}` unless this says otherwise. */
  data?(request: { method: string; path: string; headers: Record<string, string>; body: unknown }): object;
  /** How the function gives the server's answer; `{statusCode, data, headers}` unless this says otherwise. */
  answer?(result: any): { statusCode: number; data: unknown; header?: Record<string, string> };
}

/** The path and the query of a URL. */
const pathOf = (url: string) => url.replace(/^\w+:\/\/[^/?]*/, "") || "/";

/**
 * A platform whose requests go through a cloud function. It hides the status unless it puts that into its result, and the headers
 * likewise; without `X-Menshen-Error` the bodies of the dialect say what is refused.
 */
export function cloudFunction(wx: any, { name = "api-proxy", data, answer }: CloudFunction = {}): Platform {
  const answerOf =
    answer || ((result: any) => result && { statusCode: result.statusCode, data: result.data, header: result.headers || result.header });
  return assign(Object.create(wx), {
    request({ url, method = "GET", header = {}, data: body, success, fail }: any) {
      const request = { method, path: pathOf(url), headers: header, body };
      wx.cloud.callFunction({
        name,
        data: data ? data(request) : request,
        success: ({ result }: any) => success(assign({ header: {} }, answerOf(result))),
        fail,
      });
    },
  });
}

/** A platform whose requests go through `wx.cloud.callContainer`. */
export function cloudContainer(wx: any, { env, service }: { env: string; service: string }): Platform {
  return assign(Object.create(wx), {
    request(options: any) {
      const header = assign({}, options.header, { "X-WX-SERVICE": service });
      wx.cloud.callContainer(assign({}, options, { url: undefined, path: pathOf(options.url), config: { env }, header }));
    },
  });
}
