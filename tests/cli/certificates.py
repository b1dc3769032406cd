"""Certificates of an authority that lives for one test."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, folder):
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        made = self._certificate(self._name, self._key.public_key(), is_authority=True)
        self.pem = made.public_bytes(serialization.Encoding.PEM)
        self.file = folder / "authority.crt"
        self.file.write_bytes(self.pem)

    def signed(self, name):
        return Certificate(self, name)

    def _certificate(self, subject, key, *, is_authority=False):
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self._name, subject, key, x509.random_serial_number(), now, now + timedelta(1)
        )
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        basic = x509.BasicConstraints(ca=is_authority, path_length=None)
        return builder.add_extension(names, False).add_extension(basic, True).sign(self._key, hashes.SHA256())


class Certificate:
    def __init__(self, authority, name):
        private = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        pem = serialization.Encoding.PEM
        self.cert, self.key = authority.folder / f"{name}.crt", authority.folder / f"{name}.key"
        self.cert.write_bytes(authority._certificate(subject, private.public_key()).public_bytes(pem))
        self.key.write_bytes(
            private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )

    @property
    def options(self):
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key))
