"""Data disks on a real libvirt: attached to a running guest, grown, kept, adopted; what hands have done with them is not lost."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.libvirt import data_disk, domain_disks, storage_xml, volume_store
from components.libvirt.connection import HypervisorError
from components.libvirt.data_disk import DataDiskProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider

from .faults import attempt
from .resource_inputs import attachment, data_disk_inputs
from .sandbox import IMAGES, Sandbox
from .test_by_hand import Machine

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]

LARGER = 16 << 20
MARKS = {"a-data.qcow2", "a-data.qcow2.owned", "a-data.qcow2.verified"}


class Disk:
    """A data disk with the state that the engine has of it."""

    def __init__(self, sandbox: Sandbox, **changes: Any) -> None:
        self.sandbox, self.provider = sandbox, DataDiskProvider()
        self.inputs = data_disk_inputs(sandbox, **changes)
        self.state = self.create()
        self.path = Path(sandbox.file(self.inputs["name"]))

    def create(self) -> dict[str, Any]:
        return dict(self.provider.create(dict(self.inputs)).outs or {})

    def update(self, **changes: Any) -> None:
        news = {**self.inputs, **changes}
        self.state = dict(self.provider.update("id", dict(self.state), news).outs or {})
        self.inputs = news

    def read(self) -> dict[str, Any] | None:
        result = self.provider.read("id", dict(self.state))
        return dict(result.outs or {}) if result.id else None

    def delete(self) -> None:
        self.provider.delete("id", dict(self.state))

    def files(self) -> set[str]:
        return {path.name for path in self.path.parent.glob(f"{self.path.name}*")}

    def size(self) -> int:
        header = storage_xml.qcow2_header(self.path.read_bytes()[:128])
        return header.virtual_size if header else 0

    def write(self) -> bytes:
        """Something on the disk."""
        subprocess.run(["qemu-io", "-c", "write -P 9 0 64k", str(self.path)], check=True, stdout=subprocess.DEVNULL)
        return self.path.read_bytes()


@pytest.fixture
def disk(sandbox: Sandbox, pool: dict[str, Any]) -> Disk:
    return Disk(sandbox)


@pytest.fixture
def machine(sandbox: Sandbox, base: dict[str, Any]) -> Machine:
    return Machine(sandbox, base)


def live(machine: Machine) -> dict[str, Any]:
    return domain_disks.attached(machine.observe()[2])


ALIAS = domain_disks.alias("data")


def test_a_disk_is_made_grown_and_deleted(disk: Disk) -> None:
    assert disk.files() == MARKS and disk.size() == 8 << 20
    assert disk.read() == disk.state
    disk.update(capacity=LARGER)
    assert disk.size() == LARGER and (disk.read() or {})["capacity"] == LARGER
    disk.delete()
    assert disk.files() == set() and disk.read() is None
    disk.delete()


def test_a_killed_run_and_a_lost_state_lose_no_data(disk: Disk, capfd: pytest.CaptureFixture[str]) -> None:
    before = disk.write()
    capfd.readouterr()
    disk.create()
    assert disk.path.read_bytes() == before
    assert "is there already and is used again" in capfd.readouterr().out
    Path(f"{disk.path}.verified").unlink()
    disk.create()
    assert disk.path.read_bytes() == before and disk.files() == MARKS
    for at in range(1, 12):
        attempt(disk.create, at, "error")
        assert disk.path.read_bytes() == before, f"a create that failed at call {at}"


def test_what_is_not_this_machine_s_is_left_alone(disk: Disk) -> None:
    before = disk.write()
    with pytest.raises(HypervisorError, match="is the data disk of another machine"):
        Disk(disk.sandbox, domain_uuid="b6f4e1a2-0000-4000-8000-000000000001")
    with pytest.raises(HypervisorError, match="cannot shrink to"):
        Disk(disk.sandbox, capacity=4 << 20)
    assert disk.path.read_bytes() == before
    theirs = Path(disk.sandbox.file("b-data.qcow2"))
    theirs.write_bytes(b"precious")
    with pytest.raises(HypervisorError, match="was not made by this stack and is left alone"):
        Disk(disk.sandbox, name="b-data.qcow2", path=str(theirs))
    assert theirs.read_bytes() == b"precious"


def test_a_kept_disk_outlives_the_stack_and_is_adopted_again(
    sandbox: Sandbox, pool: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    disk = Disk(sandbox, keep=True)
    before = disk.write()
    volume_kept = MARKS | {"a-data.qcow2.kept"}
    disk.delete()
    assert disk.files() == volume_kept
    assert f"stays with its data, because it has keep: true: {disk.path}" in capfd.readouterr().out
    StoragePoolProvider().delete("id", pool)
    assert disk.files() == volume_kept and disk.path.read_bytes() == before
    said = capfd.readouterr().out
    assert "keeps the data disks a-data.qcow2 (keep: true)" in said and "did not make" not in said
    with sandbox.libvirt() as conn:
        assert sandbox.name not in [found.name() for found in conn.listAllStoragePools(0)]
    StoragePoolProvider().create(sandbox.pool())
    again = Disk(sandbox, keep=True, disk_id="d2")
    assert disk.path.read_bytes() == before and "is used again" in capfd.readouterr().out
    again.update(keep=False)
    assert again.files() == MARKS
    again.delete()
    StoragePoolProvider().delete("id", pool)
    assert not Path(sandbox.path).exists()


def test_a_fault_while_a_kept_disk_is_deleted_or_its_pool_is(sandbox: Sandbox, pool: dict[str, Any]) -> None:
    disk = Disk(sandbox, keep=True)
    before = disk.write()
    for at in range(1, 12):
        attempt(disk.delete, at, "killed")
        assert disk.path.read_bytes() == before and disk.files() > MARKS
    for at in range(1, 40):
        attempt(lambda: StoragePoolProvider().delete("id", sandbox.pool()), at, "killed")
        assert disk.path.read_bytes() == before and disk.files() > MARKS, f"the pool's end killed at call {at}"
        StoragePoolProvider().create(sandbox.pool())


@pytest.fixture
def their_pool(sandbox: Sandbox) -> Iterator[str]:
    """A pool that the hypervisor has already."""
    name = f"{sandbox.name}-theirs"
    with sandbox.libvirt() as conn:
        made = conn.storagePoolDefineXML(storage_xml.pool(name, str(uuid.uuid4()), str(IMAGES / name)), 0)
        made.build(0)
        made.create(0)
        yield name


def test_a_disk_in_a_pool_of_others(sandbox: Sandbox, base: dict[str, Any], their_pool: str) -> None:
    """libvirt alone knows its directory."""
    machine = Machine(sandbox, base)
    disk = Disk(sandbox, pool=their_pool, path="")
    disk.path = IMAGES / their_pool / "a-data.qcow2"
    assert disk.files() == MARKS and disk.read() == disk.state
    number = machine.observe()[0]
    machine.change(data_disks=[attachment(disk.inputs)])
    assert machine.observe()[0] == number
    source = live(machine)[ALIAS].find("source")
    assert source is not None and source.get("file") == str(disk.path)
    machine.refresh()
    machine.quiet()
    disk.update(capacity=LARGER)
    assert "16777216" in machine.virsh("domblkinfo", machine.name, "vdc")


def test_a_running_guest_gets_a_disk_which_grows_and_stays_when_it_is_rebuilt(
    machine: Machine, disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    number = machine.observe()[0]
    machine.change(data_disks=[attachment(disk.inputs)])
    assert machine.observe()[0] == number, "not restarted"
    for document in machine.observe()[1:]:
        assert list(domain_disks.attached(document)) == [ALIAS]
    machine.refresh()
    assert machine.state["unmanaged"] == [] and machine.state["definition"] == {}
    machine.quiet()
    disk.update(capacity=LARGER)
    assert "16777216" in machine.virsh("domblkinfo", machine.name, "vdc")
    machine.change(data_disks=[attachment(disk.inputs, cache="none")])
    assert machine.observe()[0] != number, "it is in use, so the guest is restarted"
    capfd.readouterr()
    machine.provider.delete("id", dict(machine.state))
    assert disk.path.exists() and "did not make" not in capfd.readouterr().out
    machine.state = dict(machine.provider.create(dict(machine.inputs)).outs or {})
    assert list(live(machine)) == [ALIAS]


def test_a_machine_that_is_new_has_its_disks_at_once(sandbox: Sandbox, base: dict[str, Any]) -> None:
    machine = Machine(sandbox, base)
    disks = [
        Disk(sandbox, name=f"a-{bus}.qcow2", path=sandbox.file(f"a-{bus}.qcow2"), label=bus) for bus in ("virtio", "scsi", "sata")
    ]
    machine.provider.delete("id", dict(machine.state))
    machine.inputs["data_disks"] = [attachment(disk.inputs, bus=disk.inputs["label"]) for disk in disks]
    machine.state = dict(machine.provider.create(dict(machine.inputs)).outs or {})
    assert {disk.findtext("serial") for disk in live(machine).values()} == {"a-virtio", "a-scsi", "a-sata"}
    machine.refresh()
    machine.quiet()


@pytest.mark.parametrize("bus", ["scsi", "sata"])
def test_a_running_guest_gets_a_disk_on_another_bus(machine: Machine, disk: Disk, bus: str) -> None:
    number = machine.observe()[0]
    machine.change(data_disks=[attachment(disk.inputs, bus=bus)])
    assert (machine.observe()[0] == number) == (bus == "scsi"), "sata is not attached while it runs"
    assert list(live(machine)) == [ALIAS]
    machine.refresh()
    machine.quiet()


def test_a_disk_is_taken_off_a_running_guest_and_deleted_at_the_end(machine: Machine, disk: Disk) -> None:
    """What it runs on is changed first; the disk stays in it until it was unmounted, when its own resource is deleted."""
    machine.change(data_disks=[attachment(disk.inputs, bus="scsi")])
    number = machine.observe()[0]
    machine.change(data_disks=None)
    assert list(live(machine)) == [ALIAS] and domain_disks.attached(machine.observe()[1]) == {}
    machine.quiet()
    disk.delete()
    assert live(machine) == {} and machine.observe()[0] == number and disk.files() == set()


def test_a_guest_that_does_not_release_a_disk_keeps_it(machine: Machine, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_disk, "RELEASE_SECONDS", 1.0)
    machine.change(data_disks=[attachment(disk.inputs)])
    before = disk.path.read_bytes()
    with pytest.raises(HypervisorError, match="which does not release it"):
        disk.delete()
    assert disk.files() == MARKS and disk.path.read_bytes() == before
    machine.virsh("destroy", machine.name)
    machine.virsh("start", machine.name)
    disk.delete()
    assert disk.files() == set()


def test_a_disk_taken_off_by_hand_comes_back(machine: Machine, disk: Disk) -> None:
    machine.change(data_disks=[attachment(disk.inputs, bus="scsi")])
    machine.virsh("detach-disk", machine.name, "sdb", "--persistent")
    machine.refresh()
    assert machine.state["definition"]["data disk data"] == "none"
    number = machine.observe()[0]
    machine.change()
    assert list(live(machine)) == [ALIAS] and machine.observe()[0] == number
    machine.refresh()
    machine.quiet()


def test_a_file_deleted_by_hand_while_the_guest_has_it_open_is_not_recreated(machine: Machine, disk: Disk) -> None:
    machine.change(data_disks=[attachment(disk.inputs)])
    for name in disk.files():
        (disk.path.parent / name).unlink()
    assert disk.read() is None
    with pytest.raises(HypervisorError, match="still has it open, with its data"):
        disk.create()
    assert disk.files() == set()
    with pytest.raises(HypervisorError, match=r"any more\. Bring its file back"):
        disk.update(capacity=LARGER)
    machine.virsh("destroy", machine.name)
    disk.create()
    assert disk.files() == MARKS


@pytest.mark.parametrize("running", [True, False])
def test_a_snapshot_over_a_disk_is_neither_left_nor_redefined(machine: Machine, disk: Disk, running: bool) -> None:
    machine.change(data_disks=[attachment(disk.inputs)])
    machine.virsh("snapshot-create-as", machine.name, "before it", "--disk-only")
    if not running:
        machine.virsh("destroy", machine.name)
    read = machine.provider.read("id", dict(machine.state))
    machine.state = dict(read.outs or {})
    top = f"{machine.sandbox.path}/a-data.before it"
    assert any("a-data.before" in text and "data disk data" in text for text in machine.state["obstacles"])
    if running:
        machine.quiet()
    machine.refused(lambda: machine.change(memory_mib=96), "its data disk data is", "blockcommit", "--base")
    machine.refused(lambda: disk.update(capacity=LARGER), "were it larger now", "blockcommit")
    machine.refused(disk.delete, "were it taken off now", "blockcommit")
    machine.refused(lambda: machine.change(data_disks=None), "its data disk data is")
    assert disk.read() is not None and Path(top).exists()
    if not running:
        machine.virsh("start", machine.name)
    for target, path in (("vda", machine.disk["path"]), ("vdc", str(disk.path))):
        machine.virsh("blockcommit", machine.name, target, "--base", path, "--active", "--pivot", "--wait")
    machine.virsh("snapshot-delete", machine.name, "before it", "--metadata")
    disk.update(capacity=LARGER)
    machine.change(memory_mib=96)
    assert list(live(machine)) == [ALIAS]


def test_the_rebuild_of_a_machine_leaves_its_data_disk(machine: Machine, disk: Disk) -> None:
    machine.change(data_disks=[attachment(disk.inputs)])
    machine.provider.delete("id", dict(machine.state))
    before = disk.write()
    OverlayDiskProvider().create({**machine.disk_inputs, "generation": "2", "serial": "s2"})
    machine.inputs |= {"disk_serial": "s2"}
    machine.state = dict(DomainProvider().create(dict(machine.inputs)).outs or {})
    assert list(live(machine)) == [ALIAS]
    machine.virsh("destroy", machine.name)
    assert disk.path.read_bytes()[:64] == before[:64]
    done = subprocess.run(["qemu-io", "-r", "-c", "read -P 9 0 64k", str(disk.path)], capture_output=True, text=True, check=True)
    assert "verification failed" not in done.stdout


def test_what_a_kept_disk_is_marked_with(sandbox: Sandbox, pool: dict[str, Any]) -> None:
    disk = Disk(sandbox, keep=True)
    with sandbox.libvirt() as conn:
        found = conn.storagePoolLookupByName(sandbox.name)
        assert volume_store.is_kept(found, "a-data.qcow2")
        assert volume_store.facts(conn, found, "a-data.qcow2") == {"domain": disk.inputs["domain_uuid"], "disk": "data"}
