"""The image with the documents of the first boot."""

from __future__ import annotations

import pytest

from components.libvirt.seed_image import seed_iso

pytestmark = pytest.mark.unit


def test_seed_is_the_same_for_the_same_documents() -> None:
    assert seed_iso("a", "b", "c") == seed_iso("a", "b", "c")
    assert seed_iso("a", "b", "c") != seed_iso("a", "b", "d")
    assert b"cidata" in seed_iso("a", "b", "c")
