"""All mistakes of a stack file come at once, and none that only a default contradicts; each says what to write."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core._pydantic_core import list_all_errors

from components.config import reading
from components.config.problems import Problem, SettingsError
from components.config.pruning import Places, is_present, prune
from components.config.raw import RawConfiguration
from components.config.reading import parse_as_far_as_possible

from .test_conflicts import CASES, RANGE
from .test_network_conflicts import CASES as NETWORK_CASES
from .test_pod_networks import REFUSED
from .test_settings import LAN, PATHS, VALUES_OF_NO_GOOD, put

pytestmark = pytest.mark.unit
steady = settings(deadline=None, database=None, derandomize=True, max_examples=300)


def problems(raw: dict[str, Any]) -> list[Problem]:
    try:
        reading.load("k3s-macvlan", "dev", RawConfiguration(raw))
    except SettingsError as error:
        return error.problems
    return []


# --- several at once

# Each sets what no other of them sets. Some are wrong by themselves, some contradict another setting or its default.
PLANTED: dict[str, dict[str, Any]] = {
    "interface": {"network": {"interface": "a b"}},
    "gateway among the nodes": {"network": {"gateway": "192.168.122.185"}},
    "somebody else's address": {"network": {"exclude": ["192.168.122.188", "nobody"]}},
    "name servers": {"network": {"dns": ["10.0.0.1"]}},
    "network": {"network": {"cidr": "fe80::/64"}},
    "pods elsewhere": {"podNetworks": {"outside": {"range": "10.0.0.1-10.0.0.9"}}},
    "type without its mode": {"podNetworks": {"modes": {"range": "192.168.122.20", "type": "ipvlan", "mode": "bridge"}}},
    "routes": {
        "podNetworks": {
            "routes": {
                "range": "192.168.122.21",
                "routes": [
                    {"to": "10.43.128.0/17"},
                    {"to": "0.0.0.0/0"},
                    "x",
                    {"to": "10.9.0.0/16", "via": "10.0.0.1"},
                    {"to": "224.0.0.0/4", "via": "192.168.122.1"},
                    {"to": "10.9.0.0/16"},
                    {"to": "10.8.0.0/16", "gw": "10.0.0.1"},
                ],
            }
        }
    },
    "mtu": {"podNetworks": {"big": {"range": "192.168.122.22", "mtu": 9000}}},
    "vlan": {"podNetworks": {"vlan": {"range": "192.168.122.23", "parent": "enp1s0.50"}}},
    "namespace": {
        "podNetworks": {"hidden": {"range": "192.168.122.24", "namespace": "nets"}},
        "multus": {"namespaceIsolation": True},
    },
    "no range": {"podNetworks": {"empty": {}}},
    "no subnet": {
        "podNetworks": {"iot": {"vlan": 50, "range": "192.168.50.3", "routes": [{"to": "10.7.0.0/16", "via": "192.168.50.1"}]}}
    },
    "book": {
        "podNetworks": {
            "book": {
                "ipam": "static",
                "addresses": {
                    "a": {"ip": "192.168.122.30", "mac": "02:00:00:00:00:01"},
                    "b": {"ip": "192.168.122.30", "mac": "02:00:00:00:00:01"},
                    "c": {},
                    "d": {"ip": "192.168.122.186", "mac": "x"},
                    "E": {"ip": "192.168.122.31"},
                },
            }
        }
    },
    "reservations": {
        "podNetworks": {
            "asked": {
                "ipam": "dhcp",
                "range": "192.168.122.32",
                "addresses": {"a": {"ip": "192.168.122.33"}, "b": {"ip": "192.168.122.187", "mac": "02:00:00:00:00:02"}},
            }
        }
    },
    "IPv6": {
        "podNetworks": {
            "six": {
                "range": "192.168.122.34-192.168.122.35",
                "ipv6": {"cidr": "fd00:50::/64", "range": "fd00:50::1", "gateway": "fd00:50::1", "nodes": 1},
            }
        }
    },
    "IPv6 that is none": {"podNetworks": {"none": {"range": "192.168.122.36", "ipv6": "on"}}},
    "chain": {
        "podNetworks": {
            "chain": {
                "range": "192.168.122.37",
                "chain": [
                    {"type": "sbr"},
                    "x",
                    {"type": "tunnig"},
                    {"type": "tuning", "ipam": {}, "sysctl": {"net.a": 1, "b": "1"}},
                ],
            }
        }
    },
    "memory": {"multus": {"memoryLimit": "1Mi"}},
    "proof": {"proof": {"networks": ["nowhere"]}},
    "image": {"workload": {"image": "nginx"}},
    "plugins": {"plugins": {"names": ["Ipvlan", "bridge"]}},
    "access": {"podNetworks": {"access": {"range": "192.168.122.38", "nodeAccess": "192.168.122.181"}}},
    "pod network": {"k3s": {"podCidr": "192.168.122.0/28"}},
    "api": {"k3s": {"apiAddress": "192.168.122.190"}},
    "option": {"k3s": {"config": {"token": "x", "node-external-ip": "1.2.3.4"}}},
    "server option": {"k3s": {"serverConfig": {"flannel-backend": "none"}}},
    "script": {"k3s": {"installScript": {"environment": {"INSTALL_K3S_EXEC": "x", "MY_TOKEN": "x", "a": "b"}}}},
    "hypervisor": {"servers": {"hypervisor": "far"}},
    "role": {"servers": {"labels": {"node-role.kubernetes.io/master": "", "a b": "c"}}},
    "NICs": {"servers": {"nics": [{"bridge": "br0", "address": "192.168.122.130/25"}, {"bridge": "br1", "name": "enp2s0"}]}},
    "NICs that cannot be": {"agents": {"nics": [{}, {"bridge": "br0", "vlan": 5000}, {"bridge": "br0", "dhcp": 1, "mtu": 1}]}},
    "servers": {"servers": {"count": 2}},
    "nobody": {"agents": {"overrides": {"agent-9": {"cpus": 0}}}},
    "user": {"ssh": {"user": "root"}},
    "key": {"ssh": {"privateKey": "x"}},
    "first boot": {"cloudInit": {"users": []}},
    "cpu": {"machine": {"cpuMode": "custom"}},
    "limit": {"timeouts": {"boot": 0}},
    "no such key": {"nonsense": {}},
    "page": {"proof": {"path": "x"}},
}


def merged(names: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for name in names:
        _add(whole, PLANTED[name])
    return whole


def _add(whole: dict[str, Any], part: dict[str, Any]) -> None:
    for key, value in part.items():
        if isinstance(value, dict) and isinstance(whole.get(key), dict):
            _add(whole[key], value)
        else:
            assert key not in whole
            whole[key] = copy.deepcopy(value)


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_mistake_is_found_alone(name: str) -> None:
    assert problems(PLANTED[name])


@functools.cache
def alone(name: str) -> tuple[list[Problem], frozenset[str]]:
    """What is found of this mistake alone, and the settings that a default then replaces."""
    return problems(PLANTED[name]), parse_as_far_as_possible(PLANTED[name])[2]


@steady
@given(st.sets(st.sampled_from(sorted(PLANTED)), min_size=2))
def test_of_several_mistakes_each_is_found_and_nothing_else(names: set[str]) -> None:
    """But for those that follow from a setting that another of them makes unreadable."""
    wanted = {
        problem
        for name in names
        for problem in alone(name)[0]
        if not any(problem.follows_from(alone(other)[1]) for other in names - {name})
    }
    assert set(problems(merged(names))) == wanted


def test_what_is_reported_of_all_of_them() -> None:
    """Only those that follow from the network, the nodes' interface, the number of nodes and the list of plugins cannot be
    reported next to the rest."""
    names = set(PLANTED) - {"network", "interface", "servers", "plugins"}
    named = {problem.setting for problem in problems(merged(names))}
    for setting in (
        "network.nodes", "network.dns", "network.exclude.1", "podNetworks.outside.range", "podNetworks.modes.mode",
        "podNetworks.routes.routes", "podNetworks.routes.routes.1.to", "podNetworks.routes.routes.2",
        "podNetworks.routes.routes.4.via", "podNetworks.routes.routes.6.gw", "podNetworks.big.mtu", "podNetworks.vlan.parent",
        "podNetworks.empty.range", "podNetworks.iot.cidr", "podNetworks.book.addresses.b.ip", "podNetworks.book.addresses.b.mac",
        "podNetworks.book.addresses.c.ip", "podNetworks.book.addresses.d.mac", "podNetworks.book.addresses.E",
        "podNetworks.book.addresses.d.ip", "podNetworks.asked.range", "podNetworks.asked.addresses.a.ip",
        "podNetworks.asked.addresses.b.ip", "podNetworks.six.ipv6.nodes", "podNetworks.six.ipv6.range", "podNetworks.none.ipv6",
        "podNetworks.chain.chain.0.type", "podNetworks.chain.chain.1", "podNetworks.chain.chain",
        "podNetworks.chain.chain.3.ipam", "podNetworks.chain.chain.3.sysctl.net.a", "podNetworks.chain.chain.3.sysctl.b",
        "podNetworks.access.nodeAccess", "proof.networks", "multus.memoryLimit", "workload.image",
        "k3s.podCidr", "k3s.apiAddress", "k3s.config.token", "k3s.config.node-external-ip", "k3s.serverConfig.flannel-backend",
        "k3s.installScript.environment.MY_TOKEN", "servers.hypervisor", "servers.labels.node-role.kubernetes.io/master",
        "agents.overrides.agent-9", "agents.overrides.agent-9.cpus", "ssh.user", "ssh.privateKey", "cloudInit.users",
        "machine.cpuModel", "timeouts.boot", "nonsense", "proof.path",
        "servers.nics.0.address", "servers.nics.1.name", "agents.nics.0.network", "agents.nics.1.vlan", "agents.nics.2.mtu",
    ):  # fmt: skip
        assert setting in named, setting


def test_a_clash_is_reported_next_to_a_wrong_interface() -> None:
    """Conflicts were dropped once by words of their text."""
    mistakes = problems({"network": {"interface": "a b", "nodes": "192.168.122.195-192.168.122.204"}})
    assert [problem.setting for problem in mistakes] == ["network.interface", "podNetworks.macvlan-conf.range"]


# --- nothing that only a default contradicts


OF_ONE_IPAM: list[dict[str, Any]] = [
    {}, {"range": RANGE}, {"addressesPerNode": 5}, {"addresses": {"a": {}}}, {"ipv6": {"cidr": "fd00:50::/64"}},
    {"addresses": {"nginx-macvlan": {"ip": "192.168.122.20"}}}, {"routes": [{"to": "10.9.0.0/16"}]},
]  # fmt: skip
"""What some kinds of IPAM need, or do not go with."""


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path


ALL_CASES: list[tuple[str, dict[str, Any]]] = [
    *(case[:2] for case in CASES),
    *(case[:2] for case in NETWORK_CASES),
    *((f"podNetworks.lan.{shown}", {"podNetworks": {"lan": network}}) for network, shown, _ in REFUSED),
]


@pytest.mark.parametrize(
    "raw", [case[1] for case in ALL_CASES], ids=[f"{number}: {case[0]}" for number, case in enumerate(ALL_CASES)]
)
def test_a_default_in_place_of_a_wrong_setting_contradicts_nothing(raw: dict[str, Any]) -> None:
    whole = {str(problem) for problem in problems(raw)}
    for path in leaves(raw):
        mistakes = problems(put(raw, path, {"?": [None]}))
        assert mistakes
        own = [mistake for mistake in mistakes if mistake.setting == path or mistake.setting.startswith(f"{path}.")]
        assert own, path
        assert {str(mistake) for mistake in mistakes} - {str(mistake) for mistake in own} <= whole, path


@pytest.mark.parametrize(
    ("raw", "reported"),
    [
        # Beside a mistyped name stands the default of the one that was meant.
        ({"podNetworks": {"lan": {"rnage": RANGE}}}, ["podNetworks.lan.rnage"]),
        ({"podNetwroks": {"lan": {"range": "192.168.122.20"}}, "network": {"nodes": "192.168.122.200-192.168.122.204"}},
         ["podNetwroks"]),
        ({"proff": {"path": "/"}, "proof": {"path": "x"}}, ["proff", "proof.path"]),
        # An element of a list that is wrong hides nothing of the others.
        ({"network": {"exclude": ["x", "192.168.122.181"]}}, ["network.exclude.0", "network.nodes"]),
        # Nor is a list without its wrong elements one in which something is missing.
        ({"plugins": {"names": ["MACVLAN"]}}, ["plugins.names.0"]),
        ({"plugins": {"names": ["MACVLAN", "tap"]}}, ["plugins.names.0"]),
        ({"k3s": {"registries": {"mirrors": {"docker.io": {"endpoint": ["x"]}}}}}, ["k3s.registries.mirrors.docker.io.endpoint.0"]),
        ({"podNetworks": {"lan": {"range": RANGE, "type": "ipvlan", "mode": "l9"}}}, ["podNetworks.lan.mode"]),
        ({"podNetworks": {"lan": {"range": RANGE, "type": "ipvaln", "mode": "l2", "nodeAccess": "192.168.122.20"}}},
         ["podNetworks.lan.type"]),
        ({"podNetworks": {"lan": {"range": RANGE, "type": "ipvaln"}, "more": {"range": "192.168.122.20", "type": "ipvlan"}}},
         ["podNetworks.lan.type"]),
        # The kind of IPAM decides what is needed and what is too much.
        *(({"podNetworks": {"lan": {"ipam": "sttic", **more}}}, ["podNetworks.lan.ipam"]) for more in OF_ONE_IPAM),
        ({"podNetworks": {"lan": {"range": "x", "ipv6": {"cidr": "fd00:50::/64", "range": "y"}}}},
         ["podNetworks.lan.ipv6.range", "podNetworks.lan.range"]),
        ({"podNetworks": {"lan": {"range": RANGE, "ipv6": {"cidr": "x", "range": "fd00:50::1-fd00:50::f"}}}},
         ["podNetworks.lan.ipv6.cidr"]),
        ({"podNetworks": {"lan": {"ipam": "static", "ipv6": "x",
                                  "addresses": {"nginx-macvlan": {"ip": "192.168.122.20", "ipv6": "fd00:50::1"}}}}},
         ["podNetworks.lan.ipv6"]),
        ({"podNetworks": {"lan": {"ipam": "dhcp", "addresses": {"a": {"ip": "192.168.122.20", "mac": "x"}}}}},
         ["podNetworks.lan.addresses.a.mac"]),
        ({"podNetworks": {"lan": {"ipam": "static", "addresses": {"nginx_macvlan": {"ip": "192.168.122.20"}}}}},
         ["podNetworks.lan.addresses.nginx_macvlan"]),
        # Without its subnet, VLAN or NIC nothing is compared with the nodes'.
        ({"podNetworks": {"iot": {"vlan": 50, "cidr": "x", "gateway": "192.168.50.1", "range": "192.168.50.3-192.168.50.9",
                                  "routes": [{"to": "10.9.0.0/16", "via": "192.168.50.1"}], "replies": "by-source"}}},
         ["podNetworks.iot.cidr"]),
        ({"podNetworks": {"iot": {"cidr": "x", "gateway": "192.168.50.1", "range": "192.168.50.3-192.168.50.9",
                                  "routes": [{"to": "10.9.0.0/16", "via": "192.168.50.1"}]}}}, ["podNetworks.iot.cidr"]),
        ({"podNetworks": {"lan": {"gateway": "x", "range": "192.168.122.1-192.168.122.3"}}}, ["podNetworks.lan.gateway"]),
        ({"podNetworks": {"iot": {"vlan": "50", "range": "192.168.122.185"}}}, ["podNetworks.iot.vlan"]),
        ({"podNetworks": {"iot": {"parent": "a b", "range": "192.168.122.185", "mode": "passthru", "mtu": 9000}}},
         ["podNetworks.iot.parent"]),
        ({"podNetworks": {"lan": {"range": RANGE, "gateway": "x", "defaultRoute": True, "cidr": "192.168.122.0/25"}}},
         ["podNetworks.lan.cidr", "podNetworks.lan.gateway"]),
        ({"network": {"mtu": "x"}, "podNetworks": {"lan": {"range": RANGE, "mtu": 9000}}}, ["network.mtu"]),
        ({"podNetworks": {"lan": {"range": RANGE, "replies": "x", "routes": [{"to": "10.42.0.0/16"}]}}},
         ["podNetworks.lan.replies"]),
        ({"podNetworks": {"lan": {"range": RANGE, "clusterRoutes": "x", "routes": [{"to": "10.42.0.0/16"}]}}},
         ["podNetworks.lan.clusterRoutes"]),
        ({"plugins": {"names": ["Own"]}, "podNetworks": {"lan": {"range": RANGE, "chain": [{"type": "own"}]}}},
         ["plugins.names.0"]),
        # A network that is not known is none that does not exist.
        ({"podNetworks": {"lan": 1}, "workload": {"networks": ["lan"]}, "proof": {"networks": ["lan"]}}, ["podNetworks.lan"]),
        ({"podNetworks": "x", "workload": {"networks": ["lan"]}}, ["podNetworks"]),
        ({"podNetworks": {"lan": 1}, "workload": {"networks": ["lan", "iot"]}}, ["podNetworks.lan"]),
        ({"network": {"kind": "bridge", "name": "br0", "cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "dns": "x",
                      "nodes": "10.0.0.5-10.0.0.9"}, "podNetworks": {"lan": {"range": "10.0.0.20"}}}, ["network.dns"]),
        ({"hypervisors": {"local": {}, "far": 1}, "servers": {"hypervisor": "far"}}, ["hypervisors.far"]),
        ({"servers": {"count": "three", "overrides": {"server-2": {}}}}, ["servers.count"]),
        ({"podNetworks": {"lan": {"range": RANGE, "nodeAccess": "x"}}}, ["podNetworks.lan.nodeAccess"]),
        ({"servers": {"overrides": {"server-1": {"address": True}}}}, ["servers.overrides.server-1.address"]),
        ({"network": {"gateway": 1}}, ["network.gateway"]),
    ],
)  # fmt: skip
def test_one_mistake_is_one(raw: dict[str, Any], reported: list[str]) -> None:
    assert [problem.setting for problem in problems(raw)] == reported


def test_what_is_not_known_is_no_mistake() -> None:
    raw = {
        "network": "[secret]",
        "podNetworks": {"lan": {"range": "10.0.0.1-10.0.0.9"}},
        "ssh": {"privateKey": "[secret]", "port": 0},
    }
    with pytest.raises(SettingsError) as caught:
        reading.load("k3s-macvlan", "dev", RawConfiguration(raw, unknown=frozenset({"network", "ssh.privateKey"})))
    assert [problem.setting for problem in caught.value.problems] == ["ssh.port"]


# --- what each says

PYDANTIC_TEXTS = [
    re.compile("(?:Value error, )?" + re.sub(r"\\{[^}]*\\}", ".*", re.escape(error["message_template_python"])) + "$")
    for error in list_all_errors()
    if not re.fullmatch(r"(\w+ error, )?\{\w+\}", error["message_template_python"])
]
REMEDY = re.compile(
    r"\b(write|set|remove|use|choose|name|correct|widen|move|lower|add|pin|take|give|put|change|route|shorten|begin|percent-encode|leave)\b"
)


def test_the_stock_texts_are_known() -> None:
    assert any(pattern.match("Input should be greater than or equal to 1") for pattern in PYDANTIC_TEXTS)
    assert any(pattern.match("String should match pattern '^a$'") for pattern in PYDANTIC_TEXTS)
    assert not any(pattern.match("not a name; write one") for pattern in PYDANTIC_TEXTS)


@pytest.mark.parametrize("path", PATHS)
def test_every_setting_says_what_to_write(path: str) -> None:
    for value in [*VALUES_OF_NO_GOOD, {"a": {"b": 1}, 5: 6}, [[1]], {"x": None}, "\ud800", b"x", 3.5, "x" * 2000]:
        for problem in problems(put(LAN, path, value)):
            assert not any(pattern.match(problem.conflict) for pattern in PYDANTIC_TEXTS), problem
            assert REMEDY.search(problem.conflict), problem


# --- leaving out


@pytest.mark.parametrize(
    ("paths", "left", "taken"),
    [
        ([[("a", "b")]], {"a": {"c": [1, 2, 3]}, "d": 1}, {("a", "b")}),
        ([[("a", "c", 0)], [("a", "c", 2)]], {"a": {"b": 1, "c": [2]}, "d": 1}, {("a", "c", 0), ("a", "c", 2)}),
        ([[("a", "c", 0)], [("a", "c", 1)], [("a", "c", 2)]], {"a": {"b": 1}, "d": 1},
         {("a", "c", 0), ("a", "c", 1), ("a", "c", 2), ("a", "c")}),
        ([[("a", "x"), ("d",)]], {"a": {"b": 1, "c": [1, 2, 3]}}, {("d",)}),
        ([[("a", "x"), ("y",)]], {"d": 1}, {("a",)}),
        ([[("d", "deeper")]], {"a": {"b": 1, "c": [1, 2, 3]}}, {("d",)}),
        ([[("a",)], [("a", "b")]], {"d": 1}, {("a",)}),
        ([[("nothing",)]], {}, {()}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_taken_out(paths: list[list[Any]], left: dict[str, Any], taken: set[Any]) -> None:
    raw: dict[str, Any] = {"a": {"b": 1, "c": [1, 2, 3]}, "d": 1}
    assert prune(raw, paths, Places()) == taken
    assert raw == left


def test_an_element_of_a_list_keeps_its_index_whatever_is_deleted_before_it() -> None:
    raw: dict[str, Any] = {"a": [0, {"b": [1, 2, {"c": 3, "d": 4}]}, 5]}
    places = Places()
    assert prune(raw, [[("a", 0)], [("a", 1, "b", 1)]], places) == {("a", 0), ("a", 1, "b", 1)}
    assert raw == {"a": [{"b": [1, {"c": 3, "d": 4}]}, 5]}
    assert places.original(("a", 0, "b", 1, "c")) == ("a", 1, "b", 2, "c")
    assert is_present(raw, ("a", 1, "b", 2, "c"), places)
    assert not is_present(raw, ("a", 0), places)
    assert prune(raw, [[("a", 1, "b", 2, "c")]], places) == {("a", 1, "b", 2, "c")}
    assert raw == {"a": [{"b": [1, {"d": 4}]}, 5]}
    assert prune(raw, [[("a", 1, "b", 0)], [("a", 1, "b", 2)], [("a", 2)]], places) == {
        ("a", 1, "b", 0), ("a", 1, "b", 2), ("a", 1, "b"), ("a", 2),
    }  # fmt: skip
    assert raw == {"a": [{}]}
    assert prune(raw, [[("a", 1)]], places) == {("a", 1), ("a",)}
    assert raw == {}


def test_a_name_is_left_for_one_that_is_only_near() -> None:
    raw: dict[str, Any] = {"ab": 1, "a_b": 2, "Ab": 3}
    assert prune(raw, [[("Ab",)]], Places()) == {("Ab",)}
    assert raw == {"ab": 1, "a_b": 2}


def test_mistakes_behind_a_deleted_element_are_reported_at_their_own_place() -> None:
    routes = ["x", {"to": "10.9.0.0/16", "gw": "y"}, {"to": "224.0.0.0/4", "via": "192.168.122.1"}, {"to": "10.43.0.0/16"}]
    chain = [1, {"type": "tuning", "sysctl": {"kernel.a": "1"}}, [], {"type": "sbr"}]
    raw = {"podNetworks": {"lan": {"range": RANGE, "routes": routes, "chain": chain}}}
    assert [problem.setting.removeprefix("podNetworks.lan.") for problem in problems(raw)] == [
        "chain.0", "chain.1.sysctl.kernel.a", "chain.2", "chain.3.type", "routes", "routes.0", "routes.1.gw", "routes.2.via",
    ]  # fmt: skip


def test_a_setting_with_underscores_is_the_same_setting() -> None:
    raw: dict[str, Any] = {"cloud_init": {"users": []}, "k3s": {"api_address": "a b", "pod_cidr": "192.168.122.0/24"}}
    assert [problem.setting for problem in problems(raw)] == ["cloudInit.users", "k3s.apiAddress", "k3s.podCidr"]


def test_a_value_that_several_settings_share_is_wrong_in_each() -> None:
    """As a YAML alias makes it: one object in several places."""
    shared = {"no-such": 1}
    _, problems, _ = parse_as_far_as_possible({"agents": shared, "proof": shared, "machine": {"x": shared}})
    assert {problem.setting for problem in problems} == {"agents.no-such", "proof.no-such", "machine.x"}
    assert shared == {"no-such": 1}
    held: dict[str, Any] = {}
    held["servers"] = held
    _, (problem,), _ = parse_as_far_as_possible(held)
    assert "nested too deeply" in str(problem)
