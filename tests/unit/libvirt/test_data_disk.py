"""A data disk: its identity, what a change of it does, the device that it is, and what hands have done with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from pulumi.output import UNKNOWN

from components.libvirt import data_disk, domain_additions, domain_disks, domain_edit, domain_spec, domain_xml
from components.libvirt.data_disk import DataDiskProvider
from components.libvirt.disk_obstacles import data_disk_obstacles
from components.libvirt.domain import DomainProvider
from components.libvirt.domain_devices import SPARE_PORTS

from .test_domain_spec import SPEC

pytestmark = pytest.mark.unit

DISK: dict[str, Any] = {
    "uri": "qemu:///system", "pool": "p", "name": "n-data.qcow2", "path": "/p/n-data.qcow2", "capacity": 10.0 * 2**30,
    "keep": False, "label": "data", "domain_uuid": "d",
}  # fmt: skip
GIVEN: dict[str, Any] = {
    "name": "data", "serial": "server-1-data", "pool": "p", "volume": "n-data.qcow2", "path": "/p/n-data.qcow2",
    "bus": "virtio", "cache": "none", "keep": False, "disk_id": "1",
}  # fmt: skip


def checked(olds: dict[str, Any], **changes: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    result = DataDiskProvider().check(olds, {**DISK, **changes})
    return result.inputs, [(failure.property, failure.reason) for failure in result.failures]


# --- the resource


def test_a_disk_keeps_its_identity_and_a_new_one_gets_another() -> None:
    first, failures = checked({})
    assert not failures and first["capacity"] == 10 * 2**30
    assert checked(first)[0] == first
    assert checked({})[0]["disk_id"] != first["disk_id"]
    assert not DataDiskProvider().diff("id", first, checked(first)[0]).changes


def test_it_grows_in_place_and_does_not_shrink() -> None:
    old, _ = checked({})
    larger, failures = checked(old, capacity=20.0 * 2**30, keep=True)
    change = DataDiskProvider().diff("id", old, larger)
    assert (failures, change.changes, change.replaces) == ([], True, [])
    ((name, reason),) = checked(old, capacity=5.0 * 2**30)[1]
    assert name == "capacity" and "cannot shrink" in reason and "Set size: 10 or more" in reason


@pytest.mark.parametrize(
    "change",
    [{"pool": "other", "path": ""}, {"path": "/elsewhere/n-data.qcow2"}, {"uri": "qemu+ssh://other/system"}, {"name": "m.qcow2"}],
)
def test_its_data_do_not_move(change: dict[str, Any]) -> None:
    old, _ = checked({})
    ((name, reason),) = checked(old, **change)[1]
    assert name == "pool" and "do not move by themselves" in reason and "/p/n-data.qcow2 in pool p" in reason
    assert checked({}, **change)[1] == [], "the engine checks again without old inputs when it replaces"


def test_another_way_to_the_same_host_and_a_preview_that_does_not_know_the_pool_move_nothing() -> None:
    old, _ = checked({}, uri="qemu+ssh://a@host/system")
    assert checked(old, uri="qemu+ssh://b@host/system")[1] == []
    assert checked(old, uri="qemu+ssh://a@host/system", pool=UNKNOWN)[1] == []


@pytest.mark.parametrize(("keep", "said"), [(False, True), (True, False)])
def test_a_replacement_says_that_the_data_are_deleted(keep: bool, said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    remarks: list[str] = []
    monkeypatch.setattr(data_disk, "remark", remarks.append)
    old, _ = checked({}, keep=keep)
    change = DataDiskProvider().diff("id", old, checked({}, keep=keep)[0])
    assert (change.replaces, change.delete_before_replace) == (["disk_id"], True)
    assert bool(remarks) == said and all("its data are deleted" in text for text in remarks)


# --- the device


def spec(*disks: Mapping[str, Any]) -> domain_spec.DomainSpec:
    return dataclasses.replace(SPEC, devices=tuple(domain_disks.devices({"data_disks": list(disks)})))


def disk(document: str, name: str = "data") -> Any:
    return domain_disks.attached(document)[domain_disks.alias(name)]


def test_a_domain_without_data_disks_is_as_before() -> None:
    absent: tuple[dict[str, Any], ...] = ({}, {"data_disks": None}, {"data_disks": []})
    for inputs in absent:
        assert list(domain_disks.devices(inputs)) == []


def test_the_device_of_a_disk() -> None:
    document = domain_spec.domain(spec(GIVEN))
    element = disk(document)
    assert domain_xml.source(element) == "/p/n-data.qcow2"
    assert element.findtext("serial") == "server-1-data"
    driver = element.find("driver")
    assert driver is not None and driver.attrib == {"name": "qemu", "type": "qcow2", "cache": "none", "discard": "unmap"}
    assert domain_xml.target(element) == "vdc", "after root disk and seed"
    assert domain_edit.differences(document, spec(GIVEN)) == []
    assert document.count("pcie-root-port") == SPARE_PORTS + 1


def test_scsi_brings_its_controller_which_stays() -> None:
    wanted = spec({**GIVEN, "bus": "scsi"})
    document = domain_edit.edit(domain_spec.domain(SPEC), wanted)
    assert 'type="scsi" index="0" model="virtio-scsi"' in document
    assert domain_xml.target(disk(document)) == "sdb"
    assert [change.name for change in domain_edit.differences(document, SPEC)] == ["disk disk-data"]
    assert "virtio-scsi" in domain_edit.edit(document, SPEC)


@pytest.mark.parametrize("change", [{"cache": "writeback"}, {"bus": "sata"}])
def test_how_a_disk_is_attached_changes_with_a_restart(change: dict[str, str]) -> None:
    document = domain_spec.domain(spec(GIVEN))
    (difference,) = domain_edit.restarts(document, document, spec({**GIVEN, **change}))
    assert difference.name == "data disk data" and "server-1-data on virtio, cache none, not" in str(difference)


def test_a_disk_is_ours_and_no_addition_by_hand() -> None:
    document = domain_spec.domain(spec(GIVEN))
    assert domain_additions.unmanaged(document, spec(GIVEN)) == []
    assert domain_additions.unmanaged(document, SPEC) == []
    assert domain_disks.files(document) == {"/p/n-data.qcow2"} == set(domain_disks.paths(spec(GIVEN).devices).values())


def test_a_disk_in_a_pool_of_others_is_found_by_libvirt() -> None:
    class Pool:
        def XMLDesc(self, _flags: int) -> str:  # noqa: N802 - libvirt's name
            return "<pool type='dir'><name>fast</name><target><path>/srv/fast</path></target></pool>"

    class Connection:
        def storagePoolLookupByName(self, name: str) -> Pool:  # noqa: N802
            assert name == "fast"
            return Pool()

    pytest.importorskip("libvirt")
    inputs = {"data_disks": [{**GIVEN, "pool": "fast", "path": ""}]}
    found = domain_disks.resolved(Connection(), inputs)
    assert found["data_disks"][0]["path"] == "/srv/fast/n-data.qcow2"
    assert inputs["data_disks"][0]["path"] == "", "what is in the state stays"
    assert domain_disks.resolved(None, {"data_disks": [GIVEN]}) == {"data_disks": [GIVEN]}


def test_what_is_taken_off_a_machine_is_said() -> None:
    olds = {"name": "n", "data_disks": [GIVEN, {**GIVEN, "name": "kept", "keep": True}]}
    assert list(domain_disks.taken_off(olds, {"data_disks": [GIVEN]})) == [
        "n: data disk kept is taken off the machine, and it stays with its data, because it has keep: true"
    ]
    assert next(domain_disks.taken_off(olds, {"data_disks": None})).endswith("and its data are deleted with it")
    assert list(domain_disks.taken_off({}, {"data_disks": [GIVEN]})) == []


def test_settings_without_disks_change_no_domain() -> None:
    """A state of a former release has no such input."""
    inputs = {"name": "n", "memory_mib": 64, "cpus": 1, "network": "default", "virt_type": "qemu", "cpu_mode": "auto"}
    news = DomainProvider().check(dict(inputs), {**inputs, "data_disks": None}).inputs
    assert not DomainProvider().diff("id", {**inputs, "definition": {}}, news).changes


# --- what hands have done


def obstacles(document: str, paths: Mapping[str, str], snapshots: Mapping[str, list[str]] | None = None) -> list[str]:
    return data_disk_obstacles("n", document, document, paths, lambda: snapshots or {})


def moved(source: str, below: str = "") -> str:
    document = domain_spec.domain(spec(GIVEN))
    layer = f'<backingStore type="file"><source file="{below}" /></backingStore>' if below else ""
    return document.replace('<source file="/p/n-data.qcow2" />', f'<source file="{source}" />{layer}')


PATHS = {domain_disks.alias("data"): "/p/n-data.qcow2"}


def test_a_disk_as_it_was_made_is_in_nobody_s_way() -> None:
    assert obstacles(domain_spec.domain(spec(GIVEN)), PATHS) == []
    assert obstacles(domain_spec.domain(spec(GIVEN)), {}) == [], "one that is to be taken off"


@pytest.mark.parametrize("paths", [PATHS, {}], ids=["wanted", "to be taken off"])
def test_a_snapshot_by_hand_is_an_obstacle(paths: Mapping[str, str]) -> None:
    document = moved("/p/n-data.before", "/p/n-data.qcow2")
    (text,) = obstacles(document, paths, {"before it": ["/p/n-data.before"]})
    assert "a snapshot 'before it' over /p/n-data.qcow2" in text
    assert "virsh blockcommit n vdc --base /p/n-data.qcow2 --active --pivot --wait; virsh snapshot-delete n 'before it'" in text
    assert domain_edit.differences(document, spec(GIVEN)) == [], "it is kept while nothing else changes"


def test_a_snapshot_over_a_disk_that_is_to_be_taken_off_is_known_by_the_domain_s_snapshots() -> None:
    """A stored definition does not name the file below."""
    (text,) = obstacles(moved("/p/n-data.before"), {}, {"before": ["/p/n-data.before"]})
    assert "over its own file" in text and "virsh blockcommit n vdc --active --pivot --wait" in text


def test_a_moved_file_is_an_obstacle() -> None:
    (text,) = obstacles(moved("/elsewhere/x y"), PATHS)
    assert "it was moved. Move it back: virsh shutdown n; mv '/elsewhere/x y' /p/n-data.qcow2" in text
