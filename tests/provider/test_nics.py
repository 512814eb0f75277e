"""Further NICs of a running machine, and the port of its first: added, changed, removed, changed by hand, faults at each call.

The guest has no system, so it releases no device: what takes one off it restarts it.
"""

from __future__ import annotations

from typing import Any

import pytest

from components.custom import reporting
from components.libvirt import domain_devices, domain_spec, domain_xml, xml
from components.libvirt.connection import HypervisorError
from components.libvirt.domain import DomainProvider
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.libvirt.seed_image import SeedImageProvider

from .conftest import CASES
from .faults import attempt
from .resource_inputs import domain_inputs, overlay_inputs, seed_inputs
from .sandbox import NETWORK, Sandbox
from .test_by_hand import Machine
from .test_faults import each_call

pytestmark = [pytest.mark.provider, pytest.mark.timeout(600)]

BRIDGE = "virbr-labtest"
MAC, OTHER = "52:54:00:ce:00:02", "52:54:00:ce:00:03"
LAN: dict[str, str] = {"name": "enp2s0", "mac": MAC, "network": NETWORK, "model": "virtio"}
RED: dict[str, str] = {"name": "red", "mac": OTHER, "bridge": BRIDGE, "model": "e1000e"}


@pytest.fixture
def machine(sandbox: Sandbox, base: dict[str, Any]) -> Machine:
    return Machine(sandbox, base)


def nics(document: str) -> dict[str, str]:
    """Words of the further NICs by their aliases."""
    present = domain_devices.present(domain_xml.devices(domain_xml.parse(document)))
    prefix = f"{domain_devices.PREFIX}nic-"
    return {
        alias.removeprefix(prefix): domain_devices.words(device) for alias, device in present.items() if alias.startswith(prefix)
    }


def settled(machine: Machine, wanted: dict[str, str]) -> None:
    """Both definitions have them, and neither a refresh nor another `up` sees a change."""
    _, stored, live = machine.observe()
    assert nics(stored) == nics(live) == wanted
    machine.refresh()
    assert (machine.state["definition"], machine.state["unmanaged"]) == ({}, [])
    machine.quiet()


ON_LAN = {"enp2s0": f"{MAC} on network {NETWORK}, virtio"}
ON_RED = {"red": f"{OTHER} on bridge {BRIDGE}, e1000e"}


def test_nics_are_added_to_a_running_guest_and_changed_in_it(machine: Machine) -> None:
    number = machine.observe()[0]
    machine.change(nics=[LAN])
    settled(machine, ON_LAN)
    machine.change(nics=[LAN, RED])
    settled(machine, {**ON_LAN, **ON_RED})
    assert machine.observe()[0] == number, "none of it took a restart"
    machine.change(nics=[LAN, {**RED, "bridge": "", "network": NETWORK}])
    settled(machine, {**ON_LAN, "red": f"{OTHER} on network {NETWORK}, e1000e"})


def test_another_model_and_fewer_nics(machine: Machine) -> None:
    machine.change(nics=[LAN, RED])
    machine.change(nics=[{**LAN, "model": "e1000e"}, RED])
    settled(machine, {"enp2s0": f"{MAC} on network {NETWORK}, e1000e", **ON_RED})
    machine.change(nics=[RED])
    settled(machine, ON_RED)
    machine.change(nics=None)
    settled(machine, {})


def test_a_new_machine_has_them_from_the_start(sandbox: Sandbox, base: dict[str, Any]) -> None:
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    provider, inputs = DomainProvider(), domain_inputs(sandbox, nics=[LAN, RED], nic_port={"queues": "2"})
    state = dict(provider.create(dict(inputs)).outs or {})
    read = dict(provider.read("id", dict(state)).outs or {})
    assert (read["definition"], read["unmanaged"]) == ({}, [])
    assert not provider.diff("id", read, provider.check(state, dict(inputs)).inputs).changes
    with sandbox.libvirt() as conn:
        live = conn.lookupByUUIDString(inputs["uuid"]).XMLDesc(0)
    place = domain_xml.attribute(
        domain_xml.interface(domain_xml.parse(live), domain_spec.from_inputs(inputs, virt_type="qemu")), "address", "bus"
    )
    assert int(place, 16) == domain_spec.MAC_BUS, "the first NIC stays enp1s0"


def test_what_hands_do_to_them_is_put_right_and_their_own_nic_stays(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    reporting.speak_up()
    machine.change(nics=[LAN])
    theirs = "52:54:00:cd:00:09"
    machine.virsh("attach-interface", machine.name, "network", NETWORK, "--mac", theirs, "--model", "virtio", "--live", "--config")
    # Stored only: the guest would not release it.
    machine.define(lambda document: document.replace(MAC, "52:54:00:ce:00:ff"))
    machine.refresh()
    assert machine.state["definition"] == {"network interface enp2s0": f"52:54:00:ce:00:ff on network {NETWORK}, virtio"}
    assert machine.state["unmanaged"] == [f"network interface {theirs} on network {NETWORK}"]
    assert "network interface enp2s0 was changed by hand" in capfd.readouterr().out
    machine.change()
    _, stored, live = machine.observe()
    assert nics(stored) == nics(live) == ON_LAN and theirs in stored and theirs in live
    machine.change(nics=None)
    _, stored, live = machine.observe()
    assert nics(stored) == nics(live) == {} and theirs in stored and theirs in live


def test_one_that_hands_have_taken_away_comes_back_without_a_restart(machine: Machine) -> None:
    machine.change(nics=[LAN])
    machine.define(lambda document: without(document, MAC))
    machine.virsh("destroy", machine.name)
    machine.virsh("start", machine.name)
    number = machine.observe()[0]
    machine.refresh()
    assert machine.state["definition"] == {"network interface enp2s0": "none"}
    machine.change()
    assert machine.observe()[0] == number
    settled(machine, ON_LAN)


def without(document: str, mac: str) -> str:
    root = domain_xml.parse(document)
    devices = domain_xml.devices(root)
    for interface in devices.findall("interface"):
        if domain_xml.attribute(interface, "mac", "address") == mac:
            devices.remove(interface)
    return xml.text_of(root)


def test_a_network_that_is_not_there_leaves_the_machine_as_it_is(machine: Machine) -> None:
    text = machine.refused(lambda: machine.change(nics=[{**LAN, "network": "lab-test-absent"}]))
    assert "lab-test-absent" in text
    machine.quiet()


def test_a_mac_address_of_another_machine_is_refused(machine: Machine) -> None:
    text = machine.refused(lambda: machine.change(nics=[{**LAN, "mac": "52:54:00:99:99:99"}]), "MAC 52:54:00:99:99:99")
    assert "in use by domain 'lab-test-bystander'" in text


def test_queues_of_the_first_nic_take_a_restart_and_are_removed_again(machine: Machine) -> None:
    number = machine.observe()[0]
    machine.change(nic_port={"queues": "2"}, cpus=2)
    assert machine.observe()[0] != number
    assert all("queues='2'" in document for document in machine.observe()[1:])
    machine.refresh()
    machine.quiet()
    machine.define(lambda document: document.replace("queues='2'", "queues='4'"))
    machine.refresh()
    assert machine.state["definition"] == {"queues of the network interface": "4"}
    machine.change()
    machine.change(nic_port=None)
    assert not any("queues" in document for document in machine.observe()[1:])
    machine.refresh()
    machine.quiet()


def test_a_vlan_on_a_bridge_of_linux_is_refused_by_an_old_libvirt(machine: Machine) -> None:
    with machine.sandbox.libvirt() as conn:
        if conn.getLibVersion() >= 11_000_000:
            pytest.skip("this libvirt sets VLANs on bridges of Linux")
    before = machine.observe()
    with pytest.raises(HypervisorError, match="VLANs on Linux bridges take libvirt"):
        machine.change(nics=[{**RED, "vlan": "50"}])
    assert machine.observe() == before, "not even restarted"
    machine.quiet()


@pytest.mark.parametrize("mode", ["error", "killed"])
def test_a_fault_at_each_call_of_an_update(mode: str, sandbox: Sandbox, base: dict[str, Any]) -> None:
    OverlayDiskProvider().create(overlay_inputs(sandbox, base))
    SeedImageProvider().create(seed_inputs(sandbox))
    provider, inputs = DomainProvider(), domain_inputs(sandbox, nics=[LAN])
    news = {**inputs, "nics": [{**LAN, "bridge": BRIDGE, "network": ""}, RED]}
    wanted = {"enp2s0": f"{MAC} on bridge {BRIDGE}, virtio", **ON_RED}

    def faulty(at: int) -> bool:
        olds = dict(provider.create(dict(inputs)).outs or {})
        hit = attempt(lambda: provider.update("id", dict(olds), dict(news)), at, mode)
        outs = dict(provider.update("id", dict(olds), dict(news)).outs or {})
        with sandbox.libvirt() as conn:
            domain = conn.lookupByUUIDString(inputs["uuid"])
            assert nics(domain.XMLDesc(2)) == nics(domain.XMLDesc(0)) == wanted, f"updated again after a fault at call {at}"
        assert not provider.diff(
            "id", dict(provider.read("id", dict(outs)).outs or {}), provider.check(outs, dict(news)).inputs
        ).changes
        provider.delete("id", outs)
        return hit

    CASES.append(("nics", "update", mode, each_call(faulty)))
