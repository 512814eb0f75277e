"""One server after another: where several are restarted or replaced by one run, the next one waits until the last one serves, and
agents until all do.

The wait is a hook of an update, because only an update knows that there was something before it: when a cluster is made,
nothing waits and all machines boot at once. It waits inside the program, for the program's own steps, so that it ends with
them: when one of them fails, and at Ctrl-C.

`Failure` knows of a failed step of the run, `Serving` waits for servers' steps, and `Settled` is the resource whose update does so;
the next server's machine depends on it, and agents on one of all servers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from pulumi import ErrorHook, Input, ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceOptions
from pulumi import Resource as AnyResource
from pulumi.dynamic import DiffResult, Resource

from components.custom.provider import StoringProvider


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
    """What servers need to serve."""

    failure: Failure
    """Whether a step of this run has failed."""
    steps: list[AnyResource] = field(default_factory=list)
    """The last of their steps, declared after what waits."""

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


@dataclass(frozen=True, kw_only=True)
class SettledArgs:
    """Inputs of `Settled`."""

    of: Input[str]
    """What others wait for a change of: what a server's machine is made of, or what agents need of the servers."""
    serving: Serving
    """The steps that are waited for."""
    limit: int
    """Seconds that all its steps may take together."""
    refusal: str
    """What is said where they are not done."""


class SettledProvider(StoringProvider):
    """Stores what is waited for a change of, so that a change is an update, before which the hook waits."""

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=_olds.get("machine") != _news.get("machine"))


class Settled(Resource, module="settled", name="Settled"):
    """Servers that serve after whatever a run has done to them. What may be changed only then depends on it: the next server's
    machine, the agents. One resource waits, however many depend on it, because each wait takes one of the steps that the engine
    does at once (`pulumi up --parallel`)."""

    def __init__(self, resource_name: str, args: SettledArgs, opts: ResourceOptions | None = None) -> None:
        async def wait(_args: ResourceHookArgs) -> None:
            if not await args.serving.are_done(args.limit):
                raise RuntimeError(args.refusal)

        hooks = ResourceHookBinding(before_update=[ResourceHook(resource_name, wait)])
        inputs = {"machine": args.of}  # the name is in every state file
        super().__init__(SettledProvider(), resource_name, inputs, ResourceOptions.merge(opts, ResourceOptions(hooks=hooks)))
