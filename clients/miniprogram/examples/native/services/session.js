const { createClient } = require("menshen-miniprogram");
const { sessionBehavior } = require("menshen-miniprogram/wx");
const { texts } = require("menshen-miniprogram/texts");
// const { nest } = require("menshen-miniprogram/nest");   also simplejwt, success-data, code-data

/** Those that show a login sheet: the one of the page that is in front is the last. */
const sheets = [];

const client = createClient({
  baseUrl: "https://api.example.com",
  platform: wx,
  texts,
  // api: nest(),
  onSignInNeeded(cause) {
    const sheet = sheets[sheets.length - 1];
    if (!sheet) throw cause;
    sheet.open(cause);
  },
});

/** Tells a person once what went wrong, however many requests it stopped. What they cancelled themselves is not told. */
let told;
function tell(error) {
  if (error === told || error.code === "sign_in_cancelled" || error.code === "aborted") return;
  told = error;
  wx.showToast({ title: error.zh, icon: "none" });
}

module.exports = { client, tell, sheets, withSession: sessionBehavior(client) };
