"""What libvirt says, in words that help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import pytest

from components.libvirt import connection
from components.libvirt.connection import HypervisorError, connect, explain
from components.libvirt.ssh_tunnel import Tunnel

pytestmark = pytest.mark.unit

LOCAL, REMOTE = "qemu:///system", "qemu+ssh://me@host/system"


@pytest.mark.parametrize(
    "message",
    [
        "End of file while reading data: Input/output error",
        "Cannot write data: Broken pipe",
        "Cannot read data: Connection reset by peer",
        "internal error: client socket is closed",
        "internal error: connection closed due to keepalive timeout",
    ],
)
def test_a_connection_that_was_lost(message: str) -> None:
    assert "libvirtd was stopped or restarted" in explain(Exception(message), LOCAL)
    assert "say `up` again" in explain(Exception(message), LOCAL)


def test_a_remote_end_that_closes() -> None:
    assert "ssh to the host works without a password" in explain(Exception("End of file while reading data: x"), REMOTE)


def test_what_ssh_says_of_a_connection_lost_in_the_middle_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")
    said: list[str] = []

    class Way(Tunnel):
        def said(self) -> str:
            return " ".join(said)

    @contextlib.contextmanager
    def tunnel(uri: str) -> Iterator[Tunnel]:
        yield Way(uri)

    monkeypatch.setattr(connection, "tunnel", tunnel)
    monkeypatch.setattr(connection, "opener", lambda uri: mock.Mock())
    with pytest.raises(HypervisorError, match=r"not responding.*The host or the network to it went away"), connect(REMOTE):
        said.append("Timeout, server host not responding.")
        raise libvirt.libvirtError("End of file while reading data: Input/output error")


def test_what_is_not_known_is_quoted_alone() -> None:
    assert explain(Exception("something\n  else"), LOCAL) == f"libvirt ({LOCAL}): something else"
