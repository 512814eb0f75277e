"""SSH: a connection to a node that trusts its host key alone."""

from __future__ import annotations

import pulumi
from pulumi import Input
from pulumi_command.remote import ConnectionArgs


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
