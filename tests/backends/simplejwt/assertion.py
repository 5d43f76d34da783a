"""Checks assertions as docs/backend.md tells backends in Python to do it, with a library that knows nothing of menshen.

    python assertion.py JWKS_URL ISSUER AUDIENCE TOKEN...     prints for each token a line of JSON: its claims, or why it is refused
"""

import json
import sys

import jwt

url, issuer, audience, *tokens = sys.argv[1:]
keys = jwt.PyJWKClient(url)


def verify(token):
    try:
        if jwt.get_unverified_header(token).get("typ") != "auth-assertion+jwt":
            return {"refused": "typ"}
        key = keys.get_signing_key_from_jwt(token).key
        algorithms = ["EdDSA", "ES256"]
        required = {"require": ["sub", "exp"]}
        return {"claims": jwt.decode(token, key, algorithms, required, audience=audience, issuer=issuer, leeway=5)}
    except jwt.PyJWTError as fault:
        return {"refused": type(fault).__name__}


for token in tokens:
    print(json.dumps(verify(token)))
