"""Conflicts between settings: each with the setting, its value, the conflict and the remedy."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import conflicts, plan
from components.config.reading import parse

pytestmark = pytest.mark.unit


def check(raw: dict[str, Any], stack: str = "dev") -> list[str]:
    settings = parse(stack, raw)
    return [str(problem) for problem in sorted(set(conflicts.conflicts(plan.make("k3s-macvlan", stack, settings), settings)))]


RANGE = "192.168.122.200-192.168.122.210"


def lan(name: str = "lan", **more: Any) -> dict[str, Any]:
    """One network in the nodes' own subnet."""
    return {"podNetworks": {name: {"range": RANGE, **more}}}


def warnings(raw: dict[str, Any]) -> tuple[str, ...]:
    settings = parse("dev", raw)
    return conflicts.warnings(plan.make("k3s-macvlan", "dev", settings), settings)


LAN: dict[str, Any] = {
    "network": {
        "kind": "bridge", "name": "br0", "cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "dns": ["10.30.0.1"],
        "nodes": "10.30.0.20-10.30.0.39",
    },
    "podNetworks": {"lan": {"range": "10.30.0.200-10.30.0.210", "addressesPerNode": 5}},
}  # fmt: skip

CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("commands of the first boot beside ours", {"ssh": {"port": 2222}, "cloudInit": {"bootcmd": "ls"}},
     ["cloudInit.bootcmd: ", "'bootcmd' is no list"]),
    ("commands of the first boot on a bridge", {**LAN, "cloudInit": {"bootcmd": "ls"}},
     ["cloudInit.bootcmd: ", "'bootcmd' is no list"]),
    ("gateway outside", {"network": {"gateway": "10.0.0.1"}}, ["network.gateway = 10.0.0.1: is outside network.cidr"]),
    ("nodes hold the gateway", {"network": {"nodes": "192.168.122.1-192.168.122.9"}}, ["network.nodes", "holds network.gateway"]),
    ("nodes hold the network address", {"network": {"nodes": "192.168.122.0-192.168.122.9", "gateway": "192.168.122.254"}},
     ["holds the network address of 192.168.122.0/24"]),
    ("nodes outside", {"network": {"nodes": "10.0.0.1-10.0.0.9"}}, ["network.nodes = 10.0.0.1-10.0.0.9: is not inside"]),
    ("excluded", {"network": {"exclude": ["192.168.122.203", "192.168.122.181-192.168.122.182"]}},
     ["podNetworks.macvlan-conf.range = 192.168.122.200-192.168.122.210: holds 192.168.122.203 of network.exclude",
      "network.nodes = 192.168.122.180-192.168.122.199: holds 192.168.122.181-192.168.122.182 of network.exclude"]),
    ("too many nodes",
     {"network": {"nodes": "192.168.122.180-192.168.122.181"}, "servers": {"count": 3}, **lan(addressesPerNode=2)},
     ["network.nodes", "holds 2 addresses for 3 nodes"]),
    ("same address", {"agents": {"count": 1, "overrides": {"agent-1": {"address": "192.168.122.180"}}}, **lan(addressesPerNode=2)},
     ["is the address of server-1 and of agent-1"]),
    ("same MAC", {"servers": {"overrides": {"server-1": {"mac": "02:00:00:00:00:01"}}},
                  "agents": {"count": 1, "overrides": {"agent-1": {"mac": "02:00:00:00:00:01"}}}, **lan(addressesPerNode=2)},
     ["agents.overrides.agent-1.mac = 02:00:00:00:00:01"]),
    ("override of nobody", {"servers": {"overrides": {"server-9": {}}}}, ["servers.overrides.server-9: names no node"]),
    ("unknown hypervisor", {"servers": {"hypervisor": "far"}}, ["servers.hypervisor = 'far': is none of hypervisors: local"]),
    ("unknown hypervisor of one", {"servers": {"overrides": {"server-1": {"hypervisor": "far"}}}},
     ["servers.overrides.server-1.hypervisor = 'far'"]),
    ("one libvirt network on two hosts",
     {"hypervisors": {"local": {}, "far": {"uri": "qemu+ssh://far/system"}}, "agents": {"count": 1, "hypervisor": "far"},
      **lan(addressesPerNode=2)},
     ["network.kind = 'libvirt': is a network inside one host, and nodes are placed on 2 (far, local)", "set kind: bridge"]),
    ("pod network", {"k3s": {"podCidr": "192.168.0.0/16"}}, ["k3s.podCidr = 192.168.0.0/16: overlaps network.cidr"]),
    ("service network", {"k3s": {"serviceCidr": "10.42.128.0/17"}}, ["k3s.podCidr", "overlaps k3s.serviceCidr"]),
    ("a taint on every node", {"servers": {"taints": ["dedicated=storage:NoSchedule"]}},
     ["workload.perNode = False: leaves the pod nginx-macvlan without a node", "dedicated=storage:NoSchedule"]),
    ("an option in both", {"k3s": {"config": {"kubelet-arg": ["max-pods=200"]}, "serverConfig": {"kubelet-arg+": ["v=4"]}}},
     ["k3s.serverConfig.kubelet-arg+: is in k3s.config too", "leave kubelet-arg out of k3s.config"]),
    ("few pods", {"k3s": {"podCidr": "10.42.0.0/25"}}, ["k3s.podCidr = 10.42.0.0/25: has a /24 for 0 nodes, and there are 1"]),
    ("pods of one node", {"k3s": {"podCidr": "10.42.0.0/24"}, "servers": {"count": 3}, **lan(addressesPerNode=3)},
     ["k3s.podCidr = 10.42.0.0/24: has a /24 for 1 nodes, and there are 3"]),
    ("few services", {"k3s": {"serviceCidr": "10.43.0.0/29"}}, ["k3s.serviceCidr = 10.43.0.0/29: is too large", "/12 to /28"]),
    ("many services", {"k3s": {"serviceCidr": "11.0.0.0/8"}}, ["k3s.serviceCidr = 11.0.0.0/8: is too large", "/12 to /28"]),
    ("pods of the machine itself", {"k3s": {"podCidr": "127.0.0.0/16"}},
     ["k3s.podCidr = 127.0.0.0/16: is no network of addresses"]),
    ("API among pods", {"k3s": {"apiAddress": "192.168.122.203"}, **lan()},
     ["podNetworks.lan.range = 192.168.122.200-192.168.122.210: overlaps k3s.apiAddress 192.168.122.203"]),
    ("API among nodes", {"k3s": {"apiAddress": "192.168.122.180"}}, ["k3s.apiAddress = 192.168.122.180: overlaps network.nodes"]),
    ("API of a node elsewhere", {"k3s": {"apiAddress": "192.168.122.50"},
                                 "servers": {"overrides": {"server-1": {"address": "192.168.122.50"}}}},
     ["k3s.apiAddress = 192.168.122.50: overlaps servers.overrides.server-1.address"]),
    ("API on the gateway", {"k3s": {"apiAddress": "192.168.122.1"}}, ["k3s.apiAddress = 192.168.122.1: holds network.gateway"]),
    ("API on a pod", {"k3s": {"apiAddress": "192.168.122.20"},
                      **lan(ipam="static", addresses={"nginx-macvlan": {"ip": "192.168.122.20"}})},
     ["podNetworks.lan.addresses.nginx-macvlan.ip = 192.168.122.20: overlaps k3s.apiAddress 192.168.122.20"]),
    ("API of broadcasts", {"k3s": {"apiAddress": "192.168.122.255"}}, ["holds the broadcast address of 192.168.122.0/24"]),
    ("API in the cluster", {"k3s": {"apiAddress": "10.43.0.1"}}, ["k3s.apiAddress = 10.43.0.1: lies in k3s.serviceCidr"]),
    ("one host twice", {"hypervisors": {"local": {}, "other": {}}, "agents": {"count": 1, "hypervisor": "other"},
                        **lan(addressesPerNode=2)}, ["hypervisors."]),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "parts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_conflict_is_named_with_both_sides(raw: dict[str, Any], parts: list[str]) -> None:
    text = "\n".join(check(raw))
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"servers": {"taints": ["a=b:PreferNoSchedule"]}},
        {"servers": {"taints": ["a=b:NoSchedule"]}, "workload": {"perNode": True}},
        {"servers": {"taints": ["a=b:NoSchedule"]}, "agents": {"count": 1}, **lan(addressesPerNode=5)},
        {"k3s": {"apiAddress": "192.168.122.20"}},
        {"k3s": {"apiAddress": "k3s.example"}},
        {"k3s": {"apiAddress": "203.0.113.9"}},
        {"k3s": {"apiAddress": "192.168.122.20"}, "network": {"exclude": ["192.168.122.20"]}},
        {"servers": {"overrides": {"server-1": {"address": "192.168.122.50"}}}},
        {"network": {"exclude": ["192.168.122.2-192.168.122.179"]}},
        {**LAN, "hypervisors": {"local": {}, "far": {"uri": "qemu+ssh://far/system"}}, "agents": {"count": 1, "hypervisor": "far"}},
        {"hypervisors": {"local": {}, "idle": {"uri": "qemu+ssh://idle/system"}}},
    ],
)
def test_what_holds_together_is_taken(raw: dict[str, Any]) -> None:
    assert check(raw) == []


@pytest.mark.parametrize("stack", ["Dev", "a_b", "a.b", "x" * 60, "ä"])
def test_a_stack_whose_name_is_no_host_name_is_refused(stack: str) -> None:
    assert "rename the stack" in "\n".join(check({}, stack))


@pytest.mark.parametrize(
    ("uri", "warned"), [("no_verify=1", True), ("no_tty=1&no_verify=1", True), ("no_verify=0", False), ("", False)]
)
def test_a_hypervisor_whose_key_nobody_checks_is_warned_of(uri: str, warned: bool) -> None:
    texts = warnings({"hypervisors": {"local": {"uri": f"qemu+ssh://root@far/system?{uri}"}}})
    assert any("hypervisors.local.uri: no_verify" in text for text in texts) == warned


@pytest.mark.parametrize(("agent", "directory", "warned"), [(True, "files", True), (True, "", False), (False, "files", False)])
def test_an_agent_that_nodes_cannot_download_is_warned_of(agent: bool, directory: str, warned: bool) -> None:
    texts = warnings({"machine": {"guestAgent": agent}, "artifacts": {"directory": directory}})
    assert any("machine.guestAgent with artifacts.directory" in text for text in texts) == warned


def test_an_api_address_of_the_network_is_nobody_else_s() -> None:
    """It is taken out of DHCP and probed by ARP, since it is one of the plan's claims; but not what exclude gives to another."""
    cases: list[tuple[str, list[str], bool]] = [
        ("192.168.122.20", [], True),
        ("192.168.122.20", ["192.168.122.20-192.168.122.30"], False),
        ("k3s.example", [], False),
        ("203.0.113.9", [], False),
    ]
    for address, exclude, claimed in cases:
        settings = parse("dev", {"k3s": {"apiAddress": address}, "network": {"exclude": exclude}})
        claims = [str(claim) for claim in plan.make("k3s-macvlan", "dev", settings).claims]
        assert ("192.168.122.20-192.168.122.20" in claims) == claimed, address


def test_all_conflicts_come_together_and_once() -> None:
    problems = check({"network": {"gateway": "10.0.0.1"}, **lan(range="10.0.0.1-10.0.0.9", mtu=9000)})
    assert len(problems) == len(set(problems)) >= 3
