"""What is said of a guest that does not answer, by what its console shows."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

from components.libvirt import guest_report
from components.libvirt.guest_report import IDLE, SIGNS, clean, console_lines, meaning, silent

pytestmark = pytest.mark.unit

# As QEMU 7.2's own BIOS wrote it to a serial port, seen; with what it does to a terminal.
SEABIOS = (
    "\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16.2-debian-1.16.2-1)\r\nBooting from Hard Disk...\r\n"
    "Boot failed: not a bootable disk\r\n\r\nBooting from Floppy...\r\nBoot failed: could not read the boot disk\r\n\r\n"
    "No bootable device.\r\n"
)
KERNEL = "[    0.000000] Linux version 6.1.0-28-cloud-amd64\r\n[    0.512345] virtio_blk virtio1: [vda]\r\n"
CONSOLES = {
    "BIOS": SEABIOS,
    "UEFI": 'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x2,0x0): Not Found\r\n'
    "UEFI Interactive Shell v2.2\r\nShell> ",
    "secure boot": 'BdsDxe: loading Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x2,0x0)\r\n'
    'BdsDxe: failed to load Boot0001 "UEFI Misc Device" from PciRoot(0x0)/Pci(0x2,0x0): Access Denied\r\n'
    "BdsDxe: No bootable option or device was found.\r\nVerification failed: (0x1A) Security Violation\r\n",
    "GRUB": "error: no such device: 5f0c-11.\r\nEntering rescue mode...\r\ngrub rescue> ",
    "root file system": KERNEL + '[    3.1] VFS: Cannot open root device "LABEL=root" or unknown-block(0,0): error -6\r\n'
    "[    3.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n"
    "[    3.3] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---\r\n",
    "names another disk": KERNEL + "ALERT!  LABEL=cloudimg-rootfs does not exist.  Dropping to a shell!\r\n(initramfs) ",
    "initramfs has no driver": KERNEL + "[  190.3] dracut-initqueue[402]: Warning: dracut-initqueue: timeout, still waiting for "
    "following initqueue hooks:\r\n[  190.4] dracut-initqueue[402]: Warning: Could not boot.\r\n",
    "gave up": KERNEL + "[    1.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000004\r\n",
    "systemd stopped": KERNEL + "You are in emergency mode. After logging in, type journalctl -xb\r\n"
    "Give root password for maintenance\r\n",
    "too little memory": KERNEL + "[  66.1] Out of memory: Killed process 412 (cloud-init)\r\n",
    "NoCloud": KERNEL + "[   20.1] cloud-init[400]: Cloud-init v. 22.4.2 finished. Datasource DataSourceNone.  Up 20.10 seconds\r\n"
    "debian login: ",
    "has booted": KERNEL
    + "[  OK  ] Reached target multi-user.target - Multi-User System.\r\n\r\nDebian GNU/Linux 12 n ttyS0\r\n\r\n"
    "n login: ",
}


@pytest.mark.parametrize("words", CONSOLES)
@pytest.mark.parametrize("virt_type", ["kvm", "qemu"])
def test_the_console_s_own_words_are_explained(words: str, virt_type: str) -> None:
    text = meaning(clean(CONSOLES[words]), virt_type=virt_type, port=2222)
    assert words in text and "virtType" not in text
    if words == "has booted":
        assert "port 2222 (ssh.port)" in text


def test_every_sign_is_seen_on_some_console() -> None:
    for sign in SIGNS:
        assert any(re.search(sign.pattern, clean(console), re.I | re.M) for console in CONSOLES.values()), sign.pattern


def test_the_last_sign_counts() -> None:
    """A machine that was started again, after its boot loader was put right."""
    assert "systemd stopped" in meaning(clean(CONSOLES["GRUB"] + CONSOLES["systemd stopped"]), virt_type="qemu", port=22)


def test_what_a_firmware_tried_in_vain_counts_for_nothing_once_a_kernel_starts() -> None:
    for first in ("BIOS", "UEFI", "secure boot"):
        assert "has booted" in meaning(clean(CONSOLES[first] + CONSOLES["has booted"]), virt_type="qemu", port=22)
        assert meaning(clean(CONSOLES[first] + KERNEL), virt_type="qemu", port=22) == "", "it boots still"
        again = meaning(clean(CONSOLES["has booted"] + CONSOLES[first]), virt_type="qemu", port=22)
        assert again == meaning(clean(CONSOLES[first]), virt_type="qemu", port=22), "it was started again"


@pytest.mark.parametrize(
    ("words", "setting"), [("BIOS", "firmware: efi"), ("UEFI", "firmware: bios"), ("secure", "secureBoot: false")]
)
def test_the_setting_that_boots_the_image_is_named(words: str, setting: str) -> None:
    console = next(console for name, console in CONSOLES.items() if name.startswith(words))
    assert f"machine.{setting}" in meaning(clean(console), virt_type="qemu", port=22)


def test_an_agent_that_answers_says_the_guest_s_addresses() -> None:
    """Of a machine on a bridge libvirt knows no lease."""
    pytest.importorskip("libvirt")
    channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='{}'/></channel>"
    interfaces = {
        "lo": {"hwaddr": "00:00:00:00:00:00", "addrs": [{"addr": "127.0.0.1", "prefix": 8, "type": 0}]},
        "enp1s0": {"hwaddr": "52:54:00:00:00:01", "addrs": [{"addr": "10.0.0.9", "prefix": 24, "type": 0}]},
        "eth1": {"hwaddr": None, "addrs": None},
    }

    def said(state: str, *, active: bool = True) -> str:
        domain = SimpleNamespace(
            isActive=lambda: active,
            XMLDesc=lambda _: f"<domain><devices>{channel.format(state)}</devices></domain>",
            interfaceAddresses=lambda *_: interfaces,
        )
        return guest_report._say_agent(SimpleNamespace(lookupByUUIDString=lambda _: domain), "u")

    assert said("connected").endswith("addresses in the guest: enp1s0 (52:54:00:00:00:01) 10.0.0.9; eth1 (no MAC) none.")
    assert said("disconnected") == said("connected", active=False) == ""


def test_emulation_is_advised_only_under_kvm_before_the_kernel() -> None:
    stuck = "SeaBIOS (version 1.16.2)\nBooting from Hard Disk...\n"
    assert "machine.virtType: qemu" in meaning(stuck, virt_type="kvm", port=22)
    assert "virsh reset" in (text := meaning(stuck, virt_type="qemu", port=22)) and "virtType" not in text
    for virt_type in ("kvm", "qemu"):
        assert meaning(clean(KERNEL), virt_type=virt_type, port=22) == "", "it boots still"


def test_a_guest_without_a_word() -> None:
    """Its BIOS is not heard; whether it waits says whether it has found something to boot."""
    for virt_type in ("kvm", "qemu"):
        assert "image.source" in (text := silent(virt_type=virt_type, load=IDLE / 2)) and "virtType" not in text
        assert "image.source" in silent(virt_type=virt_type, load=None)
        assert "machine.firmware: efi" in silent(virt_type=virt_type, load=None)
        text = silent(virt_type=virt_type, load=None, firmware="efi")
        assert "machine.firmware: bios" in text and "UEFI alone" not in text
    assert "virtType: qemu" in silent(virt_type="kvm", load=1.0)
    assert "timeouts.boot" in (text := silent(virt_type="qemu", load=1.0)) and "virtType" not in text


def test_the_load_is_of_one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((10.0, 12.0))
    spent = iter((5_000_000_000, 6_000_000_000))
    monkeypatch.setattr(guest_report, "time", SimpleNamespace(monotonic=lambda: next(now), sleep=lambda _: None))
    domain: Any = SimpleNamespace(info=lambda: [1, 0, 0, 2, next(spent)])
    assert guest_report._load(domain) == 0.5


def test_a_taken_address_is_not_lost_among_the_last_lines() -> None:
    boot = [f"line {number}" for number in range(60)]
    conflict = "[   12.3] cloud-init[410]: lan: 10.0.0.20 is in use: 02:00:00:00:00:01 answered for it"
    port = "[   12.4] cloud-init[410]: ssh.port: SELinux does not let sshd listen on port 8080"
    lines = console_lines("\r\n".join([*boot[:20], conflict, port, "", *boot[20:], "\x1b[0m", ""]))
    assert lines == [conflict, port, *boot[45:]]
    assert console_lines("\n".join([*boot, conflict])) == [*boot[46:], conflict]
    assert console_lines("") == []
