"""The CNI configuration of the network, the pod's annotation, and what its status says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi import RunError

from components.config.addresses import AddressRange
from components.config.reading import parse
from components.config.settings import IPVLAN_MODES, MACVLAN_MODES
from components.network.pod import attachment, second_interface
from components.network.pod_network import canonical, configuration

pytestmark = pytest.mark.unit
steady = settings(deadline=None, database=None, derandomize=True)
STATUS = "k8s.v1.cni.cncf.io/network-status"


def made(**macvlan: Any) -> dict[str, Any]:
    settings = parse("dev", {"macvlan": macvlan})
    return configuration(settings.macvlan, settings.network, "enp1s0", settings.macvlan.range)


def test_the_articles_network_to_the_letter() -> None:
    article = {
        "cniVersion": "0.3.1",
        "name": "macvlan-conf",
        "type": "macvlan",
        "master": "enp1s0",
        "mode": "bridge",
        "ipam": {
            "type": "host-local",
            "subnet": "192.168.122.0/24",
            "rangeStart": "192.168.122.200",
            "rangeEnd": "192.168.122.210",
            "routes": [{"dst": "0.0.0.0/0"}],
            "gateway": "192.168.122.1",
        },
    }
    assert made(defaultRoute=True, dataDirectory=None) == article


def test_the_default_has_no_route_and_no_gateway() -> None:
    ipam = made()["ipam"]
    assert ipam["routes"] == []
    assert "gateway" not in ipam
    assert ipam["dataDir"] == "/run/cni/macvlan"


@pytest.mark.parametrize(
    ("kind", "mode"), [("macvlan", mode) for mode in MACVLAN_MODES] + [("ipvlan", mode) for mode in IPVLAN_MODES]
)
@pytest.mark.parametrize("ipam", ["host-local", "static"])
def test_each_mode(kind: str, mode: str, ipam: str) -> None:
    document = made(type=kind, mode=mode, ipam=ipam, mtu=1400, cniVersion="1.0.0")
    assert (document["type"], document["mode"], document["mtu"], document["cniVersion"]) == (kind, mode, 1400, "1.0.0")
    assert document["ipam"]["type"] == ipam
    if ipam == "static":
        assert document["capabilities"] == {"ips": True}
        assert document["ipam"]["routes"] == []
    else:
        assert "capabilities" not in document
        assert document["ipam"]["subnet"] == "192.168.122.0/24"
    assert "mtu" not in made(type=kind, mode=mode)


def test_routes_go_through_the_gateway() -> None:
    local = made(routes=["10.0.0.0/8", "172.16.0.0/12"])["ipam"]
    assert local["routes"] == [{"dst": "10.0.0.0/8"}, {"dst": "172.16.0.0/12"}]
    assert local["gateway"] == "192.168.122.1"
    static = made(ipam="static", routes=["10.0.0.0/8"], defaultRoute=True)["ipam"]
    assert static["routes"] == [{"dst": "0.0.0.0/0", "gw": "192.168.122.1"}, {"dst": "10.0.0.0/8", "gw": "192.168.122.1"}]


def test_multicast_goes_out_on_the_network_itself() -> None:
    """With a gateway, 239.1.1.1 went via 192.168.122.1 as unicast; with gw 0.0.0.0 the route has none (measured)."""
    local = made(routes=["10.9.0.0/16", "224.0.0.0/4", "239.1.0.0/16"])["ipam"]
    assert local["routes"] == [
        {"dst": "10.9.0.0/16"}, {"dst": "224.0.0.0/4", "gw": "0.0.0.0"}, {"dst": "239.1.0.0/16", "gw": "0.0.0.0"},
    ]  # fmt: skip
    assert local["gateway"] == "192.168.122.1"
    alone = made(routes=["224.0.0.0/4"])["ipam"]
    assert "gateway" not in alone
    static = made(ipam="static", routes=["224.0.0.0/4", "10.9.0.0/16"])["ipam"]
    assert static["routes"] == [{"dst": "10.9.0.0/16", "gw": "192.168.122.1"}, {"dst": "224.0.0.0/4"}]


def test_a_slice_is_the_range_of_its_node() -> None:
    settings = parse("dev", {})
    ipam = configuration(settings.macvlan, settings.network, "enp1s0", AddressRange.parse("192.168.122.202-192.168.122.203"))[
        "ipam"
    ]
    assert (ipam["rangeStart"], ipam["rangeEnd"]) == ("192.168.122.202", "192.168.122.203")


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@steady
@given(st.dictionaries(st.text(), DOCUMENTS), st.randoms(use_true_random=False))
def test_canonical_json_is_equal_where_the_documents_are(document: dict[str, Any], random: Any) -> None:
    items = list(document.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(document)
    assert json.loads(canonical(document)) == document
    assert canonical(document).isascii()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({}, "macvlan-conf"),
        ({"macvlan": {"name": "lan"}}, "lan"),
        ({"macvlan": {"namespace": "nets"}}, "nets/macvlan-conf"),
        ({"macvlan": {"namespace": "a"}, "workload": {"namespace": "a"}}, "macvlan-conf"),
        (
            {"workload": {"address": "192.168.122.203"}},
            '[{"name": "macvlan-conf", "namespace": "default", "ips": ["192.168.122.203/24"]}]',
        ),
    ],
)
def test_the_pods_annotation(raw: dict[str, Any], text: str) -> None:
    settings = parse("dev", raw)
    assert attachment(settings.macvlan, settings.workload, settings.network) == text


ETH0 = {"name": "cbr0", "interface": "eth0", "ips": ["10.42.0.9"], "mac": "0a:00:00:00:00:02", "default": True}
NET1 = {"name": "default/macvlan-conf", "interface": "net1", "ips": ["192.168.122.200"], "mac": "6a:00:00:00:00:01"}


def test_the_second_interface_is_net1() -> None:
    assert second_interface({STATUS: json.dumps([ETH0, NET1])}, "p") == NET1
    assert second_interface({STATUS: json.dumps([NET1, ETH0])}, "p") == NET1


@pytest.mark.parametrize(
    "annotations",
    [
        None,
        {},
        {STATUS: "[]"},
        {STATUS: json.dumps([ETH0])},
        {STATUS: json.dumps([ETH0, {**NET1, "ips": []}])},
        {STATUS: json.dumps([ETH0, {**NET1, "mac": ""}])},
        {STATUS: "null"},
        {STATUS: '{"a": 1}'},
    ],
)
def test_a_pod_without_it_is_an_error_that_says_what_to_do(annotations: Any) -> None:
    with pytest.raises(RunError, match=r"pod p runs without net1.*kubectl delete pod p"):
        second_interface(annotations, "p")
