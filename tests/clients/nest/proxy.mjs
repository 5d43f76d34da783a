// The way to seed B's backend: through the cloud function `api-proxy`.

/** `proxy(method, path, {token, body})`, which gives `{statusCode, data}`. */
export function proxyOn(wx) {
  return (method, path, { token, body } = {}) =>
    new Promise((resolve, reject) => {
      wx.cloud.callFunction({
        name: "api-proxy",
        data: { method, path, headers: token ? { Authorization: `Bearer ${token}` } : {}, body },
        success: ({ result }) => resolve(result),
        fail: () => reject(new Error("网络错误，请稍后重试")),
      });
    });
}
