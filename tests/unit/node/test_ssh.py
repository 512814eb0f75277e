"""A connection is put together once, and is what ConnectionArgs would be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pulumi import Output
from pulumi.runtime import rpc
from pulumi.runtime.settings import SETTINGS
from pulumi_command.remote import ConnectionArgs

from components.node.ssh import Connection, connection

pytestmark = pytest.mark.unit


class Counted(set[Any]):
    added = 0

    def add(self, item: Any) -> None:
        self.added += 1
        super().add(item)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """The outputs that are made."""
    counted = Counted()
    monkeypatch.setattr(SETTINGS, "outputs", counted)
    return counted


def made() -> Connection:
    return connection(
        host="192.0.2.1",
        user="debian",
        port=2222,
        private_key=Output.from_input("private"),
        host_key=Output.from_input("ssh-ed25519 host"),
    )


async def sent(value: Any) -> Any:
    """What a command sends: the SDK makes a secret of the connection."""
    return await rpc.serialize_property(Output.secret(value), [], "connection", typ=ConnectionArgs)


def in_loop(body: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await body()

    asyncio.run(run())


def test_it_is_sent_as_connection_args_are(outputs: Counted) -> None:
    async def body() -> None:
        made_by_hand = ConnectionArgs(
            host="192.0.2.1",
            user="debian",
            port=2222,
            private_key=Output.secret("private"),
            host_key="ssh-ed25519 host",
            dial_error_limit=-1,
            per_dial_timeout=10,
        )
        args = made().args
        assert await args.is_secret()
        assert await sent(args) == await sent(made_by_hand)
        assert (await sent(args))["hostKey"] == "ssh-ed25519 host"

    in_loop(body)
    assert outputs.added


def test_a_further_command_makes_few_outputs_for_it(outputs: Counted) -> None:
    async def body() -> None:
        args = made().args
        await sent(args)
        before = outputs.added
        await sent(args)
        assert outputs.added - before <= 3

    in_loop(body)


def test_what_a_preview_does_not_know_is_not_known_of_it(outputs: Counted) -> None:
    async def body() -> None:
        unknown: Output[str] = Output(set(), _value(""), _value(False), _value(True))
        part = connection(
            host="192.0.2.1", user="debian", port=22, private_key=unknown, host_key=Output.from_input("ssh-ed25519 host")
        )
        assert await sent(part.args) == rpc.UNKNOWN

    in_loop(body)
    assert outputs.added


async def _value(value: Any) -> Any:
    return value
