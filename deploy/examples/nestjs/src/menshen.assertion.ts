// The assertion: proof that menshen says who is calling, and nobody else who reaches this process.
//
// MENSHEN_JWKS_URL switches it on; menshen's config then has `identity.assertion = true`. docs/backend.md has the claims.

import { ServiceUnavailableException, UnauthorizedException } from "@nestjs/common";
import { createRemoteJWKSet, errors, jwtVerify } from "jose";
import type { Identity } from "./menshen.guard";

const url = process.env.MENSHEN_JWKS_URL;

export const assertionsAreDemanded = url !== undefined;

const keys = url === undefined ? undefined : createRemoteJWKSet(new URL(url), { timeoutDuration: 2000 });

const rules = {
  issuer: process.env.MENSHEN_ISSUER ?? "menshen",
  audience: process.env.MENSHEN_AUDIENCE ?? "recipes-api",
  typ: "auth-assertion+jwt",
  algorithms: ["EdDSA", "ES256"],
  requiredClaims: ["sub", "exp"],
  clockTolerance: 5,
};

/** What a good assertion says. A bad one is refused; where the keys cannot be had nobody knows, and nobody is signed out by that. */
export async function asserted(assertion: unknown): Promise<Identity> {
  if (typeof assertion !== "string") throw new UnauthorizedException("no assertion");
  try {
    const { payload } = await jwtVerify(assertion, keys!, rules);
    return { id: String(payload.sub), userType: String(payload.user_type) };
  } catch (fault) {
    const refused = fault instanceof errors.JOSEError && !["ERR_JWKS_TIMEOUT", "ERR_JOSE_GENERIC"].includes(fault.code);
    throw refused ? new UnauthorizedException("not a good assertion") : new ServiceUnavailableException("no keys of menshen");
  }
}
