"""The key that logs in to the nodes: the user's own, or one of the stack."""

from __future__ import annotations

from dataclasses import dataclass

from pulumi import Output

from components.config.settings import Ssh
from components.custom.credentials import SshKeyPair
from components.node.keys import public_key, whole


@dataclass(frozen=True, kw_only=True)
class ClientKey:
    """The key that logs in to the nodes."""

    private: Output[str]
    """OpenSSH format, secret."""
    public: Output[str]
    """As a line of authorized_keys."""


def client_key(settings: Ssh, comment: str) -> ClientKey:
    """The user's key from `ssh.privateKey`, or a key pair of the stack's own."""
    if settings.private_key is None:
        pair = SshKeyPair("client-key", comment)
        return ClientKey(private=pair.private_key, public=pair.public_key)
    private = whole(settings.private_key.get_secret_value())
    return ClientKey(private=Output.secret(private), public=Output.from_input(public_key(private)))
