"""Threads of hooks: there where all of the event loop's own are occupied."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path

import pytest

from components.node.hook_threads import in_thread

pytestmark = pytest.mark.unit

COMPONENTS = Path(__file__).parents[3] / "components"


def test_a_hook_needs_no_thread_of_the_loop() -> None:
    """As in a run where each of these threads waits for an answer of the engine, and the engine for the hook."""
    answered = threading.Event()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(max_workers=1) as executor:
            loop.set_default_executor(executor)
            registration = loop.run_in_executor(None, answered.wait, 20)
            await asyncio.wait_for(in_thread(answered.set), 10)
            assert await registration

    asyncio.run(run())


def test_it_gets_arguments_context_and_errors() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="")

    def function(first: str, *, second: str) -> str:
        if second == "wrong":
            raise ValueError(second)
        return " ".join((first, second, variable.get()))

    async def run() -> str:
        variable.set("of the caller")
        with pytest.raises(ValueError, match="wrong"):
            await in_thread(function, "", second="wrong")
        return await in_thread(function, "one", second="two")

    assert asyncio.run(run()) == "one two of the caller"


def test_no_hook_takes_a_thread_of_the_loop() -> None:
    own = COMPONENTS / "node" / "hook_threads.py"
    texts = {path: path.read_text(encoding="utf-8") for path in COMPONENTS.rglob("*.py") if path != own}
    assert not [path for path, text in texts.items() if "to_thread(" in text or "run_in_executor(" in text]
