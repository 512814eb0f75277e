"""The picture: current in docs, well-formed, the same for the same stack, and true to the settings."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from cli import kube, stack
from cli.kube import Definition
from cli.verbs import diagram
from components.config import plan as plans
from components.config import reading

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


def test_a_machine_s_data_disks_are_named() -> None:
    config, plan = stack.load_settings("dev")
    disks = [{"name": "rancher", "serial": "server-1-rancher", "gib": 40.0, "mount": "/var/lib/rancher", "keep": True}]
    outputs = {**OUTPUTS, "nodes": [{**OUTPUTS["nodes"][0], "disks": disks}]}
    data = diagram.view(stack.parse_outputs("dev", outputs), config, plan, pods=[], versions={}, bridge="")
    assert "virtual machine  ·  data disks rancher 40 GiB" in diagram.draw(data)


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
    network = {**diagram.EXAMPLE["networks"][0], "type": kind, "mode": mode, "access": access}
    svg = diagram.draw({**diagram.EXAMPLE, "networks": [network]})
    assert text in words(svg)
    assert ("stroke-dasharray" in svg) != access


@pytest.mark.parametrize(
    ("network", "subtitle"),
    [
        (
            {"range": "192.168.122.200-192.168.122.210", "booked": 2},
            "pods 192.168.122.200 \u2013 192.168.122.210 and 2 booked by macvlan",
        ),
        ({"ipam": "static", "range": "", "booked": 1}, "pods at 1 booked address by macvlan"),
        ({"ipam": "dhcp", "range": ""}, "pods at the DHCP server's addresses by macvlan"),
    ],
)
def test_which_addresses_pods_have_follows_ipam(network: dict[str, Any], subtitle: str) -> None:
    data = {**diagram.EXAMPLE, "networks": [{**diagram.EXAMPLE["networks"][0], **network}]}
    assert subtitle in words(diagram.draw(data))


# --- several networks ---

NETWORKS: dict[str, Any] = {
    "macvlan-conf": {"range": "192.168.122.200-192.168.122.210"},
    "iot": {
        "vlan": 50,
        "cidr": "192.168.50.0/24",
        "gateway": "192.168.50.1",
        "ipam": "static",
        "ipv6": "accept",
        "addresses": {"nginx-macvlan": {"ip": "192.168.50.12"}},
    },
    "cameras": {"parent": "enp2s0", "cidr": "10.9.0.0/24", "ipam": "dhcp"},
}


def several(pods: list[dict[str, Any]] | None, pages: list[dict[str, Any]] | None = None, **networks: Any) -> dict[str, Any]:
    config = reading.parse("dev", {"podNetworks": networks or NETWORKS})
    plan = plans.make("k3s-macvlan", "dev", config)
    outputs = stack.parse_outputs("dev", {**OUTPUTS, "pages": pages or [PAGE]})
    own = Definition(network="office/own", type="macvlan", master="enp1s0.50")
    known = None if pods is None else kube.pods({"items": pods})
    return diagram.view(outputs, config, plan, pods=known, versions={}, bridge="virbr0", definitions=(own,))


def interface(network: str, name: str, *ips: str) -> dict[str, Any]:
    return {"name": network, "interface": name, "ips": list(ips), "mac": "02:00:00:00:00:01"}


THREE = kube_pod(
    "mine",
    "",
    [
        ETH0,
        interface("default/macvlan-conf", "net1", "192.168.122.200"),
        interface("default/iot", "net2", "192.168.50.12"),
        interface("default/cameras", "net3", "10.9.0.77"),
    ],
)


def test_every_network_is_drawn_with_its_vlan_nic_and_addresses() -> None:
    svg = diagram.draw(several([THREE]))
    ET.fromstring(svg)
    text = words(svg)
    for expected in (
        "enp1s0\n", "enp1s0.50\n", "enp2s0\n",
        "VLAN 50 of enp1s0: iot", "enp2s0: cameras",
        "Machines on VLAN 50 of enp1s0\n192.168.50.0/24\nrouter 192.168.50.1", "Machines on enp2s0\n10.9.0.0/24",
        "net1 192.168.122.200 macvlan-conf", "net2 192.168.50.12 iot", "net3 10.9.0.77 cameras", "eth0 10.42.0.3 in the cluster",
        "macvlan-conf: enp1s0, 192.168.122.0/24, pods 192.168.122.200 \u2013 192.168.122.210 (host-local), macvlan, mode bridge",
        "iot: VLAN 50 of enp1s0, 192.168.50.0/24, pods at 1 booked address (static), macvlan, mode bridge; IPv6 from any router",
        "cameras: enp2s0, 10.9.0.0/24, pods at the DHCP server's addresses (dhcp)",
        "nodes have no address of their own on it, and reach its pods by way of its router 192.168.50.1 alone",
    ):  # fmt: skip
        assert expected in text, f"{expected}: {text}"
    assert "mine 192.168.122.200 192.168.50.12 10.9.0.77" in svg


def colors_of_dots(svg: str) -> list[str]:
    return [
        element.get("fill") or ""
        for element in ET.fromstring(svg).iter()
        if element.tag.endswith("circle") and element.get("r") == "4"
    ]


def test_each_link_has_a_line_of_its_own_to_each_pod_on_it() -> None:
    green, blue, brown, *_ = diagram._LINES
    neighbours = [green, green, blue, brown]
    assert colors_of_dots(diagram.draw(several([THREE]))) == [green, brown, blue, *neighbours]
    one = kube_pod("one", "", [ETH0, interface("default/iot", "net1", "192.168.50.10", "fd00::1")])
    assert colors_of_dots(diagram.draw(several([one]))) == [brown, *neighbours]


def test_a_pod_that_is_not_on_the_nodes_own_link_is_not_crossed_off() -> None:
    iot = kube_pod("one", "", [ETH0, interface("default/iot", "net1", "192.168.50.10")])
    assert "stroke-dasharray" not in diagram.draw(several([iot])) and "stroke-dasharray" in diagram.draw(several([THREE]))


def test_networks_of_others_are_on_a_link_that_is_drawn_or_on_none() -> None:
    theirs = kube_pod(
        "a", "", [ETH0, interface("office/own", "net1", "192.168.50.9"), interface("office/else", "net2", "10.0.0.9")]
    )
    data = several([theirs])
    assert [(entry["network"], entry["link"]) for entry in data["hypervisors"][0]["nodes"][0]["pods"][0]["interfaces"]] == [
        ("office/own", "enp1s0.50"),
        ("office/else", ""),
        ("", ""),
    ]
    svg = diagram.draw(data)
    assert colors_of_dots(svg)[:-4] == [diagram._LINES[2]] and "net2 10.0.0.9 office/else" in words(svg)


def test_one_network_on_a_vlan_is_not_the_nodes_own() -> None:
    svg = diagram.draw(several(None, [{**PAGE, "network": "iot", "address": "192.168.50.12"}], iot=NETWORKS["iot"]))
    text = words(svg)
    assert "net1 192.168.50.12 iot" in text and "VLAN 50 of enp1s0: iot" in text and "192.168.122.180" in text
    assert "stroke-dasharray" not in svg and "the kernel passes nothing" not in text


def test_two_networks_of_one_link_share_its_line() -> None:
    second = {"cidr": "192.168.60.0/24", "gateway": "192.168.60.1", "ipam": "static"}
    both = [interface("default/macvlan-conf", "net1", "192.168.122.200"), interface("default/second", "net2", "192.168.60.9")]
    data = several([kube_pod("a", "", [ETH0, *both])], **{"macvlan-conf": NETWORKS["macvlan-conf"], "second": second})
    svg = diagram.draw(data)
    assert colors_of_dots(svg) == [diagram._LINES[0]] * 3
    assert "second: enp1s0, 192.168.60.0/24" in words(svg) and "net2 192.168.60.9 second" in words(svg)


def test_without_the_api_a_pod_has_the_addresses_of_its_pages() -> None:
    pages = [
        {**PAGE, "network": "macvlan-conf"},
        {**PAGE, "network": "iot", "url": "http://192.168.50.12/", "address": "192.168.50.12", "status": 0, "title": ""},
    ]
    (pod,) = several(None, pages)["hypervisors"][0]["nodes"][0]["pods"]
    assert [(entry["name"], entry["address"], entry["link"]) for entry in pod["interfaces"]] == [
        ("net1", "192.168.122.200", "enp1s0"),
        ("net2", "192.168.50.12", "enp1s0.50"),
    ]


def test_more_links_than_colors_begin_again() -> None:
    many: dict[str, Any] = {
        f"n{number}": {"vlan": number, "cidr": f"10.0.{number}.0/24", "ipam": "dhcp"} for number in range(2, 12)
    }
    svg = diagram.draw(several([], **many))
    ET.fromstring(svg)
    assert all(f"enp1s0.{number}\n" in words(svg) for number in range(2, 12))


def test_what_the_nic_of_a_network_is_plugged_into() -> None:
    lan2 = {"parent": "enp2s0", "cidr": "10.20.0.0/24", "range": "10.20.0.100"}
    config = reading.parse(
        "dev", {"servers": {"nics": [{"bridge": "br1"}]}, "podNetworks": {"lan2": lan2, "iot": {**lan2, "vlan": 50}}}
    )
    plan = plans.make("k3s-macvlan", "dev", config)
    data = diagram.view(stack.parse_outputs("dev", OUTPUTS), config, plan, pods=None, versions={}, bridge="virbr0")
    assert [network["on"] for network in data["networks"]] == ["bridge br1", "bridge br1"]
    drawn = words(diagram.draw(data))
    assert "lan2: enp2s0 on bridge br1, 10.20.0.0/24" in drawn and "iot: VLAN 50 of enp2s0 on bridge br1" in drawn


def test_text_is_data_and_stays_in_its_box() -> None:
    data: dict[str, Any] = copy.deepcopy(diagram.EXAMPLE)
    data["stack"] = "<script>&\"'"
    data["hypervisors"][0]["nodes"][0]["pods"][0]["name"] = "x" * 200
    data["networks"] += [{**data["networks"][0], "name": "<b>", "link": "enp1s0.7", "vlan": 7, "of_nodes": False}]
    data["hypervisors"] += [{"name": "empty", "uri": "qemu+ssh://a/system", "nodes": []}]
    svg = diagram.draw(data)
    ET.fromstring(svg)
    assert "<script>" not in svg and "<b>" not in svg and "x" * 60 not in words(svg) and "no machine yet" in words(svg)
    assert "href" not in svg and "url(" not in svg and "@import" not in svg
