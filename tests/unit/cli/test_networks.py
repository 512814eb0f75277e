"""What a pod's annotation requests by Multus's rules, and where a pod has something else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import networks

pytestmark = pytest.mark.unit


def requested(annotation: str | list[Any]) -> tuple[networks.NetworkSelection, ...]:
    return networks.requests(annotation if isinstance(annotation, str) else json.dumps(annotation), "office")


def has(*entries: tuple[str, str, list[str], str]) -> tuple[networks.Interface, ...]:
    """Of (interface, network, addresses, MAC address), behind the cluster's own."""
    own = [("eth0", "cbr0", ["10.42.0.3"], "aa:00:00:00:00:01")]
    return networks.interfaces(
        json.dumps([{"interface": name, "name": net, "ips": ips, "mac": mac} for name, net, ips, mac in (*own, *entries)])
    )


LAN = "default/macvlan-conf"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("", []),
        ("[]", []),
        ("lan", [("office/lan", "")]),
        (" lan , default/macvlan-conf@front ", [("office/lan", ""), (LAN, "front")]),
        ("default / lan @ eth5", [("default/lan", "eth5")]),
        ("lan@Eth.1", [("office/lan", "Eth.1")]),
        ("lan,lan", [("office/lan", ""), ("office/lan", "")]),
        ("lan@", [("office/lan", "")]),
        ('[{"name": "lan"}]', [("office/lan", "")]),
        (' [{"NAME": "lan", "nameSpace": "x", "Interface": "front"}]', [("x/lan", "front")]),  # Go's decoder takes any case
        ('[{"name": "lan", "namespace": null, "ips": null, "mac": null}]', [("office/lan", "")]),
        ('[{"name": "lan", "interfaceRequest": "old"}]', [("office/lan", "old")]),
        ('[{"name": "lan", "interface": "new", "interfaceRequest": "old"}]', [("office/lan", "new")]),
        ('[{"name": "lan", "cni-args": {"a": 1}, "deviceID": "x", "unknown": [1]}]', [("office/lan", "")]),
        ('[{"name": "lan", "ipam-claim-reference": 7}]', [("office/lan", "")]),  # not one of Multus's own fields
    ],
)
def test_both_forms_are_read(annotation: str, expected: list[tuple[str, str]]) -> None:
    assert [(selection.network, selection.interface) for selection in requested(annotation)] == expected


def test_every_field_of_an_entry_is_read() -> None:
    (entry,) = requested(
        [
            {
                "name": "lan",
                "namespace": "default",
                "interface": "front",
                "ips": ["192.168.122.207/24", "fd00::7"],
                "mac": "02:00:00:00:00:07",
                "infiniband-guid": "c2:11:22:33:44:55:66:77",
                "default-route": ["192.168.122.1", "fd00::1"],
                "ipam-claim-reference": "claim",
            }
        ]
    )
    assert entry.model_dump(by_alias=True) == {
        "name": "lan",
        "namespace": "default",
        "interface": "front",
        "ips": ("192.168.122.207/24", "fd00::7"),
        "mac": "02:00:00:00:00:07",
        "infiniband-guid": "c2:11:22:33:44:55:66:77",
        "default-route": ("192.168.122.1", "fd00::1"),
        "ipam-claim-reference": "claim",
    }


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("a/b/c", "namespace/name@interface"),
        ("a@b@c", "namespace/name@interface"),
        ("Lan", "lower-case"),
        ("lan.home", "lower-case"),
        ("-lan", "lower-case"),
        ("lan@0123456789abcdef", "at most 15"),
        ("lan@a b", "at most 15"),
        ("lan,", "names no network"),
        (" ", "names no network"),
        ('[{"interface": "x"}]', "names no network"),
        ('{"name": "lan"}', "no list"),
        ('"lan"', "no list"),
        ("[{", "no JSON"),
        ("[null]", "entry 1: is not an object"),
        ('[{"name": "a"}, "b"]', "entry 2: is not an object"),
        ('[{"name": 1}]', "entry 1, name"),
        ('[{"name": "a", "ips": "192.168.122.7"}]', "entry 1, ips"),
        ('[{"name": "a", "ips": ["192.168.122.300"]}]', "'192.168.122.300' is no IP address"),
        ('[{"name": "a", "ips": ["192.168.122.7/33"]}]', "is no IP address"),
        ('[{"name": "a", "ips": ["192.168.122.7/255.255.255.0"]}]', "is no IP address"),
        ('[{"name": "a", "ips": ["fe80::1%eth0"]}]', "is no IP address"),
        ('[{"name": "a", "default-route": ["192.168.122.1/24"]}]', "is no IP address"),
        ('[{"name": "a", "mac": "02:00:00:00:00"}]', "is no MAC address"),
        ('[{"name": "a", "mac": "02:00-00:00:00:07"}]', "is no MAC address"),
        ('[{"name": "a", "infiniband-guid": "x"}]', "is no MAC address"),
    ],
)
def test_what_multus_refuses_is_refused_with_the_reason(annotation: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        requested(annotation)


@given(st.text(alphabet='[]{}"ab/@,: \n.-', max_size=30))
def test_an_annotation_is_read_or_refused(annotation: str) -> None:
    try:
        selections = networks.requests(annotation, "office")
    except ValueError as error:
        assert str(error)
    else:
        assert all(selection.name and selection.namespace for selection in selections)


# --- what is requested against what is there ---


def test_a_pod_with_all_it_requests() -> None:
    wanted = requested(
        [
            {"name": "macvlan-conf", "namespace": "default", "ips": ["192.168.122.207/24"], "mac": "02-00-00-00-00-AB"},
            {"name": "six", "ips": ["fd00:0::7/64"], "interface": "v6"},
        ]
    )
    given_to_it = has(
        ("net1", LAN, ["192.168.122.207"], "02:00:00:00:00:ab"), ("v6", "office/six", ["10.0.0.1", "fd00::7"], "02:00:00:00:00:ac")
    )
    assert networks.differences(wanted, given_to_it) == ()


@pytest.mark.parametrize(
    ("annotation", "given_to_it", "expected"),
    [
        # Another address and MAC address than requested.
        (
            [{"name": "macvlan-conf", "namespace": "default", "ips": ["192.168.122.207/24"], "mac": "02:00:00:00:00:07"}],
            has(("net1", LAN, ["192.168.122.201"], "c2:00:00:00:00:01")),
            [
                "asks for the address 192.168.122.207/24 on net1 (default/macvlan-conf), which has 192.168.122.201",
                "asks for the MAC address 02:00:00:00:00:07 on net1 (default/macvlan-conf), which has c2:00:00:00:00:01",
            ],
        ),
        # One of two networks, with two addresses: as many lines as requested, and not what was requested.
        (
            "default/macvlan-conf,lan",
            has(("net1", LAN, ["192.168.122.201", "fd00::1"], "")),
            ["has no interface on office/lan"],
        ),
        # One network twice is two interfaces.
        (
            "default/macvlan-conf,default/macvlan-conf",
            has(("net1", LAN, ["192.168.122.201"], "")),
            ["has no interface on default/macvlan-conf"],
        ),
        # A network of the same name in another namespace.
        ("macvlan-conf", has(("net1", LAN, ["192.168.122.201"], "")), ["has no interface on office/macvlan-conf"]),
        # The silent fallback: eth0 alone.
        ("default/macvlan-conf", has(), ["has no interface on default/macvlan-conf"]),
        ("default/macvlan-conf", (), ["has no interface on default/macvlan-conf"]),
        # Names of interfaces.
        (
            "default/macvlan-conf@front",
            has(("net1", LAN, [], "")),
            ["asks for the interface front on default/macvlan-conf, which is named net1"],
        ),
        ("lan@front", has(("front", LAN, [], "")), ["has no interface front on office/lan; front is on default/macvlan-conf"]),
        # One of two addresses.
        (
            [{"name": "lan", "ips": ["10.0.0.1/24", "fd00::1/64"]}],
            has(("net1", "office/lan", ["10.0.0.1"], "")),
            ["asks for the address fd00::1/64 on net1 (office/lan), which has 10.0.0.1"],
        ),
        ([{"name": "lan", "ips": ["10.0.0.1"]}], has(("net1", "office/lan", [], "")), ["which has none"]),
        ([{"name": "lan", "mac": "02:00:00:00:00:07"}], has(("net1", "office/lan", [], "")), ["which has none"]),
    ],
)
def test_each_difference_is_reported(annotation: Any, given_to_it: tuple[networks.Interface, ...], expected: list[str]) -> None:
    differences = networks.differences(requested(annotation), given_to_it)
    assert len(differences) == len(expected)
    assert all(word in line for word, line in zip(expected, differences, strict=True)), differences


def test_entries_are_compared_with_their_own_interface() -> None:
    wanted = requested([{"name": "lan", "ips": ["10.0.0.1"]}, {"name": "lan", "ips": ["10.0.0.2"], "interface": "back"}])
    right = (("back", "office/lan", ["10.0.0.2"], ""), ("net1", "office/lan", ["10.0.0.1"], ""))
    assert networks.differences(wanted, has(*right)) == ()
    swapped = (("net1", "office/lan", ["10.0.0.2"], ""), ("back", "office/lan", ["10.0.0.1"], ""))
    assert len(networks.differences(wanted, has(*swapped))) == 2


def test_default_networks_before_the_requested_ones_shift_their_names() -> None:
    interfaces = has(("net1", "kube-system/always", ["10.0.0.9"], ""), ("net2", "office/lan", ["10.0.0.1"], ""))
    assert networks.differences(requested([{"name": "lan", "ips": ["10.0.0.1"]}]), interfaces) == ()


@pytest.mark.parametrize("status", ["", "no json", "[]", "null", "{}", '["x", null]'])
def test_no_report_is_no_interface(status: str) -> None:
    assert networks.interfaces(status) == ()


def test_one_interface_has_all_its_addresses() -> None:
    assert has(("net1", LAN, ["192.168.122.200", "fd00::5"], ""))[1].addresses == ("192.168.122.200", "fd00::5")


@pytest.mark.parametrize(
    ("one", "other"),
    [("FD00:0:0::5", "fd00::5"), ("::ffff:192.168.122.7", "192.168.122.7")],
)
def test_equal_addresses_have_one_form(one: str, other: str) -> None:
    assert networks.same_address(one) == networks.same_address(other) == other
    assert networks.same_address("192.168.122.007") == "" == networks.same_address("x")


def test_equal_mac_addresses_have_one_form() -> None:
    assert networks.same_hardware("02:AB:00:00:00:01") == networks.same_hardware("02ab.0000.0001") == "02ab00000001"
    assert networks.same_hardware("") == "" == networks.same_hardware("02:00")


def test_the_gateways_of_an_interface_s_own_default_routes_are_read() -> None:
    status = [{"interface": "eth0", "name": "cbr0", "gateway": ["10.42.0.1"]}, {"interface": "net1", "name": LAN, "gateway": None}]
    assert [interface.gateways for interface in networks.interfaces(json.dumps(status))] == [("10.42.0.1",), ()]
