"""SSH: a connection to a node that trusts its host key alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from pulumi import Output

if TYPE_CHECKING:
    from pulumi_command.remote import ConnectionArgsDict

_PER_DIAL_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A connection that trusts this host key and no other.

    Dialling has no limit of its own: each command's custom timeout bounds it, so a slow boot needs no second number, and a
    changed limit is no changed input.
    """

    host: str
    user: str
    port: int
    private_key: Output[str]
    """Secret."""
    host_key: Output[str]
    args: Output[ConnectionArgsDict] = field(init=False)
    """For remote commands, put together once: of ConnectionArgs each command awaits each field again, by 35 outputs."""

    def __post_init__(self) -> None:
        known = Output.all(self.private_key, self.host_key).apply(self._args)
        object.__setattr__(self, "args", Output.secret(known))

    def _args(self, keys: list[str]) -> ConnectionArgsDict:
        private_key, host_key = keys
        fields: ConnectionArgsDict = {
            "host": self.host,
            "user": self.user,
            "port": self.port,
            "private_key": private_key,
            "host_key": host_key,
            "dial_error_limit": -1,
            "per_dial_timeout": _PER_DIAL_SECONDS,
        }
        # Of a dict the SDK would again make an output of each field; this mapping it takes as a value.
        return cast("ConnectionArgsDict", MappingProxyType(fields))


def connection(*, host: str, user: str, port: int, private_key: Output[str], host_key: Output[str]) -> Connection:
    """A connection with a private key that becomes a secret."""
    return Connection(host=host, user=user, port=port, private_key=Output.secret(private_key), host_key=host_key)
