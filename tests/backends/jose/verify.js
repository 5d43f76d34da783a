// Checks an assertion as docs/backend.md tells backends on Node to do it, with a library that knows nothing of menshen.
//
//     node verify.js JWKS_URL ISSUER AUDIENCE TOKEN...     prints for each token a line of JSON: its claims, or why it is refused

"use strict";

const { createRemoteJWKSet, jwtVerify } = require("jose");

const [url, issuer, audience, ...tokens] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(url));

async function verify(token) {
  const rules = { issuer, audience, typ: "auth-assertion+jwt", algorithms: ["EdDSA", "ES256"], requiredClaims: ["sub", "exp"] };
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, rules);
    return { claims: payload, header: protectedHeader };
  } catch (fault) {
    return { refused: fault.code, claim: fault.claim };
  }
}

(async () => {
  for (const token of tokens) console.log(JSON.stringify(await verify(token)));
})();
