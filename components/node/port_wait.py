"""The wait until a machine accepts connections.

The pauses between pulumi-command's dials grow to five seconds, and cannot be set (they are its SDK's default). Probed here, a port
that opens is seen within half a second, and a probe without answer costs the machine nothing while it boots.
"""

from __future__ import annotations

import asyncio

from pulumi import ResourceHook, ResourceHookArgs

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
"""Seconds between two probes, the first and the longest."""
PROBE_SECONDS = 2.0
"""For one probe: a machine without address answers nothing at all."""


def port_open_hook(name: str, host: str, port: int, limit: float) -> ResourceHook:
    """A hook to run before the creation of the first command on a machine: returns when the port is open, or after `limit` seconds.

    It never fails: the command that dials then reports what is wrong.
    """

    async def wait(_args: ResourceHookArgs) -> None:
        await port_open(host, port, limit)

    return ResourceHook(name, wait)


async def port_open(host: str, port: int, limit: float) -> bool:
    """Whether the port accepts connections within `limit` seconds."""
    clock, pause = asyncio.get_running_loop().time, FIRST_PAUSE
    end = clock() + limit
    while (left := end - clock()) > 0:
        try:
            async with asyncio.timeout(min(PROBE_SECONDS, left)):
                _, writer = await asyncio.open_connection(host, port)
        except OSError:  # TimeoutError is one
            await asyncio.sleep(min(pause, max(end - clock(), 0)))
            pause = min(pause * 1.5, LONGEST_PAUSE)
        else:
            writer.close()
            return True
    return False
