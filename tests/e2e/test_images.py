"""Guests of other distributions and by another firmware, from nothing to the page: each image that the closed test network has.

Debian 13 boots by both firmwares, and changes from one to the other while its cluster stays. The other image boots by UEFI alone,
and is of the kind that Fedora and Red Hat's kin have: NetworkManager, a root file system that is not ext4, a firewall.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from builds import CLOSED, MIRROR, Build
from builds import served as is_served
from conftest import Checkout
from host import host_state, virsh
from test_life import served_by_somebody

pytestmark = [pytest.mark.e2e, pytest.mark.nodes, pytest.mark.chapters, pytest.mark.once]

BOTH, UEFI = "debian-13-testnet-amd64.qcow2", "debian-12-kin-amd64.qcow2"
LONG = 2400
"""Seconds of an `up` on full cores; a run that is killed leaves Pulumi's lock."""


def domain(checkout: Checkout) -> str:
    return f"k3s-macvlan-{checkout.stack}-server-1"


def live(checkout: Checkout) -> str:
    return virsh("dumpxml", domain(checkout))


def variables(checkout: Checkout) -> set[str]:
    """Files with the variables of UEFI in the stack's pool."""
    virsh("pool-refresh", f"k3s-macvlan-{checkout.stack}")
    lines = virsh("vol-list", f"k3s-macvlan-{checkout.stack}").splitlines()
    return {line.split()[0] for line in lines if "nvram" in line}


def page(checkout: Checkout) -> None:
    with urllib.request.urlopen(checkout.outputs()["url"], timeout=30) as answer:
        assert "Welcome to nginx!" in answer.read().decode()


def clean(checkout: Checkout) -> None:
    assert checkout.preview() == ({}, [])
    checkout.lab("-y", "refresh", "--expect-no-changes")


def take(checkout: Checkout, image: str) -> None:
    """The stack's image is this one; skipped where the mirror has it not."""
    if not checkout.stack.startswith(CLOSED) or not is_served(f"images/{image}"):
        pytest.skip(f"SKIPPED: the closed test network has no {image} (docs/test-network.md)")
    checkout.set("image", source=f"{MIRROR}/images/{image}", checksum=f"{MIRROR}/images/SHA512SUMS")


@pytest.fixture(scope="module")
def efi(build: Build) -> None:
    """The host has a UEFI firmware."""
    if "<value>efi</value>" not in virsh("domcapabilities", "--machine", "q35", "--virttype", "qemu"):
        pytest.skip("SKIPPED: libvirt offers no UEFI firmware on this host (package ovmf)")


@pytest.fixture(scope="module")
def before(checkout: Checkout) -> Iterator[dict[str, object]]:
    yield host_state()


def test_debian_13_serves_the_page(checkout: Checkout, before: dict[str, object]) -> None:
    take(checkout, BOTH)
    checkout.lab("-y", "up", limit=LONG)
    page(checkout)
    assert 'VERSION_ID="13"' in checkout.node("cat /etc/os-release") and "pflash" not in live(checkout)
    assert checkout.node("test -e /sys/firmware/efi || echo bios") == "bios\n"
    clean(checkout)


def test_another_firmware_restarts_the_machine_and_keeps_its_cluster(checkout: Checkout, efi: None) -> None:
    take(checkout, BOTH)
    boot = checkout.node("cat /proc/sys/kernel/random/boot_id; stat --format=%Y /etc/ssh/ssh_host_ed25519_key").split()
    checkout.set("machine", firmware="efi")
    assert "boots by efi from now on, by bios until now" in checkout.lab("preview")
    checkout.lab("-y", "up", limit=LONG)
    again = checkout.node("cat /proc/sys/kernel/random/boot_id; stat --format=%Y /etc/ssh/ssh_host_ed25519_key").split()
    assert again[0] != boot[0] and again[1] == boot[1], "restarted, and not recreated"
    assert checkout.node("test -e /sys/firmware/efi && echo efi") == "efi\n"
    assert "pflash" in live(checkout) and variables(checkout) == {"server-1-nvram.fd"}
    served_by_somebody(900)  # `up` waits for the node, and its pod comes back after that
    checkout.lab("-y", "refresh")
    checkout.lab("-y", "up", limit=LONG)
    page(checkout)
    clean(checkout)


def test_the_firmware_of_before_leaves_nothing(checkout: Checkout, efi: None) -> None:
    take(checkout, BOTH)
    checkout.set("machine", firmware="bios")
    checkout.lab("-y", "up", limit=LONG)
    assert checkout.node("test -e /sys/firmware/efi || echo bios") == "bios\n"
    assert "pflash" not in live(checkout) and variables(checkout) == set()
    checkout.lab("-y", "destroy")


def test_an_image_for_uefi_alone_is_found_before_a_machine_is_made(checkout: Checkout, efi: None) -> None:
    take(checkout, UEFI)
    text = checkout.lab("-y", "up", ok=False, limit=LONG)
    assert "boots by UEFI alone" in text and "machine.firmware: efi" in text
    assert domain(checkout) not in virsh("list", "--all")
    checkout.lab("-y", "destroy")


def test_a_guest_of_another_kind_serves_the_page_by_uefi_with_its_agent(checkout: Checkout, efi: None) -> None:
    take(checkout, UEFI)
    checkout.set("machine", firmware="efi", guestAgent=True)
    checkout.lab("-y", "up", limit=LONG)
    page(checkout)
    assert checkout.node("test -e /sys/firmware/efi && echo efi") == "efi\n"
    assert checkout.node("systemctl is-active NetworkManager; ls /etc/NetworkManager/conf.d").split()[0] == "active"
    assert "unmanaged" in checkout.node("nmcli --terse --fields DEVICE,STATE device | grep ^cni0:")
    assert "192.168.122." in virsh("domifaddr", "--source", "agent", domain(checkout))
    clean(checkout)


def test_it_is_shut_down_by_its_agent(checkout: Checkout, efi: None) -> None:
    take(checkout, UEFI)
    checkout.set("servers", memory=int(checkout.setting("servers").get("memory", 4096)) + 256)
    assert "shutting down for a change by its guest agent" in checkout.lab("-y", "up", limit=LONG)


def test_destroy_leaves_nothing(checkout: Checkout, before: dict[str, object]) -> None:
    checkout.lab("-y", "destroy")
    assert host_state() == before
