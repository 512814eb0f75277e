"""The end of a stack changes a network as seldom as libvirt allows: each change of a range restarts its DHCP server."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

import pytest

from components.libvirt import dhcp_claim, network_xml
from components.libvirt.dhcp_claim import DhcpClaimProvider

libvirt = pytest.importorskip("libvirt")
pytestmark = pytest.mark.unit

LIVE, CONFIG = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
HOST, RANGE = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE
ADD, DELETE = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
WHOLE = "192.168.122.2-192.168.122.254"
NODES = {f"52:54:00:00:00:0{number}": f"192.168.122.18{number}" for number in (1, 2, 3)}
UNMANAGED = ("52:54:00:99:99:99", "192.168.122.9")
TAKEN = """<network><name>default</name><bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>
<range start='192.168.122.2' end='192.168.122.179'/><range start='192.168.122.211' end='192.168.122.254'/>
{}</dhcp></ip></network>""".format("".join(f"<host mac='{mac}' name='node' ip='{ip}'/>" for mac, ip in [UNMANAGED, *NODES.items()]))


class Network:
    """A network as it is while a stack of three nodes exists, in both definitions."""

    def __init__(self) -> None:
        self.definitions = {LIVE: ET.fromstring(TAKEN), CONFIG: ET.fromstring(TAKEN)}
        self.changes: list[tuple[int, int, int]] = []
        self.readings = self.lease_lists = 0

    def name(self) -> str:
        return "default"

    def isPersistent(self) -> bool:  # noqa: N802 - libvirt's names
        return True

    def isActive(self) -> bool:  # noqa: N802
        return True

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        self.readings += 1
        return ET.tostring(self.definitions[CONFIG if flags else LIVE], encoding="unicode")

    def update(self, command: int, section: int, _parent: int, xml: str, layer: int) -> None:
        self.changes.append((command, section, layer))
        dhcp, wanted = self.definitions[layer].find("ip/dhcp"), ET.fromstring(xml)
        assert dhcp is not None
        if command == ADD:
            dhcp.append(wanted)
        else:
            (there,) = [element for element in dhcp if (element.tag, element.attrib) == (wanted.tag, wanted.attrib)]
            dhcp.remove(there)

    def DHCPLeases(self) -> list[dict[str, Any]]:  # noqa: N802
        self.lease_lists += 1
        return [{"mac": mac, "ipaddr": ip, "expirytime": 0} for mac, ip in NODES.items()]


class Hypervisor:
    """One that has the network, and no pool any more."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def networkLookupByName(self, _name: str) -> Network:  # noqa: N802 - libvirt's names
        return self.network

    def listAllDomains(self, _flags: int) -> list[Any]:  # noqa: N802
        return []

    def storagePoolLookupByName(self, _name: str) -> Any:  # noqa: N802
        error = libvirt.libvirtError("no pool")
        error.err = (libvirt.VIR_ERR_NO_STORAGE_POOL, 18, "no pool", 2, None, None, None, -1, -1)
        raise error


@pytest.fixture(params=[3, 1], ids=["of all nodes", "of the first node, after a cut-off run that was to remove the others"])
def network(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Network:
    """After the claim on it was deleted, with so many MACs in its inputs. Its record has those of former machines too."""
    there = Network()

    @contextlib.contextmanager
    def connect(_uri: str) -> Iterator[Hypervisor]:
        yield Hypervisor(there)

    monkeypatch.setattr(dhcp_claim, "connect", connect)
    layer = {"original": [WHOLE], "removed": ["192.168.122.180-192.168.122.210"]}
    state = {
        "uri": "qemu:///system",
        "network": "default",
        "pool": "k3s-macvlan-dev",
        "record": "dhcp-default.json",
        "ranges": ["192.168.122.180-192.168.122.199", "192.168.122.200-192.168.122.210"],
        "macs": list(NODES)[: request.param],
        "owner": "k3s-macvlan/dev",
        "taken": {"network": "default", "macs": list(NODES), "layers": {"live": layer, "config": layer}},
    }
    DhcpClaimProvider().delete("id", state)
    return there


def test_the_network_is_as_it_was(network: Network) -> None:
    for document in network.definitions.values():
        facts = network_xml.read_network(ET.tostring(document, encoding="unicode"))
        assert [str(dhcp_range) for dhcp_range in facts.ranges] == [WHOLE]
        assert [(host.mac, host.ip) for host in facts.hosts] == [UNMANAGED]


@pytest.mark.parametrize("layer", [LIVE, CONFIG])
def test_ranges_are_put_back_once_whatever_the_number_of_nodes(network: Network, layer: int) -> None:
    """Two pieces out, the whole range in; after the reservations, each of which libvirt removes by itself."""
    changes = [(command, section) for command, section, where in network.changes if where == layer]
    assert changes == [(DELETE, HOST)] * len(NODES) + [(DELETE, RANGE)] * 2 + [(ADD, RANGE)]


def test_definitions_and_leases_are_read_once_for_all_nodes(network: Network) -> None:
    assert network.readings == 3 * 2, "for the reservations, the ranges and the leases, each definition once"
    assert network.lease_lists == 1, "its bridge is on another machine: nothing can be ended, and nothing is waited for"
