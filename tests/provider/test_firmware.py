"""UEFI on a real libvirtd: made, changed in place, set by hand, removed; and the image that boots by another firmware alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from unit.libvirt.test_image_boot import ESP, GRUB, LINUX, gpt, mbr

from cli.checks import firmware
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.connection import HypervisorError
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.seed_image import SeedImageProvider

from .resource_inputs import domain_inputs, image_inputs, overlay_inputs, seed_inputs
from .sandbox import Sandbox
from .test_by_hand import Machine

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]

PLAIN, SECURE = "a-nvram.fd", "a-nvram-secure.fd"


def offers(sandbox: Sandbox) -> firmware.Offers:
    with sandbox.libvirt() as conn:
        return firmware.offers(conn.getDomainCapabilities(None, "x86_64", "q35", "qemu"))


@pytest.fixture
def efi(sandbox: Sandbox) -> firmware.Offers:
    offered = offers(sandbox)
    if not offered.efi:
        pytest.skip("SKIPPED: libvirt offers no UEFI firmware on this host (package ovmf)")
    return offered


@pytest.fixture
def machine(sandbox: Sandbox, base: dict[str, Any]) -> Machine:
    return Machine(sandbox, base)


def variables(sandbox: Sandbox) -> set[str]:
    return {path.name for path in Path(sandbox.path).glob("*nvram*")}


def test_a_machine_is_made_and_removed_with_its_variables(sandbox: Sandbox, base: dict[str, Any], efi: firmware.Offers) -> None:
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    inputs = domain_inputs(sandbox, firmware="efi")
    provider = DomainProvider()
    state = dict(provider.create(dict(inputs)).outs or {})
    with sandbox.libvirt() as conn:
        domain = conn.lookupByUUIDString(inputs["uuid"])
        stored, live = domain.XMLDesc(2), domain.XMLDesc(0)
    assert "firmware='efi'" in stored and "type='pflash'" in live and variables(sandbox) == {PLAIN}
    again = provider.create(dict(inputs)).outs
    assert again == state
    read = provider.read("id", dict(state))
    assert (read.outs or {})["definition"] == {} and (read.outs or {})["unmanaged"] == []
    assert not provider.diff("id", dict(read.outs or {}), provider.check(dict(read.outs or {}), inputs).inputs).changes
    provider.delete("id", dict(state))
    assert variables(sandbox) == set()
    provider.delete("id", dict(state))


def test_bios_and_uefi_change_in_place(machine: Machine, efi: firmware.Offers) -> None:
    number = machine.observe()[0]
    machine.change(firmware="efi")
    assert machine.observe()[0] != number and "pflash" in machine.observe()[2]
    assert variables(machine.sandbox) == {PLAIN}
    number = machine.observe()[0]
    machine.change(autostart=False)
    assert machine.observe()[0] == number
    machine.change(memory_mib=96)
    assert "pflash" in machine.observe()[2] and variables(machine.sandbox) == {PLAIN}
    machine.refresh()
    assert (machine.state["definition"], machine.state["unmanaged"]) == ({}, [])
    machine.quiet()
    machine.change(firmware=None)
    assert not any("pflash" in document or "nvram" in document for document in machine.observe()[1:])
    assert variables(machine.sandbox) == set(), "what nobody needs any more is not left over"
    machine.refresh()
    machine.quiet()


def test_secure_boot_has_variables_of_its_own(machine: Machine, efi: firmware.Offers) -> None:
    if not efi.secure_boot:
        pytest.skip("SKIPPED: libvirt offers no UEFI firmware with secure boot on this host")
    machine.change(firmware="efi", secure_boot=True)
    assert variables(machine.sandbox) == {SECURE} and "smm state='on'" in machine.observe()[2]
    machine.refresh()
    assert (machine.state["definition"], machine.state["unmanaged"]) == ({}, [])
    machine.quiet()
    machine.change(secure_boot=None)
    assert variables(machine.sandbox) == {PLAIN} and "smm state='on'" not in machine.observe()[2]
    machine.refresh()
    machine.quiet()


def test_uefi_set_by_hand_stays_until_the_setting_requires_more(machine: Machine, efi: firmware.Offers) -> None:
    without_secure_boot = "<firmware><feature enabled='no' name='secure-boot'/></firmware>"
    machine.virsh("destroy", machine.name)
    machine.define(lambda document: document.replace("<os>", f"<os firmware='efi'>{without_secure_boot}"))
    machine.virsh("start", machine.name)
    machine.refresh()
    assert machine.state["definition"] == {} and any(phrase.startswith("os ") for phrase in machine.state["unmanaged"])
    machine.quiet()
    machine.change(memory_mib=96)
    assert "pflash" in machine.observe()[2]
    number = machine.observe()[0]
    machine.change(firmware="efi")
    assert machine.observe()[0] == number, "it is what the setting requires"


def test_uefi_taken_away_by_hand_comes_back(machine: Machine, efi: firmware.Offers) -> None:
    machine.change(firmware="efi")
    machine.virsh("destroy", machine.name)

    def bios(document: str) -> str:
        start, end = document.index("<os"), document.index("</os>")
        kept = "<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/>"
        return document[:start] + kept + document[end:]

    machine.define(bios)
    machine.refresh()
    assert machine.state["definition"] == {"firmware": "bios"}
    machine.change()
    assert "pflash" in machine.observe()[2]
    machine.refresh()
    machine.quiet()


@pytest.mark.parametrize(
    ("disk", "wanted", "words"),
    [
        (gpt(ESP, LINUX), None, "boots by UEFI alone"),
        (mbr(0x83, code=GRUB), "efi", "boots by BIOS alone"),
    ],
    ids=["UEFI alone", "BIOS alone"],
)
def test_an_image_for_another_firmware_is_refused_and_not_kept(
    sandbox: Sandbox, pool: dict[str, Any], tmp_path: Path, disk: bytes, wanted: str | None, words: str
) -> None:
    raw, image = tmp_path / "raw", tmp_path / "image.qcow2"
    raw.write_bytes(disk.ljust(1 << 20, b"\0"))
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    inputs = {**image_inputs(sandbox, image), "firmware": wanted}
    with pytest.raises(HypervisorError, match=words):
        BaseImageProvider().create(dict(inputs))
    assert not list(Path(sandbox.path).glob("base*"))
    inputs["firmware"] = None if wanted else "efi"
    made = dict(BaseImageProvider().create(dict(inputs)).outs or {})
    change = {**inputs, "firmware": wanted}
    assert BaseImageProvider().diff("id", made, change).changes
    with pytest.raises(HypervisorError, match=words):
        BaseImageProvider().update("id", made, change)
    assert Path(sandbox.path, "base.qcow2").exists(), "machines are on it"
