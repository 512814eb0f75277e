"""NICs of a machine: what is set of the first one's port and what is left to hands, and further ones as devices."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from components.libvirt import (
    domain_additions,
    domain_devices,
    domain_edit,
    domain_nics,
    domain_spec,
    domain_xml,
    nic_update,
    nic_xml,
)
from components.libvirt.domain import DomainProvider
from components.libvirt.domain_spec import DomainSpec
from components.libvirt.nic_xml import NO_PORT, Port

from .test_domain_spec import SPEC

pytestmark = pytest.mark.unit

ON_BRIDGE = dataclasses.replace(SPEC, network=None, bridge="br0")
PLAIN = domain_spec.domain(ON_BRIDGE)
VLANS = ["50", "trunk 50", "trunk 50,60", "trunk 50,60 native 10"]
SWITCH = Port(vlan="trunk 50,60 native 10", openvswitch="yes", queues="4")
LAN: dict[str, Any] = {"name": "enp2s0", "mac": "52:54:00:AB:00:02", "network": "lan", "model": "virtio"}
RED: dict[str, Any] = {
    "name": "red", "mac": "52:54:00:ab:00:03", "bridge": "ovsbr0", "model": "e1000e", "vlan": "50", "openvswitch": "yes",
}  # fmt: skip


def with_port(port: Port, spec: DomainSpec = ON_BRIDGE) -> DomainSpec:
    return dataclasses.replace(spec, nic_port=port)


def nics(*given: dict[str, Any]) -> DomainSpec:
    return dataclasses.replace(SPEC, devices=domain_nics.devices({"nics": list(given)}))


def changes(document: str, spec: DomainSpec) -> list[str]:
    return [str(change) for change in domain_edit.differences(document, spec)]


def by_hand(document: str, text: str) -> str:
    """The definition with more in its first NIC."""
    root = domain_xml.parse(document)
    interface = root.find("devices/interface")
    assert interface is not None
    interface.extend(domain_xml.parse(f"<all>{text}</all>"))
    return ET.tostring(root, encoding="unicode")


# --- elements


@pytest.mark.parametrize("vlan", ["", *VLANS])
@pytest.mark.parametrize("openvswitch", ["", "yes"])
@pytest.mark.parametrize("queues", ["", "4"])
def test_what_is_set_is_what_is_read(vlan: str, openvswitch: str, queues: str) -> None:
    interface, port = ET.Element("interface", type="bridge"), Port(vlan=vlan, openvswitch=openvswitch, queues=queues)
    nic_xml.put(interface, port)
    assert nic_xml.actual(interface) == port
    for name in nic_xml.PROPERTIES:
        nic_xml.set_property(interface, name, "")
    assert nic_xml.actual(interface) == NO_PORT and not list(interface)


def test_vlans_as_libvirt_writes_them() -> None:
    """A native VLAN makes a trunk of one tag, and several are one without the word."""
    for text, vlan in (
        ("<vlan><tag id='42'/></vlan>", "42"),
        ("<vlan trunk='yes'><tag id='42'/></vlan>", "trunk 42"),
        ("<vlan><tag id='60'/><tag id='50'/></vlan>", "trunk 50,60"),
        ("<vlan trunk='yes'><tag id='42'/><tag id='123' nativeMode='untagged'/></vlan>", "trunk 42 native 123"),
        ("<vlan/>", ""),
    ):
        assert nic_xml.actual(ET.fromstring(f"<interface>{text}</interface>")).vlan == vlan


def test_parts_of_others_stay() -> None:
    interface = ET.fromstring("<interface><driver name='vhost' queues='2' rx_queue_size='512'/></interface>")
    nic_xml.set_property(interface, "queues", "")
    assert ET.tostring(interface).count(b"rx_queue_size") == 1 and nic_xml.actual(interface).queues == ""


# --- the first NIC


@pytest.mark.parametrize("port", [SWITCH, Port(vlan="50"), Port(queues="2"), Port(openvswitch="yes")])
def test_the_first_nic_s_port_is_set_in_place_and_removed_again(port: Port) -> None:
    spec = with_port(port)
    edited = domain_edit.edit(PLAIN, spec)
    assert changes(edited, spec) == changes(domain_spec.domain(spec), spec) == []
    assert len(changes(PLAIN, spec)) == sum(bool(port[name]) for name in nic_xml.PROPERTIES)
    # Without the setting it is removed, because the mark says that it was set.
    assert len(changes(edited, ON_BRIDGE)) == len(changes(PLAIN, spec))
    assert domain_edit.edit(edited, ON_BRIDGE) == domain_edit.edit(PLAIN, ON_BRIDGE)


def test_what_hands_have_set_of_the_first_nic_is_kept_where_no_setting_says_it() -> None:
    document = by_hand(PLAIN, "<vlan><tag id='7'/></vlan><driver queues='8'/>")
    assert changes(document, ON_BRIDGE) == []
    edited = domain_edit.edit(document, with_port(Port(vlan="50")))
    assert "queues='8'" in edited.replace('"', "'") and "id='50'" in edited.replace('"', "'")
    assert changes(document, with_port(Port(vlan="50"))) == ["VLAN of the network interface: 7, not 50"]
    assert changes(domain_edit.edit(edited, ON_BRIDGE), ON_BRIDGE) == []


def test_a_stack_without_these_settings_has_the_definition_and_the_mark_that_it_had() -> None:
    assert " nic=" not in PLAIN and "<vlan" not in PLAIN and "queues" not in PLAIN
    assert not domain_edit.mark_differs(PLAIN, ON_BRIDGE)
    assert domain_edit.mark_differs(PLAIN, with_port(SWITCH))


def test_another_bridge_keeps_the_port() -> None:
    spec = with_port(SWITCH)
    document = domain_spec.domain(spec).replace("br0", "br1")
    edited = domain_edit.edit(document, spec)
    assert changes(document, spec) == ["network interface: 52:54:00:ab:00:01 on bridge br1, not 52:54:00:ab:00:01 on bridge br0"]
    assert changes(edited, spec) == [] and edited.count("virtualport") == 1


def test_a_port_changed_by_hand_has_words() -> None:
    spec = with_port(SWITCH)
    document = domain_spec.domain(spec).replace('queues="4"', 'queues="2"')
    assert changes(document, spec) == ["queues of the network interface: 2, not 4"]
    assert domain_edit.wanted(spec)["VLAN of the network interface"] == "trunk 50,60 native 10"


class Running:
    """A running guest, of which libvirt changes VLANs or refuses to."""

    def __init__(self, live: str, *, refuses: bool = False) -> None:
        self.live, self.refuses, self.updates = live, refuses, 0

    def name(self) -> str:
        return "node-1"

    def isActive(self) -> bool:  # noqa: N802 - libvirt's
        return True

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802 - libvirt's
        return self.live

    def updateDeviceFlags(self, element: str, flags: int) -> None:  # noqa: N802 - libvirt's
        import libvirt  # noqa: PLC0415

        assert flags == libvirt.VIR_DOMAIN_AFFECT_LIVE
        self.updates += 1
        if self.refuses:
            raise libvirt.libvirtError("unsupported configuration")
        root = domain_xml.parse(self.live)
        devices, interface = domain_xml.devices(root), domain_xml.interface(root, ON_BRIDGE)
        assert interface is not None
        devices[list(devices).index(interface)] = domain_xml.parse(element)
        self.live = ET.tostring(root, encoding="unicode")


def needed(domain: Running, spec: DomainSpec) -> list[str]:
    """What a running guest has to be restarted for, after what libvirt changes while it runs."""
    pytest.importorskip("libvirt")
    restarts = domain_edit.restarts(domain.live, domain.live, spec)
    live, left = nic_update.apply(domain, domain.live, domain.live, spec, former=(), restarts=restarts)
    assert live == domain.live
    return [change.name for change in left]


def test_a_vlan_changes_while_the_guest_runs_where_libvirt_can() -> None:
    spec = with_port(SWITCH)
    for port in (Port(vlan="50", openvswitch="yes", queues="4"), Port(openvswitch="yes", queues="4")):
        domain = Running(domain_spec.domain(spec))
        assert needed(domain, with_port(port)) == [] and domain.updates == 1
        assert needed(domain, with_port(port)) == [] and domain.updates == 1, "nothing is left to change"
    refusing = Running(domain_spec.domain(spec), refuses=True)
    assert needed(refusing, with_port(port)) == ["VLAN of the network interface"]
    # With what needs a restart all the same, that is enough.
    domain = Running(domain_spec.domain(spec))
    more = dataclasses.replace(with_port(dataclasses.replace(SWITCH, vlan="50", queues="2")), memory_mib=8192)
    assert needed(domain, more) == ["memory", "VLAN of the network interface", "queues of the network interface"]
    assert domain.updates == 0


# --- further NICs


def test_nics_are_added_changed_and_removed_by_their_aliases() -> None:
    document = domain_spec.domain(SPEC)
    spec = nics(LAN, RED)
    assert changes(document, spec) == [
        "network interface enp2s0: none, not 52:54:00:ab:00:02 on network lan, virtio",
        "network interface red: none, not 52:54:00:ab:00:03 on bridge ovsbr0, e1000e, VLAN 50, Open vSwitch",
    ]
    edited = domain_edit.edit(document, spec)
    assert changes(edited, spec) == changes(domain_spec.domain(spec), spec) == []
    assert changes(edited, nics(LAN, {**RED, "vlan": "trunk 50,60"})) == [
        "network interface red: 52:54:00:ab:00:03 on bridge ovsbr0, e1000e, VLAN 50, Open vSwitch, "
        "not 52:54:00:ab:00:03 on bridge ovsbr0, e1000e, trunk 50,60, Open vSwitch"
    ]
    assert domain_edit.edit(domain_edit.edit(edited, nics(LAN)), SPEC) == domain_edit.edit(document, SPEC)
    assert domain_additions.unmanaged(edited, SPEC) == []


def test_the_first_nic_stays_the_first_one() -> None:
    """Its port on PCI is its own, and further ones come after it."""
    root = domain_xml.parse(domain_spec.domain(nics(LAN, RED)))
    interfaces = root.findall("devices/interface")
    macs = [domain_xml.attribute(interface, "mac", "address") for interface in interfaces]
    assert macs == ["52:54:00:ab:00:01", "52:54:00:ab:00:02", "52:54:00:ab:00:03"]
    assert domain_xml.interface(root, SPEC) is interfaces[0]


RUNNING_ON_A_NETWORK = """<interface type='bridge'><mac address='52:54:00:ab:00:02'/>
<source network='lan' portid='3f1f' bridge='ovsbr1'/><vlan><tag id='42'/></vlan>
<virtualport type='openvswitch'><parameters interfaceid='09b1'/></virtualport><target dev='vnet3'/><model type='virtio'/>
<alias name='ua-k3s-macvlan-nic-enp2s0'/><address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/></interface>"""


def test_what_the_network_gives_a_running_nic_is_no_difference() -> None:
    wanted = domain_devices.wanted_words(domain_nics.devices({"nics": [LAN]})[0])
    assert nic_xml.words(ET.fromstring(RUNNING_ON_A_NETWORK)) == wanted == "52:54:00:ab:00:02 on network lan, virtio"
    other = RUNNING_ON_A_NETWORK.replace("network='lan'", "network='lan' portgroup='red'")
    assert nic_xml.words(ET.fromstring(other)) == "52:54:00:ab:00:02 on network lan (red), virtio"
    assert domain_devices.wanted_words(domain_nics.devices({"nics": [{**LAN, "portgroup": "red"}]})[0]).endswith(
        "lan (red), virtio"
    )


@pytest.mark.parametrize("port", [NO_PORT, SWITCH, Port(vlan="50", openvswitch="yes"), Port(vlan="trunk 50", openvswitch="yes")])
def test_libvirt_reads_all_of_it_and_keeps_the_words(port: Port) -> None:
    libvirt = pytest.importorskip("libvirt")
    further = (
        {**LAN, "portgroup": "red", "queues": "2"},
        {**RED, "vlan": "trunk 5,9 native 7"},
        {**RED, "mac": "52:54:00:ab:00:04", "name": "c"},
    )
    devices = domain_nics.devices({"nics": further})
    spec = dataclasses.replace(ON_BRIDGE, virt_type="test", nic_port=port, devices=devices)
    connection = libvirt.open("test:///default")
    try:
        document = connection.defineXML(domain_spec.domain(spec)).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    finally:
        connection.close()
    assert changes(document, spec) == []
    assert len(domain_devices.present(domain_xml.devices(domain_xml.parse(document)))) == len(further)


def test_an_alias_is_one_that_libvirt_takes() -> None:
    names = ["enp2s0", "lan-a_b", "A1"]
    for device in domain_nics.devices({"nics": [{**LAN, "name": name} for name in names]}):
        assert device.alias.startswith("ua-") and set(device.alias) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
        )


def test_nics_are_an_update_and_their_absence_is_none() -> None:
    provider = DomainProvider()
    olds: dict[str, Any] = {"mac": "52:54:00:ab:00:01"}
    for name, value in (("nics", [LAN]), ("nic_port", {"queues": "2"})):
        result = provider.diff("id", olds, {**olds, name: value})
        assert result.changes and not result.replaces
        assert not provider.diff("id", olds, {**olds, name: None}).changes
    assert domain_nics.macs({"mac": "52:54:00:AB:00:01", "nics": [LAN]}) == {"52:54:00:ab:00:01", "52:54:00:ab:00:02"}
