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
from components.config.pruning import prune
from components.config.raw import RawConfiguration
from components.config.reading import parse_as_far_as_possible

from .test_conflicts import CASES
from .test_settings import PATHS, VALUES_OF_NO_GOOD, put

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
    "pods elsewhere": {"macvlan": {"range": "10.0.0.1-10.0.0.9"}},
    "type without its mode": {"macvlan": {"type": "ipvlan"}},
    "routes": {"macvlan": {"routes": ["10.43.128.0/17", "0.0.0.0/0", "x"]}},
    "mtu": {"macvlan": {"mtu": 9000}},
    "vlan": {"macvlan": {"master": "enp1s0.50"}},
    "namespace": {"macvlan": {"namespace": "nets"}, "multus": {"namespaceIsolation": True}},
    "memory": {"multus": {"memoryLimit": "1Mi"}},
    "address that nobody asks for": {"workload": {"address": "192.168.122.250"}},
    "image": {"workload": {"image": "nginx"}},
    "plugins": {"plugins": {"names": ["ipvlan", "dhcp"]}},
    "access": {"nodeAccess": {"enabled": True, "addresses": "192.168.122.181"}},
    "pod network": {"k3s": {"podCidr": "192.168.122.0/28"}},
    "api": {"k3s": {"apiAddress": "192.168.122.190"}},
    "option": {"k3s": {"config": {"token": "x", "node-external-ip": "1.2.3.4"}}},
    "server option": {"k3s": {"serverConfig": {"flannel-backend": "none"}}},
    "script": {"k3s": {"installScript": {"environment": {"INSTALL_K3S_EXEC": "x", "MY_TOKEN": "x", "a": "b"}}}},
    "hypervisor": {"servers": {"hypervisor": "far"}},
    "role": {"servers": {"labels": {"node-role.kubernetes.io/master": "", "a b": "c"}}},
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


def test_what_is_told_of_all_of_them() -> None:
    """Only those that follow from the network, its gateway, the parent interface and the type cannot be told beside the rest."""
    names = set(PLANTED) - {"network", "type without its mode", "interface", "vlan", "servers"}
    named = {problem.setting for problem in problems(merged(names))}
    for setting in (
        "network.nodes", "network.dns", "network.exclude.1", "macvlan.range", "macvlan.routes", "macvlan.routes.1", "macvlan.mtu",
        "multus.namespaceIsolation", "multus.memoryLimit", "workload.address", "workload.image", "nodeAccess.addresses",
        "k3s.podCidr", "k3s.apiAddress", "k3s.config.token", "k3s.config.node-external-ip", "k3s.serverConfig.flannel-backend",
        "k3s.installScript.environment.MY_TOKEN", "servers.hypervisor", "servers.labels.node-role.kubernetes.io/master",
        "agents.overrides.agent-9", "agents.overrides.agent-9.cpus", "ssh.user", "ssh.privateKey", "cloudInit.users",
        "machine.cpuModel", "timeouts.boot", "nonsense", "proof.path",
    ):  # fmt: skip
        assert setting in named, setting


def test_a_clash_is_told_beside_a_wrong_interface() -> None:
    """Conflicts were dropped once by words of their text."""
    mistakes = problems({"network": {"interface": "a b", "nodes": "192.168.122.195-192.168.122.204"}})
    assert [problem.setting for problem in mistakes] == ["macvlan.range", "network.interface"]


# --- nothing that only a default contradicts


def leaves(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path


@pytest.mark.parametrize("raw", [case[1] for case in CASES], ids=[case[0] for case in CASES])
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
        ({"macvlan": {"rnage": "192.168.122.20-192.168.122.30"}, "network": {"nodes": "192.168.122.200-192.168.122.204"},
          "macvlanCheck": {"address": "192.168.122.30"}}, ["macvlan.rnage"]),
        ({"proff": {"path": "/"}, "proof": {"path": "x"}}, ["proff", "proof.path"]),
        # An element of a list that is wrong hides nothing of the others.
        ({"network": {"exclude": ["x", "192.168.122.181"]}}, ["network.exclude.0", "network.nodes"]),
        # Nor is a list without its wrong elements one in which something is missing.
        ({"plugins": {"names": ["MACVLAN"]}}, ["plugins.names.0"]),
        ({"plugins": {"names": ["MACVLAN", "tap"]}}, ["plugins.names.0"]),
        ({"k3s": {"registries": {"mirrors": {"docker.io": {"endpoint": ["x"]}}}}}, ["k3s.registries.mirrors.docker.io.endpoint.0"]),
        ({"macvlan": {"type": "ipvlan", "mode": "l9"}, "plugins": {"names": ["ipvlan"]}}, ["macvlan.mode"]),
        ({"network": {"kind": "bridge", "name": "br0", "cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "dns": "x",
                      "nodes": "10.0.0.5-10.0.0.9"}, "macvlan": {"range": "10.0.0.20"}, "macvlanCheck": {"enabled": False}},
         ["network.dns"]),
        ({"hypervisors": {"local": {}, "far": 1}, "servers": {"hypervisor": "far"}}, ["hypervisors.far"]),
        ({"servers": {"count": "three", "overrides": {"server-2": {}}}}, ["servers.count"]),
        ({"nodeAccess": {"enabled": True, "addresses": "x"}}, ["nodeAccess.addresses"]),
        ({"servers": {"overrides": {"server-1": {"address": True}}}}, ["servers.overrides.server-1.address"]),
        ({"network": {"gateway": 1}}, ["network.gateway"]),
    ],
)  # fmt: skip
def test_one_mistake_is_one(raw: dict[str, Any], reported: list[str]) -> None:
    assert [problem.setting for problem in problems(raw)] == reported


def test_what_is_not_known_is_no_mistake() -> None:
    raw = {"network": "[secret]", "macvlan": {"range": "10.0.0.1-10.0.0.9"}, "ssh": {"privateKey": "[secret]", "port": 0}}
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
        for problem in problems(put({}, path, value)):
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
    assert prune(raw, paths) == taken
    assert raw == left


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
