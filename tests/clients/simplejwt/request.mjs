// Requests of seed A's mini program, and its tokens: the access token goes with each request and is renewed when it has expired.

const ACCESS = "access_token";
const REFRESH = "refresh_token";

export class ApiError extends Error {
  constructor(status, data) {
    // A refused field is `{name: [message]}`.
    const said = data.error ?? data.detail ?? Object.values(data)[0]?.[0] ?? "请求失败";
    super(data.errmsg ? `${said}: ${data.errmsg}` : said);
    Object.assign(this, { status, data });
  }
}

export class TokenManager {
  #Taro;
  #baseUrl;
  #refreshing = null;

  constructor(Taro, baseUrl) {
    this.#Taro = Taro;
    this.#baseUrl = baseUrl;
  }

  getAccessToken() {
    return this.#Taro.getStorageSync(ACCESS);
  }

  getRefreshToken() {
    return this.#Taro.getStorageSync(REFRESH);
  }

  setTokens({ access, refresh }) {
    this.#Taro.setStorageSync(ACCESS, access);
    this.#Taro.setStorageSync(REFRESH, refresh);
  }

  clearTokens() {
    this.#Taro.removeStorageSync(ACCESS);
    this.#Taro.removeStorageSync(REFRESH);
  }

  /** Renews the access token that was refused; requests that are refused together renew it once. */
  async refreshAccessToken(refused) {
    if (this.getAccessToken() !== refused) return;
    this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = null));
    await this.#refreshing;
  }

  async #refresh() {
    const { statusCode, data } = await this.#Taro.request({
      url: `${this.#baseUrl}/token/refresh/`,
      method: "POST",
      data: { refresh: this.getRefreshToken() },
    });
    if (statusCode !== 200) {
      this.clearTokens();
      throw new ApiError(statusCode, data);
    }
    // SimpleJWT without rotation gives no refresh token: the first one stays.
    this.setTokens({ access: data.access, refresh: this.getRefreshToken() });
  }
}

/** `request(path, {method, data})` with the token of the one who has signed in. */
export function requestOn(Taro, baseUrl, tokens) {
  const send = (path, { method = "GET", data }, token) =>
    Taro.request({ url: baseUrl + path, method, data, header: token ? { Authorization: `Bearer ${token}` } : {} });

  return async function request(path, options = {}) {
    const token = tokens.getAccessToken();
    let answer = await send(path, options, token);
    if (answer.statusCode === 401 && token) {
      await tokens.refreshAccessToken(token);
      answer = await send(path, options, tokens.getAccessToken());
    }
    if (answer.statusCode >= 400) throw new ApiError(answer.statusCode, answer.data);
    return answer.data;
  };
}
