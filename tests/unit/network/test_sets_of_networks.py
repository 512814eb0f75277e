"""What holds of any set of networks: addresses are given once, definitions name what is installed, and depend on nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from itertools import combinations
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.config import reading
from components.config.plan import Plan
from components.config.problems import SettingsError
from components.config.raw import RawConfiguration, from_document
from components.config.value_types import K3S_PLUGINS
from components.network import cni

pytestmark = pytest.mark.unit
steady = settings(
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

LINKS: list[dict[str, Any]] = [{}, {"vlan": 10}, {"vlan": 20}, {"parent": "enp2s0"}, {"parent": "enp2s0", "vlan": 10}]
POD = "nginx-macvlan"
PODS = "192.168.122"
"""The nodes' subnet."""
ELSEWHERE = "10.0.0"
"""The subnet of every other link: the same addresses on other wires."""
IPV6 = "fd00:50::"


def load(raw: dict[str, Any]) -> Plan:
    return reading.load("k3s-macvlan", "dev", RawConfiguration(raw)).plan


def span(prefix: str, first: int, size: int, *, ipv6: bool = False) -> str:
    last = first + size - 1
    return f"{prefix}{first:x}-{prefix}{last:x}" if ipv6 else f"{prefix}.{first}-{prefix}.{last}"


def subnet(link: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The first three octets, and the settings of a network there."""
    if not link:
        return PODS, {}
    return ELSEWHERE, {**link, "cidr": f"{ELSEWHERE}.0/24", "gateway": f"{ELSEWHERE}.1"}


# --- addresses of two


@st.composite
def any_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Sets in which each network is right by itself, and addresses of two often meet."""
    macs = (f"02:00:00:00:00:{number:02x}" for number in range(256))
    places = st.integers(20, 44)
    networks: dict[str, Any] = {}
    for name in ("a", "b", "c", "d")[: draw(st.integers(1, 4))]:
        octets, own = subnet(draw(st.sampled_from(LINKS)))
        ipam = draw(st.sampled_from(["host-local", "static", "dhcp"]))
        own["ipam"] = ipam
        if ipam == "host-local" or (ipam == "static" and draw(st.booleans())):
            own["range"] = span(octets, draw(places), draw(st.integers(1, 4)))
        if draw(st.booleans()):
            own["nodeAccess"] = span(octets, draw(places), draw(st.integers(1, 2)))
        six = ipam != "dhcp" and draw(st.booleans())
        if six:
            own["ipv6"] = {"cidr": f"{IPV6}/64"}
            if ipam == "host-local":
                own["ipv6"]["range"] = span(IPV6, draw(places), draw(st.integers(4, 6)), ipv6=True)
        book: dict[str, Any] = {}
        for entry in draw(st.lists(st.sampled_from([POD, "x", "y"]), max_size=3, unique=True)) if ipam != "host-local" else ():
            book[entry] = {"ip": f"{octets}.{draw(places)}", "mac": next(macs)}
            if six and draw(st.booleans()):
                book[entry]["ipv6"] = f"{IPV6}{draw(places):x}"
        networks[name] = {**own, "addresses": book}
    return {"network": {"nodes": span(PODS, draw(places), 3)}, "podNetworks": networks, "workload": {"networks": ["a"]}}


def numbers(text: str) -> set[int]:
    """The addresses of a range's text, as numbers; those of IPv6 are larger than all others."""
    first, _, last = text.partition("-")
    kind = IPv6Address if ":" in text else IPv4Address
    return set(range(int(kind(first)), int(kind(last or first)) + 1))


def claims(raw: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, Any], set[int]]]:
    """(setting, link, addresses) of all that is given to somebody."""
    yield "network.nodes", ("enp1s0", None), numbers(raw["network"]["nodes"])
    for name, network in raw["podNetworks"].items():
        path, link = f"podNetworks.{name}", (network.get("parent", "enp1s0"), network.get("vlan"))
        for setting in ("range", "nodeAccess"):
            if setting in network:
                yield f"{path}.{setting}", link, numbers(network[setting])
        if isinstance(network.get("ipv6"), dict) and "range" in network["ipv6"]:
            yield f"{path}.ipv6.range", link, numbers(network["ipv6"]["range"])
        for entry, booked in network["addresses"].items():
            for setting in ("ip", "ipv6"):
                if setting in booked:
                    yield f"{path}.addresses.{entry}.{setting}", link, numbers(booked[setting])


def nobody_counts(raw: dict[str, Any], one: str, other: str) -> bool:
    """Whether both are a static network's own range and book, of which one may hold the other."""
    network = one.split(".")[1]
    book = other.startswith(f"podNetworks.{network}.addresses.")
    return one == f"podNetworks.{network}.range" and book and raw["podNetworks"][network]["ipam"] == "static"


@steady
@given(any_sets())
def test_an_address_that_could_be_given_twice_on_a_link_is_a_problem_and_no_other_is(raw: dict[str, Any]) -> None:
    wanted = {
        frozenset({one, other})
        for (one, link, mine), (other, its, theirs) in combinations(claims(raw), 2)
        if link == its and mine & theirs and not nobody_counts(raw, one, other) and not nobody_counts(raw, other, one)
    }
    found = set()
    try:
        load(raw)
    except SettingsError as error:
        for problem in error.problems:
            if clash := re.match(r"overlaps (\S+) \S+, so an address could be given twice; move one of them$", problem.conflict):
                found.add(frozenset({problem.setting, clash[1]}))
    assert found == wanted


# --- sets that are right


@st.composite
def right_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Sets that contradict themselves nowhere."""
    agents = draw(st.integers(0, 2))
    types = [draw(st.sampled_from(["macvlan", "ipvlan"])) for _ in LINKS]
    networks: dict[str, Any] = {}
    for index, name in enumerate(("a", "b", "c", "d")[: draw(st.integers(1, 4))]):
        link = draw(st.integers(0, len(LINKS) - 1))
        octets, own = subnet(LINKS[link])
        first = 20 + 40 * index
        ipam = draw(st.sampled_from(["host-local", "static", "dhcp"]))
        own |= {"type": types[link], "ipam": ipam}
        if ipam == "host-local":
            size = draw(st.integers(1, 5))
            own["range"] = span(octets, first, 3 * size + draw(st.integers(0, 4)))
            if agents or draw(st.booleans()):
                own["addressesPerNode"] = size
        if ipam == "static":
            own["addresses"] = {POD: {"ip": f"{octets}.{first + 20}"}, "x": {"ip": f"{octets}.{first + 21}"}}
        own["ipv6"] = draw(st.sampled_from(["ignore", "accept", "given"]))
        if own["ipv6"] == "given":
            counts = {"range": span(IPV6, first, 30, ipv6=True)} if ipam == "host-local" else {}
            own["ipv6"] = "ignore" if ipam == "dhcp" else {"cidr": f"{IPV6}/64", **counts, "gateway": f"{IPV6}1"}
        if own["type"] == "macvlan" and (ipam != "dhcp" or octets != PODS) and draw(st.booleans()):
            own["nodeAccess"] = span(octets, first + 30, 3)
        own |= draw(
            st.sampled_from([{}, {"replies": "by-source"}, {"defaultRoute": True}, {"mtu": 1400}, {"mtu": 1000, "ipv6": "ignore"}])
        )
        if ipam != "dhcp":
            routes = [{"to": "172.20.0.0/16", "via": f"{octets}.{first + 10}"}, {"to": "224.0.0.0/4"}]
            own["routes"] = draw(st.lists(st.sampled_from(routes), max_size=2, unique_by=lambda route: route["to"]))
        chained = st.sampled_from(["tuning", "bandwidth", "portmap", "vrf", "firewall"])
        own["chain"] = [{"type": plugin, "vrfname": "blue"} for plugin in draw(st.lists(chained, max_size=2))]
        networks[name] = own
    return {"network": {"nodes": f"{PODS}.220-{PODS}.239"}, "podNetworks": networks, "agents": {"count": agents}}


def definitions(plan: Plan) -> dict[str, str]:
    """By name: the definition of each network, and that of each node."""
    return {network.name: cni.canonical(cni.whole(network)) for network in plan.networks} | {
        f"{node.name} {item.network.name}": cni.canonical(cni.on_node(item)) for node in plan.nodes for item in node.networks
    }


@steady
@given(right_sets())
def test_slices_are_disjoint_inside_the_range_and_what_each_node_counts_from(raw: dict[str, Any]) -> None:
    plan = load(raw)
    for network in plan.networks:
        on_nodes = [item for node in plan.nodes for item in node.networks if item.network is network]
        own = network.settings
        assert len(on_nodes) == len(plan.nodes)
        for item in on_nodes:
            document = cni.on_node(item)
            ipam = (document["plugins"][0] if "plugins" in document else document)["ipam"]
            ranges = [one for (one,) in ipam["ranges"]] if "ranges" in ipam else [ipam]
            given_out = [(one["rangeStart"], one["rangeEnd"]) for one in ranges if "rangeStart" in one]
            slices = [part for part in (item.slice, item.ipv6_slice) if part is not None]
            assert given_out == [(str(part.first), str(part.last)) for part in slices]
            assert bool(slices) == (own.ipam == "host-local")
            if item.slice is not None:
                assert own.range is not None
                assert own.range.first <= item.slice.first <= item.slice.last <= own.range.last
                assert item.slice.within(IPv4Network(network.cidr))
                assert len(item.slice) == (own.addresses_per_node or len(own.range))
        for one, other in combinations(on_nodes, 2):
            assert one.slice is None or other.slice is None or not one.slice.overlaps(other.slice)
            assert one.ipv6_slice is None or other.ipv6_slice is None or not one.ipv6_slice.overlaps(other.ipv6_slice)


@steady
@given(right_sets())
def test_every_plugin_that_a_definition_names_is_installed_or_k3s_s_own(raw: dict[str, Any]) -> None:
    plan = load(raw)
    named = set()
    for text in definitions(plan).values():
        document = json.loads(text)
        listed = document.get("plugins", [document])
        named |= {plugin["type"] for plugin in listed} | {listed[0]["ipam"]["type"]}
    assert named <= {*plan.plugins, *K3S_PLUGINS}
    assert {*plan.plugins} <= named, "and nothing else is"


def shuffled(value: Any, shuffle: Callable[[list[Any]], None]) -> Any:
    """The same with the keys of each mapping in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, shuffle)) for key, item in value.items()]
        shuffle(items)
        return dict(items)
    return [shuffled(item, shuffle) for item in value] if isinstance(value, list) else value


@steady
@given(right_sets(), st.randoms(use_true_random=False))
def test_comments_and_the_order_of_keys_change_nothing(raw: dict[str, Any], random: Any) -> None:
    # But for the order of the networks, which is that of a pod's interfaces.
    other = {name: shuffled(value, random.shuffle) for name, value in raw.items() if name != "podNetworks"}
    other["podNetworks"] = {name: shuffled(network, random.shuffle) for name, network in raw["podNetworks"].items()}
    text = yaml.safe_dump({"config": {f"k3s-macvlan:{name}": value for name, value in other.items()}}, sort_keys=False)
    commented = "".join(f"{line}\n# {number}: a comment\n" for number, line in enumerate(text.splitlines()))
    plan, same = load(raw), reading.load("k3s-macvlan", "dev", from_document(yaml.safe_load(commented), "k3s-macvlan")).plan
    assert definitions(same) == definitions(plan)
    assert [cni.revision(network) for network in same.networks] == [cni.revision(network) for network in plan.networks]
    assert same == plan


CHANGES: list[dict[str, Any]] = [
    {"mtu": 1300}, {"cniVersion": "0.4.0"}, {"chain": [{"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}]},
]  # fmt: skip
NO_CHANGES: list[dict[str, Any]] = [{"check": False}, {"namespace": "nets"}, {"clusterRoutes": True}]


@steady
@given(right_sets(), st.data())
def test_a_change_of_one_network_is_one_of_its_own_revision_alone(raw: dict[str, Any], data: st.DataObject) -> None:
    before = {network.name: cni.revision(network) for network in load(raw).networks}
    name = data.draw(st.sampled_from(sorted(before)))
    for change, changes in [*((change, True) for change in CHANGES), *((change, False) for change in NO_CHANGES)]:
        networks = {**raw["podNetworks"], name: {**raw["podNetworks"][name], **change}}
        after = {network.name: cni.revision(network) for network in load({**raw, "podNetworks": networks}).networks}
        assert {other for other in before if after[other] != before[other]} == ({name} if changes else set()), change
    left = {other: network for other, network in raw["podNetworks"].items() if other != name}
    if left:
        after = {network.name: cni.revision(network) for network in load({**raw, "podNetworks": left}).networks}
        assert after == {other: revision for other, revision in before.items() if other != name}


@steady
@given(right_sets())
def test_a_further_node_and_an_entry_of_the_book_are_no_change_of_a_network(raw: dict[str, Any]) -> None:
    """Both would replace the pods of others."""
    for network in raw["podNetworks"].values():
        if network["ipam"] == "host-local":
            network.setdefault("addressesPerNode", 1)
    before = [cni.revision(network) for network in load({**raw, "agents": {"count": 0}}).networks]
    more = {name: dict(network) for name, network in raw["podNetworks"].items()}
    for index, network in enumerate(more.values()):
        entry = {"mac": f"02:00:00:00:01:{index:02x}"} if network["type"] == "macvlan" else {}
        if network["ipam"] == "static":
            entry["ip"] = f"{ELSEWHERE if 'cidr' in network else PODS}.{20 + 40 * index + 25}"
        network["addresses"] = {**network.get("addresses", {}), "new": entry}
    after = [cni.revision(network) for network in load({**raw, "podNetworks": more, "agents": {"count": 2}}).networks]
    assert after == before
