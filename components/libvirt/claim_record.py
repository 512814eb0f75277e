"""What was taken out of a network's definitions, kept in two volumes of the pool so that at every moment one of them is whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from components.libvirt import volume_store

RECORD_SIZE = 4096
"""Bytes a record is padded to a multiple of."""


Record = dict[str, Any]
"""What was done: `{"network": name, "macs": [...], "layers": {"live": {"original": [...], "removed": [...]}, "config":
…}}`.
"""


def slots(name: str) -> tuple[str, str]:
    return f"{name}.0", f"{name}.1"


def _records(connection: Any, pool: Any, name: str) -> Iterator[tuple[int, str, Record]]:
    for slot in slots(name):
        volume = volume_store.volume_named(pool, slot)
        if volume is None or not volume_store.is_ours(pool, slot):
            continue
        with contextlib.suppress(ValueError):  # cut off while it was written, so before it mattered
            record = json.loads(volume_store.fetch(connection, volume).rstrip(b" \0"))
            if isinstance(record, dict) and isinstance(record.get("number"), int):
                yield record.pop("number"), slot, record


def read_record(connection: Any, pool: Any, name: str) -> Record | None:
    """The newest whole record, None if there is none."""
    return max(_records(connection, pool, name), default=(0, "", None), key=lambda item: item[0])[2]


def write_record(connection: Any, pool: Any, name: str, record: Record) -> None:
    """Write to the other of two slots, then drop the old one: at every moment one of them is whole."""
    newest = max(_records(connection, pool, name), default=None, key=lambda item: item[0])
    if newest is not None and newest[2] == record:
        return
    number = 1 if newest is None else newest[0] + 1
    first, second = slots(name)
    slot, other = (second, first) if newest is not None and newest[1] == first else (first, second)
    volume_store.claim(pool, slot)
    text = json.dumps({"number": number, **record}, sort_keys=True).encode()
    volume_store.write(connection, pool, slot, text.ljust(-(-len(text) // RECORD_SIZE) * RECORD_SIZE))
    volume_store.remove(pool, other)
