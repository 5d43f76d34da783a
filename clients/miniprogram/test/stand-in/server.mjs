// A menshen for the unit tests: the native API with sessions, rotation with a replay of the last refresh, and a gate before a backend.

const problem = (status, code, more = {}) => ({
  status,
  header: { "X-Menshen-Error": code, ...more },
  data: { type: "about:blank", title: "", status, code, detail: `detail of ${code}`, request_id: "r1" },
});

export class Server {
  constructor() {
    this.sessions = new Map();
    this.codes = new Set();
    /** The phone that each user has bound, by the code of the button that stood for it; a code is for one use. */
    this.phones = new Map();
    this.phoneCodes = new Set();
    this.life = 900;
    this.count = 0;
    this.log = [];
    /** Answers in place of the usual ones: `(request) => Served | string | undefined`. */
    this.faults = [];
    /** What the backend answers. */
    this.backend = (_request, user) => ({ status: 200, data: { user } });
    this.serve = async (request) => {
      await undefined;
      for (const fault of this.faults) {
        const answer = await fault(request);
        if (answer !== undefined) return answer;
      }
      return this.answer(request);
    };
  }

  /** How often a path was asked for. */
  calls(path) {
    return this.log.filter((line) => line === path).length;
  }

  grant(sid) {
    const session = this.sessions.get(sid);
    session.access = `a.${sid}.${(this.count += 1)}`;
    session.until = Date.now() + this.life * 1000;
    return {
      access_token: session.access,
      token_type: "Bearer",
      ...(this.withoutExpiry ? {} : { expires_in: this.life }),
      refresh_token: `r.${sid}.${session.turn}`,
      refresh_expires_in: 2592000,
      is_new_user: false,
      user: { id: session.user, user_type: "user", nickname: null, avatar_url: null, phone_masked: this.phones.get(session.user) ?? null },
    };
  }

  /** The session of an access token, or why there is none. */
  check(token) {
    if (!token) return problem(401, "token_missing");
    const session = this.sessions.get(token.split(".")[1]);
    if (!session || !/^a\./.test(token)) return problem(401, "token_invalid");
    if (session.over) return problem(401, "token_revoked");
    // A token of before is good until it ends, as a JWT is; here it ends with its successor.
    if (session.access !== token || Date.now() >= session.until) return problem(401, "token_expired");
    return session;
  }

  /** Whether this code was good; it binds its phone then. */
  bind(user, code) {
    if (!code || this.phoneCodes.has(code)) return false;
    this.phoneCodes.add(code);
    this.phones.set(user, `masked ${code}`);
    return true;
  }

  login(user) {
    const sid = `s${this.sessions.size + 1}`;
    this.sessions.set(sid, { user, turn: 0, over: false });
    return { status: 200, data: this.grant(sid) };
  }

  answer({ path, header = {}, data }) {
    this.log.push(path);
    const token = (header.Authorization ?? "").replace(/^Bearer /, "");
    if (path === "/auth/wechat/login") {
      if (this.codes.has(data.code)) return problem(401, "wechat_code_invalid");
      this.codes.add(data.code);
      const user = data.code.split("-")[0];
      const why = data.phone_code && !this.bind(user, data.phone_code) && "phone_code_invalid";
      const granted = this.login(user);
      return why ? { ...granted, data: { ...granted.data, phone_error: why } } : granted;
    }
    if (path === "/auth/sms/login") {
      return data.code === "123456" ? this.login(`phone ${data.phone}`) : problem(400, "code_invalid");
    }
    if (path === "/auth/refresh") {
      const [, sid, turn] = data.refresh_token.split(".");
      const session = this.sessions.get(sid);
      if (!session) return problem(401, "refresh_invalid");
      if (session.over) return problem(401, "session_revoked");
      if (Number(turn) === session.turn) session.turn += 1;
      else if (Number(turn) !== session.turn - 1) {
        session.over = true;
        return problem(401, "refresh_reused");
      }
      return { status: 200, data: this.grant(sid) };
    }
    if (path === "/auth/logout") {
      const sid = (data.refresh_token ?? token).split(".")[1];
      if (this.sessions.has(sid)) this.sessions.get(sid).over = true;
      return { status: 204 };
    }
    if (path.startsWith("/public")) return this.backend({ path, header, data }, null);
    const session = this.check(token);
    if (path === "/auth/phone/wechat" && session.user) {
      if (!this.bind(session.user, data.code)) return problem(400, "phone_code_invalid");
      return { status: 200, data: { phone: "+86138", masked: this.phones.get(session.user), country_code: "86" } };
    }
    return session.user ? this.backend({ path, header, data }, session.user) : session;
  }

  /** Ends every access token, as time does. */
  expire() {
    for (const session of this.sessions.values()) session.until = 0;
  }

  revoke() {
    for (const session of this.sessions.values()) session.over = true;
  }
}

export { problem };
