"""Threads for what a hook waits for, apart from those of the event loop.

The SDK registers resources in the loop's threads, four for each operation that the engine runs in parallel, and each is occupied
until the engine answers. With 20 pods all of them were (seen): the engine waited for the pods' hooks, the hooks for a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = ThreadPoolExecutor(max_workers=32, thread_name_prefix="hook")
"""What waits for one of them waits for hooks alone, each of which has a limit."""


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread` in a thread that no registration occupies."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREADS, lambda: context.run(function, *args, **kwargs))
