"""A server that was restarted: the next one waits for the program's own steps, and only in an update."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pulumi import ErrorHook

from components.custom.server_gate import Failure, Serving, SettledProvider

pytestmark = pytest.mark.unit


def step(result: asyncio.Future[str]) -> Any:
    async def future() -> str:
        return await result

    return SimpleNamespace(urn=SimpleNamespace(future=future))


def test_only_another_machine_is_waited_for() -> None:
    provider = SettledProvider()
    assert provider.create({"machine": "disk-1 2 CPUs"}).outs == {"machine": "disk-1 2 CPUs"}
    assert not provider.diff("", {"machine": "disk-1"}, {"machine": "disk-1"}).changes
    changed = provider.diff("", {"machine": "disk-1 2 CPUs"}, {"machine": "disk-2 2 CPUs"})
    assert changed.changes
    assert not changed.replaces
    assert provider.update("", {"machine": "disk-1"}, {"machine": "disk-2"}).outs == {"machine": "disk-2"}


def test_it_waits_until_the_last_step_is_done() -> None:
    async def story() -> None:
        first, last = asyncio.Future[str](), asyncio.Future[str]()
        waiting = asyncio.ensure_future(Serving(Failure(), [step(first), step(last)]).are_done(60))
        first.set_result("urn")
        await asyncio.sleep(0.01)
        assert not waiting.done()
        last.set_result("urn")
        assert await waiting

    asyncio.run(story())


def test_a_step_that_fails_ends_the_wait() -> None:
    async def story() -> None:
        failed, never = asyncio.Future[str](), asyncio.Future[str]()
        failed.set_exception(ValueError("no"))
        assert not await asyncio.wait_for(Serving(Failure(), [step(never), step(failed)]).are_done(60), 5)

    asyncio.run(story())


def test_a_failure_that_is_reported_ends_the_wait() -> None:
    """The engine does not say it to a step that never begins."""

    async def story() -> None:
        serving = Serving(Failure(), [step(asyncio.Future[str]())])
        waiting = asyncio.ensure_future(serving.are_done(60))
        await asyncio.sleep(0.01)
        (hook,) = serving.failure.hooks.on_error or []
        assert isinstance(hook, ErrorHook)
        assert hook.callback(None) is False, "it is not tried again"  # type: ignore[arg-type]
        assert not await asyncio.wait_for(waiting, 5)

    asyncio.run(story())


def test_it_does_not_wait_for_ever() -> None:
    async def story() -> None:
        assert not await Serving(Failure(), [step(asyncio.Future[str]())]).are_done(0.01)

    asyncio.run(story())
