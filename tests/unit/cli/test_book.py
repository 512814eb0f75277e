"""The book of addresses against the pods: who is there, who is not, and who differs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli import book, duplicates, kube
from cli.kube import Definition
from components.config import plan as plans
from components.config.reading import parse

from .test_stack import ETH0
from .test_stack import pod as kube_pod

pytestmark = pytest.mark.unit

MAC = "02:00:00:00:50:10"
BOOKED = {
    "home-assistant": {"ip": "192.168.50.10", "mac": MAC, "namespace": "home"},
    "printer": {"ip": "192.168.50.11", "ipv6": "fd00:50::11"},
}
IOT = {"vlan": 50, "cidr": "192.168.50.0/24", "gateway": "192.168.50.1", "ipam": "static", "ipv6": {"cidr": "fd00:50::/64"}}


def pod(
    name: str,
    *ips: str,
    namespace: str = "home",
    mac: str = "02:00:00:00:99:99",
    net: str = "default/iot",
    request: Any = "",
    phase: str = "Running",
) -> dict[str, Any]:
    given = [ETH0, {"name": net, "interface": "net1", "ips": list(ips), "mac": mac}] if ips else None
    item = kube_pod(name, request if isinstance(request, str) else json.dumps(request), given)
    item["metadata"]["namespace"] = namespace
    item["status"]["phase"] = phase
    return item


def compared(
    *items: dict[str, Any], addresses: Any = BOOKED, definitions: tuple[Definition, ...] = (), **network: Any
) -> book.Book:
    """The book of the network iot; the stack's own pod is on it where the book has its name."""
    lan = {"range": "192.168.122.200-192.168.122.210"}
    raw = {"podNetworks": {"macvlan-conf": lan, "iot": {**IOT, "addresses": addresses, **network}}}
    config = parse("dev", raw)
    plan = plans.make("k3s-macvlan", "dev", config)
    on = duplicates.segments(config, plan, definitions)
    books = book.compare(config, plan, kube.pods({"items": list(items)}), on)
    assert [item.network.name for item in books] == ["macvlan-conf", "iot"]
    assert books[0].entries == () and books[0].unbooked == ()
    return books[1]


def states(iot_book: book.Book) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {entry.name: (entry.state, entry.pods) for entry in iot_book.entries}


def test_booked_and_there_and_booked_and_not_there() -> None:
    iot_book = compared(pod("ha-0", "192.168.50.10", mac=MAC))
    assert states(iot_book) == {"home-assistant": ("there", ("home/ha-0",)), "printer": ("not there", ())}
    assert iot_book.warnings == () and iot_book.unbooked == ()


def test_an_ended_pod_is_not_there() -> None:
    assert states(compared(pod("ha-0", "192.168.50.10", mac=MAC, phase="Failed")))["home-assistant"] == ("not there", ())


def test_a_pod_that_waits_for_its_address_has_requested_it() -> None:
    for request in (
        [{"name": "iot", "namespace": "default", "ips": ["192.168.50.10/24"]}],
        [{"name": "iot", "namespace": "default", "mac": MAC.upper()}],
    ):
        iot_book = compared(pod("ha-0", request=request, phase="Pending"))
        assert states(iot_book)["home-assistant"] == ("requested", ("home/ha-0",))
    elsewhere = [{"name": "other", "namespace": "default", "ips": ["192.168.50.10/24"]}]
    assert states(compared(pod("ha-0", request=elsewhere, phase="Pending")))["home-assistant"] == ("not there", ())


def test_there_and_not_booked() -> None:
    iot_book = compared(
        pod("stray", "192.168.50.77", "fd00:50::77"), pod("bound", "192.168.50.100"), range="192.168.50.100-192.168.50.109"
    )
    assert [(item.pod, item.address, item.in_range) for item in iot_book.unbooked] == [
        ("home/bound", "192.168.50.100", True),
        ("home/stray", "192.168.50.77", False),
        ("home/stray", "fd00:50::77", False),
    ]
    assert [text.partition(", so")[0] for text in iot_book.warnings] == [
        f"pod home/stray net1 has {address}, which podNetworks.iot.addresses does not have and is not in podNetworks.iot.range"
        for address in ("192.168.50.77", "fd00:50::77")
    ]
    (alone,) = compared(pod("stray", "192.168.50.77")).warnings
    assert "which podNetworks.iot.addresses does not have, so another may be given it" in alone


def test_only_a_network_with_static_addresses_knows_who_is_not_booked() -> None:
    assert compared(pod("any", "192.168.50.77"), addresses={}, ipam="dhcp", ipv6="ignore").unbooked == ()


def test_another_mac_address_and_another_namespace() -> None:
    (text,) = compared(pod("ha-0", "192.168.50.10", namespace="office")).warnings
    assert text.startswith("pod office/ha-0 net1 is that of podNetworks.iot.addresses.home-assistant, and ")
    assert "it has the MAC address 02:00:00:00:99:99 in place of 02:00:00:00:50:10" in text
    assert "it is in namespace office in place of home" in text and "./lab attach home-assistant" in text


def test_the_booked_mac_address_with_another_address() -> None:
    (text, unbooked) = compared(pod("ha-0", "192.168.50.99", mac=MAC.upper())).warnings
    assert "it has 192.168.50.99 in place of 192.168.50.10" in text and "192.168.50.99" in unbooked


def test_a_missing_ipv6_address_is_a_difference() -> None:
    (text,) = compared(pod("printer", "192.168.50.11")).warnings
    assert "it has 192.168.50.11 in place of fd00:50::11" in text
    assert compared(pod("printer", "192.168.50.11", "FD00:50:0::11")).warnings == ()


def test_dhcp_names_the_server_s_reservation() -> None:
    dhcp: dict[str, Any] = {"ipam": "dhcp", "ipv6": "ignore"}
    addresses = {"home-assistant": {"ip": "192.168.50.10", "mac": MAC}, "any": {"mac": "02:00:00:00:50:12"}}
    iot_book = compared(
        pod("ha-0", "192.168.50.61", mac=MAC), pod("any-0", "192.168.50.62", mac="02:00:00:00:50:12"), addresses=addresses, **dhcp
    )
    assert states(iot_book) == {"home-assistant": ("there", ("home/ha-0",)), "any": ("there", ("home/any-0",))}
    (text,) = iot_book.warnings
    assert "it has 192.168.50.61 in place of 192.168.50.10; correct the book or the DHCP server's reservation for its MAC" in text


def test_one_address_on_two_pods_has_both() -> None:
    iot_book = compared(pod("ha-0", "192.168.50.10", mac=MAC), pod("ha-1", "192.168.50.10", mac=MAC))
    assert states(iot_book)["home-assistant"] == ("there", ("home/ha-0", "home/ha-1"))


def test_an_address_by_another_network_of_the_same_vlan_is_reported() -> None:
    same = Definition(network="office/own", type="macvlan", master="enp1s0.50")
    (text,) = compared(pod("ha-0", "192.168.50.10", mac=MAC, net="office/own"), definitions=(same,)).warnings
    assert "it is on office/own in place of default/iot" in text
    other = Definition(network="office/own", type="macvlan", master="enp1s0.51")
    iot_book = compared(pod("ha-0", "192.168.50.10", mac=MAC, net="office/own"), definitions=(other,))
    assert states(iot_book)["home-assistant"] == ("not there", ())


def test_an_entry_without_address_and_mac_is_known_of_the_stack_s_own_pod_alone() -> None:
    host_local: dict[str, Any] = {"ipam": "host-local", "range": "192.168.50.100-192.168.50.109", "ipv6": "ignore"}
    addresses: dict[str, Any] = {"nginx-macvlan": {}, "some": {}}
    iot_book = compared(pod("some", "192.168.50.100"), addresses=addresses, **host_local)
    assert states(iot_book) == {"nginx-macvlan": ("not there", ()), "some": ("not known", ())}
    own = pod("nginx-macvlan", "192.168.50.101", namespace="default")
    assert states(compared(own, addresses=addresses, **host_local))["nginx-macvlan"] == ("there", ("default/nginx-macvlan",))
    waits = pod("nginx-macvlan", namespace="default", request="macvlan-conf,iot", phase="Pending")
    assert states(compared(waits, addresses=addresses, **host_local))["nginx-macvlan"][0] == "requested"


def test_the_stack_s_own_pod_is_found_by_its_name_whatever_it_has() -> None:
    own = pod("nginx-macvlan", "192.168.50.55", namespace="default")
    iot_book = compared(own, addresses={"nginx-macvlan": {"ip": "192.168.50.12"}}, ipv6="ignore")
    assert states(iot_book) == {"nginx-macvlan": ("there", ("default/nginx-macvlan",))}
    assert "it has 192.168.50.55 in place of 192.168.50.12" in iot_book.warnings[0]


def test_an_entry_as_data() -> None:
    iot_book = compared(pod("ha-0", "192.168.50.10", mac=MAC))
    assert json.loads(json.dumps([entry.plain() for entry in iot_book.entries])) == [
        {
            "name": "home-assistant", "ip": "192.168.50.10", "ipv6": "", "mac": MAC, "namespace": "home", "state": "there",
            "pods": ["home/ha-0"], "problems": [],
        },
        {
            "name": "printer", "ip": "192.168.50.11", "ipv6": "fd00:50::11", "mac": "", "namespace": "", "state": "not there",
            "pods": [], "problems": [],
        },
    ]  # fmt: skip
