"""The end of a whole stack: guests are powered off together, and what one deletion removes for all nodes is removed by it."""

from __future__ import annotations

from typing import Any

import pytest

from components.libvirt import stack_guests
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.reservation import ReservationProvider
from components.libvirt.seed_image import SeedImageProvider

from .faults import Faults, attempt
from .resource_inputs import claim_inputs, domain_inputs, image_inputs, overlay_inputs, reservation_inputs, seed_inputs
from .sandbox import Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]

NODES = "abc"


@pytest.fixture
def empty(sandbox: Sandbox) -> dict[str, Any]:
    """What is there before the stack."""
    return sandbox.snapshot()


@pytest.fixture
def guests(empty: dict[str, Any], sandbox: Sandbox, base: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By name, the states of three guests that run, on disks and seeds of their own."""
    for name in NODES:
        OverlayDiskProvider().create(overlay_inputs(sandbox, base, name))
        SeedImageProvider().create(seed_inputs(sandbox, name))
    return {name: dict(DomainProvider().create(domain_inputs(sandbox, name)).outs or {}) for name in NODES}


def active(sandbox: Sandbox) -> list[str]:
    """The domains of these tests that run; others work on the same hypervisor."""
    with sandbox.libvirt() as conn:
        names = [domain.name() for domain in conn.listAllDomains(0) if domain.isActive()]
    return sorted(name for name in names if name.startswith("lab-test"))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run that deletes all of the stack."""
    monkeypatch.setattr(stack_guests._Run, "powered_off", {})
    monkeypatch.setenv(stack_guests.REQUEST, stack_guests.WHOLE)


def test_the_first_deletion_powers_off_all_guests(
    sandbox: Sandbox, guests: dict[str, dict[str, Any]], whole: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Those of the stack alone; and what was attached to a running one is named when that one is removed."""
    with sandbox.libvirt() as conn:
        other = conn.lookupByName("lab-test-bystander")
        other.create()
        running = conn.lookupByUUIDString(guests["b"]["uuid"])
        running.attachDevice(
            "<interface type='network'><mac address='52:54:00:ab:77:77'/><source network='lab-test'/><model type='virtio'/>"
            "</interface>"
        )
    DomainProvider().delete("id", dict(guests["a"]))
    assert active(sandbox) == ["lab-test-bystander"]
    capfd.readouterr()
    DomainProvider().delete("id", dict(guests["b"]))
    assert "52:54:00:ab:77:77" in capfd.readouterr().out
    DomainProvider().delete("id", dict(guests["c"]))
    with sandbox.libvirt() as conn:
        assert not [domain for domain in conn.listAllDomains(0) if domain.name().startswith(sandbox.name)]
        conn.lookupByName("lab-test-bystander").destroy()


def test_a_deletion_of_one_leaves_the_others_running(sandbox: Sandbox, guests: dict[str, dict[str, Any]]) -> None:
    DomainProvider().delete("id", dict(guests["a"]))
    assert active(sandbox) == [guests["b"]["name"], guests["c"]["name"]]


def test_domains_claim_and_pool_are_the_whole_stack(
    sandbox: Sandbox, empty: dict[str, Any], guests: dict[str, dict[str, Any]], whole: None
) -> None:
    """What the engine calls when all is destroyed; disks, seeds and image end with the pool, reservations with the claim."""
    macs = [guest["mac"] for guest in guests.values()]
    claim = DhcpClaimProvider().create(claim_inputs(sandbox, ranges=["192.168.150.21-192.168.150.24"], macs=macs)).outs or {}
    for number, (name, mac) in enumerate(zip(NODES, macs, strict=True), 21):
        ReservationProvider().create(reservation_inputs(sandbox, mac=mac, ip=f"192.168.150.{number}", name=f"node-{name}"))
    for guest in guests.values():
        DomainProvider().delete("id", dict(guest))
    with Faults().installed() as counted:
        DhcpClaimProvider().delete("id", dict(claim))
    # In each of two definitions three reservations, two pieces of the range out and the whole one in.
    assert counted.calls.count("update") == 2 * (3 + 3)
    assert counted.calls.count("DHCPLeases") == 1
    StoragePoolProvider().delete("id", sandbox.pool())
    assert sandbox.snapshot() == empty


@pytest.mark.parametrize("mode", ["error", "killed"])
def test_a_fault_at_any_call_of_the_pools_end_is_put_right_by_the_next(
    sandbox: Sandbox, empty: dict[str, Any], image: Any, mode: str
) -> None:
    """With what is deleted with it still in it."""
    at, hit = 0, True
    while hit:
        at += 1
        StoragePoolProvider().create(sandbox.pool())
        base = dict(BaseImageProvider().create(image_inputs(sandbox, image)).outs or {})
        OverlayDiskProvider().create(overlay_inputs(sandbox, base))
        SeedImageProvider().create(seed_inputs(sandbox))
        hit = attempt(lambda: StoragePoolProvider().delete("id", sandbox.pool()), at, mode)
        StoragePoolProvider().delete("id", sandbox.pool())
        assert sandbox.snapshot() == empty, f"after a fault at call {at}"
    assert at > 30
