"""Doctor's checks of the networks for pods on a hypervisor that is this machine: VLANs on its bridge, and where addresses lead."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from cli.checks import hypervisor, pod_networks
from cli.checks.pod_networks import Bridge, Membership, VlanLink
from cli.findings import Finding
from components.config.network_plan import NetworkPlan

from .test_doctor import FINE, levels, planned

pytestmark = pytest.mark.unit

LAN: Any = {"range": "192.168.122.200-192.168.122.210"}
IOT: Any = {"vlan": 50, "cidr": "192.168.50.0/24", "gateway": "192.168.50.1", "ipam": "static"}
CAMERAS: Any = {"vlan": 50, "parent": "enp2s0", "cidr": "10.9.0.0/24", "ipam": "dhcp"}


def networks(**raw: Any) -> tuple[NetworkPlan, ...]:
    return planned(podNetworks=raw or {"iot": IOT})[1].networks


UNFILTERED = Bridge(name="br0", ports=("eno1", "vnet0"))
FILTERED = replace(
    UNFILTERED,
    filtering=True,
    vlans={
        "br0": [Membership(1, 1, False)],
        "eno1": [Membership(1, 1, False), Membership(40, 60, True)],
        "vnet0": [Membership(1, 1, False), Membership(50, 50, True)],
    },
)


def assessed(bridge: Bridge, taps: dict[str, str], **raw: Any) -> list[Finding]:
    return list(pod_networks.assess_bridge(bridge, networks(**raw), taps))


def ports(**vlans: list[Membership]) -> Bridge:
    return replace(FILTERED, vlans={**(FILTERED.vlans or {}), **vlans})


# --- VLANs on the bridge ---


@pytest.mark.parametrize("bridge", [UNFILTERED, FILTERED])
def test_a_bridge_that_passes_the_vlan(bridge: Bridge) -> None:
    (finding,) = assessed(bridge, {"server-1": "vnet0"})
    assert levels(finding) == ["ok"] and finding.observed == "bridge br0 passes VLAN 50 (podNetworks.iot)"


def test_a_machine_s_port_without_the_tag_is_an_error_with_the_command_that_adds_it() -> None:
    (finding,) = assessed(ports(vnet0=[Membership(1, 49, True)]), {"server-1": "vnet0"})
    assert levels(finding) == ["error"] and "with its tag: vnet0 (server-1)" in finding.observed
    assert finding.fix.startswith("bridge vlan add dev vnet0 vid 50") and "vlan_filtering 0" in finding.fix
    (untagged,) = assessed(ports(vnet0=[Membership(50, 50, False)]), {"server-1": "vnet0"})
    assert levels(untagged) == ["error"], "the node's VLAN interface needs the tag"
    (absent,) = assessed(replace(FILTERED, vlans={"eno1": [Membership(50, 50, True)]}), {"server-1": "vnet0"})
    assert levels(absent) == ["error"]


def test_a_machine_that_starts_gets_a_port_without_the_tag() -> None:
    (finding,) = assessed(replace(FILTERED, default="7"), {"server-1": "vnet0", "agent-1": ""})
    assert levels(finding) == ["warning"] and "gets a port with VLAN 7 alone: agent-1" in finding.observed
    assert "/etc/libvirt/hooks/qemu" in finding.fix
    assert levels(assessed(UNFILTERED, {"server-1": ""})) == ["ok"]


def test_a_vlan_that_no_other_port_carries_leads_nowhere() -> None:
    (finding,) = assessed(ports(eno1=[Membership(1, 1, False)]), {"server-1": "vnet0"})
    assert levels(finding) == ["warning"] and "bridge vlan add dev eno1 vid 50" in finding.fix
    untagged = ports(eno1=[Membership(50, 50, False)])
    assert levels(assessed(untagged, {"server-1": "vnet0"})) == ["ok"], "an access port of the VLAN"
    itself = ports(eno1=[], br0=[Membership(50, 50, True)])
    assert levels(assessed(itself, {"server-1": "vnet0"})) == ["ok"], "the hypervisor itself is on it"


def test_an_interface_of_the_hypervisor_takes_the_vlan_off_the_port() -> None:
    (finding,) = assessed(replace(UNFILTERED, taken={"eno1": frozenset({50})}), {"server-1": "vnet0"})
    assert levels(finding) == ["error"] and "an interface for VLAN 50 on eno1, a port of bridge br0" in finding.observed
    for taken in ({"eno1": frozenset({51})}, {"eno2": frozenset({50})}, {"br0": frozenset({50})}):
        assert levels(assessed(replace(UNFILTERED, taken=taken), {"server-1": "vnet0"})) == ["ok"]


def test_each_vlan_is_reported_once_with_all_its_networks() -> None:
    second = {**IOT, "cidr": "192.168.51.0/24", "gateway": "192.168.51.1"}
    findings = assessed(
        UNFILTERED, {}, iot=IOT, second=second, other={**second, "vlan": 51, "cidr": "192.168.52.0/24", "gateway": None}
    )
    assert [finding.observed for finding in findings] == [
        "bridge br0 passes VLAN 50 (podNetworks.iot and podNetworks.second)",
        "bridge br0 passes VLAN 51 (podNetworks.other)",
    ]


def test_what_cannot_be_seen_is_not_known() -> None:
    assert [finding.level for finding in assessed(replace(UNFILTERED, linux=False), {})] == ["unknown"]
    (finding,) = assessed(replace(FILTERED, vlans=None), {"server-1": "vnet0"})
    assert finding.level == "unknown" and finding.fix == "apt install iproute2"


def test_the_bridge_is_read_from_sysfs_and_iproute2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: dict[str, Any] = {
        "bridge": [
            {"ifname": "eno1", "vlans": [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}, {"vlan": 40, "vlanEnd": 60}]},
            {"ifname": "br0", "vlans": [{"vlan": 1, "flags": ["PVID", "Egress Untagged"]}]},
        ],
    }
    links = [VlanLink("eno1.50", "eno1", "", 50)]
    monkeypatch.setattr(pod_networks, "run_json", lambda *words: printed[words[0]])
    assert pod_networks.observe("br0", links, tmp_path) == Bridge(name="br0", linux=False)
    (tmp_path / "br0/bridge").mkdir(parents=True)
    (tmp_path / "br0/brif/eno1").mkdir(parents=True)
    old_kernel = pod_networks.observe("br0", links, tmp_path)
    assert (old_kernel.filtering, old_kernel.default, old_kernel.ports) == (False, "1", ("eno1",))
    (tmp_path / "br0/bridge/vlan_filtering").write_text("1\n")
    (tmp_path / "br0/bridge/default_pvid").write_text("7\n")
    assert pod_networks.observe("br0", links, tmp_path) == Bridge(
        name="br0",
        filtering=True,
        default="7",
        ports=("eno1",),
        vlans={"eno1": [Membership(1, 1, False), Membership(40, 60, True)], "br0": [Membership(1, 1, False)]},
        taken={"eno1": frozenset({50})},
    )
    monkeypatch.setattr(pod_networks, "run_json", lambda *_words: None)
    assert pod_networks.observe("br0", links, tmp_path).vlans is None


# --- where addresses lead ---

BY_DEFAULT = {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"}


def led(network: NetworkPlan, route: dict[str, Any], *on_it: str, default: dict[str, Any] = BY_DEFAULT) -> Finding:
    finding = pod_networks.assess_routes(network, {IPv4Address("192.168.50.10"): route}, default, on_it)
    levels(finding)
    return finding


@pytest.mark.parametrize(
    ("route", "on_it", "level", "text"),
    [
        (BY_DEFAULT, [], "ok", "no neighbour"),
        ({}, [], "ok", "no neighbour"),
        ({"dst": "192.168.50.0/24", "dev": "br0.50"}, ["br0.50"], "ok", "is reached by br0.50, on VLAN 50"),
        ({"dst": "192.168.50.0/24", "dev": "eth0", "gateway": "10.0.0.7"}, [], "ok", "no neighbour"),
        (
            {"dst": "192.168.50.0/24", "dev": "virbr1"},
            ["br0.50"],
            "warning",
            "by 192.168.50.0/24 by virbr1, which is not known to be",
        ),
        ({"dst": "192.168.0.0/16", "dev": "tun0", "gateway": "10.8.0.1"}, [], "warning", "192.168.0.0/16 by tun0 via 10.8.0.1"),
        ({"type": "local", "dst": "192.168.50.10", "dev": "lo"}, [], "error", "this machine itself has 192.168.50.10"),
    ],
)
def test_where_this_machine_sends_what_is_for_pods(route: dict[str, Any], on_it: list[str], level: str, text: str) -> None:
    (iot,) = networks()
    finding = led(iot, route, *on_it)
    assert finding.level == level and text in finding.observed


def test_a_vpn_that_takes_the_default_route_is_no_other_network() -> None:
    (iot,) = networks()
    vpn = {"dst": "default", "dev": "tun0"}
    assert led(iot, vpn, default=vpn).level == "ok"


def test_addresses_that_are_queried_are_those_of_pods() -> None:
    booked = {name: {"ip": f"192.168.50.{last}"} for name, last in (("a", 10), ("b", 11), ("c", 12), ("d", 13))}
    first = IPv4Address("192.168.50.100")
    (iot,) = networks(iot={**IOT, "range": "192.168.50.100-192.168.50.109", "addresses": booked})
    assert pod_networks.addresses(iot) == [first, *(IPv4Address(f"192.168.50.{last}") for last in (10, 11, 12))]
    (empty,) = networks()
    assert pod_networks.addresses(empty) == [IPv4Address("192.168.50.2")], "not the router, whose address this machine may have"
    (dhcp,) = networks(cameras=CAMERAS)
    assert pod_networks.addresses(dhcp) == [IPv4Address("10.9.0.1")]


def test_interfaces_that_are_on_the_vlan_for_sure() -> None:
    links = [
        {"ifname": "eno1.50", "link": "eno1", "master": "br50", "linkinfo": {"info_kind": "vlan", "info_data": {"id": 50}}},
        {"ifname": "br0.50", "link": "br0", "linkinfo": {"info_kind": "vlan", "info_data": {"id": 50}}},
        {"ifname": "br0.51", "link": "br0", "master": "br51", "linkinfo": {"info_kind": "vlan", "info_data": {"id": 51}}},
        {"ifname": "br50", "linkinfo": {"info_kind": "bridge"}},
        {"ifname": "lo"},
        {},
    ]
    read = pod_networks.vlan_links(links)
    assert read[0] == VlanLink("eno1.50", "eno1", "br50", 50) and len(read) == 3
    assert pod_networks.on_vlan(read, 50) == {"eno1.50", "br50", "br0.50"}
    assert pod_networks.on_vlan(read, None) == frozenset() and pod_networks.vlan_links(None) == []
    assert pod_networks.taken(read) == {"eno1": {50}, "br0": {50, 51}}


# --- the whole ---


def checked(monkeypatch: pytest.MonkeyPatch, route: dict[str, Any], bridge: str = "virbr0", **raw: Any) -> list[Finding]:
    """All findings; the bridge passes everything, and each address has the same route."""
    queried: list[tuple[str, ...]] = []

    def run_json(*words: str) -> object:
        queried.append(words)
        return [BY_DEFAULT if words[-1] == "default" else route] if "route" in words else []

    monkeypatch.setattr(pod_networks, "run_json", run_json)
    monkeypatch.setattr(pod_networks, "observe", lambda name, _links: replace(UNFILTERED, name=name))
    config, plan = planned(podNetworks=raw)
    findings = list(pod_networks.check(plan, config, bridge, {"server-1": ""}))
    assert sum("link" in words for words in queried) <= 1, "the interfaces are read once for all networks"
    return findings


def test_the_nodes_own_network_is_not_checked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(monkeypatch, BY_DEFAULT, **{"macvlan-conf": LAN}) == []


def test_a_vlan_a_second_subnet_and_another_nic(monkeypatch: pytest.MonkeyPatch) -> None:
    second = {"cidr": "192.168.60.0/24", "gateway": "192.168.60.1", "ipam": "static"}
    direct = {"dst": "192.168.60.0/24", "dev": "virbr0"}
    findings = checked(monkeypatch, direct, **{"macvlan-conf": LAN, "iot": IOT, "second": second, "cameras": CAMERAS})
    assert [(finding.level, finding.check) for finding in findings] == [
        ("unknown", "vlan"),  # of a NIC that others have given the machines
        ("ok", "vlan"),
        ("warning", "routes"),
        ("warning", "routes"),  # virbr0 is not VLAN 50
        ("ok", "routes"),  # and it is the second subnet's own
    ]
    assert "podNetworks.cameras is on VLAN 50 of enp2s0" in findings[0].observed
    assert "podNetworks.second is reached by virbr0" in findings[4].observed


def test_without_a_bridge_that_is_known_only_routes_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.check for finding in checked(monkeypatch, BY_DEFAULT, bridge="", iot=IOT)] == ["routes"]


def test_of_a_remote_hypervisor_vlans_are_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    config, plan = planned(
        podNetworks={"macvlan-conf": LAN, "iot": IOT, "other": {**IOT, "vlan": 7, "cidr": "192.168.7.0/24", "gateway": None}},
        hypervisors={"local": {"uri": "qemu+ssh://a@b/system"}},
    )
    monkeypatch.setattr(pod_networks, "check", lambda *_: pytest.fail("this machine's bridges are not the remote's"))
    findings = list(hypervisor.assess(FINE, plan.pools[0], plan, config))
    (vlan,) = [finding for finding in findings if finding.check == "vlan"]
    assert vlan.level == "unknown" and "passes VLAN 7, 50 cannot be checked from here" in vlan.observed
    untagged_config, untagged = planned(hypervisors={"local": {"uri": "qemu+ssh://a@b/system"}})
    assert all(finding.check != "vlan" for finding in hypervisor.assess(FINE, untagged.pools[0], untagged, untagged_config))


def test_a_local_hypervisor_s_bridge_is_checked_with_the_machines_own_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    config, plan = planned(agents={"count": 1}, podNetworks={"macvlan-conf": {**LAN, "addressesPerNode": 5}, "iot": IOT})
    server, agent = plan.nodes[0], plan.nodes[1]
    nic = "<interface type='network'><mac address='{}'/>{}</interface>"
    second = nic.format("52:54:00:00:00:99", "<target dev='vnet9'/>")
    first = nic.format(server.mac.upper(), "<target dev='vnet4'/>")
    other = nic.format(agent.mac, "<target dev='vnet5'/>")
    running = f"<domain><devices>{second}{first}</devices></domain>"
    shut_off = f"<domain><devices>{other}</devices></domain>"
    facts = replace(FINE, domains={server.domain: running, agent.domain: shut_off}, running={server.domain: 4096})
    called: list[Any] = []

    def check(*words: Any) -> Any:
        called.append(words)
        return iter(())

    monkeypatch.setattr(pod_networks, "check", check)
    list(hypervisor.assess(facts, plan.pools[0], plan, config))
    assert called == [(plan, config, "virbr0", {"server-1": "vnet4", "agent-1": ""}, {})]


def test_a_check_that_breaks_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_words: Any) -> Any:
        yield from ()
        raise OSError("no permission")

    monkeypatch.setattr(pod_networks, "check", broken)
    config, plan = planned(podNetworks={"macvlan-conf": LAN, "iot": IOT})
    findings = list(hypervisor.assess(FINE, plan.pools[0], plan, config))
    assert {"pool path", "bridge filter"} <= {finding.check for finding in findings}
    assert [finding.observed for finding in findings if finding.check == "vlan"] == ["could not be checked: no permission"]
