"""Private keys in OpenSSH format. Pure."""

from __future__ import annotations


def whole(private: str) -> str:
    """The key with the end of its last line, which `pulumi config set` cuts off, and without which OpenSSH reads none."""
    return private.strip() + "\n"


def public_key(private: str) -> str:
    """The public half of an OpenSSH private key. ValueError if it is none, or needs a passphrase; the text holds no key."""
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415 (slow to import, seldom needed)

    try:
        key = form.load_ssh_private_key(private.encode(), password=None)
        return key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    except Exception:
        raise ValueError("not a private key in OpenSSH format without passphrase") from None
