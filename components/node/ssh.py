"""SSH: the client's key and a connection to each node with its host key pinned."""

from __future__ import annotations

import pulumi
from pulumi import Input
from pulumi_command.remote import ConnectionArgs


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


def connection(*, host: Input[str], user: str, port: int, private_key: Input[str], host_key: Input[str]) -> ConnectionArgs:
    """A connection that trusts this host key and no other.

    Dialling has no limit of its own: each command's custom timeout bounds it, so a slow boot needs no second number, and a
    changed limit is no changed input.
    """
    return ConnectionArgs(
        host=host,
        user=user,
        port=port,
        private_key=pulumi.Output.secret(private_key),
        host_key=host_key,
        dial_error_limit=-1,
        per_dial_timeout=10,
    )
