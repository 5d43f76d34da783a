"""The self-signed ECDSA certificate that every proxy shows in the comparison over TLS."""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from process import HOST
from tokens import write_private

DAYS = 30


class Certificate:
    """Paths: `chain` and `key` (PEM), and `both` in one file, as HAProxy wants them."""

    def __init__(self, directory):
        self.chain, self.key, self.both = (directory / name for name in ("tls.crt", "tls.key", "tls.pem"))

    def make(self):
        """Makes it anew: it costs nothing, and an old one could be over."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.utcnow()
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=DAYS)).add_extension(names, critical=False).sign(key, hashes.SHA256()))
        chain = certificate.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.chain.parent.mkdir(parents=True, exist_ok=True)
        for path, data in ((self.chain, chain), (self.key, private), (self.both, chain + private)):
            path.unlink(missing_ok=True)
            write_private(path, data)
        return self
