"""What is read from a qcow2 image's header."""

from __future__ import annotations

import pytest

from components.libvirt import storage_xml

pytestmark = pytest.mark.unit


def test_qcow2_header() -> None:
    head = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(12) + (16).to_bytes(4, "big") + (1 << 30).to_bytes(8, "big")
    facts = storage_xml.qcow2_header(head.ljust(104, b"\0"))
    assert facts is not None
    assert (facts.virtual_size, facts.has_backing, facts.has_data_file) == (1 << 30, False, False)
    assert storage_xml.qcow2_header(b"QFI") is None
    assert storage_xml.qcow2_header(b"\0" * 512) is None
    backed = storage_xml.qcow2_header(head[:8] + (512).to_bytes(8, "big") + head[16:])
    assert backed is not None
    assert backed.has_backing
