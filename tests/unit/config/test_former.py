"""Settings of former releases: each is refused with the text to write in place of it, which is taken and says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import reading
from components.config.problems import Problem, SettingsError
from components.config.raw import RawConfiguration, from_document

from .test_settings import VALUES

pytestmark = pytest.mark.unit
steady = settings(deadline=None, database=None, derandomize=True, max_examples=200)

ROOT = Path(__file__).resolve().parents[3]
RANGE = "192.168.122.200-192.168.122.210"
DEFAULTS = {name: entry["default"] for name, entry in yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"].items()}
"""What the engine adds to what a stack says."""


def refused(raw: dict[str, Any]) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        reading.load("k3s-macvlan", "dev", RawConfiguration(raw))
    return caught.value.problems


def written_instead(problem: Problem) -> dict[str, Any]:
    """The configuration that a problem says to write."""
    first, _, text = problem.conflict.partition("\n")
    assert first.endswith("write this in place of it, and leave the name of the network as it is:")
    raw = from_document({"config": yaml.safe_load(text)}, "k3s-macvlan")
    assert not raw.problems
    assert set(raw.values) == {"podNetworks"}
    return dict(raw.values)


def network(**more: Any) -> dict[str, Any]:
    return {"macvlan-conf": {"range": RANGE, **more}}


STATIC = {"ipam": "static"}
OTHER = {"network": {"cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "nodes": "10.30.0.20-10.30.0.29"}}

# Former settings, those that stay, the networks that say the same, and what is named.
FORMER: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = [
    ({"macvlan": {}}, {}, network(), "macvlan"),
    ({"macvlan": {"range": "192.168.122.20-192.168.122.30"}}, {}, network(range="192.168.122.20-192.168.122.30"), "macvlan"),
    ({"macvlan": {"name": "lan"}}, {}, {"lan": {"range": RANGE}}, "macvlan"),
    ({"macvlan": {"name": "lan", "namespace": "nets", "cniVersion": "1.0.0", "mode": "vepa", "mtu": 1400, "dataDirectory": None,
                  "defaultRoute": True, "addressesPerNode": 3}}, {"servers": {"count": 3}},
     {"lan": {"range": RANGE, "namespace": "nets", "cniVersion": "1.0.0", "mode": "vepa", "mtu": 1400, "dataDirectory": None,
              "defaultRoute": True, "addressesPerNode": 3}}, "macvlan"),
    ({"macvlan": {"type": "ipvlan", "mode": "l2"}}, {"plugins": {"names": ["ipvlan"]}}, network(type="ipvlan", mode="l2"),
     "macvlan"),
    # The routes went by the network's gateway, but for multicast groups.
    ({"macvlan": {"routes": ["10.9.0.0/16", "224.0.0.0/4", "239.1.0.0/16"]}}, {},
     network(routes=[{"to": "10.9.0.0/16", "via": "192.168.122.1"}, {"to": "224.0.0.0/4"}, {"to": "239.1.0.0/16"}]), "macvlan"),
    ({"macvlan": {"range": "10.30.0.200-10.30.0.210", "routes": ["10.9.0.0/16"]}}, OTHER,
     network(range="10.30.0.200-10.30.0.210", routes=[{"to": "10.9.0.0/16", "via": "10.30.0.1"}]), "macvlan"),
    ({"macvlan": {"routes": ["10.0.0.0/8"], "clusterRoutes": True}}, {},
     network(routes=[{"to": "10.0.0.0/8", "via": "192.168.122.1"}], clusterRoutes=True), "macvlan"),
    # Another NIC had the nodes' subnet.
    ({"macvlan": {"master": "enp2s0", "mode": "passthru"}}, {},
     network(parent="enp2s0", cidr="192.168.122.0/24", mode="passthru"), "macvlan"),
    ({"macvlan": {"master": "enp2s0", "range": "10.30.0.200-10.30.0.210"}}, OTHER,
     network(parent="enp2s0", cidr="10.30.0.0/24", range="10.30.0.200-10.30.0.210"), "macvlan"),
    ({"macvlan": {"master": ""}}, {}, network(), "macvlan"),
    ({"macvlan": {"master": "eth7"}}, {"network": {"interface": "eth7"}}, network(parent="eth7"), "macvlan"),
    ({"nodeAccess": {"enabled": True, "addresses": "192.168.122.20-192.168.122.29"}}, {},
     network(nodeAccess="192.168.122.20-192.168.122.29"), "nodeAccess"),
    ({"nodeAccess": {"enabled": False, "addresses": "192.168.122.20-192.168.122.29"}}, {}, network(), "nodeAccess"),
    ({"macvlanCheck": {"enabled": False}}, {}, network(check=False), "macvlanCheck"),
    ({"macvlanCheck": {"address": "192.168.122.20", "ping": False}}, {}, network(), "macvlanCheck"),
    ({"macvlan": STATIC, "workload": {"address": "192.168.122.20"}}, {"plugins": {"names": ["macvlan", "static"]}},
     network(ipam="static", addresses={"nginx-macvlan": {"ip": "192.168.122.20"}}), "macvlan, workload.address"),
    ({"macvlan": {**STATIC, "range": "192.168.122.20-192.168.122.29"}, "macvlanCheck": {"enabled": True},
      "workload": {"address": "192.168.122.20", "name": "web", "port": 8080}}, {"workload": {"name": "web", "port": 8080}},
     network(range="192.168.122.20-192.168.122.29", ipam="static", addresses={"web": {"ip": "192.168.122.20"}}),
     "macvlan, macvlanCheck, workload.address"),
    # Underscores are taken for any setting.
    ({"macvlan": {"default_route": True, "data_directory": "/var/lib/x"},
      "node_access": {"enabled": True, "addresses": "192.168.122.20"}, "macvlan_check": {"enabled": False}}, {},
     network(defaultRoute=True, dataDirectory="/var/lib/x", nodeAccess="192.168.122.20", check=False),
     "macvlan, nodeAccess, macvlanCheck"),
]  # fmt: skip


@pytest.mark.parametrize("defaults", [{}, DEFAULTS], ids=["as written", "from the engine"])
@pytest.mark.parametrize(("former", "stays", "networks", "named"), FORMER, ids=[str(case[0])[:80] for case in FORMER])
def test_the_text_to_write_is_taken_and_says_the_same(
    former: dict[str, Any], stays: dict[str, Any], networks: dict[str, Any], named: str, defaults: dict[str, Any]
) -> None:
    (problem,) = refused({**defaults, **stays, **former})
    assert problem.setting == named
    assert problem.conflict.startswith("are of" if "," in named else "is of")
    instead = written_instead(problem)
    taken = reading.load("k3s-macvlan", "dev", RawConfiguration({**stays, **instead}))
    # Its pods took what routers announce.
    as_before = {name: {"ipv6": "accept", **network} for name, network in networks.items()}
    wanted = reading.load("k3s-macvlan", "dev", RawConfiguration({**stays, "podNetworks": as_before}))
    assert taken.settings == wanted.settings
    assert taken.plan == wanted.plan


def test_a_former_setting_next_to_the_new_one_is_to_be_removed() -> None:
    raw = {"macvlan": {"range": "192.168.122.20"}, "podNetworks": {"lan": {"range": "10.0.0.1"}}}
    inside, former = sorted(refused(raw), reverse=True)
    assert str(former) == "macvlan: is of a former release, and podNetworks is there in place of it; remove it"
    assert str(inside).startswith("podNetworks.lan.range = 10.0.0.1: is not inside network.cidr"), "its own mistakes come with it"


def test_other_mistakes_come_with_it_and_none_of_the_default_network() -> None:
    raw = {
        "macvlan": {"range": "192.168.122.20-192.168.122.30"},
        "network": {"nodes": "192.168.122.200-192.168.122.205"},
        "workload": {"image": "nginx", "address": None},
        "proof": {"path": "x"},
    }
    assert [problem.setting for problem in refused(raw)] == ["macvlan", "proof.path", "workload.image"]


def test_no_address_is_no_former_setting() -> None:
    reading.load("k3s-macvlan", "dev", RawConfiguration({"workload": {"address": None}}))


@steady
@given(
    st.dictionaries(st.sampled_from(["macvlan", "nodeAccess", "macvlanCheck", "macvlan_check"]), VALUES, min_size=1),
    st.dictionaries(st.sampled_from(["name", "range", "routes", "master", "mtu", "ipam"]), VALUES),
    VALUES,
)
def test_any_former_value_is_answered_with_yaml(former: dict[str, Any], macvlan: dict[str, Any], address: Any) -> None:
    for raw in (former, {"macvlan": macvlan, "workload": {"address": address}}):
        problem = next(problem for problem in refused(raw) if "of a former release" in problem.conflict)
        assert set(yaml.safe_load(problem.conflict.partition("\n")[2])) == {"k3s-macvlan:podNetworks"}
