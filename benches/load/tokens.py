"""Keys and access tokens for the load comparison.

menshen and HAProxy check the same tokens with the same keys. What a token looks like is not written here: one real token is
taken from menshen (a login in development mode) and copied with another user, session and id, so this file need not follow when
a claim is added. Without menshen a template stands in, which is all that HAProxy needs.
"""

import base64
import json
import multiprocessing
import os
import secrets
import time
import uuid
from pathlib import Path

from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

LIFETIME = 24 * 3600

# What menshen's tokens looked like when this was written.
TEMPLATE_HEADER = {"alg": "", "kid": "none", "typ": "at+jwt"}
TEMPLATE_CLAIMS = {
    "iss": "menshen", "aud": "backend", "sub": "", "sid": "", "iat": 0, "exp": 0, "jti": "", "user_type": "user",
    "roles": [], "client_type": "miniprogram", "ep": 0, "gep": 0, "token_use": "access",
}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def big_endian(number):
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


class Key:
    """One key in the forms that the peers read: `private_dir` (PEM, PKCS#8) or `secret_file` for menshen, `public` for HAProxy."""

    def __init__(self, alg, directory):
        self.alg = alg
        self.private_dir = directory / alg
        self.private = self.private_dir / "key.pem"
        self.public = directory / f"{alg}.pub.pem"
        self.secret_file = directory / "HS256.secret"

    def make(self):
        """Makes the key unless it is there already."""
        if self.alg == "HS256":
            if not self.secret_file.exists():
                write_private(self.secret_file, secrets.token_hex(24).encode())
            return self
        if self.private.exists():
            return self
        key = {
            "RS256": lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
        }[self.alg]()
        self.private_dir.mkdir(parents=True, exist_ok=True)
        self.public.write_bytes(key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
        write_private(self.private, key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return self

    def jwk(self):
        """What verifies it, as a JSON Web Key (RFC 7517, 7518, 8037); of HS256 the secret itself."""
        if self.alg == "HS256":
            return {"kty": "oct", "alg": self.alg, "k": b64(self.secret_file.read_bytes())}
        public = serialization.load_pem_public_key(self.public.read_bytes())
        if self.alg == "EdDSA":
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return {"kty": "OKP", "crv": "Ed25519", "alg": self.alg, "x": b64(raw)}
        numbers = public.public_numbers()
        if self.alg == "RS256":
            return {"kty": "RSA", "alg": self.alg, "n": b64(big_endian(numbers.n)), "e": b64(big_endian(numbers.e))}
        return {"kty": "EC", "crv": "P-256", "alg": self.alg, "x": b64(numbers.x.to_bytes(32, "big")), "y": b64(numbers.y.to_bytes(32, "big"))}

    def signer(self):
        """A function from signing input to signature (RFC 7518 section 3, RFC 8037 section 3.1)."""
        if self.alg == "HS256":
            secret = self.secret_file.read_bytes()

            def sign(data):
                mac = hmac.HMAC(secret, hashes.SHA256())
                mac.update(data)
                return mac.finalize()
            return sign
        key = serialization.load_pem_private_key(self.private.read_bytes(), None)
        if self.alg == "RS256":
            return lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if self.alg == "EdDSA":
            return key.sign

        def sign_es256(data):
            r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return sign_es256


def write_private(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def template(alg, sample):
    """Header and claims to copy: those of `sample`, a token of menshen, or our own idea of them."""
    if sample is None:
        return dict(TEMPLATE_HEADER, alg=alg), dict(TEMPLATE_CLAIMS)
    header, claims, _ = sample.split(".")
    header, claims = json.loads(unb64(header)), json.loads(unb64(claims))
    assert header["alg"] == alg, (header, alg)
    return header, claims


def mint(sign, header, claims, now):
    claims = dict(claims, sub=str(uuid.uuid4()), sid=secrets.token_hex(16), jti=uuid.uuid4().hex, iat=now, exp=now + LIFETIME)
    if "nbf" in claims:
        claims["nbf"] = now
    # In the sample's own order, without spaces.
    signed = ".".join(b64(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{signed}.{b64(sign(signed.encode()))}"


def mint_many(job):
    key, header, claims, now, count = job
    sign = key.signer()
    return [mint(sign, header, claims, now) for _ in range(count)]


def token_file(key, directory, count, sample=None):
    """A file of `count` tokens, one a line; an earlier one that still lives half its time is used again."""
    header, claims = template(key.alg, sample)
    path = Path(directory) / f"{key.alg}-{count}-{b64(json.dumps(header, sort_keys=True).encode())[-40:]}.txt"
    now = int(time.time())
    if path.exists() and path.stat().st_mtime > now - LIFETIME / 2 and path.stat().st_mtime > key_time(key):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = 500
    jobs = [(key, header, claims, now, min(part, count - at)) for at in range(0, count, part)]
    # Not forked: a lock of the cryptography library may be held at that moment, and would be for ever in the child.
    unfinished = path.with_suffix(".unfinished")
    with multiprocessing.get_context("spawn").Pool() as pool, open(unfinished, "w", encoding="ascii") as file:
        for tokens in pool.imap_unordered(mint_many, jobs):
            file.write("".join(token + "\n" for token in tokens))
    return unfinished.replace(path)


def key_time(key):
    return (key.secret_file if key.alg == "HS256" else key.private).stat().st_mtime


def forged_file(good, directory):
    """The first token of `good` with the first sign of its signature changed: well formed, wrongly signed."""
    signed, signature = first(good).rsplit(".", 1)
    path = Path(directory) / f"forged-{good.name}"
    path.write_text(f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}\n", encoding="ascii")
    return path


def first(path):
    """The first token of a file."""
    with open(path, encoding="ascii") as file:
        return file.readline().strip()
