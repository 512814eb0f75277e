"""One server after another: where several are restarted or replaced by one run, the next one waits until the last one serves.

The wait is a hook of an update, because only an update knows that there was something before it: when a cluster is made,
nothing waits and all machines boot at once. It waits inside the program, for the program's own steps, so that it ends with
them: when one of them fails, and at Ctrl-C.

`Failure` knows of a failed step of the run, `Serving` waits for the steps of one server, and `Settled` is the resource whose
update does so; the next server's machine depends on it.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

from pulumi import ErrorHook, Input, ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceOptions
from pulumi import Resource as AnyResource
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components.custom.provider import PlainProvider


class Failure:
    """Whether a step of this run has failed: on any node, since the engine then ends nothing that is under way and starts
    nothing more, so that whatever waits has to end.

    hooks: for each step that may fail. The step is not tried again. There is one hook of one name for all, because a run that
    removes a node has none of that node's own, and the engine then hides the step's error behind that.
    """

    def __init__(self) -> None:
        self.seen = asyncio.Event()
        self.hooks = ResourceHookBinding(on_error=[ErrorHook("a-step-failed", self._report)])

    def _report(self, _args: Any) -> bool:
        self.seen.set()
        return False


@dataclass
class Serving:
    """What a server needs to serve."""

    node: str
    """Name of the node."""
    failure: Failure
    """Whether a step of this run has failed."""
    steps: list[AnyResource] = field(default_factory=list)
    """The last of its steps, declared after the machine."""

    async def done(self, limit: float) -> None:
        """Until all steps of the run are done. Raises RuntimeError when one of them fails, or after `limit` seconds."""
        if not await self.are_done(limit):
            raise RuntimeError(
                f"{self.node} was restarted or replaced and does not serve again, so the machines after it are left as they "
                f"are. See the error next to this one and ./lab logs {self.node}; then run `up` again"
            )

    async def are_done(self, limit: float) -> bool:
        """Whether all steps of the run were done within `limit` seconds, as soon as that is clear."""
        steps = asyncio.gather(*(step.urn.future() for step in self.steps))
        failure = asyncio.ensure_future(self.failure.seen.wait())
        either: list[asyncio.Future[Any]] = [steps, failure]
        await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        failure.cancel()
        if not steps.done() or steps.exception() is not None:
            steps.cancel()
            return False
        return True


class ServersFirst:
    """What is changed on agents waits for what the same run does on the servers: after an upgrade or with another token they would
    not get on with a former server.

    hooks: for each such step of an agent. When it is created, nothing waits.
    """

    def __init__(self, failure: Failure, limit: float) -> None:
        self.servers, self._limit = Serving("servers", failure), limit
        self.hooks = ResourceHookBinding(before_update=[ResourceHook("servers-first", self._wait)])

    async def _wait(self, _args: ResourceHookArgs) -> None:
        if not await self.servers.are_done(self._limit):
            raise RuntimeError(
                "a server's step of this run failed or did not end, so the agents are left as they are. See the error next to this "
                "one; then run `up` again"
            )


@dataclass(frozen=True, kw_only=True)
class SettledArgs:
    """Inputs of `Settled`."""

    machine: Input[str]
    """What the machine is made of. Another value is a restart or another machine."""
    serving: Serving
    """The steps that are waited for."""
    limit: int
    """Seconds that all its steps may take together."""


class SettledProvider(PlainProvider):
    """Stores what the machine is made of, so that another machine or a restart is an update, before which the hook waits."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=_olds.get("machine") != _news.get("machine"))

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(secrets.token_hex(8), props)

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(_news)


class Settled(Resource, module="settled", name="Settled"):
    """A server that serves after whatever a run has done to its machine. The next server's machine depends on it."""

    def __init__(self, resource_name: str, args: SettledArgs, opts: ResourceOptions | None = None) -> None:
        async def wait(_args: ResourceHookArgs) -> None:
            await args.serving.done(args.limit)

        hooks = ResourceHookBinding(before_update=[ResourceHook(resource_name, wait)])
        super().__init__(
            SettledProvider(), resource_name, {"machine": args.machine}, ResourceOptions.merge(opts, ResourceOptions(hooks=hooks))
        )
