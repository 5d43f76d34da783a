/** For those who keep their own requests: the token for them, and interceptors for luch-request, alova and axios. */

import type { Client } from "./client.js";
import type { Auth } from "./options.js";
import type { Answer } from "./platform.js";
import { assign, keys } from "./plain.js";

type Headers = Record<string, any>;

/** A request function's own options: its headers under `header` or `headers`. */
export interface Authorizable {
  url?: string;
  header?: Headers;
  auth?: Auth;
  /** False: rejects where the login page would open. */
  mayAsk?: boolean;
}

export function authorizer(client: Client) {
  const { _inside: inside, api } = client;

  /** The headers with the token, for a request to this URL. */
  async function headers(url: string, header?: Headers, auth?: Auth, mayAsk?: boolean): Promise<Headers> {
    const tokens = await inside._tokens(inside._locate(url).ours ? auth : "none", mayAsk);
    return inside._withToken(header, tokens && tokens.access);
  }

  /** The token among these headers. */
  function accessIn(header: Headers | undefined): string | undefined {
    const [name, prefix] = api.bearer("");
    const all = header || {};
    const key = keys(all).filter((own) => own.toLowerCase() == name.toLowerCase())[0];
    const value = key && String(all[key]);
    return value && value.slice(0, prefix.length) == prefix ? value.slice(prefix.length) : undefined;
  }

  return {
    headers,
    /** The options with the token among their headers. */
    authorize: async <O extends Authorizable>(options: O): Promise<O> =>
      assign({}, options, { header: await headers(options.url || "", options.header, options.auth, options.mayAsk) }),
    /**
     * After an answer to a request that was sent with these headers: true where they have the token that was refused, and there is
     * another one now, so that the request can be sent once more (`again` is true for the answer to that). Rejects where the session
     * has ended, or the server cannot be reached.
     */
    async recover(header: Headers | undefined, answer: Answer, again?: boolean): Promise<boolean> {
      const access = accessIn(header);
      if (!access || !inside._refuses(inside._refused(answer), access)) return false;
      if (again) inside._trust(access);
      else await inside._recover(access);
      return !again;
    },
    /** An answer that is no success as the error of this package. */
    error: inside._refused,
  };
}

/** `luchRequest(client, http)`: an instance of luch-request sends the token, and once more where it had to be renewed. */
export function luchRequest(client: Client, http: any): void {
  const { headers, recover } = authorizer(client);
  http.interceptors.request.use(async (config: any) => {
    const { auth, mayAsk } = config.custom || {};
    config.header = await headers(whole(config.baseURL, config.url), config.header, auth, mayAsk);
    return config;
  });
  http.interceptors.response.use(undefined, async (refused: any) => {
    const { config } = refused;
    const custom = (config && config.custom) || {};
    if (!refused.statusCode || !(await recover(config.header, refused, custom.again))) throw refused;
    return http.middleware(assign({}, config, { custom: assign({}, custom, { again: true }) }));
  });
}

/** `axiosRequest(client, instance)`: the same for axios with an adapter for mini programs. */
export function axiosRequest(client: Client, instance: any): void {
  const { headers, recover } = authorizer(client);
  instance.interceptors.request.use(async (config: any) => {
    const all = await headers(whole(config.baseURL, config.url), plain(config.headers), config.auth_, config.mayAsk);
    keys(all).forEach((name) => {
      config.headers[name] = all[name];
    });
    return config;
  });
  instance.interceptors.response.use(undefined, async (fault: any) => {
    const { config, response } = fault;
    const answer = response && { statusCode: response.status, data: response.data, header: plain(response.headers) };
    if (!answer || !(await recover(plain(config.headers), answer, config.again))) throw fault;
    return instance.request(assign({}, config, { again: true }));
  });
}

/**
 * `alovaAdapter(client, adapter)`: a request adapter of alova (`@alova/adapter-taro`, `@alova/adapter-uniapp`, or one of one's own)
 * that sends the token, and once more where it had to be renewed. `method.meta` may have `auth` and `mayAsk`.
 */
export function alovaAdapter(client: Client, adapter: (elements: any, method: any) => any) {
  const { headers, recover } = authorizer(client);
  return (elements: any, method: any) => {
    const { auth, mayAsk } = (method.config && method.config.meta) || {};
    let current: any;
    let over: boolean | undefined;
    let header: Headers;
    const hooks: ((each: any) => void)[] = [];
    const start = async () => {
      header = await headers(elements.url, plain(elements.headers), auth, mayAsk);
      if (over) throw new Error("aborted");
      current = adapter(assign({}, elements, { headers: header }), method);
      hooks.forEach((hook) => hook(current));
      return current.response();
    };
    let done: Promise<any> | undefined;
    const once = () =>
      (done =
        done ||
        start().then(async (response) => {
          const answer = await answerOf(response);
          if (!answer || !(await recover(header, answer))) return response;
          const second = await start();
          const later = await answerOf(second);
          if (later) await recover(header, later, true);
          return second;
        }));
    return {
      response: once,
      headers: () => once().then(() => current.headers()),
      abort() {
        over = true;
        if (current) current.abort();
      },
      onDownload: (run: any) => void hooks.push((each) => each.onDownload && each.onDownload(run)),
      onUpload: (run: any) => void hooks.push((each) => each.onUpload && each.onUpload(run)),
    };
  };
}

/** A refusal among alova's responses: as `wx` gives them, or as `fetch` does. */
async function answerOf(response: any): Promise<Answer | undefined> {
  if (!response) return undefined;
  if (response.statusCode) return response.statusCode == 401 ? { statusCode: 401, data: response.data, header: response.header } : undefined;
  if (response.status != 401) return undefined;
  const data = await response
    .clone()
    .json()
    .catch(() => undefined);
  return { statusCode: 401, data, header: plain(response.headers) };
}

/** Headers as a plain object, from one with `toJSON` (axios) or `forEach` (fetch). */
function plain(headers: any): Headers {
  if (!headers) return {};
  if (headers.toJSON) return headers.toJSON();
  if (typeof headers.forEach != "function") return headers;
  const all: Headers = {};
  headers.forEach((value: string, name: string) => {
    all[name] = value;
  });
  return all;
}

const whole = (base: string | undefined, url = "") => (/^([a-z][\w+.-]*:|\/\/)/i.test(url) ? url : (base || "") + url);
