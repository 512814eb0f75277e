"""status on data disks."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from cli.verbs import status

pytestmark = pytest.mark.unit


def shown(*nodes: dict[str, Any]) -> str:
    node = {
        "name": "server-1",
        "address": "192.168.122.180",
        "machine": None,
        "ready": None,
        "cordoned": False,
        "version": None,
        "hypervisor": "local",
        "inside": None,
    }
    text = io.StringIO()
    everything: dict[str, Any] = {
        "stack": "dev", "nodes": [{**node, **each} for each in nodes], "images": [], "nics": [], "networks": [], "pods": None,
        "pages": [], "addresses": [], "duplicates": [], "warnings": [], "notes": [],
    }  # fmt: skip
    status.render(everything, Console(file=text, width=120))
    return text.getvalue()


def test_disks_have_a_table_of_their_own() -> None:
    kept = {"name": "rancher", "serial": "server-1-rancher", "gib": 40.0, "mount": "/var/lib/rancher", "keep": True}
    raw = {"name": "osd", "serial": "server-1-osd", "gib": 5.0, "keep": False}
    lines = shown({"disks": [kept, raw]}).splitlines()
    assert [line.split() for line in lines if "server-1-" in line] == [
        ["server-1", "rancher", "40", "/var/lib/rancher", "server-1-rancher", "kept"],
        ["server-1", "osd", "5", "-", "server-1-osd", "deleted"],
    ]


def test_without_disks_there_is_none() -> None:
    assert "disks" not in shown({})
