// Signs tokens as the NestJS backends before menshen do: with JwtService of @nestjs/jwt, as the Nest manual shows it.
//
//     JWT_SECRET=... node sign.js PAYLOAD OPTIONS          HS256
//     JWT_PRIVATE_KEY=... node sign.js PAYLOAD OPTIONS     RS256
//
// PAYLOAD and OPTIONS are JSON; OPTIONS go to `sign` as they are. Prints the token.

"use strict";

const { JwtService } = require("@nestjs/jwt");

const { JWT_SECRET, JWT_PRIVATE_KEY } = process.env;
const [payload, options] = process.argv.slice(2).map((text) => JSON.parse(text));
const key = JWT_PRIVATE_KEY ? { privateKey: JWT_PRIVATE_KEY, signOptions: { algorithm: "RS256" } } : { secret: JWT_SECRET };
console.log(new JwtService(key).sign(payload, options));
