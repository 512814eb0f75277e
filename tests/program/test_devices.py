"""Devices of the hypervisor for nodes: found before anything is made there, given to the machine in place, shown as labels."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Run
from .engine import UNKNOWN, merged
from .test_changes import RESIZED, K, R, U, changes, many

pytestmark = pytest.mark.program

STICK: dict[str, Any] = {"zigbee": {"usb": "1a86:7523"}}
GPU: dict[str, Any] = {"gpu": {"pci": "8086:1572", "optional": True}}


def on_agent(devices: dict[str, Any]) -> dict[str, Any]:
    return merged(many(1, 2), {"agents": {"overrides": {"agent-2": {"devices": devices}}}})


def test_a_stack_without_devices_has_nothing_of_them(deploy: Run) -> None:
    deployment = deploy("dev")
    assert deployment.of("HostDevice") == [] and "host_devices" not in deployment["server-1-domain"].inputs


def test_nothing_is_made_on_a_hypervisor_before_its_devices_are_found(deploy: Run) -> None:
    deployment = deploy("dev", on_agent({**STICK, **GPU}))
    assert len(deployment.sorted()) == len(deployment.resources)
    assert [device.name for device in deployment.of("HostDevice")] == ["agent-2-device-gpu", "agent-2-device-zigbee"]
    for name in ("local-pool", "server-1-domain", "agent-2-domain"):
        assert {"agent-2-device-gpu", "agent-2-device-zigbee"} <= deployment.before(name)
    found = deployment["agent-2-device-zigbee"]
    assert found.input("setting") == "agents.overrides.agent-2.devices.zigbee.usb"
    assert (found.input("kind"), found.input("choice"), found.input("optional")) == ("usb", "1a86:7523", False)
    assert deployment["agent-2-domain"].input("host_devices") == [
        {"name": "gpu", "kind": "pci", "choice": "8086:1572", "optional": True, "address": "0000:03:00.0"},
        {"name": "zigbee", "kind": "usb", "choice": "1a86:7523", "optional": False, "address": "there"},
    ]


def test_the_place_of_a_device_is_not_known_in_the_first_preview_alone(deploy: Run) -> None:
    for mode, address in (("first", UNKNOWN), ("again", "there")):
        (given,) = deploy("dev", on_agent(STICK), mode)["agent-2-domain"].input("host_devices")
        assert given["address"] == address


def test_a_node_with_a_device_has_its_label(deploy: Run) -> None:
    deployment = deploy("dev", on_agent(STICK))
    (patch,) = deployment.of("NodePatch")
    assert patch.input("metadata")["labels"] == {"k3s-macvlan.dev/device-zigbee": "true"}
    assert "agent-2-domain" in deployment.before(patch.name)


@pytest.mark.parametrize("mode", ["up", "again"])
def test_a_usb_device_is_given_to_the_machine_and_nothing_else_changes(deploy: Run, mode: str) -> None:
    old, new = deploy("dev", many(1, 2), mode), deploy("dev", on_agent(STICK), mode)
    assert set(old.resources) <= set(new.resources)
    assert changes(old, new) == {"agent-2-domain": U}
    assert changes(new, old) == {"agent-2-domain": U}


def test_what_may_restart_the_machine_is_waited_for_again(deploy: Run) -> None:
    """A PCI device does where the machine has no free port."""
    old, new = deploy("dev", many(1, 2)), deploy("dev", on_agent(GPU))
    of_agent = {name.replace("server-1", "agent-2"): how for name, how in RESIZED.items() if "settled" not in name}
    assert changes(old, new) == of_agent


def test_another_choice_is_another_device_of_the_same_machine(deploy: Run) -> None:
    old, new = deploy("dev", on_agent(STICK)), deploy("dev", on_agent({"zigbee": {"usb": "port 1-2"}}))
    assert changes(old, new) == {"agent-2-device-zigbee": R, "agent-2-domain": U}
    moved = merged(many(1, 1), {"servers": {"devices": STICK}})
    own = merged(many(1, 1), {"servers": {"overrides": {"server-1": {"devices": STICK}}}})
    assert changes(deploy("dev", moved), deploy("dev", own)) == {"server-1-device-zigbee": K}
