"""node-access.sh."""

import pytest

from .fake_node import Node

pytestmark = pytest.mark.unit


def test_access_is_kept_by_a_unit_and_removed(node: Node) -> None:
    node.command("ip", '#!/bin/sh\necho "$*" >> "$STUB/ip.log"\n')
    node.file("sys/class/net/enp1s0/address", "52:54:00:00:00:01\n")
    node.file("etc/systemd/system/keep.service", "")
    on = {"ACTION": "on", "PARENT": "enp1s0", "ADDRESS": "192.168.122.150", "RANGES": "192.168.122.200/29 192.168.122.208/31"}
    done = node.run("node-access", **on)
    assert done.returncode == 0, done.stderr
    unit = (node.root / "etc/systemd/system/k3s-macvlan-access.service").read_text()
    assert "link add mvaccess0 link enp1s0 type macvlan mode bridge\n" in unit
    assert "address add 192.168.122.150/32 dev mvaccess0\n" in unit
    assert unit.count("route replace") == 2
    assert "route replace 192.168.122.208/31 dev mvaccess0 src 192.168.122.150\n" in unit
    for _ in range(2):
        assert node.run("node-access", ACTION="off").stdout == "access=off\n"
    assert [path.name for path in (node.root / "etc/systemd/system").iterdir()] == ["keep.service"]


@pytest.mark.parametrize(
    "wrong", [{"PARENT": "a;b"}, {"PARENT": "eth9"}, {"ADDRESS": "1.2.3.4; reboot"}, {"RANGES": "$(reboot)"}, {"ACTION": "maybe"}]
)
def test_access_refuses_what_is_no_address(node: Node, wrong: dict[str, str]) -> None:
    node.file("sys/class/net/enp1s0/address", "52:54:00:00:00:01\n")
    on = {"ACTION": "on", "PARENT": "enp1s0", "ADDRESS": "192.168.122.150", "RANGES": "192.168.122.200/29"}
    assert node.run("node-access", **{**on, **wrong}).returncode == 1
    assert not (node.root / "etc/systemd/system/k3s-macvlan-access.service").exists()
