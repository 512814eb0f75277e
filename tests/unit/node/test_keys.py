"""The user's own key, and connections that trust one host key."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from components.custom.credentials import SshKeyPairProvider, TokenProvider
from components.node.keys import public_key, whole

pytestmark = pytest.mark.unit

KEYS = [
    Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(public_exponent=65537, key_size=2048),
]


@pytest.mark.parametrize("key", KEYS, ids=["ed25519", "ecdsa", "rsa"])
def test_the_public_half(key: Ed25519PrivateKey) -> None:
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    assert public_key(private) == public


BROKEN = "-----BEGIN OPENSSH PRIVATE KEY-----\nU0VFREVE\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize("text", ["", "x", BROKEN, "ä\0"])
def test_what_is_no_key_is_an_error_without_the_text(text: str) -> None:
    with pytest.raises(ValueError, match="not a private key in OpenSSH format without passphrase") as caught:
        public_key(text)
    assert "U0VFREVE" not in str(caught.value)


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="SKIPPED: ssh-keygen is missing, which makes the locked key")
def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-a", "1", "-N", "locked", "-f", str(tmp_path / "key")]
    subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
    with pytest.raises(ValueError, match="without passphrase"):
        public_key((tmp_path / "key").read_text())


def test_keys_made_are_keys_and_no_two_the_same() -> None:
    one, two = (SshKeyPairProvider().create({"comment": "a/b"}) for _ in range(2))
    assert one.outs is not None
    assert two.outs is not None
    assert one.outs["public_key"] == f"{public_key(one.outs['private_key'])} a/b"
    assert one.outs["private_key"] != two.outs["private_key"]
    assert one.id not in str(one.outs)


def test_tokens_made_are_random_and_whole() -> None:
    one, two = (TokenProvider().create({"bytes": 32.0}) for _ in range(2))
    assert one.outs is not None
    assert two.outs is not None
    assert len(bytes.fromhex(one.outs["value"])) == 32
    assert one.outs["value"] != two.outs["value"]
    assert one.outs["value"] not in one.id


def test_a_key_that_lost_the_end_of_its_last_line_is_whole_again() -> None:
    """`pulumi config set --secret` cuts it off."""
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()
    assert whole(text) == whole(text.strip()) == text
