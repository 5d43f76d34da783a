// Requests of seed C. The document has no call besides its two; a team that puts menshen in front sends the token that now
// stands beside `session_key`, and signs in again where that has expired, since the document knows no refresh.

/** Resolves with `{statusCode, data}` for every status; rejects where there is no network. */
export function post(wx, url, data) {
  return new Promise((success, fail) => wx.request({ url, method: "POST", data, success, fail }));
}

/** `get(path)` as the one whose tokens are stored; `signInAgain` renews what is stored. */
export function guardedGet(wx, baseUrl, signInAgain) {
  let renewing = null;
  const stored = () => wx.getStorageSync("userInfo").access_token;
  const send = (path, token) => {
    const header = token ? { Authorization: `Bearer ${token}` } : {};
    return new Promise((success, fail) => wx.request({ url: baseUrl + path, header, success, fail }));
  };

  return async function get(path) {
    const token = stored();
    const answer = await send(path, token);
    if (answer.statusCode !== 401 || !token) return answer;
    // Calls that are refused together sign in once.
    if (stored() === token) await (renewing ??= signInAgain().finally(() => (renewing = null)));
    return send(path, stored());
  };
}
