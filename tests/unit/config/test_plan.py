"""The plan: identities that never move, slices that never meet, paths that follow the release."""

from __future__ import annotations

import uuid
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import plan as plans
from components.config.addresses import AddressRange
from components.config.reading import parse
from components.config.settings import Settings

pytestmark = pytest.mark.unit
steady = settings(deadline=None, database=None, derandomize=True)

SIZE = 2


def make(servers: int = 1, agents: int = 0, stack: str = "dev", **more: Any) -> plans.Plan:
    raw = {
        "servers": {"count": servers},
        "agents": {"count": agents},
        "network": {"nodes": "192.168.122.150-192.168.122.189"},
        "macvlan": {"range": "192.168.122.190-192.168.122.250", "addressesPerNode": SIZE},
        "macvlanCheck": {"address": "192.168.122.251"},
        **more,
    }
    return plans.make("k3s-macvlan", stack, parse(stack, raw))


shapes = st.tuples(st.sampled_from([1, 3, 5, 7]), st.integers(0, 13))


@steady
@given(shapes, shapes)
def test_growing_moves_no_node(one: tuple[int, int], other: tuple[int, int]) -> None:
    small = make(min(one[0], other[0]), min(one[1], other[1]))
    large = {node.name: node for node in make(max(one[0], other[0]), max(one[1], other[1])).nodes}
    for node in small.nodes:
        same = large[node.name]
        for field in ("domain", "uuid", "mac", "address", "slice", "disk", "pool"):
            assert getattr(same, field) == getattr(node, field), (node.name, field)


@steady
@given(shapes, shapes)
def test_growing_moves_no_address_of_a_check(one: tuple[int, int], other: tuple[int, int]) -> None:
    """It is part of a command's text, so another one runs the check again on a node with pods."""
    small = make(min(one[0], other[0]), min(one[1], other[1]))
    large = {node.name: node for node in make(max(one[0], other[0]), max(one[1], other[1])).nodes}
    assert {node.name: large[node.name].check_address for node in small.nodes} == {
        node.name: node.check_address for node in small.nodes
    }


@steady
@given(shapes)
def test_a_nodes_check_uses_no_address_that_pods_of_another_may_have(shape: tuple[int, int]) -> None:
    """A new node is checked while pods run on the others."""
    nodes = make(*shape).nodes
    for node in nodes:
        for other in nodes:
            assert node.check_address is not None
            assert node is other or node.check_address not in other.slice, (node.name, other.name)


@steady
@given(shapes)
def test_slices_are_disjoint_equal_and_inside_the_range(shape: tuple[int, int]) -> None:
    nodes = make(*shape).nodes
    whole = AddressRange.parse("192.168.122.190-192.168.122.250")
    assert all(len(node.slice) == SIZE and node.slice.first in whole and node.slice.last in whole for node in nodes)
    assert not any(one.slice.overlaps(other.slice) for one, other in combinations(nodes, 2))


@steady
@given(shapes)
def test_no_two_nodes_share_anything(shape: tuple[int, int]) -> None:
    nodes = make(*shape).nodes
    for field in ("name", "domain", "uuid", "mac", "address", "check_address"):
        assert len({getattr(node, field) for node in nodes}) == len(nodes), field


@steady
@given(shapes)
def test_claims_are_merged_disjoint_and_cover_all_that_is_ours(shape: tuple[int, int]) -> None:
    plan = make(*shape)
    assert all(int(one.last) + 1 < int(other.first) for one, other in pairwise(plan.claims))
    ours = {address for node in plan.nodes for address in (node.address, *node.slice, node.check_address) if address}
    assert all(any(address in claim for claim in plan.claims) for address in ours)


def test_claims_hold_fixed_and_overridden_addresses() -> None:
    plan = make(
        servers=1,
        macvlanCheck={"address": "192.168.122.20"},
        workload={"address": "192.168.122.30"},
    )
    settings = parse("dev", {"servers": {"overrides": {"server-1": {"address": "192.168.122.40"}}}})
    assert [str(claim) for claim in plan.claims] == [
        "192.168.122.20-192.168.122.20",
        "192.168.122.30-192.168.122.30",
        "192.168.122.150-192.168.122.250",
    ]
    claims = plans.make("k3s-macvlan", "dev", settings).claims
    assert [str(claim) for claim in claims] == ["192.168.122.40-192.168.122.40", "192.168.122.180-192.168.122.210"]


def test_claims_of_the_default_are_one_range() -> None:
    plan = plans.make("k3s-macvlan", "dev", Settings())
    assert [str(claim) for claim in plan.claims] == ["192.168.122.180-192.168.122.210"]


def test_without_the_check_nothing_is_claimed_for_it() -> None:
    plan = make(macvlanCheck={"enabled": False, "address": "192.168.122.20"})
    assert not any("192.168.122.20-" in str(claim) for claim in plan.claims)
    assert {node.check_address for node in plan.nodes} == {None}


def test_identities_are_pinned() -> None:
    """A change of these makes every machine of every stack anew: it would be a breaking release."""
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


def test_the_master_is_the_nodes_interface_unless_set() -> None:
    assert make(network={"interface": "eth7"}).master == "eth7"
    assert make(macvlan={"master": "enp2s0"}).master == "enp2s0"


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
    plan = make(*shape, nodeAccess={"enabled": True, "addresses": "192.168.122.20-192.168.122.60"})
    addresses = [node.access_address for node in plan.nodes]
    assert len(set(addresses)) == len(addresses)
    assert all(address is not None and any(address in claim for claim in plan.claims) for address in addresses)
    assert {node.access_address for node in make(*shape).nodes} == {None}
