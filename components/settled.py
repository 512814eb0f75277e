"""One server after another: where several are restarted or made anew by one run, the next one waits until the last one serves.

A dynamic provider, because only an update knows that there was something before it: when a cluster is made, nothing waits and
all machines boot at once.
"""

from __future__ import annotations

import http.client
import secrets
import ssl
import time
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components.libvirt.connection import PlainError, telling
from components.libvirt.provider import PlainProvider

_INTERVAL = 1.0
# K3s asks for a certificate before it says more, and until its API has reached etcd it says 503.
_SERVES = (200, 401, 403)


@dataclass(frozen=True, kw_only=True)
class SettledArgs:
    """node: its name. address, port: of its API. machine: what the machine is made of, another value is a restart or another
    machine. limit: seconds until it must serve again."""

    node: Input[str]
    address: Input[str]
    port: Input[int]
    machine: Input[str]
    limit: Input[int]


class SettledError(PlainError, TimeoutError):
    """The server does not serve in time; the text says what was seen and the way out."""


class SettledProvider(PlainProvider):
    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=_olds.get("machine") != _news.get("machine"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(secrets.token_hex(8), props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        with telling(lambda: f"waiting until {_news['node']} serves again"):
            wait(_news["node"], _news["address"], int(_news["port"]), float(_news["limit"]))
        return UpdateResult(_news)


def wait(node: str, address: str, port: int, limit: float) -> None:
    """Until the API of a server serves; SettledError after `limit` seconds, saying what was seen last."""
    # Whether it serves is the question, not whom: nothing is sent, and what comes back is a number.
    context = ssl._create_unverified_context()  # noqa: S323
    deadline, seen = time.monotonic() + limit, "nothing"
    while True:
        connection = http.client.HTTPSConnection(address, port, timeout=5, context=context)
        try:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
            if status in _SERVES:
                return
            seen = f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            seen = str(error) or type(error).__name__
        finally:
            connection.close()
        if time.monotonic() >= deadline:
            raise SettledError(
                f"{node} was restarted or made anew, and its API at {address}:{port} does not serve within {limit:.0f} s; seen "
                f"last: {seen}. The next server is left as it is, so that etcd keeps its majority. See ./lab logs {node}; then "
                "run `up` again"
            )
        time.sleep(_INTERVAL)


class Settled(Resource, module="settled", name="Settled"):
    """A server that serves after whatever a run has done to its machine. The next server's machine depends on it."""

    machine: Output[str]

    def __init__(self, resource_name: str, args: SettledArgs, opts: ResourceOptions | None = None) -> None:
        props = {"node": args.node, "address": args.address, "port": args.port, "machine": args.machine, "limit": args.limit}
        super().__init__(SettledProvider(), resource_name, props, opts)
