"""Devices of nodes: how they are named, which node has which, the label, and what may not be."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import plan, reading
from components.config.devices import DevicePlan
from components.config.problems import SettingsError
from components.config.raw import RawConfiguration

pytestmark = pytest.mark.unit

STICK, GPU = {"usb": "1a86:7523"}, {"pci": "0000:03:00.0"}
SLICES = {"podNetworks": {"macvlan-conf": {"range": "192.168.122.200-192.168.122.210", "addressesPerNode": 3}}}
TWO_HOSTS = {
    "hypervisors": {"local": {}, "b": {"uri": "qemu+ssh://root@b/system"}},
    "network": {
        "kind": "bridge", "name": "br0", "cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "dns": [],
        "nodes": "10.30.0.20-10.30.0.39",
    },
    "podNetworks": {"macvlan-conf": {"range": "10.30.0.200-10.30.0.210", "addressesPerNode": 3}},
}  # fmt: skip


def loaded(raw: dict[str, Any]) -> plan.Plan:
    return reading.load("k3s-macvlan", "dev", RawConfiguration({**SLICES, **raw})).plan


def mistakes(raw: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        loaded(raw)
    return {problem.setting: problem.conflict for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({"usb": "1A86:7523"}, "1a86:7523"),
        ({"usb": "port 1-2"}, "port 1-2"),
        ({"usb": "port 1-2.3.4"}, "port 1-2.3.4"),
        ({"pci": "8086:1572"}, "8086:1572"),
        ({"pci": "0000:0A:1f.7"}, "0000:0a:1f.7"),
    ],
)
def test_a_device_is_named_by_what_it_is_or_by_its_place(given: dict[str, str], choice: str) -> None:
    (device,) = loaded({"servers": {"devices": {"a": given}}}).nodes[0].devices
    (kind,) = given
    assert device == DevicePlan(name="a", kind=kind, choice=choice, optional=False, setting=f"servers.devices.a.{kind}")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "field", "text"),
    [
        ({"usb": "1-2"}, "usb", "such as port 1-2.3"),
        ({"usb": "/dev/ttyUSB0"}, "usb", 'such as "1a86:7523"'),
        ({"usb": "port 1-2; reboot"}, "usb", "not a USB device"),
        ({"pci": "03:00.0"}, "pci", 'in quotes, such as "0000:03:00.0"'),
        # What YAML makes of 0000:03:00.0 without quotes, a number of base 60.
        ({"pci": 180.0}, "pci", "in quotes where YAML would read something else"),
        ({"pci": "0000:03:20.0"}, "pci", "not a PCI device"),
        ({}, "usb", "exactly one of the two"),
        ({**STICK, **GPU}, "usb", "exactly one of the two"),
        ({**STICK, "optional": "yes, please"}, "optional", "neither true nor false"),
    ],
)
def test_what_is_no_device_says_what_to_write(given: dict[str, Any], field: str, text: str) -> None:
    assert text in mistakes({"servers": {"devices": {"a": given}}})[f"servers.devices.a.{field}"]


def test_a_name_is_the_end_of_a_label() -> None:
    assert "1 to 40 lower-case letters" in mistakes({"servers": {"devices": {"A_b": STICK}}})["servers.devices.A_b"]


def test_an_override_adds_to_the_group_s_devices_and_replaces_those_of_its_names() -> None:
    group = {"b": {"usb": "port 1-2", "optional": True}, "a": {"usb": "port 1-3"}}
    nodes = loaded({"agents": {"count": 1, "devices": group, "overrides": {"agent-1": {"devices": {"b": STICK, "c": GPU}}}}}).nodes
    assert nodes[0].devices == () and nodes[0].api_labels == ()
    assert [(device.name, device.choice, device.optional, device.setting) for device in nodes[1].devices] == [
        ("a", "port 1-3", False, "agents.devices.a.usb"),
        ("b", "1a86:7523", False, "agents.overrides.agent-1.devices.b.usb"),
        ("c", "0000:03:00.0", False, "agents.overrides.agent-1.devices.c.pci"),
    ]


def test_a_device_is_a_label_of_the_node_that_the_api_sets() -> None:
    """Not the kubelet, for which K3s reads labels only when the node joins."""
    labels = {"disk": "ssd", "node-role.kubernetes.io/worker": ""}
    (node,) = loaded({"servers": {"labels": labels, "devices": {"zigbee": STICK, "gpu": GPU}}}).nodes
    assert node.labels == ("disk=ssd",)
    assert node.api_labels == (
        ("k3s-macvlan.dev/device-gpu", "true"),
        ("k3s-macvlan.dev/device-zigbee", "true"),
        ("node-role.kubernetes.io/worker", ""),
    )


def test_such_a_label_is_nobody_else_s_to_set() -> None:
    key = "k3s-macvlan.dev/device-zigbee"
    found = mistakes({"servers": {"labels": {key: "false"}, "overrides": {"server-1": {"labels": {key: "true", "a": "b c"}}}}})
    assert "remove it" in found[f"servers.labels.{key}"] and "remove it" in found[f"servers.overrides.server-1.labels.{key}"]
    assert len(found) == 3, "the other label's mistake is reported too"


def test_one_machine_has_a_device() -> None:
    found = mistakes({"agents": {"count": 2, "devices": {"zigbee": STICK}}})
    assert "agent-1 (zigbee), agent-2 (zigbee)" in found.pop("agents.devices.zigbee.usb") and not found
    found = mistakes({"servers": {"devices": {"one": STICK, "two": STICK}}})
    assert "server-1 (one), server-1 (two)" in found["servers.devices.two.usb"]
    found = mistakes({"servers": {"devices": {"a": STICK}}, "agents": {"count": 1, "devices": {"b": {"usb": "1A86:7523"}}}})
    assert "server-1 (a), agent-1 (b)" in found["agents.devices.b.usb"]


def test_nodes_of_two_hypervisors_have_a_device_each() -> None:
    nodes = {"overrides": {"agent-2": {"hypervisor": "b"}}}
    assert len(loaded({**TWO_HOSTS, "agents": {"count": 2, "devices": {"zigbee": STICK}, **nodes}}).nodes) == 3
    assert (
        "zigbee"
        in mistakes({**TWO_HOSTS, "agents": {"count": 3, "devices": {"zigbee": STICK}, **nodes}})["agents.devices.zigbee.usb"]
    )


def test_two_ways_to_name_a_device_are_not_compared_here() -> None:
    both = {"servers": {"devices": {"a": {"pci": "8086:1572"}, "b": {"usb": "8086:1572"}, "c": GPU}}}
    assert len(loaded(both).nodes[0].devices) == 3
