const { client } = require("./services/session");

App({
  // A silent sign-in for who was here before; whoever was not is asked when a page needs it.
  onLaunch: () => void client.ensure(false).catch(() => undefined),
});
