"""Doctor on storage: what is free, what is needed at once, and what all thin disks of a file system could take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.checks import storage
from cli.checks.storage import Facts, Pool
from cli.findings import Finding
from components.config import plan as plans
from components.config.plan import GIB

from .test_doctor import levels, planned

pytestmark = pytest.mark.unit

OWN = Pool(name="k3s-macvlan-dev", path="/var/lib/libvirt/images/k3s-macvlan-dev", size=200 * GIB, free=100 * GIB)
MACHINE = "k3s-macvlan-dev-server-1"
HERS = replace(OWN, name="k3s-macvlan-ha", path="/var/lib/libvirt/images/k3s-macvlan-ha", thin=5, growth=90 * GIB)


def judged(facts: Facts, *machines: str, **raw: Any) -> list[Finding]:
    layout: plans.Plan = planned(**raw)[1]
    return list(storage.assess(facts, layout.pools[0], layout.nodes, machines))


def made(free: int, growth: int) -> Pool:
    """The pool with the disk of the one node."""
    return replace(OWN, free=free * GIB, thin=1, growth=growth * GIB, disks=(("server-1.qcow2", 20 * GIB),))


@pytest.mark.parametrize(
    ("own", "machines", "level"),
    [
        (OWN, (), "ok"),
        (replace(OWN, free=10 * GIB), (), "warning"),
        (replace(OWN, free=GIB), (), "error"),
        (made(1, 0), (MACHINE,), "ok"),
        (made(1, 2), (MACHINE,), "warning"),
        (None, (), "unknown"),
    ],
)
def test_the_stack_s_own_disks(own: Pool | None, machines: tuple[str, ...], level: str) -> None:
    assert levels(judged(Facts(own=own), *machines)) == [level]


def test_thin_disks_of_others_fill_the_same_file_system() -> None:
    mine = made(100, 15)
    assert levels(judged(Facts(own=mine), MACHINE)) == ["ok"]
    (finding,) = judged(Facts(own=mine, others=(HERS,)), MACHINE)
    assert levels([finding]) == ["warning"]
    assert finding.observed == (
        f"100.0 GiB are free at {OWN.path}, and the disks on that file system can grow by 105.0 GiB: 15.0 GiB in 1 of pool "
        "k3s-macvlan-dev, 90.0 GiB in 5 of pool k3s-macvlan-ha"
    )
    elsewhere = replace(HERS, size=500 * GIB)
    assert levels(judged(Facts(own=mine, others=(elsewhere,)), MACHINE)) == ["ok"]


def test_disks_that_up_is_to_make_or_to_enlarge_count() -> None:
    (finding,) = judged(Facts(own=replace(made(30, 15))), MACHINE, agents={"count": 1})
    assert finding.level == "warning" and "20.0 GiB in those that up is to make" in finding.observed
    (finding,) = judged(Facts(own=made(30, 15)), MACHINE, servers={"disk": 40})
    assert "20.0 GiB in those that up is to make" in finding.observed


def test_a_data_disk_counts_once_where_it_is_to_be() -> None:
    disks = {"data": {"size": 40}}
    volume = f"{MACHINE}-data.qcow2"
    (finding,) = judged(Facts(own=made(50, 15)), MACHINE, servers={"disks": disks})
    assert "grow by 55.0 GiB" in finding.observed and "40.0 GiB in those that up is to make" in finding.observed
    grown = replace(made(50, 54), thin=2, disks=(("server-1.qcow2", 20 * GIB), (volume, 40 * GIB)))
    (finding,) = judged(Facts(own=grown), MACHINE, servers={"disks": disks})
    assert "grow by 54.0 GiB" in finding.observed and "up is to make" not in finding.observed
    fast = Pool(name="fast", path="/srv/fast", size=90 * GIB, free=10 * GIB)
    named = {"data": {"size": 40, "pool": "fast"}}
    found = judged(Facts(own=made(50, 15), used=(fast,)), MACHINE, servers={"disks": named})
    assert levels(found) == ["ok", "warning"] and "can grow by 15.0 GiB" in found[0].observed
    assert "40.0 GiB in those that up is to make" in found[1].observed


def test_each_file_system_with_disks_of_the_stack_is_weighed() -> None:
    data = Pool(name="data", path="/srv/data", size=900 * GIB, free=10 * GIB, thin=1, growth=50 * GIB)
    found = judged(Facts(own=made(100, 15), used=(data,)), MACHINE)
    assert levels(found) == ["ok", "warning"] and "10.0 GiB are free at /srv/data" in found[1].observed
    shared = replace(data, size=OWN.size, free=OWN.free)
    assert levels(judged(Facts(own=made(100, 15), used=(shared,)), MACHINE)) == ["ok"], "one file system, one finding"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"free": 100 * GIB - (32 << 20)}, True),
        ({"free": 90 * GIB}, False),
        ({"size": 201 * GIB}, False),
        ({"device": 7}, True),
    ],
)
def test_one_file_system_is_known_from_afar_by_its_size(change: dict[str, Any], same: bool) -> None:
    assert OWN.shares(replace(HERS, **change)) is same


def test_one_file_system_is_known_here_by_its_number() -> None:
    assert replace(OWN, device=7).shares(replace(HERS, device=7, free=1))
    assert not replace(OWN, device=7).shares(replace(HERS, device=8))


# --- what is observed


class Listed:
    """A pool as libvirt's binding has it."""

    def __init__(self, name: str, path: str, *volumes: tuple[str, int, int], kind: str = "dir", active: bool = True) -> None:
        self._name, self.path, self.kind, self.active, self.volumes = name, path, kind, active, volumes

    def name(self) -> str:
        return self._name

    def isActive(self) -> bool:  # noqa: N802 - libvirt's name
        return self.active

    def info(self) -> list[int]:
        return [2, 200 * GIB, 100 * GIB, 100 * GIB]

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        return f"<pool type='{self.kind}'><name>{self._name}</name><target><path>{self.path}</path></target></pool>"

    def listAllVolumes(self, _flags: int) -> list[Any]:  # noqa: N802
        def volume(name: str, capacity: int, allocation: int) -> Any:
            def info() -> list[int]:
                if capacity < 0:
                    raise RuntimeError("deleted meanwhile")
                return [0, capacity, allocation]

            return SimpleNamespace(name=lambda: name, info=info)

        return [volume(*each) for each in self.volumes]


def observed(*pools: Listed, own: str = "", documents: tuple[str, ...] = (), local: bool = False, **raw: Any) -> Facts:
    pytest.importorskip("libvirt")
    by_uuid = next((pool for pool in pools if pool.name() == own), None)
    connection = SimpleNamespace(
        listAllStoragePools=lambda _flags: list(pools), storagePoolLookupByUUIDString=lambda _uuid: by_uuid
    )
    layout = planned(**raw)[1]
    return storage.observe(connection, layout.pools[0], documents, layout.nodes, local=local)


def test_volumes_that_can_grow_are_counted() -> None:
    mine = Listed("mine", "/p/mine", ("server-1.qcow2", 20 * GIB, 5 * GIB), ("full.raw", GIB, GIB), ("gone", -1, 0))
    facts = observed(mine, Listed("off", "/p/off", active=False), Listed("lvm", "/dev/vg", kind="logical"), own="mine")
    assert facts.own is not None and facts.others == ()
    assert (facts.own.thin, facts.own.growth, facts.own.disks) == (1, 15 * GIB, (("server-1.qcow2", 20 * GIB), ("full.raw", GIB)))


def test_a_pool_with_a_disk_of_a_machine_is_used() -> None:
    document = "<domain><devices><disk type='file'><source file='/srv/data/a.qcow2'/><target dev='vdb'/></disk></devices></domain>"
    facts = observed(
        Listed("mine", "/p/mine"), Listed("data", "/srv/data"), Listed("other", "/srv"), own="mine", documents=(document,)
    )
    assert [pool.name for pool in facts.used] == ["data"] and [pool.name for pool in facts.others] == ["other"]


def test_a_pool_that_a_disk_is_to_be_in_is_used() -> None:
    disks = {"data": {"size": 40, "pool": "data"}}
    facts = observed(Listed("mine", "/p/mine"), Listed("data", "/srv/data"), own="mine", servers={"disks": disks})
    assert [pool.name for pool in facts.used] == ["data"]


def test_before_the_first_up_the_directory_counts(tmp_path: Path) -> None:
    images = Listed("default", "/var/lib/libvirt/images", ("a", 20 * GIB, GIB))
    facts = observed(images)
    assert facts.own is not None and facts.own.free == 100 * GIB and facts.own.growth == 0 and facts.others[0].growth == 19 * GIB
    assert observed(Listed("elsewhere", "/srv")).own is None
    here = observed(Listed("elsewhere", str(tmp_path)), local=True)
    assert here.own is not None and here.own.free > 0 and here.own.device is not None and here.others[0].device is not None
