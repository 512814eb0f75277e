"""The key that logs in to the nodes: the user's own, or one of the stack.

The stack's own can be replaced by another one while the machines run (`./lab rotate ssh-keys`): a run in whose environment ROTATION
has another text makes another pair, and each node gets it by the former one (key_arrival.py). What a machine is made from holds the
present key, so that a rebuilt one has it; the first key decides whether a machine is the wanted one, so that none is rebuilt.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pulumi import Output

from components.config.settings import Ssh
from components.custom.credentials import SshKeyPair
from components.node.keys import public_key, whole

ROTATION = "K3S_MACVLAN_LOGIN_KEY"
"""Environment variable of a run that replaces the stack's own key: a text that no run before it had."""


@dataclass(frozen=True, kw_only=True)
class ClientKey:
    """The key that logs in to the nodes."""

    private: Output[str]
    """OpenSSH format, secret."""
    public: Output[str]
    """As a line of authorized_keys."""
    first: Output[str]
    """The same of the key that the stack began with."""


def client_key(settings: Ssh, comment: str) -> ClientKey:
    """The user's key from `ssh.privateKey`, or a key pair of the stack's own."""
    if settings.private_key is None:
        pair = SshKeyPair("client-key", comment, rotation=os.environ.get(ROTATION))
        return ClientKey(
            private=pair.private_key,
            public=pair.public_key.apply(lambda lines: lines.splitlines()[0]),
            first=pair.public_key.apply(lambda lines: lines.splitlines()[-1]),
        )
    private = whole(settings.private_key.get_secret_value())
    public = Output.from_input(public_key(private))
    return ClientKey(private=Output.secret(private), public=public, first=public)
