"""What hands have done to a machine is not destroyed: a change that would is refused with the commands that lead out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components.libvirt.connection import HypervisorError
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.seed_image import SeedImageProvider

from .resource_inputs import domain_inputs, overlay_inputs, seed_inputs
from .sandbox import NETWORK, Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]


class Machine:
    """A running machine of the stack, with the state that the engine has of it and of its disk."""

    def __init__(self, sandbox: Sandbox, base: dict[str, Any]) -> None:
        self.sandbox, self.provider = sandbox, DomainProvider()
        self.disk_inputs, self.inputs = overlay_inputs(sandbox, base), domain_inputs(sandbox)
        self.disk = dict(OverlayDiskProvider().create(dict(self.disk_inputs)).outs or {})
        SeedImageProvider().create(seed_inputs(sandbox))
        self.state = dict(self.provider.create(dict(self.inputs)).outs or {})
        self.name = str(self.inputs["name"])

    def virsh(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["virsh", "-q", "-c", self.sandbox.uri, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def define(self, edit: Any) -> None:
        with self.sandbox.libvirt() as conn:
            conn.defineXML(edit(conn.lookupByUUIDString(self.inputs["uuid"]).XMLDesc(2)))

    def observe(self) -> tuple[int, str, str]:
        """Run number, stored and running definition."""
        with self.sandbox.libvirt() as conn:
            domain = conn.lookupByUUIDString(self.inputs["uuid"])
            return domain.ID(), domain.XMLDesc(2), domain.XMLDesc(0) if domain.isActive() else ""

    def refresh(self) -> None:
        """As the engine does; afterwards the state is what it has read."""
        read = self.provider.read("id", dict(self.state))
        assert read.id == "id"
        self.state = dict(read.outs or {})
        disk = OverlayDiskProvider().read("id", dict(self.disk))
        assert disk.id == "id"
        assert not OverlayDiskProvider().diff("id", dict(disk.outs or {}), self.disk_inputs).changes

    def change(self, **change: Any) -> None:
        """Preview and update: the diff has to see a change."""
        news = self.provider.check(dict(self.state), {**self.inputs, **change}).inputs
        assert self.provider.diff("id", dict(self.state), news).changes
        self.state = dict(self.provider.update("id", dict(self.state), news).outs or {})
        self.inputs |= change

    def grow(self) -> None:
        news = {**self.disk, "capacity": 16 << 20}
        self.disk = dict(OverlayDiskProvider().update("id", dict(self.disk), news).outs or {})
        self.disk_inputs |= {"capacity": 16 << 20}

    def quiet(self) -> None:
        """An `up` without another change has nothing to do."""
        news = self.provider.check(dict(self.state), dict(self.inputs)).inputs
        assert not self.provider.diff("id", dict(self.state), news).changes

    def refused(self, action: Any, *words: str) -> str:
        before = self.observe()
        with pytest.raises(HypervisorError) as error:
            action()
        assert self.observe() == before
        for word in words:
            assert word in str(error.value)
        return str(error.value)

    def lead_out(self, text: str, after: str) -> None:
        """Give the commands that follow `after` in an error."""
        commands = re.search(re.escape(after) + r"(.*?)\. (?:Then `pulumi up`|\(2\))", text)
        assert commands, text
        for command in commands[1].split("; "):
            done = subprocess.run(
                command.replace("virsh ", f"virsh -c {self.sandbox.uri} ", 1),
                shell=True,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr)


@pytest.fixture
def machine(sandbox: Sandbox, base: dict[str, Any]) -> Machine:
    return Machine(sandbox, base)


@pytest.mark.parametrize("running", [True, False])
def test_a_snapshot_is_neither_left_nor_redefined(machine: Machine, running: bool, base: dict[str, Any]) -> None:
    """Data was lost here: the machine was restarted on its disk from before the snapshot."""
    image = Path(base["path"]).read_bytes()
    machine.virsh("snapshot-create-as", machine.name, "before it", "--disk-only")
    machine.virsh("snapshot-create-as", machine.name, "second", "--disk-only")
    top = f"{machine.sandbox.path}/a.second"
    if not running:
        machine.virsh("destroy", machine.name)
    machine.refresh()
    assert "snapshot before it" in machine.state["unmanaged"]
    assert top in machine.state["obstacles"][0]
    if running:
        machine.quiet()
    number = machine.observe()[0]
    machine.change(autostart=False)  # starts it where it was off
    assert not running or machine.observe()[0] == number
    assert all(f"'{top}'" in document for document in machine.observe()[1:])
    number = machine.observe()[0]
    machine.change(owner="lab-test/renamed")
    assert machine.observe()[0] == number
    assert all('owner="lab-test/renamed"' in document for document in machine.observe()[1:])
    if not running:
        machine.virsh("destroy", machine.name)
        machine.state |= {"running": False}

    text = machine.refused(lambda: machine.change(memory_mib=96), "memory: 64 MiB, not 96 MiB", top, "blockcommit", "before it")
    machine.refused(machine.grow, machine.disk["path"], top, "blockcommit")
    machine.refused(lambda: OverlayDiskProvider().create({**machine.disk_inputs, "generation": "2"}), "virsh")
    machine.lead_out(text, "Merge it: ")
    assert Path(base["path"]).read_bytes() == image, "merged into the image of all nodes"
    machine.change(memory_mib=96)
    machine.grow()
    assert f"'{machine.disk['path']}'" in machine.observe()[2]
    machine.refresh()
    assert (machine.state["unmanaged"], machine.state["obstacles"], machine.state["memory_mib"]) == ([], [], 96)


def test_a_block_job_is_not_cut_off(machine: Machine) -> None:
    copy = f"{machine.sandbox.path}/copy.qcow2"
    machine.virsh("blockcopy", machine.name, "vda", copy, "--transient-job", "--wait")
    machine.refresh()
    machine.quiet()
    machine.change(autostart=False)
    text = machine.refused(lambda: machine.change(cpus=2), "block job (copy)", "vda", "CPUs: 1, not 2")
    machine.refused(machine.grow, "block job (copy)")
    assert "--abort" in text
    machine.virsh("blockjob", machine.name, "vda", "--abort")
    machine.change(cpus=2)


def test_a_managed_save_is_resumed_and_not_lost(machine: Machine) -> None:
    def saved() -> bool:
        with machine.sandbox.libvirt() as conn:
            return bool(conn.lookupByUUIDString(machine.inputs["uuid"]).hasManagedSaveImage(0))

    machine.virsh("managedsave", machine.name)
    machine.refresh()
    text = machine.refused(lambda: machine.change(memory_mib=96), "managed save", "virsh start", "memory: 64 MiB, not 96 MiB")
    machine.refused(machine.grow, "managed save")
    assert saved()
    assert "virsh managedsave-remove" in text
    machine.change()  # only that it should run
    assert not saved()
    machine.refresh()
    machine.quiet()
    machine.virsh("managedsave", machine.name)
    machine.virsh("managedsave-remove", machine.name)
    machine.change(memory_mib=96)


def test_a_renamed_machine_stays_as_it_is(machine: Machine) -> None:
    machine.virsh("destroy", machine.name)
    machine.virsh("domrename", machine.name, f"{machine.name}-mine")
    machine.refresh()
    assert machine.state["name"] == machine.name, "another name is another machine"
    machine.change(autostart=False)
    machine.quiet()
    text = machine.refused(lambda: machine.change(memory_mib=96), "renamed", f"{machine.name}-mine")
    machine.virsh("destroy", f"{machine.name}-mine")
    machine.lead_out(text.replace(f"virsh shutdown {machine.name}-mine; ", ""), "Rename it back: ")
    machine.change(memory_mib=96)


def test_a_moved_disk_stays_where_it_is(machine: Machine, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    machine.virsh("destroy", machine.name)
    elsewhere = Path(f"{machine.sandbox.path}-moved.qcow2")
    try:
        Path(machine.disk["path"]).rename(elsewhere)
        machine.define(lambda document: document.replace(machine.disk["path"], str(elsewhere)))
        machine.refresh()
        assert str(elsewhere) in machine.state["obstacles"][0]
        machine.change(autostart=False)
        machine.quiet()
        machine.refused(lambda: machine.change(memory_mib=96), "it was moved", str(elsewhere), f"mv {elsewhere}")
        machine.refused(machine.grow, "it was moved")
        machine.refused(lambda: OverlayDiskProvider().create(dict(machine.disk_inputs)), "it was moved")
        content = elsewhere.read_bytes()
        machine.provider.delete("id", dict(machine.state))
        OverlayDiskProvider().delete("id", dict(machine.disk))
        assert elsewhere.read_bytes() == content
        assert str(elsewhere) in capfd.readouterr().out
    finally:
        elsewhere.unlink(missing_ok=True)


def test_a_disk_merged_with_its_image_is_kept(machine: Machine) -> None:
    machine.virsh("blockpull", machine.name, "vda", "--wait")
    machine.refresh()
    machine.quiet()
    again = OverlayDiskProvider().create({**machine.disk_inputs, "serial": "s2"})
    assert (again.outs or {})["serial"] == "s2"
    machine.change(memory_mib=96)


def test_destroy_leaves_and_names_what_it_did_not_make(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    own = Path(f"{machine.sandbox.path}-data.img")
    own.write_bytes(bytes(1 << 20))
    try:
        machine.virsh("attach-disk", machine.name, str(own), "sda", "--targetbus", "usb", "--persistent")
        machine.virsh("snapshot-create-as", machine.name, "before", "--disk-only", "--diskspec", "sda,snapshot=no")
        machine.provider.delete("id", dict(machine.state))
        output = capfd.readouterr().out
        assert f"removed with what is unmanaged in it: disk sda ({own}); snapshot before" in output
        output = output.partition("snapshot before\n")[2]
        assert str(own) in output
        assert f"{machine.sandbox.path}/a.before" in output
        for mine in ("a.qcow2", "a-seed.iso", "base.qcow2"):
            assert f"{machine.sandbox.path}/{mine}" not in output
        assert own.exists()
        assert Path(f"{machine.sandbox.path}/a.before").exists()
    finally:
        own.unlink()


def test_what_is_only_on_the_running_guest_survives_a_restart(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    stick, mac = Path(f"{machine.sandbox.path}-stick.img"), "52:54:00:cd:00:01"
    stick.write_bytes(bytes(1 << 20))
    # libvirt gives a guest no PCI port to spare.
    machine.virsh("destroy", machine.name)
    machine.define(
        lambda document: document.replace("<interface ", "<controller type='pci' model='pcie-root-port'/><interface ", 1)
    )
    machine.virsh("start", machine.name)
    try:
        machine.virsh("attach-interface", machine.name, "network", NETWORK, "--mac", mac, "--model", "virtio", "--live")
        machine.virsh("attach-disk", machine.name, str(stick), "sda", "--targetbus", "usb", "--live")
        number = machine.observe()[0]
        machine.refresh()
        assert machine.state["unmanaged"] == [
            f"disk sda ({stick}), attached to the running guest only",
            f"network interface {mac} on network {NETWORK}, attached to the running guest only",
        ]
        machine.quiet()
        machine.change(autostart=False)
        assert machine.observe()[0] == number
        assert mac not in machine.observe()[1]
        machine.change(memory_mib=96)
        assert machine.observe()[0] != number
        for word in (mac, str(stick)):
            assert all(word in document for document in machine.observe()[1:])
        assert mac in capfd.readouterr().out
        machine.refresh()
        machine.quiet()
    finally:
        stick.unlink()


def test_memory_that_the_balloon_keeps_comes_back_without_a_restart(machine: Machine) -> None:
    machine.virsh("setmem", machine.name, "32M", "--config")
    number = machine.observe()[0]
    machine.refresh()
    assert machine.state["definition"] == {"memory balloon": "leaves 32 of 64 MiB"}
    machine.change()
    assert machine.observe()[0] == number
    machine.refresh()
    machine.quiet()


def test_a_preview_names_each_change_by_hand(machine: Machine) -> None:
    machine.define(lambda document: document.replace(machine.inputs["console_log"], "/tmp/other.log").replace("unsafe", "none"))
    machine.refresh()
    assert machine.state["definition"] == {"root disk": "qcow2, cache none", "console log": "/tmp/other.log"}
    news = machine.provider.check(dict(machine.state), dict(machine.inputs)).inputs
    assert news["definition"] == {"root disk": "qcow2, cache unsafe", "console log": machine.inputs["console_log"]}
    machine.change()
    machine.refresh()
    assert machine.state["definition"] == {}
    machine.quiet()


@pytest.mark.parametrize(
    ("added", "change", "words"),
    [
        (
            "<cpu mode='maximum'><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>",
            {"memory_mib": 96},
            ("NUMA cells", "64 MiB together", "96 MiB"),
        ),
        ("<cpu mode='maximum'><topology sockets='1' dies='1' cores='1' threads='1'/></cpu>", {"cpus": 2}, ("topology", "1 CPUs")),
        (
            "<maxMemory slots='2' unit='MiB'>80</maxMemory>"
            "<cpu mode='maximum'><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>",
            {"memory_mib": 96},
            ("<maxMemory>", "80 MiB", "NUMA cells"),
        ),
    ],
    ids=["NUMA", "topology", "most memory"],
)
def test_a_size_that_hands_contradict_is_refused(machine: Machine, added: str, change: dict[str, Any], words: Any) -> None:
    machine.define(lambda document: re.sub(r"<cpu [^>]*/>", added, document))
    machine.refresh()
    machine.quiet()
    machine.change(autostart=False)
    machine.refused(lambda: machine.change(**change), *words, "virsh edit")


def test_room_for_more_cpus_stays(machine: Machine) -> None:
    machine.define(lambda document: document.replace(">1</vcpu>", " current='1'>4</vcpu>"))
    machine.refresh()
    machine.quiet()
    machine.change(cpus=2)
    assert re.search(r"<vcpu [^>]*current='2'>4</vcpu>", machine.observe()[1])
    machine.change(cpus=6)
    assert re.search(r"<vcpu placement='static'>6</vcpu>", machine.observe()[1])


@pytest.mark.parametrize("change", [{"memory_mib": 1 << 24}, {"machine": "pc-q35-99.9"}], ids=["to start", "to define"])
def test_a_change_that_the_host_refuses_leaves_the_machine_running_as_it_was(machine: Machine, change: dict[str, Any]) -> None:
    stored = machine.observe()[1]
    with pytest.raises(HypervisorError):
        machine.change(**change)
    assert machine.observe()[1] == stored
    assert machine.observe()[0] > 0
    machine.refresh()
    machine.quiet()


def test_a_machine_undefined_while_it_runs_is_stored_again(machine: Machine) -> None:
    machine.virsh("undefine", machine.name)
    number = machine.observe()[0]
    machine.provider.create(dict(machine.inputs))
    with machine.sandbox.libvirt() as conn:
        domain = conn.lookupByUUIDString(machine.inputs["uuid"])
        assert (domain.ID(), domain.isPersistent()) == (number, 1)


def test_a_machine_of_the_version_before_is_adopted_as_it_runs(machine: Machine) -> None:
    """Its mark has a digest of its inputs, and not the CPU."""
    machine.virsh("destroy", machine.name)
    machine.define(lambda document: re.sub(r' cpu="[^"]*"', ' definition="' + "0" * 64 + '"', document))
    machine.virsh("start", machine.name)
    before = machine.observe()
    machine.provider.create(dict(machine.inputs))
    machine.refresh()
    machine.quiet()
    assert machine.observe() == before
    machine.change(owner="lab-test/renamed")
    assert machine.observe()[0] == before[0]
    machine.change(memory_mib=96)
    number = machine.observe()[0]
    machine.provider.update("id", dict(machine.state), dict(machine.inputs))
    assert machine.observe()[0] == number
