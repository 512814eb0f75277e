"""The base image's checksum."""

from __future__ import annotations

import pytest

from components.libvirt.base_image import BaseImageProvider

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("checksum", ["", "sha256:", "md5:" + "0" * 32, "sha256:" + "0" * 63, "sha256:" + "G" * 64])
def test_wrong_checksums_are_refused(checksum: str) -> None:
    failures = BaseImageProvider().check({}, {"checksum": checksum, "format": "qcow2"}).failures
    assert [failure.property for failure in failures] == ["checksum"]
