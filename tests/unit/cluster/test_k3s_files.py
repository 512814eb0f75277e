"""What K3s reads on a node, and the kubeconfig it gives."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from components.cluster.k3s_files import config, files, kubeconfig, registries_yaml
from components.config import k3s_options
from components.config import plan as plans
from components.config.reading import parse

pytestmark = pytest.mark.unit
SLICES = {"podNetworks": {"macvlan-conf": {"range": "192.168.122.200-192.168.122.210", "addressesPerNode": 2}}}
steady = settings(deadline=None, database=None, derandomize=True)


def configs(agent_token: str | None = None, **raw: Any) -> dict[str, dict[str, Any]]:
    configuration = parse("dev", {"servers": {"count": 3}, "agents": {"count": 1}, **SLICES, **raw})
    plan = plans.make("k3s-macvlan", "dev", configuration)
    join = f"https://{plan.servers[0].address}:6443"
    return {
        node.name: config(node, "" if node.first else join, plan.api_names, configuration.k3s, "t0ken", agent_token=agent_token)
        for node in plan.nodes
    }


def test_one_server_begins_the_cluster_and_the_others_join() -> None:
    by_node = configs()
    assert by_node["server-1"]["cluster-init"] is True
    assert "server" not in by_node["server-1"]
    for name in ("server-2", "server-3", "agent-1"):
        assert by_node[name]["server"] == "https://192.168.122.180:6443"
        assert "cluster-init" not in by_node[name]
    assert {node_config["token"] for node_config in by_node.values()} == {"t0ken"}
    assert not any("agent-token" in node_config for node_config in by_node.values())


def test_an_agent_does_not_hold_the_token_that_servers_join_with() -> None:
    by_node = configs(agent_token="agents")
    agent = by_node.pop("agent-1")
    assert {(node_config["token"], node_config["agent-token"]) for node_config in by_node.values()} == {("t0ken", "agents")}
    assert "t0ken" not in str(agent)
    assert agent["token"] == "agents"
    assert "agent-token" not in agent  # `k3s agent` knows no such option


def test_certificates_hold_every_server_those_to_come_and_the_virtual_address() -> None:
    """Those to come as well, or adding one would restart K3s on the others."""
    servers = [f"192.168.122.{last}" for last in range(180, 187)]
    assert configs()["server-2"]["tls-san"] == servers
    by_node = configs(k3s={"apiAddress": "k3s.example"}, servers={"count": 1})
    assert by_node["server-1"]["tls-san"] == [*servers, "k3s.example"]
    assert "tls-san" not in by_node["agent-1"]
    assert configs(servers={"count": 9})["server-9"]["tls-san"] == [f"192.168.122.{last}" for last in range(180, 189)]
    moved = configs(servers={"count": 3, "overrides": {"server-2": {"address": "192.168.122.170"}}})["server-1"]["tls-san"]
    assert moved[:4] == ["192.168.122.180", "192.168.122.170", "192.168.122.182", "192.168.122.183"]
    assert configs(network={"nodes": "192.168.122.196-192.168.122.199"})["server-1"]["tls-san"] == [
        f"192.168.122.{last}" for last in range(196, 200)
    ]


def test_an_agent_gets_no_option_of_a_server() -> None:
    """K3s agents refuse to start with some of them."""
    by_node = configs(
        k3s={"systemDefaultRegistry": "r.example", "serverConfig": {"disable": ["traefik"]}, "config": {"debug": True}}
    )
    assert set(by_node["agent-1"]) == {"node-name", "node-ip", "token", "server", "debug"}
    assert by_node["server-1"]["disable"] == ["traefik"]
    assert by_node["server-1"]["system-default-registry"] == "r.example"


@pytest.mark.parametrize("version", ["v1.27.8+k3s2", "v1.36.4+k3s1"])
def test_hardening_is_added_to_what_each_node_has(version: str) -> None:
    k3s = {"version": version, "config": {"kubelet-arg": ["max-pods=200"]}, "serverConfig": {"disable": ["traefik"]}}
    plain, hardened = configs(k3s=k3s), configs(k3s={**k3s, "hardened": True})
    for name, node_config in hardened.items():
        assert node_config.items() >= {key: value for key, value in plain[name].items() if key != "kubelet-arg"}.items()
        assert node_config["kubelet-arg"][-1] == "max-pods=200" and len(node_config["kubelet-arg"]) > 1
        assert node_config["protect-kernel-defaults"] is True
        assert ("secrets-encryption" in node_config) == name.startswith("server")
        assert set(node_config) <= (k3s_options.SERVER if name.startswith("server") else k3s_options.AGENT)


def test_labels_taints_and_name_are_the_nodes() -> None:
    agent = configs(agents={"count": 1, "labels": {"b": "2", "a": "1"}, "taints": ["x=y:NoExecute"]})["agent-1"]
    assert (agent["node-label"], agent["node-taint"]) == (["a=1", "b=2"], ["x=y:NoExecute"])
    assert (agent["node-name"], agent["node-ip"]) == ("agent-1", "192.168.122.199")


def test_all_that_is_ours_is_refused_as_a_further_key() -> None:
    """What the program writes itself wins, so a second value would be lost without a word."""
    written = {key for node_config in configs(k3s={"systemDefaultRegistry": "r.example"}).values() for key in node_config}
    assert written <= k3s_options.OURS.keys()


def test_registries() -> None:
    configuration = parse(
        "dev",
        {
            "k3s": {
                "registries": {
                    "mirrors": {
                        "docker.io": {"endpoint": ["https://a", "https://b"], "rewrite": {"^(.*)$": "proxy/$1"}},
                        "*": {"endpoint": ["https://c"]},
                    },
                    "configs": {
                        "a": {"auth": {"username": "me", "password": "p: '\"\n#{}"}},
                        "b": {"tls": {"insecure_skip_verify": True}},
                    },
                }
            }
        },
    )
    assert yaml.safe_load(registries_yaml(configuration.k3s) or "") == {
        "mirrors": {
            "docker.io": {"endpoint": ["https://a", "https://b"], "rewrite": {"^(.*)$": "proxy/$1"}},
            "*": {"endpoint": ["https://c"]},
        },
        "configs": {
            "a": {"auth": {"username": "me", "password": "p: '\"\n#{}"}},
            "b": {"tls": {"insecure_skip_verify": True}},
        },
    }


def test_no_registries_is_no_file() -> None:
    configuration = parse("dev", {}).k3s
    assert registries_yaml(configuration) is None
    drop_in = "/etc/systemd/system/{}.service.d/10-cni-cache.conf"
    assert set(json.loads(files("server", "", None))) == {"/etc/rancher/k3s/config.yaml", drop_in.format("k3s")}
    assert set(json.loads(files("agent", "", None))) == {"/etc/rancher/k3s/config.yaml", drop_in.format("k3s-agent")}
    assert json.loads(files("server", "", "x: 1\n"))["/etc/rancher/k3s/registries.yaml"] == {"content": "x: 1\n", "mode": "0600"}


# What K3s reads of a key: neither nothing nor a mapping.
SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@steady
@given(SCALARS | st.lists(SCALARS, max_size=3), st.text())
def test_any_value_reaches_the_node_as_data(value: Any, token: str) -> None:
    registries = {"configs": {"h": {"auth": {"password": token}}}}
    configuration = parse("dev", {"k3s": {"config": {"kubelet-arg": value}, "registries": registries}})
    node = plans.make("k3s-macvlan", "dev", configuration).nodes[0]
    written = yaml.safe_dump(config(node, "", [], configuration.k3s, token))
    arrived = json.loads(files("server", written, registries_yaml(configuration.k3s)))
    read = yaml.safe_load(arrived["/etc/rancher/k3s/config.yaml"]["content"])
    assert (read["kubelet-arg"], read["token"]) == (value, token)
    assert yaml.safe_load(arrived["/etc/rancher/k3s/registries.yaml"]["content"])["configs"]["h"]["auth"]["password"] == token


def test_the_kubeconfig_leads_to_the_address_under_the_stacks_name() -> None:
    text = yaml.safe_dump(
        {
            "clusters": [{"name": "default", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority-data": "CA"}}],
            "users": [{"name": "default", "user": {"client-certificate-data": "C", "client-key-data": "K"}}],
        }
    )
    document = yaml.safe_load(kubeconfig(text, "192.168.122.180", "k3s-macvlan/dev"))
    label = "k3s-macvlan-dev"
    assert document == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": label, "cluster": {"server": "https://192.168.122.180:6443", "certificate-authority-data": "CA"}}],
        "users": [{"name": label, "user": {"client-certificate-data": "C", "client-key-data": "K"}}],
        "contexts": [{"name": label, "context": {"cluster": label, "user": label}}],
        "current-context": label,
    }
