"""Further NICs in the graph: what the domain gets, what runs in the guest and before what, and what a change of them touches."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Run
from .engine import UNKNOWN, Deployment, leaves, merged
from .test_changes import changes
from .test_values import environment

pytestmark = pytest.mark.program

CAMS: dict[str, Any] = {
    "parent": "enp2s0", "vlan": 50, "cidr": "10.7.0.0/24", "range": "10.7.0.100-10.7.0.110", "check": True,
}  # fmt: skip
NICS: dict[str, Any] = {
    "servers": {"nics": [{"bridge": "br1", "mtu": 9000}, {"network": "red", "name": "red", "address": "10.8.0.5/24"}]},
    "podNetworks": {"cams": CAMS, "store": {**CAMS, "parent": "red", "vlan": None, "cidr": "10.8.0.0/24", "range": "10.8.0.9"}},
}


@pytest.fixture
def deployment(deploy: Run) -> Deployment:
    return deploy("dev", NICS)


def test_the_domain_gets_them_by_the_plan(deployment: Deployment) -> None:
    first, second = deployment["server-1-domain"].input("nics")
    assert (first["name"], first["bridge"], first["model"]) == ("enp2s0", "br1", "virtio")
    assert (second["name"], second["network"]) == ("red", "red")
    assert len({first["mac"], second["mac"], deployment["server-1-domain"].input("mac")}) == 3
    assert all(isinstance(value, str) for nic in (first, second) for value in nic.values()), "the engine makes floats of numbers"


def test_a_step_for_each_in_the_guest_after_the_domain_has_it(deployment: Deployment) -> None:
    assert len(deployment.sorted()) == len(deployment.resources)
    steps = {step.name: step for step in deployment.of("Command") if "node-nic.sh" in str(step.input("create"))}
    assert sorted(steps) == ["server-1-nic-enp2s0", "server-1-nic-red"]
    first, second = deployment["server-1-domain"].input("nics")
    assert environment(steps["server-1-nic-enp2s0"].input("create")) == {
        "ACTION": "on", "NAME": "enp2s0", "MAC": first["mac"], "OTHERS": second["mac"], "MTU": "9000", "ADDRESS": "none",
        "LIMIT_SECONDS": "120",
    }  # fmt: skip
    assert environment(steps["server-1-nic-red"].input("create"))["ADDRESS"] == "10.8.0.5/24"
    for step in steps.values():
        assert environment(step.input("delete"))["ACTION"] == "off"
        assert {"server-1-domain", "server-1-answers"} <= deployment.before(step.name)
        assert step.deleted_with == deployment["server-1-domain"].urn
        assert step.name not in deployment.before("server-1-k3s-install"), "K3s is installed meanwhile"


def test_networks_for_pods_wait_for_their_nic(deployment: Deployment) -> None:
    assert "server-1-nic-enp2s0" in deployment.before("server-1-enp2s0.50")
    assert "server-1-nic-enp2s0" in deployment.before("server-1-cams-check")
    assert "server-1-nic-red" in deployment.before("server-1-store-check")
    assert {"server-1-nic-enp2s0", "server-1-nic-red"} <= deployment.before("nginx-macvlan")


def test_a_nic_that_is_added_touches_the_domain_alone(deploy: Run) -> None:
    old, new = deploy("dev"), deploy("dev", {"servers": {"nics": [{"bridge": "br1"}]}})
    assert set(old.resources) <= set(new.resources)
    assert changes(old, new) == {"server-1-domain": "updated"}
    for name in ("server-1-seed", "server-1-disk"):
        assert old[name].inputs == new[name].inputs, "no other first boot"


def test_without_nics_no_input_is_another(deploy: Run) -> None:
    domain = deploy("dev")["server-1-domain"]
    assert domain.input("nics") is None and domain.input("nic_port") is None
    assert not [name for name in deploy("dev").names if "NodeNics" in name]


def test_a_change_of_one_nic_is_its_own(deploy: Run, deployment: Deployment) -> None:
    mtu = merged(NICS, {"servers": {"nics": [{"bridge": "br1", "mtu": 4000}, NICS["servers"]["nics"][1]]}})
    changed = changes(deployment, deploy("dev", mtu))
    assert changed["server-1-nic-enp2s0"] == "updated" and "server-1-domain" not in changed and "server-1-nic-red" not in changed
    model = merged(NICS, {"servers": {"nics": [{"bridge": "br1", "mtu": 9000, "model": "e1000e"}, NICS["servers"]["nics"][1]]}})
    # The pods' interfaces on it are lost with the former device.
    assert changes(deployment, deploy("dev", model)) == {
        "server-1-domain": "updated", "cams-definition": "changed", "nginx-macvlan": "changed",
    }  # fmt: skip
    bridge = merged(NICS, {"servers": {"nics": [{"bridge": "br2", "mtu": 9000}, NICS["servers"]["nics"][1]]}})
    assert changes(deployment, deploy("dev", bridge)) == {"server-1-domain": "updated"}


def test_the_first_nic_s_port(deploy: Run) -> None:
    lan = {
        "network": {
            "kind": "bridge", "name": "br0", "cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "dns": ["10.30.0.1"],
            "nodes": "10.30.0.20-10.30.0.39", "openvswitch": True, "vlan": [50, 60], "nativeVlan": 10, "queues": 2,
        },
        "podNetworks": {"macvlan-conf": {"range": "10.30.0.200-10.30.0.229"}},
    }  # fmt: skip
    port = {"vlan": "trunk 50,60 native 10", "openvswitch": "yes", "queues": "2"}
    assert deploy("dev", lan)["server-1-domain"].input("nic_port") == port


def test_a_second_preview_knows_everything(deploy: Run) -> None:
    again = deploy("dev", NICS, "again")
    for resource in again.resources.values():
        assert [path for path, value in leaves(resource.inputs) if value is UNKNOWN] == [], resource.name
    assert changes(deploy("dev", NICS), again) == {}
