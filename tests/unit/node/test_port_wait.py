"""The wait for a port, against real sockets."""

import asyncio
import socket
import time

import pytest

from components.node.port_wait import LONGEST_PAUSE, port_open

pytestmark = pytest.mark.unit


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


def test_a_port_that_opens_is_seen_soon() -> None:
    port, opened = free_port(), 0.0

    async def later() -> bool:
        nonlocal opened
        waiting = asyncio.create_task(port_open("127.0.0.1", port, 30))
        await asyncio.sleep(1.5)
        assert not waiting.done()
        with socket.create_server(("127.0.0.1", port)):
            opened = time.monotonic()
            return await waiting

    assert asyncio.run(later())
    assert time.monotonic() - opened < LONGEST_PAUSE + 2


def test_the_wait_ends_with_its_limit() -> None:
    began = time.monotonic()
    assert not asyncio.run(port_open("127.0.0.1", free_port(), 1))
    assert 1 <= time.monotonic() - began < 10


def test_a_host_that_says_nothing_is_probed_again() -> None:
    """A full backlog: the connection is neither taken nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        port = silent.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            began = time.monotonic()
            assert not asyncio.run(port_open("127.0.0.1", port, 1))
            assert time.monotonic() - began < 10
