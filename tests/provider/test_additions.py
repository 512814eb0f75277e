"""Nothing that hands have added to a machine is lost in its changes, whatever it is and whatever changes.

The number of additions checked is printed at the end of the run.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.libvirt import domain_spec, storage_xml, volume_store
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.seed_image import SeedImageProvider

from . import additions
from .conftest import ADDITIONS
from .resource_inputs import domain_inputs, overlay_inputs, seed_inputs
from .sandbox import Sandbox
from .test_nics import LAN

pytestmark = [pytest.mark.provider, pytest.mark.timeout(600)]

SECURE, INACTIVE = 1, 2
ROUNDS = 4
SHARED = {"MTU of the node's NIC": "<mtu size=", "name of the node's disk": "<serial>root-of-ann"}


@pytest.fixture
def folder(sandbox: Sandbox) -> Iterator[Path]:
    """Files of others, outside the pool."""
    path = Path(f"{sandbox.path}-of-others")
    path.mkdir()
    for name in ("data.img", "scsi.img", "stick.img"):
        (path / name).write_bytes(bytes(1 << 20))
    yield path
    shutil.rmtree(path)


def disk_of_ours(sandbox: Sandbox, name: str) -> str:
    """A read-only disk as the one with the artifacts."""
    with sandbox.libvirt() as conn:
        pool = conn.storagePoolLookupByName(sandbox.name)
        volume_store.claim(pool, name)
        pool.createXML(storage_xml.volume(name, 1 << 20), 0)
    return sandbox.file(name)


@pytest.mark.parametrize("number", range(ROUNDS))
def test_nothing_planted_by_hand_is_lost(number: int, sandbox: Sandbox, base: dict[str, Any], folder: Path) -> None:
    chance = random.Random(f"additions {number}")
    deal = list(additions.ALL)
    random.Random(0).shuffle(deal)
    # Each is planted in two rounds at least, with others next to it each time.
    names = sorted({*deal[number::2], *chance.sample(additions.ALL, 4)}) if number < 2 else chance.sample(additions.ALL, 16)
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    provider, inputs = DomainProvider(), domain_inputs(sandbox)
    outs = dict(provider.create(dict(inputs)).outs or {})

    def stored() -> str:
        with sandbox.libvirt() as conn:
            return str(conn.lookupByUUIDString(inputs["uuid"]).XMLDesc(INACTIVE | SECURE))

    with sandbox.libvirt() as conn:
        domain = conn.lookupByUUIDString(inputs["uuid"])
        if chance.random() < 0.5:
            domain.destroy()
        plain = additions.parts(stored())
        conn.defineXML(additions.plant(stored(), names, folder))
    planted = additions.parts(stored()) - plain
    assert len(planted) >= len(names)
    # Of the NIC and the disk the program sets a part, hands another.
    shared = {name: text for name, text in SHARED.items() if name in names}
    for text in shared.values():
        planted -= type(planted)({part: 1 for part in planted if text in part})
    artifacts = [disk_of_ours(sandbox, f"artifacts-{letter}.img") for letter in "ab"]
    changes: list[dict[str, Any]] = [
        {"memory_mib": 96},
        {"cpus": 2},
        {"extra_disks": artifacts[:1]},
        {"extra_disks": artifacts[1:]},
        {"extra_disks": []},
        {"disk_cache": "writeback"},
        {"autostart": False},
        {"nics": [LAN]},
        {"nics": [{**LAN, "model": "e1000e"}]},
        {"nics": []},
        {"nic_port": {"queues": "2"}},
        {"owner": "lab-test/renamed"},
        {},
    ]
    now = dict(inputs)
    for step, change in enumerate(chance.sample(changes, 7)):
        now |= change
        # As after a refresh, or as a run without any state does.
        if step % 2:
            result = provider.read("id", dict(outs))
            assert result.id == "id"
            outs = dict(provider.update("id", dict(result.outs or {}), dict(now)).outs or {})
        else:
            adopted = {**now, "owner": outs["owner"]}
            outs = dict(provider.create(adopted).outs or {})
            now = adopted
        lost = planted - additions.parts(stored())
        assert not lost, (change, lost)
        assert all(text in stored() for text in shared.values()), change
        ADDITIONS.append(len(planted))
        result = provider.read("id", dict(outs))
        news = provider.check(dict(outs), dict(now)).inputs
        assert not provider.diff("id", dict(result.outs or {}), news).changes, (change, (result.outs or {})["definition"])
        facts = domain_spec.read_domain(stored())
        assert (facts.memory_mib, facts.cpus) == (now["memory_mib"], now["cpus"])
        assert {path for path in facts.disks if path.startswith(sandbox.path + "/")} == {
            now["disk_path"], now["seed_path"], *now["extra_disks"],
        }  # fmt: skip
    unmanaged = " ".join((result.outs or {})["unmanaged"])
    assert "s3cret" not in str(result.outs)
    for name, word in (
        ("second NIC", "52:54:00:cd:00:01"), ("data disk", "data.img"), ("USB device of the host", "0x1209:0x0001"),
        ("watchdog", "i6300esb"), ("metadata", "app:owner"), ("arguments of QEMU", "qemu:commandline"),
    ):  # fmt: skip
        assert (word in unmanaged) == (name in names), (word, unmanaged)
    again = stored()
    provider.update("id", dict(outs), dict(now))
    assert stored() == again, "a second update changes nothing"
    assert not re.search("s3cret", str(outs))
