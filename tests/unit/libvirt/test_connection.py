"""What libvirt says, in words that help."""

from __future__ import annotations

import pytest

from components.libvirt.connection import explain

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


def test_what_is_not_known_is_quoted_alone() -> None:
    assert explain(Exception("something\n  else"), LOCAL) == f"libvirt ({LOCAL}): something else"
