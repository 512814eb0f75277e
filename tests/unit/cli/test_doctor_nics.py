"""Doctor's checks of what the machines' NICs are plugged into."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.checks import hypervisor, nics, pod_networks
from cli.checks.nics import Network, Plug
from cli.findings import Finding

from .test_doctor import FINE, levels, planned
from .test_doctor_networks import UNFILTERED

pytestmark = pytest.mark.unit

RED = Network(
    xml="<network><name>red</name><bridge name='virbr7'/><portgroup name='a'/><portgroup name='b'/></network>",
    active=True,
    autostart=True,
)
ON_RED = Plug(setting="servers.nics.0", network="red", portgroup=None, bridge=None, openvswitch=False, vlan="", mtu=None)
ON_BR1 = replace(ON_RED, network=None, bridge="br1")
ON_SWITCH = replace(ON_BR1, bridge="ovsbr0", openvswitch=True, vlan="trunk 50,60")


def bridge(folder: Path, name: str, *, filtering: str = "0", mtu: str = "1500") -> Path:
    """A bridge of Linux in a sysfs."""
    (folder / name / "bridge").mkdir(parents=True)
    (folder / name / "bridge/vlan_filtering").write_text(f"{filtering}\n")
    (folder / name / "mtu").write_text(f"{mtu}\n")
    return folder / name


@pytest.mark.parametrize(
    ("plug", "networks", "level", "text"),
    [
        (ON_RED, {"red": RED}, [], ""),
        (ON_RED, {}, ["error"], "there is no libvirt network red"),
        (ON_RED, {"red": replace(RED, active=False)}, ["error"], "is not active"),
        (ON_RED, {"red": replace(RED, autostart=False)}, ["warning"], "does not start with the host"),
        (replace(ON_RED, portgroup="b"), {"red": RED}, [], ""),
        (replace(ON_RED, portgroup="c"), {"red": RED}, ["error"], "has no port group c (a, b)"),
    ],
)
def test_a_libvirt_network(plug: Plug, networks: dict[str, Network], level: list[str], text: str) -> None:
    findings = list(nics.assess_network(plug, networks))
    assert levels(findings) == level and all(text in finding.observed for finding in findings)


@pytest.mark.parametrize(
    ("plug", "linux", "filtering", "switch", "level", "text"),
    [
        (ON_BR1, True, "0", None, [], ""),
        (ON_BR1, False, "0", None, ["error"], "this machine has no bridge br1"),
        (replace(ON_BR1, setting="network"), False, "0", None, [], ""),
        (replace(ON_BR1, vlan="50"), True, "1", None, [], ""),
        (replace(ON_BR1, vlan="50"), True, "0", None, ["error"], "bridge br1 does not filter VLANs, and servers.nics.0.vlan is 50"),
        (ON_SWITCH, False, "0", True, [], ""),
        (ON_SWITCH, False, "0", False, ["error"], "Open vSwitch has no bridge ovsbr0"),
        (ON_SWITCH, False, "0", None, ["unknown"], "whether Open vSwitch has the bridge ovsbr0 is not known"),
        (ON_SWITCH, True, "0", True, ["error"], "ovsbr0 is a bridge of Linux, and servers.nics.0.openvswitch is true"),
    ],
)
def test_a_bridge(
    plug: Plug, linux: bool, filtering: str, switch: bool | None, level: list[str], text: str, tmp_path: Path
) -> None:
    folder = bridge(tmp_path, str(plug.bridge), filtering=filtering) if linux else tmp_path / str(plug.bridge)
    findings = list(nics.assess_bridge(plug, folder, switch))
    assert levels(findings) == level and all(text in finding.observed for finding in findings)


def test_an_interface_that_is_no_bridge_of_linux(tmp_path: Path) -> None:
    (tmp_path / "br1").mkdir()
    for plug in (ON_BR1, replace(ON_BR1, setting="network")):
        (finding,) = nics.assess_bridge(plug, tmp_path / "br1", None)
        assert finding.observed == "br1 is no bridge of Linux" and ".openvswitch: true" in finding.fix


def test_each_plug_is_looked_at_once() -> None:
    config, plan = planned(
        network={"kind": "bridge", "name": "br0", "cidr": "10.3.0.0/24", "gateway": "10.3.0.1", "dns": [],
                 "nodes": "10.3.0.9-10.3.0.19", "openvswitch": True, "vlan": 7},
        servers={"count": 3, "nics": [{"bridge": "br1"}, {"network": "red", "portgroup": "a", "mtu": 9000}],
                 "overrides": {"server-2": {"nics": []}}},
        podNetworks={"lan": {"range": "10.3.0.200-10.3.0.209", "addressesPerNode": 2}},
    )  # fmt: skip
    assert [(plug.setting, plug.bridge, plug.network, plug.vlan, plug.mtu) for plug in nics.plugs(config, plan.nodes)] == [
        ("network", "br0", None, "7", None), ("servers.nics.0", "br1", None, "", None), ("servers.nics.1", None, "red", "", 9000),
    ]  # fmt: skip
    assert [plug.setting for plug in nics.plugs(*planned()[:1], planned()[1].nodes)] == []


def whole(
    monkeypatch: pytest.MonkeyPatch, system: Path, *, version: int = 9_000_000, local: bool = True, networks: Any = None, **nic: Any
) -> list[Finding]:
    config, plan = planned(servers={"nics": [nic]})
    monkeypatch.setattr(nics, "SYSTEM", system)
    monkeypatch.setattr(nics, "_open_vswitch", lambda _bridge: True)
    return list(nics.assess(networks or {}, config, plan.nodes, version=version, local=local))


def test_an_old_libvirt_puts_no_vlan_on_a_bridge_of_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bridge(tmp_path, "br1", filtering="1")
    (finding,) = whole(monkeypatch, tmp_path, bridge="br1", vlan=[50, 60])
    assert levels(finding) == ["error"] and finding.observed.startswith("libvirt 9.0 puts no VLAN on ports of Linux bridges")
    assert levels(whole(monkeypatch, tmp_path, bridge="br1", vlan=50, version=11_000_000)) == ["ok"]
    assert levels(whole(monkeypatch, tmp_path, bridge="ovsbr0", vlan=50, openvswitch=True)) == ["ok"]
    (remote,) = whole(monkeypatch, tmp_path, bridge="br1", vlan=50, local=False, version=11_000_000)
    assert remote.level == "unknown" and "cannot be checked from here" in remote.observed


def test_frames_above_what_the_bridge_carries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bridge(tmp_path, "br1")
    bridge(tmp_path, "virbr7", mtu="9000")
    (finding,) = whole(monkeypatch, tmp_path, bridge="br1", mtu=9000)
    assert levels(finding) == ["error"] and finding.observed == "bridge br1 has an MTU of 1500, servers.nics.0.mtu is 9000"
    assert levels(whole(monkeypatch, tmp_path, bridge="br1", mtu=1500)) == ["ok"]
    assert levels(whole(monkeypatch, tmp_path, network="red", mtu=9000, networks={"red": RED})) == ["ok"]


def test_the_networks_are_observed_by_their_names() -> None:
    _, plan = planned(servers={"nics": [{"network": "red"}, {"bridge": "br1"}, {"network": "red", "name": "again"}]})
    queried: list[str] = []

    def lookup(name: str) -> Any:
        queried.append(name)
        return SimpleNamespace(isActive=lambda: 1, autostart=lambda: 0, XMLDesc=lambda _flags: RED.xml)

    found = nics.observe(SimpleNamespace(networkLookupByName=lookup), plan.nodes)
    assert (queried, found) == (["red"], {"red": replace(RED, autostart=False)}) and found["red"].bridge == "virbr7"


def test_the_ports_of_further_nics() -> None:
    config, plan = planned(
        servers={"nics": [{"network": "red"}, {"bridge": "br1"}, {"bridge": "ovsbr0", "openvswitch": True}]},
        agents={"count": 1, "nics": [{"network": "red"}, {"bridge": "br2"}]},
        podNetworks={"lan": {"range": "192.168.122.200-192.168.122.209", "addressesPerNode": 2}},
    )
    server, agent = plan.nodes
    interface = f"<interface><mac address='{server.nics[0].mac.upper()}'/><target dev='vnet4'/></interface>"
    documents = {server.domain: f"<domain><devices>{interface}</devices></domain>", agent.domain: "<domain/>"}
    assert nics.ports(documents, [server.domain], plan.nodes) == {
        "enp2s0": {"server-1": "vnet4", "agent-1": ""}, "enp3s0": {"server-1": "", "agent-1": ""}, "enp4s0": {"server-1": ""},
    }  # fmt: skip
    assert nics.bridges({"red": RED}, plan.nodes) == {"enp2s0": "virbr7"}, (
        "two bridges for enp3s0; the switch's ports are libvirt's"
    )
    assert config.servers.nics[2].openvswitch


def test_vlans_of_networks_on_a_further_nic_are_looked_for_on_its_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_networks, "run_json", lambda *_words: [])
    monkeypatch.setattr(pod_networks, "observe", lambda name, _links: replace(UNFILTERED, name=name))
    config, plan = planned(
        servers={"nics": [{"bridge": "br1"}]},
        podNetworks={"cams": {"vlan": 50, "parent": "enp2s0", "cidr": "10.9.0.0/24", "ipam": "dhcp"}},
    )
    further = {"enp2s0": pod_networks.Ports("br1", {"server-1": ""})}
    findings = list(pod_networks.check(plan, config, "virbr0", {"server-1": ""}, further))
    assert [finding.observed for finding in findings if finding.check == "vlan"] == ["bridge br1 passes VLAN 50 (podNetworks.cams)"]
    unknown = {"enp2s0": pod_networks.Ports("", {"server-1": ""})}
    assert not [finding for finding in pod_networks.check(plan, config, "virbr0", {}, unknown) if finding.check == "vlan"]


def test_a_hypervisor_s_findings_have_those_of_its_nics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nics, "SYSTEM", tmp_path)
    config, plan = planned(servers={"nics": [{"network": "red"}, {"bridge": "br1"}]})
    quiet = '<network><name>red</name><bridge name="virbr7" macTableManager="libvirt"/></network>'
    facts = replace(FINE, nic_networks={"red": replace(RED, xml=quiet)})
    findings = list(hypervisor.assess(facts, plan.pools[0], plan, config))
    assert [finding.observed for finding in findings if finding.check == "nics"] == [
        "the libvirt network red of servers.nics.0 is there", "this machine has no bridge br1",
    ]  # fmt: skip
    assert [finding.observed for finding in findings if "of red has macTableManager" in finding.observed]
