"""What counts as a change of a resource."""

from __future__ import annotations

import pytest
from pulumi.output import UNKNOWN

from components.custom.provider import differs, same_host
from components.libvirt.domain import DomainProvider

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("qemu+ssh://h/system", "qemu+ssh://root@h/system?keyfile=/k", True),
        ("qemu+ssh://H/system", "qemu+tls://h/system", True),
        ("qemu:///system", "qemu+unix:///system", True),
        ("qemu:///system", "qemu+unix:///system?socket=/run/other", False),
        ("qemu:///system", "qemu+ssh://h/system", False),
        ("qemu+ssh://h/system", "qemu+ssh://h:2222/system", False),
        ("qemu+ssh://h/system", "qemu+ssh://i/system", False),
        ("qemu+ssh://a@h/session", "qemu+ssh://b@h/session", False),
        ("qemu+ssh://h/system", "test+ssh://h/system", False),
        ("qemu:///system", UNKNOWN, False),
    ],
)
def test_another_way_to_the_same_host_is_an_update(old: object, new: object, same: bool) -> None:
    assert same_host(old, new) == same
    change = DomainProvider().diff("id", {"uri": old, "name": "n"}, {"uri": new, "name": "n"})
    assert (change.changes, change.replaces) == (True, [] if same else ["uri"])


def test_unknown_is_a_change() -> None:
    assert differs("a", UNKNOWN)
    assert differs(["a"], ["a", UNKNOWN])
    assert differs({"a": 1}, {"a": UNKNOWN})
    assert not differs(None, None)
