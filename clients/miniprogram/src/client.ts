/**
 * The client: one session, and the requests under it.
 *
 * What must stay true: a renewal is keyed on the token that was refused, so a late refusal of an old token changes nothing. Only
 * the server ends a session, by a code that says so; a bad connection never does. What was signed out on purpose stays signed out
 * until the user signs in. The token goes to `baseUrl` alone. Every promise settles, and nothing is sent in a loop.
 *
 * It is one closure, because property names are not minified and mini programs count bytes.
 */

import { seconds } from "./api.js";
import type { Call, Grant, SignInMore, Tokens, User } from "./api.js";
import { headerOf, MenshenError } from "./errors.js";
import type { ErrorInit } from "./errors.js";
import { native } from "./native.js";
import type { Abortable, Auth, ClientOptions, RequestOptions } from "./options.js";
import type { Answer, Start, WireOptions } from "./platform.js";
import { storedOf } from "./record.js";
import type { Stored } from "./record.js";
import { stateOf, store } from "./state.js";
import type { State } from "./state.js";
import { settled } from "./wire.js";
import type { Cancel } from "./wire.js";
import { assign, keys } from "./plain.js";

/** Sign-ins by WeChat within five minutes that leave a silent one, so that a server that takes no token is not asked for ever. */
const SILENT_MOST = 3;
const SILENT_WITHIN = 300e3;
/** How long no renewal follows one that was answered with a failure, and the longest that its `Retry-After` is heeded. Seconds. */
const PAUSE = 5;
const PAUSE_MOST = 3600;
/** How long a token is believed to be good that was refused right after it came. Milliseconds. */
const TRUSTED_FOR = 30e3;
/** The server ended the session on purpose. */
const ON_PURPOSE = /revoked|disabled/;

/** Whether a moment is less than so long ago. A clock that was set back makes it longer ago. */
const within = (at: number, length: number) => Date.now() >= at && Date.now() - at < length;

export function createClient(options: ClientOptions) {
  const { platform, api = native(), timeout = 30e3, silent = "returning", storageKey = "menshen.session" } = options;
  const base = options.baseUrl.replace(/\/+$/, "");
  const state = store<State>({ status: "unknown" });
  const flights: { renewal?: Flight | undefined; signIn?: Flight | undefined } = {};
  let record: Stored = { v: 1, n: 0 };
  let online = true;
  /** Storage has an older value than memory. */
  let unsaved: boolean;
  /** Counts the sign-outs: the answer to a sign-in of before one is dropped. */
  let epoch = 0;
  let ended: MenshenError | undefined;
  let asking: Asking | undefined;
  let paused: { _at: number; _length: number; _error: MenshenError } | undefined;
  let silently: number[] = [];
  let trusted: string;
  let trustedAt: number;

  if (options.texts) MenshenError.texts = options.texts;

  // Storage and state

  const has = (access: string) => record._tokens && record._tokens.access == access;
  const gone = () => ended || (ended = new MenshenError(record.reason || "sign_in_needed"));
  const current = () => {
    if (!record._tokens) throw gone();
  };
  const show = () => state.set(stateOf(record, online));
  const signedInNow = () => {
    show();
    if (record._tokens && asking) asking._end();
  };

  const put = (next: Partial<Stored>) => {
    record = assign({}, next, { v: 1 as const, n: record.n + 1 });
    unsaved = false;
    // Begins at once: the promise is for what it throws.
    new Promise((resolve) => resolve(platform.setStorageSync(storageKey, record))).catch(() => {
      unsaved = true;
    });
    signedInNow();
  };

  /** Looks into storage: for the first time, and for what another window has written since. */
  const reload = () =>
    new Promise((resolve) => resolve(platform.getStorageSync(storageKey)))
      .then(storedOf)
      .catch(() => undefined)
      .then((seen) => {
        if (seen && !unsaved && seen.n > record.n) {
          record = seen;
          ended = undefined;
        }
        signedInNow();
      });

  const ready = reload();

  // Answers

  /** What an answer says that is not a success. */
  const refused = (answer: Answer): MenshenError => {
    const { statusCode: status, data, header } = answer;
    const said = api.refusal(data, status);
    const code = headerOf(header, "x-menshen-error") || said.code || (status < 300 ? "bad_answer" : "http_" + status);
    const retryAfter = seconds(headerOf(header, "retry-after")) || said.retryAfter;
    return new MenshenError(code, assign(said, { code, status, retryAfter, answer }));
  };

  /** Tells the state whether the server can be reached. */
  const reached = (reach: boolean) => {
    online = reach;
    show();
  };

  /** Sends once. */
  const send = (start: Start<WireOptions> | undefined, wire: WireOptions, most: number, cancel?: Cancel) =>
    settled<WireOptions, Answer>(start, wire, most, undefined, cancel).then(
      (answer) => {
        reached(true);
        // A status of 0 is what some platforms give where the connection broke.
        if (!answer || !(answer.statusCode > 0)) throw new MenshenError("bad_answer");
        return answer;
      },
      (fault) => {
        if (fault.retryable) reached(false);
        throw fault;
      },
    );

  /** The result of a call of the API, or its refusal. */
  const read =
    <T>(call: Call<T>) =>
    (answer: Answer): T => {
      const result = answer.statusCode < 300 ? call.read(answer.data) : undefined;
      if (result === undefined) throw refused(answer);
      return result;
    };

  /** A call of the API that needs no token, or brings its own. */
  const ask = <T>(call: Call<T>): Promise<T> => {
    const { method = "POST", url, data, header } = call;
    return send(platform.request, { method, url: base + url, data, header: header || {} }, timeout).then(read(call));
  };

  // The session

  /** Makes this grant the session: a new one `by` a way to sign in, or the renewed one. */
  const accept = ({ access, refresh, extra, expiresIn, user }: Grant, by?: string) => {
    const old: Partial<Stored> = by ? {} : record;
    ended = paused = undefined;
    put({
      // What is not told stays as it was.
      _tokens: assign({}, old._tokens, plain({ access, refresh, extra })),
      _life: expiresIn && expiresIn * 1000,
      _at: Date.now(),
      user: user ? assign({}, old.user, plain(user)) : old.user,
      _by: by || old._by,
      _untold: record._untold,
    });
  };

  /** Ends the session, for this reason. */
  const end = (error: MenshenError, hold: boolean, untold = record._untold) => {
    ended = error;
    put({ _by: record._by, reason: error.code, _hold: hold, _untold: untold });
  };

  /** A code of `wx.login`. Pages never see one, so it is not mixed up with a code of the phone button. */
  const loginCode = (): Promise<string> =>
    settled<object, { code?: string }>(platform.login as Start<object>, {}, timeout, "login_failed").then(({ code }) => {
      if (!code) throw new MenshenError("login_failed");
      return code;
    });

  /** Signs in with a fresh code. One that is spent (an answer was lost, the phone slept) is replaced once. */
  const byWechat = (more: SignInMore, again?: boolean): Promise<Grant> =>
    loginCode()
      .then((code) => ask(api.wechat(code, more)))
      .then(
        (grant) => {
          silently.push(Date.now());
          return grant;
        },
        (error) => {
          // What never came to the server does not count.
          if (error.status) silently.push(Date.now());
          if (again || error.code != "wechat_code_invalid") throw error;
          return byWechat(more, true);
        },
      );

  /** What is under way under this key, or what `start` begins after it. */
  const join = (kind: keyof typeof flights, key: string, start: (before: Promise<unknown>) => Promise<void>): Promise<void> => {
    const before = flights[kind];
    if (before && before._key == key) return before._done;
    const mine = (flights[kind] = { _key: key, _done: start(before ? before._done.catch(() => 0) : ready) });
    const over = () => {
      if (flights[kind] == mine) flights[kind] = undefined;
    };
    mine._done.then(over, over);
    return mine._done;
  };

  /** Resolves when the session has another token than this one. */
  const renew = (access: string): Promise<void> =>
    has(access) ? join("renewal", access, () => reload().then(() => (has(access) ? renewal(access) : current()))) : ready.then(current);

  const renewal = (access: string): Promise<void> | undefined => {
    if (paused && within(paused._at, paused._length)) throw paused._error;
    const call = api.renew && api.renew(record._tokens as Tokens);
    if (!call && !maySilently()) {
      const error = new MenshenError("session_expired");
      // Too often for now is no end.
      if (!mayEver()) end(error, false);
      throw error;
    }
    // Where the API renews nothing, WeChat says who it is.
    return (call ? ask(call) : byWechat({})).then(
      (grant) => {
        // Else a sign-out or another sign-in came first, and this answer is for a session of before.
        if (has(access)) accept(grant);
        current();
      },
      (error) => {
        if (!has(access)) return current();
        const { answer, code } = error;
        if (answer && api.ends(code, answer)) end(error, ON_PURPOSE.test(code));
        else if (answer) {
          // No renewal until the server wants one again.
          const length = Math.min(error.retryAfter || PAUSE, PAUSE_MOST) * 1000;
          paused = { _at: Date.now(), _length: length, _error: error };
        }
        throw error;
      },
    );
  };

  /**
   * The age of the access token, as a part of its life; 0 where that is not known. By the time since it came: the phone's clock may
   * be days off. Where that was set meanwhile, a 401 tells.
   */
  const age = () => (record._life ? (Date.now() - (record._at as number)) / record._life : 0);

  /** The tokens for a request; `undefined` where it goes without. */
  const tokens = (auth: Auth = "required", mayAsk?: boolean): Promise<Tokens | undefined> =>
    ready.then(() => {
      const had = record._tokens;
      const renewing = flights.renewal;
      if (auth == "none") return undefined;
      const early = had && ((renewing && renewing._key == had.access) || age() > 1 - Math.min(60e3 / (record._life as number), 0.1));
      return (early ? renew(had.access) : ready)
        .catch((error) => {
          // It was early: the token is good for a while.
          if (record._tokens && !(has((had as Tokens).access) && age() < 1)) throw error;
          return error;
        })
        .then((cause) => {
          if (auth == "required" && !record._tokens) return signedIn(mayAsk, cause).then(current);
          return undefined;
        })
        .then(() => record._tokens);
    });

  /** Whether `wx.login` may sign in without a tap. */
  const mayEver = () => (record._by ? silent != "never" && record._by == "wechat" : silent == "always") && !record._hold;

  /** And now: not too often. */
  const maySilently = () => {
    silently = silently.filter((at) => within(at, SILENT_WITHIN));
    return mayEver() && silently.length < SILENT_MOST;
  };

  /** Signs in silently where that may be, else by the login page. */
  const signedIn = (mayAsk?: boolean, cause?: MenshenError | void): Promise<void> => {
    const signing = flights.signIn;
    if (asking) return asking._done;
    if (!signing && !maySilently()) return openSignIn(cause || gone(), mayAsk);
    return (signing ? signing._done : signIn()).catch((error) => {
      // The login page could not do it either.
      if (error.retryable) throw error;
      return asking ? asking._done : openSignIn(error, mayAsk);
    });
  };

  const openSignIn = (cause: MenshenError, mayAsk?: boolean): Promise<void> => {
    const { onSignInNeeded } = options;
    if (mayAsk === false || !onSignInNeeded) return Promise.reject(cause);
    const mine = (asking = {} as Asking);
    const cancel = () => mine._end(new MenshenError("sign_in_cancelled"));
    const timer = setTimeout(cancel, options.signInTimeout || 600e3);
    mine._done = new Promise<void>((resolve, reject) => {
      mine._end = (fault) => {
        if (asking == mine) asking = undefined;
        clearTimeout(timer);
        if (fault) reject(fault);
        else resolve();
      };
    });
    new Promise((resolve) => resolve(onSignInNeeded(cause))).catch(cancel);
    return mine._done;
  };

  /** Makes what `run` gives the session, unless there is a sign-out since `mine`. The same `name` at once is one sign-in. */
  const enter = (name: string, by: string, run: () => Promise<Grant>, mine = epoch): Promise<void> =>
    join("signIn", mine + name, (before) =>
      before.then(run).then((grant) => {
        if (mine == epoch) return accept(grant, by);
        // Nobody wants this session any more. Where the server does not hear of it, it ends unused.
        ask(api.leave(grant)).catch(() => 0);
        throw gone();
      }),
    );

  const signIn = (more: SignInMore = {}) => enter(JSON.stringify(more), "wechat", () => byWechat(more));

  /** Signs out here, at once; gives the tokens that the server has to hear of. */
  const take = (): Tokens | undefined => {
    const had = record._tokens;
    end(new MenshenError("signed_out"), true, had || record._untold);
    return had;
  };

  /** Tells the server of a sign-out that it has not heard of. Whether it knows now. */
  const tell = (): Promise<boolean> | boolean => {
    const untold = record._untold;
    if (!untold) return true;
    return ask(api.leave(untold)).then(
      () => told(untold, true),
      // A 401: that session is over already. What cannot be done is not tried again; what could be is, at the next start.
      (error) => !error.retryable && told(untold, error.status == 401),
    );
  };

  const told = (untold: Tokens, knows: boolean) => {
    if (record._untold == untold) put(assign({}, record, { _untold: undefined }));
    return knows;
  };

  ready.then(tell);

  // Requests

  /** The whole URL, and whether it is the server's, so that the token may go there. */
  const locate = (url: string) => {
    if (!/^([a-z][\w+.-]*:|\/\/)/i.test(url)) url = base + (/^[/?]/.test(url) ? url : "/" + url);
    return { url, ours: url.indexOf(base) == 0 && /^([/?#](?![/\\])|$)/.test(url.slice(base.length)) };
  };

  /** The headers with the token; one of the caller's own would be a second credential. */
  const withToken = (header: Record<string, string> = {}, access?: string): Record<string, string> => {
    const all = assign({}, header);
    if (access) {
      const [name, value] = api.bearer(access);
      keys(all).forEach((own) => own.toLowerCase() == name.toLowerCase() && delete all[own]);
      all[name] = value;
    }
    return all;
  };

  const who = () => record.user && record.user.id;

  /** Renews the refused token; where that ended the session, signs in. Another user does not go on with it. */
  const recover = (access: string, auth?: Auth, mayAsk?: boolean): Promise<void> => {
    const before = who();
    return renew(access)
      .catch((error) => {
        if (record._tokens) throw error;
        return auth == "optional" ? undefined : signedIn(mayAsk, error);
      })
      .then(() => {
        if (record._tokens && before && who() != before) throw new MenshenError("user_changed");
      });
  };

  /** Whether an answer refuses this token, so that another one may help. One that has just come is believed to be good. */
  const refuses = (error: MenshenError, access?: string) =>
    access &&
    error.status == 401 &&
    api.refusesToken(error.code, error.answer as Answer) &&
    !(trusted == access && within(trustedAt, TRUSTED_FOR));

  const trust = (access: string) => {
    trusted = access;
    trustedAt = Date.now();
  };

  /** Sends with the token, and once more where it had to be renewed; can be given up at any time. */
  const run = (wanted: RequestOptions, start: Start<WireOptions> | undefined, most = timeout): Abortable<Answer> => {
    const cancel: Cancel = {};
    const { mayAsk } = wanted;
    const { url, ours } = locate(wanted.url);
    const auth = ours ? wanted.auth : "none";

    const once = (again?: boolean): Promise<Answer> =>
      tokens(auth, mayAsk).then((had) => {
        const access = had && had.access;
        if (cancel._over) throw cancel._over;
        const wire = assign({}, wanted, { url, header: withToken(wanted.header, access) });
        return send(start, wire, wanted.timeout || most, cancel).then((answer) => {
          if (answer.statusCode < 400) return answer;
          const error = refused(answer);
          if (!refuses(error, access)) throw error;
          if (again) {
            // The token has just come, and is refused: that is no matter of the token.
            trust(access as string);
            throw error;
          }
          return recover(access as string, auth, mayAsk).then(() => once(true));
        });
      });

    let giveUp: (fault: MenshenError) => void;
    const given = new Promise<never>((_, reject) => (giveUp = reject));
    return assign(Promise.race([once(), given]), {
      abort() {
        giveUp((cancel._over = new MenshenError("aborted")));
        if (cancel._now) cancel._now();
      },
    });
  };

  /** As `wx.request`; rejects where the status is no success. */
  const request = <T = any>(wanted: RequestOptions | string): Abortable<Answer<T>> =>
    run(typeof wanted == "string" ? { url: wanted } : wanted, platform.request);

  return {
    api,
    platform,
    /** Resolves when storage has been read. */
    ready,
    request,
    getState: state.get,
    /** Tells of each new state; returns what ends that. */
    subscribe: state.subscribe,
    /** Signs in with `wx.login`, also after a sign-out: for a button. */
    signIn: (more?: SignInMore): Promise<State> => signIn(more).then(state.get),
    /** Resolves when there is a session: the present one, a silent sign-in, or by the login page. */
    ensure: (mayAsk?: boolean): Promise<State> => tokens("required", mayAsk).then(state.get),
    /** The login page was closed: what waits for it rejects with `sign_in_cancelled`. */
    cancelSignIn: (): void => asking && asking._end(new MenshenError("sign_in_cancelled")),
    /** Ends this session: here at once, then at the server. False where the server could not be told yet; it will be, later. */
    signOut(): Promise<boolean> {
      // Now: a sign-in that is called after this is not dropped.
      epoch++;
      return ready.then(take).then(tell);
    },
    /** Looks into storage again, for what another window has done. */
    reload,
    /** A call of the API under the session. */
    call: <T>(call: Call<T>, auth?: Auth): Promise<T> =>
      auth == "none" ? ready.then(() => ask(call)) : request(assign({ method: "POST", auth }, call)).then(read(call)),
    /** Changes what pages show of the user. */
    learn(news: Partial<User>): void {
      if (record._tokens) put(assign({}, record, { user: assign({}, record.user, news) }));
    },
    /** For the other entries of this package. */
    _inside: {
      _tokens: tokens,
      _recover: recover,
      _renew: renew,
      _refuses: refuses,
      _refused: refused,
      _trust: trust,
      _run: run,
      _locate: locate,
      _withToken: withToken,
      _enter: enter,
      _accept: accept,
      _ask: ask,
      _take() {
        epoch++;
        return take();
      },
      _tell: tell,
      _loginCode: loginCode,
      _byWechat: byWechat,
      /** How many sign-outs there were: what is begun before one does not sign in after it. */
      _epoch: () => epoch,
      _settled: settled,
      /** The one class of errors, for entries that have a copy of nothing. */
      _error: (code: string, init?: ErrorInit) => new MenshenError(code, init),
    },
  };
}

export type Client = ReturnType<typeof createClient>;

interface Flight {
  _key: string;
  _done: Promise<void>;
}

interface Asking {
  _done: Promise<void>;
  _end(fault?: MenshenError): void;
}

/** Without the properties that have no value. */
const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value));
