"""The plan: identities that never move, slices that never meet, paths that follow the release."""

from __future__ import annotations

import uuid
from ipaddress import IPv4Address, IPv6Address
from itertools import combinations, pairwise, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import plan as plans
from components.config.addresses import AddressRange
from components.config.network_plan import NodeNetworkPlan
from components.config.reading import parse
from components.config.settings import Settings

from .test_addresses import numbers

pytestmark = pytest.mark.unit
steady = settings(deadline=None, database=None, derandomize=True)

SIZE = 2


LAN: dict[str, Any] = {"range": "192.168.122.190-192.168.122.250", "addressesPerNode": SIZE}
IOT: dict[str, Any] = {
    "vlan": 50, "cidr": "192.168.50.0/24", "gateway": "192.168.50.1", "range": "192.168.50.10-192.168.50.109",
    "addressesPerNode": 3, "ipv6": {"cidr": "fd00:50::/64", "range": "fd00:50::100-fd00:50::1ff"},
}  # fmt: skip


def make(servers: int = 1, agents: int = 0, stack: str = "dev", **more: Any) -> plans.Plan:
    raw = {
        "servers": {"count": servers},
        "agents": {"count": agents},
        "network": {"nodes": "192.168.122.150-192.168.122.189"},
        "podNetworks": {"lan": LAN, "iot": IOT},
        **more,
    }
    return plans.make("k3s-macvlan", stack, parse(stack, raw))


def slices(plan: plans.Plan, network: str) -> dict[str, AddressRange]:
    """Each node's slice of a network, by the node's name."""
    found = {node.name: of_node(node, network).slice for node in plan.nodes}
    return {name: item for name, item in found.items() if item is not None}


def of_node(node: plans.NodePlan, network: str) -> NodeNetworkPlan:
    return next(item for item in node.networks if item.network.name == network)


shapes = st.tuples(st.sampled_from([1, 3, 5, 7]), st.integers(0, 13))


@steady
@given(shapes, shapes)
def test_growing_moves_no_node(one: tuple[int, int], other: tuple[int, int]) -> None:
    small = make(min(one[0], other[0]), min(one[1], other[1]))
    large = {node.name: node for node in make(max(one[0], other[0]), max(one[1], other[1])).nodes}
    for node in small.nodes:
        same = large[node.name]
        for field in ("domain", "uuid", "mac", "address", "disk", "pool"):
            assert getattr(same, field) == getattr(node, field), (node.name, field)
        for mine, its in zip(node.networks, same.networks, strict=True):
            assert (mine.slice, mine.ipv6_slice) == (its.slice, its.ipv6_slice), node.name


@steady
@given(shapes)
def test_addresses_that_are_checked_to_be_free_are_of_no_other_node(shape: tuple[int, int]) -> None:
    """A new node is checked while pods run on the others."""
    nodes = make(*shape, podNetworks={"lan": {**LAN, "nodeAccess": "192.168.122.20-192.168.122.60"}, "iot": IOT}).nodes
    for node, other in permutations(nodes, 2):
        for mine, its in zip(node.networks, other.networks, strict=True):
            assert mine.exclusive
            assert its.slice is not None
            for item in mine.exclusive:
                assert not item.overlaps(its.slice), (node.name, other.name)
                assert its.access_address is None or its.access_address not in item, (node.name, other.name)


def test_of_one_node_all_addresses_of_a_network_are_its_own() -> None:
    book = {"a": {"ip": "192.168.122.30"}, "b": {"ip": "192.168.122.195"}}
    static = {"ipam": "static", "range": "192.168.122.190-192.168.122.250", "addresses": book, "nodeAccess": "192.168.122.20"}
    reserved = {"ipam": "dhcp", "addresses": {"a": {"ip": "192.168.122.30", "mac": "02:00:00:00:00:01"}}}
    counted = {"range": "192.168.122.190-192.168.122.250", "addresses": {"a": {"mac": "02:00:00:00:00:01"}}}

    def exclusive(nodes: int, network: dict[str, Any]) -> list[str]:
        return list(map(str, of_node(make(1, nodes - 1, podNetworks={"lan": network}).nodes[0], "lan").exclusive))

    assert exclusive(1, static) == [
        "192.168.122.20-192.168.122.20", "192.168.122.30-192.168.122.30", "192.168.122.190-192.168.122.250",
    ]  # fmt: skip
    assert exclusive(2, static) == ["192.168.122.20-192.168.122.20"], "a pod of the other may have them"
    assert exclusive(1, counted) == ["192.168.122.190-192.168.122.250"]
    assert exclusive(1, LAN) == ["192.168.122.190-192.168.122.191"]
    assert exclusive(2, LAN) == ["192.168.122.190-192.168.122.191"]
    assert exclusive(1, reserved) == [], "the server gives them"


@steady
@given(shapes)
def test_slices_are_disjoint_equal_and_inside_the_range(shape: tuple[int, int]) -> None:
    plan = make(*shape)
    for name, size, whole in (("lan", SIZE, LAN["range"]), ("iot", 3, IOT["range"])):
        found = list(slices(plan, name).values())
        assert len(found) == len(plan.nodes)
        assert all(len(item) == size and numbers(item) <= numbers(AddressRange.parse(whole)) for item in found)
        assert not any(one.overlaps(other) for one, other in combinations(found, 2))


@steady
@given(shapes)
def test_ipv6_slices_have_the_place_of_the_others(shape: tuple[int, int]) -> None:
    nodes = make(*shape).nodes
    for node in nodes:
        ours = of_node(node, "iot")
        assert ours.slice is not None
        assert ours.ipv6_slice is not None
        place = int(ours.slice.first) - int(IPv4Address("192.168.50.10"))
        assert ours.ipv6_slice.first == IPv6Address("fd00:50::100") + place
        assert ours.ipv6_slice.size == 3
    found = [of_node(node, "iot").ipv6_slice for node in nodes]
    assert not any(one.overlaps(other) for one, other in combinations(filter(None, found), 2))


@steady
@given(shapes)
def test_no_two_nodes_share_anything(shape: tuple[int, int]) -> None:
    nodes = make(*shape).nodes
    for field in ("name", "domain", "uuid", "mac", "address"):
        assert len({getattr(node, field) for node in nodes}) == len(nodes), field


@steady
@given(shapes)
def test_claims_are_merged_disjoint_and_cover_all_that_is_ours(shape: tuple[int, int]) -> None:
    plan = make(*shape)
    assert all(int(one.last) + 1 < int(other.first) for one, other in pairwise(plan.claims))
    ours = {node.address for node in plan.nodes} | {address for item in slices(plan, "lan").values() for address in item}
    assert all(any(address in claim for claim in plan.claims) for address in ours)
    assert not any(address in claim for claim in plan.claims for item in slices(plan, "iot").values() for address in item), (
        "those of a VLAN are no addresses of the nodes' network"
    )


def test_claims_hold_booked_and_overridden_addresses() -> None:
    book = {"nginx-macvlan": {"ip": "192.168.122.30"}, "printer": {"ip": "192.168.122.200"}}
    plan = make(
        podNetworks={"lan": {**LAN, "nodeAccess": "192.168.122.20"}, "fixed": {"ipam": "static", "addresses": book}, "iot": IOT}
    )
    settings = parse("dev", {"servers": {"overrides": {"server-1": {"address": "192.168.122.40"}}}})
    assert [str(claim) for claim in plan.claims] == [
        "192.168.122.20-192.168.122.20",
        "192.168.122.30-192.168.122.30",
        "192.168.122.150-192.168.122.250",
    ]
    claims = plans.make("k3s-macvlan", "dev", settings).claims
    assert [str(claim) for claim in claims] == ["192.168.122.40-192.168.122.40", "192.168.122.180-192.168.122.210"]


def test_what_a_dhcp_server_gives_is_no_claim() -> None:
    reserved = {"ipam": "dhcp", "addresses": {"a": {"ip": "192.168.122.30", "mac": "02:00:00:00:00:01"}}}
    assert [str(claim) for claim in make(podNetworks={"lan": reserved}).claims] == ["192.168.122.150-192.168.122.189"]


def test_claims_of_the_default_are_one_range() -> None:
    plan = plans.make("k3s-macvlan", "dev", Settings())
    assert [str(claim) for claim in plan.claims] == ["192.168.122.180-192.168.122.210"]


def test_identities_are_pinned() -> None:
    """A change of these recreates every machine of every stack: it would be a breaking release."""
    node = plans.make("k3s-macvlan", "dev", Settings()).nodes[0]
    assert (node.name, node.domain) == ("server-1", "k3s-macvlan-dev-server-1")
    assert node.mac == "52:54:00:04:b7:3e"
    assert uuid.UUID(node.uuid).version == 5
    assert str(node.address) == "192.168.122.180"
    assert node.pool.path == "/var/lib/libvirt/images/k3s-macvlan-dev"


@steady
@given(st.text("abcdefghij-", min_size=1, max_size=10), st.text("abcdefghij-", min_size=1, max_size=10))
def test_stacks_share_no_identity(one: str, other: str) -> None:
    if one == other:
        return
    first, second = make(stack=one), make(stack=other)
    assert first.nodes[0].uuid != second.nodes[0].uuid
    assert first.nodes[0].mac != second.nodes[0].mac
    assert first.nodes[0].domain != second.nodes[0].domain
    assert first.pools[0].uuid != second.pools[0].uuid


def test_servers_count_up_and_agents_down() -> None:
    plan = make(3, 2)
    assert [(node.name, str(node.address)[-3:]) for node in plan.nodes] == [
        ("server-1", "150"), ("server-2", "151"), ("server-3", "152"), ("agent-1", "189"), ("agent-2", "188"),
    ]  # fmt: skip
    assert [node.first for node in plan.nodes] == [True, False, False, False, False]
    assert (len(plan.servers), len(plan.agents)) == (3, 2)


def test_an_override_is_one_nodes_and_the_rest_is_the_groups() -> None:
    settings = parse(
        "dev",
        {
            "servers": {
                "count": 3,
                "labels": {"a": "1", "b": "2"},
                "taints": ["x=y:NoSchedule"],
                "overrides": {
                    "server-2": {
                        "cpus": 4, "memory": 8192, "disk": 40, "labels": {"b": "3"}, "taints": [],
                        "address": "192.168.122.9", "mac": "02:00:00:00:00:02",
                    }
                },
            }
        },
    )  # fmt: skip
    one, two, _ = plans.make("k3s-macvlan", "dev", settings).nodes
    assert (one.cpus, one.memory, one.disk, one.labels, one.taints) == (2, 4096, 20 * 2**30, ("a=1", "b=2"), ("x=y:NoSchedule",))
    assert (two.cpus, two.memory, two.disk, two.labels, two.taints) == (4, 8192, 40 * 2**30, ("a=1", "b=3"), ())
    assert (str(two.address), two.mac) == ("192.168.122.9", "02:00:00:00:00:02")


def test_only_hypervisors_in_use_get_a_pool() -> None:
    plan = make(hypervisors={"local": {}, "far": {"uri": "qemu+ssh://far/system"}, "idle": {"uri": "qemu+ssh://idle/system"}},
                  agents=1)  # fmt: skip
    assert [pool.hypervisor for pool in plan.pools] == ["local"]


OLD, NEW = "/var/lib/rancher/k3s/data/current/bin", "/var/lib/rancher/k3s/data/cni"


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("v1.26.15+k3s1", OLD), ("v1.27.8+k3s2", OLD), ("v1.27.16+k3s1", OLD),
        ("v1.28.14+k3s1", OLD), ("v1.28.15+k3s1", NEW), ("v1.28.16+k3s1", NEW),
        ("v1.29.9+k3s1", OLD), ("v1.29.10+k3s1", NEW), ("v1.29.15+k3s1", NEW),
        ("v1.30.5+k3s1", OLD), ("v1.30.6+k3s1", NEW), ("v1.30.10+k3s1", NEW),
        ("v1.31.1+k3s1", OLD), ("v1.31.2+k3s1", NEW), ("v1.31.14+k3s1", NEW),
        ("v1.32.0+k3s1", NEW), ("v1.33.1+k3s1", NEW), ("v1.40.0+k3s1", NEW),
        ("v1.28.15-rc1+k3s1", NEW), ("v1.30.5-rc2+k3s1", OLD), ("v1.32.0-rc1+k3s1", NEW),
    ],
)  # fmt: skip
def test_the_cni_directory_follows_the_release(version: str, path: str) -> None:
    assert plans.cni_bin_directory(version) == path
    assert make(k3s={"version": version}).cni.bin == path


def test_the_cni_directory_may_be_set() -> None:
    cni = make(k3s={"cniBinDirectory": "/opt/cni/bin", "cniConfDirectory": "/etc/cni/net.d"}).cni
    assert (cni.bin, cni.conf) == ("/opt/cni/bin", "/etc/cni/net.d")
    assert cni.multus_kubeconfig == "/etc/cni/net.d/multus.d/multus.kubeconfig"


def test_another_image_is_another_volume() -> None:
    def name(**image: str) -> str:
        return make(image=image).image.name

    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert name(checksum=one) != name(checksum=two)
    assert name(checksum=one, source="/a") == name(checksum=one, source="/b")
    assert name(checksum="https://h/SUMS", source="/a") != name(checksum="https://h/SUMS", source="/b")
    assert name(checksum=one, format="raw").endswith(".raw")


def test_a_network_is_on_the_nodes_interface_unless_another_or_a_vlan_is_set() -> None:
    networks = {"lan": LAN, "iot": IOT, "cams": {**IOT, "parent": "enp2s0"}, "nas": {**LAN, "parent": "enp2s0", "vlan": None}}
    plan = make(network={"interface": "eth7"}, podNetworks=networks)
    assert {network.name: (network.parent, network.link) for network in plan.networks} == {
        "lan": ("eth7", "eth7"), "iot": ("eth7", "eth7.50"), "cams": ("enp2s0", "enp2s0.50"), "nas": ("enp2s0", "enp2s0"),
    }  # fmt: skip
    assert [network.name for network in plan.networks if network.of_nodes] == ["lan"]


def test_a_network_in_the_nodes_subnet_has_their_router() -> None:
    networks = {"lan": LAN, "own": {**LAN, "gateway": "192.168.122.254"}, "iot": IOT, "cams": {**IOT, "gateway": None}}
    plan = make(podNetworks=networks)
    assert {network.name: (str(network.cidr), str(network.gateway)) for network in plan.networks} == {
        "lan": ("192.168.122.0/24", "192.168.122.1"), "own": ("192.168.122.0/24", "192.168.122.254"),
        "iot": ("192.168.50.0/24", "192.168.50.1"), "cams": ("192.168.50.0/24", "None"),
    }  # fmt: skip


def test_names_of_a_network() -> None:
    plan = make(podNetworks={"lan": LAN, "iot": {**IOT, "namespace": "nets"}})
    assert [network.reference for network in plan.networks] == ["default/lan", "nets/iot"]
    links = {network.access_link for network in plan.networks}
    assert len(links) == 2
    assert all(len(link) <= 15 for link in links), "Linux takes no longer name of an interface"
    assert plan.namespaces == ("nets",)


def test_a_pod_is_on_all_networks_or_on_those_that_are_named() -> None:
    book = {"nginx-macvlan": {"ip": "192.168.50.200"}, "other": {"ip": "192.168.50.201"}}
    fixed = {"vlan": 50, "cidr": "192.168.50.0/24", "ipam": "static", "addresses": book}
    networks = {"lan": LAN, "iot": IOT, "fixed": fixed}
    (pod,) = make(podNetworks=networks).pods
    assert [(item.network.name, item.booked and str(item.booked.ip)) for item in pod.attachments] == [
        ("lan", None), ("fixed", "192.168.50.200"), ("iot", None),
    ]  # fmt: skip
    # The engine sorts the keys of a stack file.
    engine = dict(sorted(networks.items()))
    assert make(podNetworks=engine).pods == make(podNetworks=networks).pods
    (pod,) = make(podNetworks=networks, workload={"networks": ["fixed", "lan"], "name": "other"}).pods
    assert [(item.network.name, item.booked and str(item.booked.ip)) for item in pod.attachments] == [
        ("fixed", "192.168.50.201"), ("lan", None),
    ]  # fmt: skip


def test_plugins_follow_from_all_networks() -> None:
    assert make().plugins == ("macvlan", "tuning")
    networks = {"lan": {**LAN, "ipv6": "accept"}, "iot": {**IOT, "type": "ipvlan", "replies": "by-source"}}
    added = make(podNetworks=networks, plugins={"names": ["vrf", "macvlan"]}).plugins
    assert added == ("ipvlan", "macvlan", "sbr", "tuning", "vrf")
    assert make(podNetworks={"lan": {"ipam": "dhcp", "chain": [{"type": "bandwidth"}]}}).plugins == ("dhcp", "macvlan", "tuning")


def test_one_pod_anywhere_or_one_on_each_node() -> None:
    assert [(pod.name, pod.node) for pod in make(3, 1).pods] == [("nginx-macvlan", None)]
    plan = make(3, 1, workload={"perNode": True})
    assert [pod.name for pod in plan.pods] == [f"nginx-macvlan-{node.name}" for node in plan.nodes]
    assert [pod.node for pod in plan.pods] == list(plan.nodes)


def test_the_api_is_reached_at_its_own_address_or_the_first_server_s() -> None:
    assert make(3, 1).api_address == str(make(3, 1).servers[0].address)
    assert make(3, k3s={"apiAddress": "api.example"}).api_address == "api.example"


def test_a_node_pulls_what_its_pods_will_surely_need() -> None:
    settings = Settings()
    everything = (settings.multus.image, settings.workload.image)
    assert [node.images for node in make(1).nodes] == [everything]
    assert {node.images for node in make(1, 1).nodes} == {(settings.multus.image,)}, "the pod may run on either"
    assert {node.images for node in make(1, 1, workload={"perNode": True}).nodes} == {everything}


@steady
@given(shapes)
def test_addresses_of_the_nodes_own_access_are_claimed_and_given_once(shape: tuple[int, int]) -> None:
    plan = make(*shape, podNetworks={"lan": {**LAN, "nodeAccess": "192.168.122.20-192.168.122.60"}})
    addresses = [of_node(node, "lan").access_address for node in plan.nodes]
    assert len(set(addresses)) == len(addresses)
    assert all(address is not None and any(address in claim for claim in plan.claims) for address in addresses)
    assert {of_node(node, "lan").access_address for node in make(*shape).nodes} == {None}
