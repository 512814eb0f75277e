"""The wait until a machine lets itself be dialled.

pulumi-command tries again after five seconds at last, and knows no other way (its retries take the SDK's default). Asked here, a
port that opens is seen within half a second, and an ask that finds nobody costs the machine nothing while it boots.
"""

from __future__ import annotations

import asyncio

from pulumi import ResourceHook, ResourceHookArgs

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
"""Seconds between two asks, the first and the longest."""
ASK_SECONDS = 2.0
"""For one ask: a machine without address answers nothing at all."""


def port_open_hook(name: str, host: str, port: int, limit: float) -> ResourceHook:
    """A hook for before the creation of what dials first: returns when the port is open, or after `limit` seconds.

    It fails never: the one who dials then says what is wrong.
    """

    async def wait(_args: ResourceHookArgs) -> None:
        await port_open(host, port, limit)

    return ResourceHook(name, wait)


async def port_open(host: str, port: int, limit: float) -> bool:
    """Whether somebody takes connections there within `limit` seconds."""
    clock, pause = asyncio.get_running_loop().time, FIRST_PAUSE
    end = clock() + limit
    while (left := end - clock()) > 0:
        try:
            async with asyncio.timeout(min(ASK_SECONDS, left)):
                _, writer = await asyncio.open_connection(host, port)
        except OSError:  # TimeoutError is one
            await asyncio.sleep(min(pause, max(end - clock(), 0)))
            pause = min(pause * 1.5, LONGEST_PAUSE)
        else:
            writer.close()
            return True
    return False
