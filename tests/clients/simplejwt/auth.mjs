// Signing in, as seed A's `services/auth.ts` does it.

/** The service; `request` sends without a token as long as there is none. */
export function authServiceOn(Taro, request) {
  return {
    async login() {
      const { code } = await Taro.login();
      return request("/login/", { method: "POST", data: { code } });
    },

    adminLogin: (username, password) => request("/admin/login/", { method: "POST", data: { username, password } }),
  };
}
