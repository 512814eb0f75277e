"""A stack on several networks: what is made for each, in which order, and what a change of one touches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Run
from .engine import Deployment, merged
from .test_changes import changes
from .test_values import environment

pytestmark = pytest.mark.program

IOT: dict[str, Any] = {
    "vlan": 50,
    "cidr": "192.168.50.0/24",
    "gateway": "192.168.50.1",
    "ipam": "static",
    "addresses": {
        "nginx-macvlan": {"ip": "192.168.50.10", "mac": "02:00:00:00:50:10"},
        "printer": {"ip": "192.168.50.11"},
    },
    "replies": "by-source",
}
LEASED: dict[str, Any] = {"vlan": 60, "cidr": "192.168.60.0/24", "ipam": "dhcp"}
GUESTS: dict[str, Any] = {"vlan": 50, "cidr": "192.168.51.0/24", "range": "192.168.51.100-192.168.51.110", "addressesPerNode": 5}
NETWORKS: dict[str, Any] = {"podNetworks": {"iot": IOT, "leased": LEASED, "guests": GUESTS}}
WORDS = {"macvlan-conf", "iot", "leased", "guests"}


@pytest.fixture
def deployment(deploy: Run) -> Deployment:
    return deploy("dev", NETWORKS)


def test_a_vlan_s_link_is_made_once_and_before_what_needs_it(deployment: Deployment) -> None:
    assert len(deployment.sorted()) == len(deployment.resources)
    links = [step.name for step in deployment.of("Command") if "vlan-link.sh" in str(step.input("create"))]
    assert sorted(links) == ["server-1-enp1s0.50", "server-1-enp1s0.60"], "networks share it"
    for network, link in (("iot", "50"), ("guests", "50"), ("leased", "60")):
        assert f"server-1-enp1s0.{link}" in deployment.before(f"server-1-{network}-check")
    assert {f"server-1-enp1s0.{link}" for link in ("50", "60")} <= deployment.before("nginx-macvlan")
    step = deployment["server-1-enp1s0.50"]
    assert environment(step.input("create")) == {"ACTION": "on", "PARENT": "enp1s0", "VLAN": "50"}
    assert environment(step.input("delete"))["ACTION"] == "off"
    assert "server-1-k3s-install" not in deployment.before(step.name), "it is made while K3s is installed"
    assert step.name not in deployment.before("server-1-k3s-install")
    assert step.deleted_with == deployment["server-1-domain"].urn


def test_the_daemon_of_dhcp_is_there_for_networks_that_need_it(deploy: Run, deployment: Deployment) -> None:
    assert "server-1-k3s-plugins-install" in deployment.before("server-1-dhcp")
    assert "server-1-dhcp" in deployment.before("nginx-macvlan")
    assert environment(deployment["server-1-dhcp"].input("create"))["BIN_DIR"] == "/var/lib/rancher/k3s/data/cni"
    assert "server-1-dhcp" not in {step.name for step in deploy("dev").of("Command")}


def test_the_plugins_that_the_networks_need_are_installed_by_themselves(deployment: Deployment) -> None:
    assert environment(deployment["server-1-k3s-plugins-install"].input("create"))["PLUGINS"] == "dhcp macvlan sbr static tuning"
    assert environment(deployment["server-1-multus-gate"].input("create"))["PLUGINS"] == "dhcp macvlan sbr static tuning"


def test_the_pod_is_on_all_networks_with_what_the_book_has_for_it(deployment: Deployment) -> None:
    requested = json.loads(deployment["nginx-macvlan"].input("metadata")["annotations"]["k8s.v1.cni.cncf.io/networks"])
    assert requested == [
        {"name": "macvlan-conf", "namespace": "default"},
        {"name": "guests", "namespace": "default"},
        {"name": "iot", "namespace": "default", "ips": ["192.168.50.10/24"], "mac": "02:00:00:00:50:10"},
        {"name": "leased", "namespace": "default"},
    ]
    assert [page["network"] for page in deployment.outputs["pages"]] == ["macvlan-conf", "guests", "iot", "leased"]
    attachments = deployment.outputs["attachments"]
    assert attachments.keys() == WORDS
    assert json.loads(attachments["iot"]["printer"]) == [{"name": "iot", "namespace": "default", "ips": ["192.168.50.11/24"]}]


def test_pages_must_be_served_on_the_nodes_own_network_or_where_the_settings_say_so(deploy: Run) -> None:
    def required(change: dict[str, Any]) -> dict[str, bool]:
        deployed = deploy("dev", merged(NETWORKS, change))
        return {name: deployed[f"nginx-macvlan-{name}-proof"].input("required") for name in WORDS}

    assert required({}) == {"macvlan-conf": True, "iot": False, "leased": False, "guests": False}
    assert required({"proof": {"networks": ["iot"]}}) == {"macvlan-conf": False, "iot": True, "leased": False, "guests": False}


def test_a_pod_on_some_networks_has_pages_on_these_alone(deploy: Run) -> None:
    deployed = deploy("dev", merged(NETWORKS, {"workload": {"networks": ["iot"]}}))
    assert [page["network"] for page in deployed.outputs["pages"]] == ["iot"]
    assert not {"leased-definition", "server-1-dhcp"} & deployed.before("nginx-macvlan")


def test_a_network_that_is_added_touches_no_machine(deploy: Run) -> None:
    old, new = deploy("dev"), deploy("dev", {"podNetworks": {"iot": IOT}})
    assert set(old.resources) <= set(new.resources)
    assert changes(old, new) == {
        "nginx-macvlan": "changed",
        "server-1-k3s-plugins-install": "updated",
        "server-1-multus-gate": "updated",
    }
    unattached = merged(
        {"podNetworks": {"iot": {**IOT, "replies": "by-destination"}}}, {"workload": {"networks": ["macvlan-conf"]}}
    )
    assert "nginx-macvlan" not in changes(old, deploy("dev", unattached))


def test_a_change_of_one_network_touches_what_is_its_own(deploy: Run, deployment: Deployment) -> None:
    others = WORDS - {"iot"}
    for change in ({"routes": [{"to": "10.20.0.0/16"}]}, {"replies": "by-destination"}, {"gateway": "192.168.50.2"}, {"vlan": 55}):
        changed = changes(deployment, deploy("dev", merged(NETWORKS, {"podNetworks": {"iot": change}})))
        touched = {name for name in others if any(name in resource for resource in changed if resource != "nginx-macvlan-" + name)}
        assert touched == set(), change
        assert "nginx-macvlan" in changed and "iot-definition" in changed, change
    printer = {"addresses": {"printer": {"ip": "192.168.50.12"}}}
    assert changes(deployment, deploy("dev", merged(NETWORKS, {"podNetworks": {"iot": printer}}))).keys() <= {"server-1-iot-check"}


def test_a_second_preview_of_many_networks_knows_everything(deploy: Run) -> None:
    assert changes(deploy("dev", NETWORKS, "up"), deploy("dev", NETWORKS, "again")) == {}
