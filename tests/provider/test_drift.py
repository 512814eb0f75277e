"""Changes by hand show in read, as inputs that differ, and an update or a new create puts them right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.custom.provider import DeclarativeProvider
from components.libvirt import domain_spec, network_xml
from components.libvirt.base_image import BaseImageProvider
from components.libvirt.dhcp_claim import DhcpClaimProvider
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.pool import StoragePoolProvider
from components.libvirt.reservation import ReservationProvider
from components.libvirt.seed_image import SeedImageProvider

from .resource_inputs import claim_inputs, domain_inputs, overlay_inputs, reservation_inputs, seed_inputs
from .sandbox import NETWORK, Sandbox

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]


def repaired(provider: DeclarativeProvider, inputs: dict[str, Any], outs: dict[str, Any]) -> list[str]:
    """Read, diff, update as the engine does after a refresh; returns what the diff saw. Asserts that it is right
    then.
    """
    result = provider.read("id", dict(outs))
    assert result.id == "id"
    checked = provider.check(dict(result.inputs or {}), dict(inputs)).inputs
    change = provider.diff("id", dict(result.outs or {}), checked)
    assert change.changes
    assert not change.replaces
    drifted = [name for name in checked if (result.outs or {}).get(name) != checked[name]]
    new = dict(provider.update("id", dict(result.outs or {}), checked).outs or {})
    again = provider.read("id", dict(new))
    assert not provider.diff("id", dict(again.outs or {}), provider.check(dict(again.inputs or {}), dict(inputs)).inputs).changes
    return drifted


def test_pool_stopped_and_removed(sandbox: Sandbox, pool: dict[str, Any], base: dict[str, Any]) -> None:
    provider = StoragePoolProvider()
    with sandbox.libvirt() as conn:
        live_pool = conn.storagePoolLookupByName(sandbox.name)
        live_pool.setAutostart(0)
        live_pool.destroy()
    assert BaseImageProvider().read("id", base).id == "id"  # what cannot be observed is not reported as deleted
    assert set(repaired(provider, sandbox.pool(), pool)) == {"active", "autostart"}
    with sandbox.libvirt() as conn:
        live_pool = conn.storagePoolLookupByName(sandbox.name)
        live_pool.destroy()
        live_pool.undefine()
    assert provider.read("id", pool).id == ""
    # Nor is it with the pool's definition alone: were it reported as deleted, a new disk would be made over the node's data.
    assert BaseImageProvider().read("id", base).id == "id"
    provider.create(sandbox.pool())
    assert BaseImageProvider().read("id", base).id == "id"


def test_volumes_removed_by_hand(sandbox: Sandbox, base: dict[str, Any]) -> None:
    disk = dict(OverlayDiskProvider().create(overlay_inputs(sandbox, base)).outs or {})
    seed = dict(SeedImageProvider().create(seed_inputs(sandbox)).outs or {})
    made: list[tuple[DeclarativeProvider, dict[str, Any]]] = [
        (OverlayDiskProvider(), disk),
        (SeedImageProvider(), seed),
        (BaseImageProvider(), base),
    ]
    for provider, outs in made:
        assert provider.read("id", outs).id == "id"
        Path(str(outs["path"])).unlink()
        assert provider.read("id", outs).id == ""
    for provider, outs in reversed(made):
        provider.create(dict(outs))
        assert provider.read("id", outs).id == "id"
    Path(str(seed["path"])).write_bytes(b"other")
    assert SeedImageProvider().read("id", seed).id == ""


def test_disk_grown_by_hand_is_seen(sandbox: Sandbox, base: dict[str, Any]) -> None:
    inputs = overlay_inputs(sandbox, base)
    outs = dict(OverlayDiskProvider().create(dict(inputs)).outs or {})
    with sandbox.libvirt() as conn:
        conn.storageVolLookupByPath(inputs["path"]).resize(32 << 20, 0)
    result = OverlayDiskProvider().read("id", outs)
    assert (result.inputs or {})["capacity"] == 32 << 20
    assert OverlayDiskProvider().check(dict(result.inputs or {}), dict(inputs)).failures


def test_domain_changed_by_hand(sandbox: Sandbox, base: dict[str, Any]) -> None:
    import libvirt  # noqa: PLC0415

    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    provider, inputs = DomainProvider(), domain_inputs(sandbox)
    outs = dict(provider.create(dict(inputs)).outs or {})
    wanted = sandbox.snapshot()

    def edit(action: Any) -> list[str]:
        with sandbox.libvirt() as conn:
            action(conn, conn.lookupByUUIDString(inputs["uuid"]))
        drifted = repaired(provider, inputs, outs)
        assert sandbox.snapshot() == wanted
        return drifted

    config = libvirt.VIR_DOMAIN_AFFECT_CONFIG

    def redefine(old: str, new: str) -> Any:
        def change(conn: Any, domain: Any) -> None:
            document = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            assert old in document
            conn.defineXML(document.replace(old, new))

        return change

    assert edit(lambda _, domain: domain.destroy()) == ["running"]
    assert edit(lambda _, domain: domain.setAutostart(0)) == ["autostart"]
    most = config | libvirt.VIR_DOMAIN_MEM_MAXIMUM
    assert edit(lambda _, domain: domain.setMemoryFlags(32 << 10, most)) == ["memory_mib"]
    assert edit(redefine(">1</vcpu>", ">2</vcpu>")) == ["cpus"]
    assert edit(redefine(inputs["mac"], "52:54:00:ab:ff:ff")) == ["definition"]
    assert edit(redefine("a-seed.iso", "b-seed.iso")) == ["definition"]
    with sandbox.libvirt() as conn:
        domain = conn.lookupByUUIDString(inputs["uuid"])
        domain.destroy()
        domain.undefine()
    # In place: were it replaced, Kubernetes objects in it would be deleted by an API that is not there.
    assert set(repaired(provider, inputs, outs)) == {"running", "definition"}
    assert sandbox.snapshot() == wanted


def test_domain_changes_in_place(sandbox: Sandbox, base: dict[str, Any]) -> None:
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    provider, inputs = DomainProvider(), domain_inputs(sandbox)
    outs = dict(provider.create(dict(inputs)).outs or {})
    with sandbox.libvirt() as conn:
        number = conn.lookupByUUIDString(inputs["uuid"]).ID()
    provider.update("id", outs, {**inputs, "autostart": False})
    with sandbox.libvirt() as conn:
        domain = conn.lookupByUUIDString(inputs["uuid"])
        assert (domain.ID(), domain.autostart()) == (number, 0)  # without a restart
    # The disk of a running guest grows without one either.
    disk = overlay_inputs(sandbox, base)
    OverlayDiskProvider().update("id", dict(disk), {**disk, "capacity": 24 << 20})
    with sandbox.libvirt() as conn:
        domain = conn.lookupByUUIDString(inputs["uuid"])
        assert (domain.ID(), domain.blockInfo("vda")[0]) == (number, 24 << 20)
    provider.update("id", outs, {**inputs, "memory_mib": 96, "cpus": 2, "stop_timeout": 1})
    with sandbox.libvirt() as conn:
        domain = conn.lookupByUUIDString(inputs["uuid"])
        facts = domain_spec.read_domain(domain.XMLDesc(0))
        assert (facts.memory_mib, facts.cpus) == (96, 2)
        assert domain.ID() != number


def test_reservation_changed_by_hand(sandbox: Sandbox) -> None:
    provider, inputs = ReservationProvider(), reservation_inputs(sandbox)
    outs = dict(provider.create(dict(inputs)).outs or {})
    wanted = sandbox.snapshot()
    ours = network_xml.dhcp_host(network_xml.Host(inputs["mac"], inputs["ip"], inputs["name"]))

    def update(command: int, document: str, flags: int) -> None:
        with sandbox.libvirt() as conn:
            conn.networkLookupByName(NETWORK).update(command, 4, -1, document, flags)

    update(2, ours, 1)  # deleted live, kept in the stored definition
    assert set(repaired(provider, inputs, outs)) == {"ip", "name"}
    assert sandbox.snapshot() == wanted
    update(2, ours, 3)
    assert provider.read("id", outs).id == ""
    update(3, network_xml.dhcp_host(network_xml.Host(inputs["mac"], "192.168.150.99", "other")), 3)
    assert set(repaired(provider, inputs, outs)) == {"ip", "name"}
    assert sandbox.snapshot() == wanted


def test_range_given_back_by_hand_and_record_lost(sandbox: Sandbox, pool: dict[str, Any]) -> None:
    """With the live network: every change of a range restarts dnsmasq."""
    provider, inputs = DhcpClaimProvider(), claim_inputs(sandbox, ranges=["192.168.150.2-192.168.150.50"])
    before = sandbox.snapshot()
    outs = dict(provider.create(dict(inputs)).outs or {})
    wanted = sandbox.snapshot()
    with sandbox.libvirt() as conn:
        network = conn.networkLookupByName(NETWORK)
        network.update(3, 5, -1, "<range start='192.168.150.10' end='192.168.150.12'/>", 3)
    assert repaired(provider, inputs, outs) == ["ranges"]
    assert sandbox.snapshot() == wanted
    # The record is lost, the state knows all the same.
    for path in Path(sandbox.path).glob("dhcp.*"):
        path.unlink()
    provider.delete("id", outs)
    assert sandbox.snapshot() == before
