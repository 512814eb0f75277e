"""The picture: current in docs, well-formed, the same for the same stack, and true to the settings."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from cli import kube, stack
from cli.verbs import diagram

from .test_stack import ETH0, NET1, OUTPUTS, PAGE
from .test_stack import pod as kube_pod

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def words(svg: str) -> str:
    return "\n".join(element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("text"))


def test_the_readme_s_picture_is_current() -> None:
    current = (ROOT / "docs/network.svg").read_text()
    assert current == diagram.draw(diagram.EXAMPLE), "run: ./lab diagram --example docs/network.svg"


def test_the_example_has_the_values_of_the_stack_dev() -> None:
    config, plan = stack.load_settings("dev")
    outputs = stack.parse_outputs("dev", OUTPUTS)
    drawn = diagram.view(outputs, config, plan, pods=None, versions={"server-1": config.k3s.version}, bridge="virbr0", notes=())
    example = copy.deepcopy(diagram.EXAMPLE)
    own = example["hypervisors"][0]["nodes"][0]["pods"][0]
    own["interfaces"] = [interface for interface in own["interfaces"] if interface["name"] == "net1"]
    assert drawn == example


def test_pods_of_the_api_stand_on_their_nodes() -> None:
    config, plan = stack.load_settings("dev")
    pods = kube.pods({"items": [kube_pod("mine", "macvlan-conf", [ETH0, NET1]), kube_pod("bare", "macvlan-conf", [ETH0])]})
    data = diagram.view(stack.parse_outputs("dev", OUTPUTS), config, plan, pods=pods, versions={}, bridge="")
    assert [pod["name"] for pod in data["hypervisors"][0]["nodes"][0]["pods"]] == ["mine"]
    assert "net1 192.168.122.200" in words(diagram.draw(data)) and "eth0 10.42.0.3 in the cluster" in words(diagram.draw(data))


def test_each_address_of_an_interface_is_drawn_and_ended_pods_are_not() -> None:
    config, plan = stack.load_settings("dev")
    ended = kube_pod("ended", "macvlan-conf", [ETH0, NET1])
    ended["status"]["phase"] = "Succeeded"
    two = {**NET1, "ips": ["192.168.122.201", "fd00:122::201"]}
    pods = kube.pods({"items": [kube_pod("mine", "macvlan-conf", [ETH0, two]), ended]})
    svg = diagram.draw(diagram.view(stack.parse_outputs("dev", OUTPUTS), config, plan, pods=pods, versions={}, bridge=""))
    assert "net1 192.168.122.201\nnet1 fd00:122::201\n" in words(svg) and "ended" not in words(svg)
    assert "mine 192.168.122.201 fd00:122::201" in svg


def test_a_pod_is_on_its_node_or_where_nobody_knows() -> None:
    config, plan = stack.load_settings("dev")
    two = {**OUTPUTS, "nodes": [*OUTPUTS["nodes"], {**OUTPUTS["nodes"][0], "name": "agent-1"}]}
    data = diagram.view(stack.parse_outputs("dev", two), config, plan, pods=None, versions={}, bridge="")
    assert [pod["name"] for pod in data["unplaced"]] == ["nginx-macvlan"]
    assert "on a node that is not known now" in words(diagram.draw(data))
    bound = {**two, "pages": [{**PAGE, "node": "agent-1"}]}
    data = diagram.view(stack.parse_outputs("dev", bound), config, plan, pods=None, versions={}, bridge="")
    assert data["unplaced"] == [] and data["hypervisors"][0]["nodes"][1]["pods"]


@pytest.mark.parametrize(
    ("kind", "mode", "access", "text"),
    [
        ("macvlan", "bridge", False, "its macvlan children"),
        ("macvlan", "bridge", True, "own macvlan interface (nodeAccess)"),
        ("macvlan", "private", False, "pods on one node do not reach each other"),
        ("macvlan", "vepa", False, "only if the switch sends their frames back"),
        ("ipvlan", "l2", False, "its ipvlan children"),
        ("ipvlan", "l3", False, "that have a route to the pods"),
    ],
)
def test_who_reaches_whom_follows_the_mode(kind: str, mode: str, access: bool, text: str) -> None:
    data = {**diagram.EXAMPLE, "access": access, "attachment": {**diagram.EXAMPLE["attachment"], "type": kind, "mode": mode}}
    svg = diagram.draw(data)
    assert text in words(svg)
    assert ("stroke-dasharray" in svg) != access


def test_text_is_data_and_stays_in_its_box() -> None:
    data: dict[str, Any] = copy.deepcopy(diagram.EXAMPLE)
    data["stack"] = "<script>&\"'"
    data["hypervisors"][0]["nodes"][0]["pods"][0]["name"] = "x" * 200
    data["hypervisors"] += [{"name": "empty", "uri": "qemu+ssh://a/system", "nodes": []}]
    svg = diagram.draw(data)
    ET.fromstring(svg)
    assert "<script>" not in svg and "x" * 60 not in words(svg) and "no machine yet" in words(svg)
    assert "href" not in svg and "url(" not in svg and "@import" not in svg
