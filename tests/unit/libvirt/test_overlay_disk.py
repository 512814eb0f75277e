"""A node's disk: its identity, and what a change of it does."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi.output import UNKNOWN

from components.libvirt.overlay_disk import OverlayDiskProvider

pytestmark = pytest.mark.unit

OVERLAY: dict[str, Any] = {
    "uri": "u", "pool": "p", "name": "n", "path": "/p/n", "backing_path": "/p/b", "backing_format": "qcow2",
    "capacity": 10.0, "generation": "1", "domain_uuid": "d",
}  # fmt: skip


def test_overlay_keeps_its_serial_and_a_new_one_gets_another() -> None:
    provider = OverlayDiskProvider()
    first = provider.check({}, dict(OVERLAY)).inputs
    assert first["capacity"] == 10
    assert provider.check(first, dict(OVERLAY)).inputs["serial"] == first["serial"]
    assert provider.check({}, dict(OVERLAY)).inputs["serial"] != first["serial"]
    assert not provider.diff("id", first, provider.check(first, dict(OVERLAY)).inputs).changes


def test_overlay_grows_and_does_not_shrink() -> None:
    provider = OverlayDiskProvider()
    old = provider.check({}, dict(OVERLAY)).inputs
    grown = provider.check(old, {**OVERLAY, "capacity": 20.0})
    assert not grown.failures
    change = provider.diff("id", old, grown.inputs)
    assert (change.changes, change.replaces) == (True, [])
    shrunk = provider.check(old, {**OVERLAY, "capacity": 5.0})
    assert [(failure.property, "cannot shrink" in failure.reason) for failure in shrunk.failures] == [("capacity", True)]
    other_generation = provider.check(old, {**OVERLAY, "capacity": 5.0, "generation": "2"})
    assert not other_generation.failures
    change = provider.diff("id", old, other_generation.inputs)
    assert (change.replaces, change.delete_before_replace) == (["generation"], True)


@pytest.mark.parametrize("name", ["path", "generation"])
def test_unknown_input_of_an_overlay_replaces(name: str) -> None:
    provider = OverlayDiskProvider()
    old = provider.check({}, dict(OVERLAY)).inputs
    new = provider.check(old, {**OVERLAY, name: UNKNOWN})
    assert not new.failures
    assert provider.diff("id", old, new.inputs).replaces == [name]


@pytest.mark.parametrize("image", [{"backing_path": "/i/prepared", "backing_format": "raw"}, {"backing_path": UNKNOWN}])
def test_a_disk_that_is_there_stays_over_its_image(image: dict[str, Any]) -> None:
    """In a preview the image of new machines is not known yet."""
    provider = OverlayDiskProvider()
    old = provider.check({}, dict(OVERLAY)).inputs
    new = provider.check(old, {**OVERLAY, **image}).inputs
    assert (new["backing_path"], new["backing_format"]) == ("/p/b", "qcow2")
    assert not provider.diff("id", old, new).changes
    assert provider.check(new, {**OVERLAY, **image}).inputs == new
    grown = provider.check(old, {**OVERLAY, **image, "capacity": 20.0}).inputs
    assert (provider.diff("id", old, grown).changes, provider.diff("id", old, grown).replaces) == (True, [])


def test_a_disk_of_another_generation_is_over_the_image_of_now() -> None:
    provider = OverlayDiskProvider()
    old = provider.check({}, dict(OVERLAY)).inputs
    new = provider.check(old, {**OVERLAY, "generation": "2", "backing_path": "/i/prepared", "backing_format": "raw"}).inputs
    assert (new["backing_path"], new["backing_format"]) == ("/i/prepared", "raw")
    assert set(provider.diff("id", old, new).replaces or []) == {"generation", "backing_path", "backing_format"}


def test_a_disk_that_is_replaced_is_over_the_image_of_now() -> None:
    """The engine checks it again without its old inputs, as for `--replace` and where what it depends on is replaced."""
    provider = OverlayDiskProvider()
    provider.check({}, dict(OVERLAY))
    assert provider.check({}, {**OVERLAY, "backing_path": "/i/prepared"}).inputs["backing_path"] == "/i/prepared"
