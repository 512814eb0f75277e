"""Doctor on devices that machines are given: are they there, do others have them, does the host let them go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cli.checks import host_devices
from cli.checks.host_devices import Facts
from cli.findings import Finding
from components.libvirt import connection, node_devices, xml
from components.libvirt.domain_spec import MARK

from ..libvirt import node_device_documents as documents
from ..libvirt.test_host_devices import RUNNING_PCI, RUNNING_USB
from .test_doctor import levels, planned

pytestmark = pytest.mark.unit

OWNER, NODE = "k3s-macvlan/dev", "k3s-macvlan-dev-server-1"
STICK, NIC = {"zigbee": {"usb": "1a86:7523"}}, {"nic": {"pci": "8086:1572"}}
CARD = documents.pci("0000:03:00.0", "8086", "1572", driver="i40e")
ROOT_PORT = documents.pci("0000:00:1c.0", "8086", "a111", driver="pcieport", bridge=True)


def host(*listed: str, running: dict[str, str] | None = None, uses: dict[str, list[str]] | None = None) -> Facts:
    return Facts(devices=node_devices.read_all(listed), running=running or {}, uses=uses or {})


def judged(facts: Facts, devices: dict[str, Any], **raw: Any) -> list[Finding]:
    return list(host_devices.assess(facts, planned(servers={"devices": devices}, **raw)[1].nodes, OWNER))


def domain(device: str, owner: str = "") -> str:
    mark = f"<metadata><m:stack xmlns:m='{MARK}' owner='{owner}'/></metadata>" if owner else ""
    return f"<domain>{mark}<devices>{device}</devices></domain>"


def test_a_device_that_is_there_is_named() -> None:
    (finding,) = judged(host(documents.STICK, documents.READER), STICK)
    assert finding.level == "ok"
    assert "servers.devices.zigbee.usb = 1a86:7523: 1a86:7523 at port 1-2.3 (QinHeng" in finding.observed


@pytest.mark.parametrize(("optional", "level"), [(False, "error"), (True, "warning")])
def test_one_that_is_absent_is_said_with_what_is_there(optional: bool, level: str) -> None:
    findings = judged(host(documents.READER, CARD), {"zigbee": {"usb": "1a86:7523", "optional": optional}})
    assert levels(findings) == [level] and findings[0].observed.endswith("there are: 04e6:5116 at port 2-1")


def test_several_of_a_kind_are_an_error_that_says_how_to_distinguish_them() -> None:
    findings = judged(host(documents.STICK, documents.SECOND_STICK), STICK)
    assert levels(findings) == ["error"] and findings[0].fix == 'name it by its place, as usb: "port 1-2.3"'


def test_two_names_of_one_device() -> None:
    findings = judged(host(documents.STICK), {**STICK, "same": {"usb": "port 1-2.3"}})
    assert levels(findings) == ["ok", "ok", "error"] and "is given to server-1 and to server-1" in findings[2].observed


def test_a_machine_of_others_has_it() -> None:
    findings = judged(host(documents.STICK, running={"vm": domain(RUNNING_USB.format(""))}), STICK)
    assert levels(findings) == ["ok", "error"] and "domain vm's now" in findings[1].observed
    mine = {NODE: domain(RUNNING_USB.format(""), OWNER), "vm": domain("", "k3s-macvlan/ha")}
    assert levels(judged(host(documents.STICK, running=mine), STICK)) == ["ok"]


# --- PCI


def test_a_card_in_a_group_of_its_own() -> None:
    assert levels(judged(host(CARD, ROOT_PORT), NIC)) == ["ok", "ok"]
    bridge_in_group = documents.pci("0000:03:00.0", "8086", "1572", driver="vfio-pci", members=("0000:00:1c.0",))
    assert levels(judged(host(bridge_in_group, ROOT_PORT), NIC)) == ["ok", "ok"]


def test_a_host_without_iommu() -> None:
    findings = judged(host(documents.NIC_WITHOUT_IOMMU), {"nic": {"pci": "0000:00:03.0"}})
    assert levels(findings) == ["ok", "error"] and "intel_iommu=on" in findings[1].fix


def test_the_other_devices_of_its_group() -> None:
    card = documents.pci("0000:03:00.0", "8086", "1572", driver="i40e", members=("0000:03:00.1", "0000:03:00.2"))
    second = documents.pci("0000:03:00.1", "8086", "1573", driver="i40e", members=("0000:03:00.0", "0000:03:00.2"))
    unbound = documents.pci("0000:03:00.2", "8086", "1574", members=("0000:03:00.0", "0000:03:00.1"))
    findings = judged(host(card, second, unbound), NIC)
    assert levels(findings) == ["ok", "error"]
    assert "8086:1573 at 0000:03:00.1" in findings[1].observed and "driver i40e" in findings[1].observed
    assert "0000:03:00.2" not in findings[1].observed and "virsh nodedev-detach pci_0000_03_00_1" in findings[1].fix
    both = {**NIC, "second": {"pci": "0000:03:00.1"}}
    assert levels(judged(host(card, second, unbound), both)) == ["ok", "ok", "ok", "ok"]


def test_what_the_host_has_on_a_card() -> None:
    interface = xml.parse(
        "<device><name>net_eno1</name><path>/sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.0/net/eno1</path>"
        "<parent>pci_0000_03_00_0</parent><capability type='net'><interface>eno1</interface></capability></device>"
    )
    devices = node_devices.read_all([CARD, ROOT_PORT])
    uses = host_devices.uses([interface, xml.parse(documents.LOOPBACK)], devices)
    assert uses == {"0000:03:00.0": ["eno1"], "0000:00:1c.0": ["eno1"]}
    findings = judged(host(CARD, ROOT_PORT, uses=uses), NIC)
    assert levels(findings) == ["ok", "warning"] and "the host has eno1 on 8086:1572 at 0000:03:00.0" in findings[1].observed


def test_a_card_that_the_machine_has_is_no_longer_the_host_s() -> None:
    taken = documents.pci("0000:03:00.0", "8086", "1572", driver="vfio-pci")
    assert levels(judged(host(taken, running={NODE: domain(RUNNING_PCI, OWNER)}), NIC)) == ["ok", "ok"]


# --- machines that run


def test_a_stick_that_was_plugged_in_again_is_not_the_machine_s_any_more() -> None:
    running = {NODE: domain(RUNNING_USB.format("").replace("device-a", "device-zigbee"), OWNER)}
    assert levels(judged(host(documents.STICK, running=running), STICK)) == ["ok"]
    again = documents.usb("1-2.3", "1a86", "7523", 9)
    findings = judged(host(again, running=running), STICK)
    assert levels(findings) == ["ok", "warning"]
    assert f"virsh detach-device-alias {NODE} ua-k3s-macvlan-device-zigbee --live" in findings[1].fix
    never = {NODE: domain(RUNNING_USB.format(" startupPolicy='optional' missing='yes'"), OWNER)}
    assert levels(judged(host(documents.STICK, running=never), STICK)) == ["ok"]


# --- through libvirt


def test_nothing_is_queried_where_no_machine_has_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_devices, "observe", lambda _connection: pytest.fail("queried"))
    assert list(host_devices.check(None, planned()[1].nodes, OWNER)) == []


def test_libvirt_s_test_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")
    monkeypatch.setattr(connection, "opener", lambda _uri: libvirt.open("test:///default"))
    with connection.connect("test:///default") as opened:
        findings = list(host_devices.check(opened, planned(servers={"devices": STICK})[1].nodes, OWNER))
    assert levels(findings) == ["error"] and findings[0].observed.endswith("there are: none")


def test_the_label_stays_where_an_optional_device_is_absent() -> None:
    (node,) = planned(servers={"devices": {"zigbee": {"usb": "1a86:7523", "optional": True}}})[1].nodes
    assert dict(node.api_labels) == {"k3s-macvlan.dev/device-zigbee": "true"}
    assert "label all the same" in next(host_devices.assess(Facts(), [replace(node)], OWNER)).why
