"""Certificates like K3s's for tests: only names and dates are of interest."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

KEY = ec.generate_private_key(ec.SECP256R1())
DATA = "var/lib/rancher/k3s"


def pem(end: str, begin: str = "2026-01-01T00:00:00Z") -> bytes:
    """A certificate of this time."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "any")])
    built = (
        x509.CertificateBuilder(name, name, KEY.public_key(), 1)
        .not_valid_before(datetime.datetime.fromisoformat(begin))
        .not_valid_after(datetime.datetime.fromisoformat(end))
        .sign(KEY, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)


def place(root: Path, ends: dict[str, str]) -> None:
    """Certificates below K3s's directory, by their path there."""
    for path, end in ends.items():
        file = root / DATA / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pem(end))
