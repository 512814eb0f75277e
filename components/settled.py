"""One server after another: where several are restarted or made anew by one run, the next one waits until the last one serves.

The wait is a hook of an update, because only an update knows that there was something before it: when a cluster is made,
nothing waits and all machines boot at once. It waits inside the program, for the program's own steps, so that it ends with
them: when one of them fails, and at Ctrl-C.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceOptions
from pulumi import Resource as AnyResource
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components.libvirt.provider import PlainProvider


@dataclass(frozen=True, kw_only=True)
class SettledArgs:
    """machine: what the machine is made of, another value is a restart or another machine. steps: gives the steps after which
    the server serves; asked when the wait begins, for they are declared after the machine."""

    machine: Input[str]
    steps: Callable[[], Sequence[AnyResource]]


class SettledProvider(PlainProvider):
    """Keeps what the machine was made of."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=_olds.get("machine") != _news.get("machine"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(secrets.token_hex(8), props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_news)


async def done(name: str, steps: Sequence[AnyResource]) -> None:
    """Until these steps of the run are done. Raises RuntimeError when one of them fails; the engine tells of that one."""
    try:
        await asyncio.gather(*(step.urn.future() for step in steps))
    except Exception as error:
        raise RuntimeError(
            f"{name} was restarted or made anew and does not serve again, so the machines after it are left as they are. See "
            f"the error beside this one and ./lab logs {name}; then run `up` again"
        ) from error


class Settled(Resource, module="settled", name="Settled"):
    """A server that serves after whatever a run has done to its machine. The next server's machine depends on it.

    node: the server's name.
    """

    machine: Output[str]

    def __init__(self, resource_name: str, node: str, args: SettledArgs, opts: ResourceOptions | None = None) -> None:
        async def wait(_args: ResourceHookArgs) -> None:
            await done(node, args.steps())

        hooks = ResourceHookBinding(before_update=[ResourceHook(resource_name, wait)])
        super().__init__(
            SettledProvider(), resource_name, {"machine": args.machine}, ResourceOptions.merge(opts, ResourceOptions(hooks=hooks))
        )
