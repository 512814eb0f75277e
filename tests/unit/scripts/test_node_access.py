"""node-access.sh."""

import pytest

from .fake_node import Node

pytestmark = pytest.mark.unit

ON = {
    "ACTION": "on",
    "LINK": "mva-1a2b3c4d",
    "PARENT": "enp1s0",
    "ADDRESS": "192.168.122.150",
    "RANGES": "192.168.122.200/29 192.168.122.208/31",
}


def test_access_is_kept_by_a_unit_and_removed(node: Node) -> None:
    node.command("ip", '#!/bin/sh\necho "$*" >> "$STUB/ip.log"\n')
    node.file("sys/class/net/enp1s0/address", "52:54:00:00:00:01\n")
    node.file("etc/systemd/system/keep.service", "")
    done = node.run("node-access", **ON)
    assert done.returncode == 0, done.stderr
    unit = (node.root / "etc/systemd/system/k3s-macvlan-access-mva-1a2b3c4d.service").read_text()
    assert "link add mva-1a2b3c4d link enp1s0 type macvlan mode bridge\n" in unit
    assert "address add 192.168.122.150/32 dev mva-1a2b3c4d\n" in unit
    assert unit.count("route replace") == 2
    assert "route replace 192.168.122.208/31 dev mva-1a2b3c4d src 192.168.122.150\n" in unit
    for _ in range(2):
        assert node.run("node-access", ACTION="off", LINK=ON["LINK"]).stdout == "access=off\n"
    assert [path.name for path in (node.root / "etc/systemd/system").iterdir()] == ["keep.service"]
    assert (node.stub / "ip.log").read_text().splitlines() == ["link delete mva-1a2b3c4d"] * 2


def test_each_network_has_a_unit_of_its_own_that_starts_after_its_vlan(node: Node) -> None:
    units = node.root / "etc/systemd/system"
    units.mkdir(parents=True)
    for parent in ("enp1s0", "enp1s0.50"):
        node.file(f"sys/class/net/{parent}/address", "52:54:00:00:00:01\n")
    other = {**ON, "LINK": "mva-5e6f7a8b", "PARENT": "enp1s0.50", "ADDRESS": "192.168.50.150"}
    for network in (ON, other):
        assert node.run("node-access", **network).returncode == 0
    assert {path.name for path in units.iterdir()} == {
        "k3s-macvlan-access-mva-1a2b3c4d.service",
        "k3s-macvlan-access-mva-5e6f7a8b.service",
    }
    unit = (units / "k3s-macvlan-access-mva-5e6f7a8b.service").read_text()
    assert "After=network-online.target k3s-macvlan-vlan-enp1s0.50.service\n" in unit
    assert "link add mva-5e6f7a8b link enp1s0.50 type macvlan" in unit


@pytest.mark.parametrize(
    "wrong",
    [
        {"LINK": "a;b"},
        {"LINK": "mva-1a2b3c4d5e6f"},
        {"PARENT": "a;b"},
        {"PARENT": "eth9"},
        {"ADDRESS": "1.2.3.4; reboot"},
        {"RANGES": "$(reboot)"},
        {"ACTION": "maybe"},
    ],
)
def test_access_refuses_what_is_no_address(node: Node, wrong: dict[str, str]) -> None:
    node.file("sys/class/net/enp1s0/address", "52:54:00:00:00:01\n")
    keep = node.file("etc/systemd/system/keep.service", "")
    assert node.run("node-access", **{**ON, **wrong}).returncode == 1
    assert list(keep.parent.iterdir()) == [keep]
