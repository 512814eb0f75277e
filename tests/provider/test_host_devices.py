"""Devices of the hypervisor on a real libvirtd: what it lists, the definitions that it takes, and what it says of what is absent.

No test gives a guest a real device: the test network's host has virtual cards of its own alone, no IOMMU and no USB.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cli.checks import host_devices
from components.config import plan, reading
from components.libvirt import node_devices
from components.libvirt.connection import HypervisorError, connect
from components.libvirt.domain import DomainProvider
from components.libvirt.host_device import HostDeviceProvider
from components.libvirt.node_devices import NodeDevice

from .resource_inputs import domain_inputs
from .sandbox import OWNER, Sandbox
from .test_by_hand import Machine

pytestmark = [pytest.mark.provider, pytest.mark.timeout(300)]

ABSENT = "0000:7f:1f.7"
NO_USB = not Path("/sys/bus/usb").is_dir()


def props(sandbox: Sandbox, kind: str, choice: str, *, optional: bool = False) -> dict[str, Any]:
    setting = f"agents.devices.a.{kind}"
    return {"uri": sandbox.uri, "kind": kind, "choice": choice, "owner": OWNER, "setting": setting, "optional": optional}


def given(kind: str, choice: str, address: str, *, optional: bool = False) -> dict[str, Any]:
    return {"name": "a", "kind": kind, "choice": choice, "address": address, "optional": optional}


@pytest.fixture
def cards(sandbox: Sandbox) -> list[NodeDevice]:
    with connect(sandbox.uri) as connection:
        devices = [device for device in node_devices.of_host(connection, "pci") if not device.bridge]
    if not devices:
        pytest.skip("SKIPPED: libvirt lists no PCI device of this host")
    return devices


def test_a_device_is_found_where_libvirt_lists_it(sandbox: Sandbox, cards: list[NodeDevice]) -> None:
    for card in cards:
        if not card.group:
            with pytest.raises(HypervisorError, match="is in no IOMMU group"):
                HostDeviceProvider().create(props(sandbox, "pci", card.place))
        else:
            assert (HostDeviceProvider().create(props(sandbox, "pci", card.place)).outs or {})["address"] == card.place
        state = {**props(sandbox, "pci", card.place), "address": card.place}
        read = HostDeviceProvider().read("id", state)
        assert read.id == "id" and dict(read.outs or {}) == state


def test_what_is_absent_or_not_the_only_one_is_refused_with_what_is_there(sandbox: Sandbox, cards: list[NodeDevice]) -> None:
    before = sandbox.snapshot()
    with pytest.raises(HypervisorError) as error:
        HostDeviceProvider().create(props(sandbox, "pci", ABSENT))
    assert all(str(card) in str(error.value) for card in cards)
    same = {card.identity for card in cards if sum(other.identity == card.identity for other in cards) > 1}
    for identity in same:
        with pytest.raises(HypervisorError, match="by its place"):
            HostDeviceProvider().create(props(sandbox, "pci", identity))
    assert (HostDeviceProvider().create(props(sandbox, "pci", ABSENT, optional=True)).outs or {})["address"] == ""
    with pytest.raises(HypervisorError, match="no such USB device"):
        HostDeviceProvider().create(props(sandbox, "usb", "1209:0001"))
    absent = HostDeviceProvider().read("id", {**props(sandbox, "pci", ABSENT), "address": ABSENT})
    assert not absent.id
    assert sandbox.snapshot() == before


def definition(sandbox: Sandbox, *devices: dict[str, Any]) -> list[str]:
    """The words of the managed devices as libvirt stores them, of a domain that is defined and not started."""
    from components.libvirt import domain_devices, domain_spec  # noqa: PLC0415
    from components.libvirt.xml import parse  # noqa: PLC0415

    inputs = domain_inputs(sandbox, "defined", host_devices=list(devices), cpu_mode="maximum")
    spec = domain_spec.from_inputs(inputs, virt_type="qemu")
    with sandbox.libvirt() as conn:
        stored = conn.defineXML(domain_spec.domain(spec)).XMLDesc(2)
    present = domain_devices.present(parse(stored).find("devices")).values()
    return [domain_devices.words(element) for element in present if element.tag == "hostdev"]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (given("pci", "8086:1572", ABSENT), f"PCI {ABSENT}"),
        (given("usb", "1209:0001", "there"), "USB 1209:0001"),
        (given("usb", "1209:0001", "", optional=True), "USB 1209:0001, optional"),
        (given("usb", "port 1-2.3", "1 6", optional=True), "USB bus 1 device 6, optional"),
    ],
)
def test_libvirt_keeps_each_form_as_it_was_written(sandbox: Sandbox, device: dict[str, Any], words: str) -> None:
    assert definition(sandbox, device) == [words]


@pytest.fixture
def machine(sandbox: Sandbox, base: dict[str, Any]) -> Machine:
    return Machine(sandbox, base)


def test_a_machine_runs_again_as_it_was_where_a_device_cannot_be_had(machine: Machine, cards: list[NodeDevice]) -> None:
    """Without an IOMMU libvirt refuses the card, which its resource says beforehand; nothing of it is stored all the same."""
    if any(card.group for card in cards):
        pytest.skip("SKIPPED: this host has an IOMMU, and a card of it would be taken from it")
    stored = machine.observe()[1]
    with pytest.raises(HypervisorError, match="passthrough"):
        machine.change(host_devices=[given("pci", cards[0].place, cards[0].place)])
    number, after, live = machine.observe()
    assert number > 0 and after == stored and "hostdev" not in live
    machine.refresh()
    machine.quiet()


@pytest.mark.skipif(not NO_USB, reason="SKIPPED: this host has USB, where an absent device is another error")
def test_an_optional_usb_device_waits_for_the_next_start(machine: Machine) -> None:
    """It is in the definition, the guest runs on, and neither a refresh nor a second run has anything to say."""
    number = machine.observe()[0]
    machine.change(host_devices=[given("usb", "1209:0001", "", optional=True)])
    assert machine.observe()[0] == number and re.search(r"ua-k3s-macvlan-device-a", machine.observe()[1])
    machine.refresh()
    machine.quiet()
    assert machine.state["unmanaged"] == [] and machine.state["definition"] == {}
    machine.change(host_devices=None)
    assert "hostdev" not in machine.observe()[1] and machine.observe()[0] == number
    machine.quiet()


@pytest.mark.skipif(not NO_USB, reason="SKIPPED: this host has USB, and may have the device")
def test_a_machine_is_not_stopped_that_would_not_start_again(machine: Machine) -> None:
    """Its stick was pulled out after it was given. What needs no restart is done all the same."""
    given_before = [given("usb", "1209:0001", "there")]
    with machine.sandbox.libvirt() as conn:
        # As if it had been attached: it is in the state and in the stored definition.
        domain = conn.lookupByUUIDString(machine.inputs["uuid"])
        stored = domain.XMLDesc(2)
        device = (
            '<hostdev mode="subsystem" type="usb" managed="yes"><source><vendor id="0x1209"/><product id="0x0001"/></source>'
            '<alias name="ua-k3s-macvlan-device-a"/></hostdev>'
        )
        conn.defineXML(stored.replace("</devices>", f"{device}</devices>"))
    machine.state["host_devices"] = machine.inputs["host_devices"] = given_before
    number = machine.observe()[0]
    machine.refused(lambda: machine.change(memory_mib=96), "would not start again", "a (1209:0001)")
    assert machine.observe()[0] == number
    machine.inputs |= {"memory_mib": 64, "host_devices": None}
    machine.change(host_devices=None)
    assert machine.observe()[0] == number and "hostdev" not in machine.observe()[1]


def test_a_new_machine_whose_device_cannot_be_had_leaves_nothing(sandbox: Sandbox, base: dict[str, Any]) -> None:
    machine = Machine(sandbox, base)
    DomainProvider().delete("id", machine.state)
    before = sandbox.snapshot()
    with pytest.raises(HypervisorError):
        DomainProvider().create({**machine.inputs, "host_devices": [given("pci", ABSENT, ABSENT)]})
    assert sandbox.snapshot() == before


def test_doctor_sees_them(sandbox: Sandbox, cards: list[NodeDevice]) -> None:
    devices = {"there": {"pci": cards[0].place}, "absent": {"usb": "1209:0001"}}
    config = reading.parse("dev", {"servers": {"devices": devices}})
    nodes = plan.make("k3s-macvlan", "dev", config).nodes
    with connect(sandbox.uri) as connection:
        findings = list(host_devices.check(connection, nodes, OWNER))
    by_level = {level: [finding.observed for finding in findings if finding.level == level] for level in ("ok", "error")}
    assert any(str(cards[0]) in text for text in by_level["ok"])
    assert any("1209:0001: no such USB device" in text for text in by_level["error"])
    assert bool(cards[0].group) or any("IOMMU" in text for text in by_level["error"])
