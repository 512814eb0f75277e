"""What the tools know of a stack: outputs, state of an `up` that failed half-way, settings without their secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from components import plan as plans
from components import settings as models
from labtools import kube, stack
from labtools.errors import LabError

pytestmark = pytest.mark.unit

NODE = {
    "name": "server-1",
    "role": "server",
    "address": "192.168.122.180",
    "mac": "52:54:00:00:00:01",
    "domain": "k3s-macvlan-dev-server-1",
    "hypervisor": "local",
    "hostKey": "ssh-ed25519 AAAA k3s",
}
URL = "http://192.168.122.200/"
PAGE = {
    "pod": "nginx-macvlan",
    "url": URL,
    "address": "192.168.122.200",
    "mac": "02:00:00:00:00:01",
    "status": 200,
    "title": "Welcome to nginx!",
}
OUTPUTS: dict[str, Any] = {
    "url": PAGE["url"],
    "address": PAGE["address"],
    "mac": PAGE["mac"],
    "proof": PAGE,
    "pages": [PAGE],
    "nodes": [NODE],
    "sshCommand": "ssh -p 2222 admin@192.168.122.180",
    "sshPrivateKey": "PRIVATE",
    "kubeconfig": "KUBE",
}


def test_outputs_are_read_and_secrets_are_in_no_repr() -> None:
    found = stack.parse_outputs("dev", OUTPUTS)
    assert (found.ssh_user, found.ssh_port, found.private_key, found.kubeconfig) == ("admin", 2222, "PRIVATE", "KUBE")
    assert found.node("server-1") == found.node("192.168.122.180") == found.first_server
    assert "PRIVATE" not in repr(found) and "KUBE" not in repr(found)


def test_an_unknown_node_is_answered_with_those_there_are() -> None:
    with pytest.raises(LabError, match=r"no node agent-9.*server-1"):
        stack.parse_outputs("dev", OUTPUTS).node("agent-9")
    with pytest.raises(LabError, match=r"\./lab up"):
        stack.parse_outputs("dev", {}).node("server-1")


def secret(value: str) -> dict[str, str]:
    return {stack._SECRET: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}


def test_a_failed_first_up_is_known_by_its_state() -> None:
    config = models.parse("dev", {"ssh": {"user": "admin", "port": 2222}})
    layout = plans.make("k3s-macvlan", "dev", config)
    kubeconfig = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n"
    resources = [
        {"urn": "urn:pulumi:dev::k3s-macvlan::x::client-key", "outputs": {"private_key": secret("PRIVATE")}},
        {"urn": "urn:pulumi:dev::k3s-macvlan::x::server-1-host-key", "outputs": {"public_key": "ssh-ed25519 AAAA c"}},
        {"urn": "urn:pulumi:dev::k3s-macvlan::x::k3s-kubeconfig", "outputs": {"stdout": secret(kubeconfig)}},
    ]
    found = stack.from_state(stack.parse_outputs("dev", {}), {"deployment": {"resources": resources}}, config, layout)
    assert (found.ssh_user, found.ssh_port, found.private_key) == ("admin", 2222, "PRIVATE")
    assert found.nodes[0].host_key == "ssh-ed25519 AAAA c" and found.nodes[0].address == "192.168.122.180"
    assert "server: https://192.168.122.180:6443" in found.kubeconfig
    assert "did not finish" in found.notes[0]
    nothing = stack.from_state(stack.parse_outputs("dev", {}), {"deployment": {}}, config, layout)
    assert nothing.nodes == () and "never brought up" in nothing.notes[0]


def test_outputs_are_enough_where_there_are_some() -> None:
    asked: list[tuple[str, ...]] = []

    def run(*words: str) -> Any:
        asked.append(words)
        return OUTPUTS

    assert stack.read("dev", run).nodes[0].name == "server-1"
    assert asked == [("stack", "output", "-s", "dev", "--json", "--show-secrets")]


def test_encrypted_settings_are_left_out() -> None:
    document = {
        "config": {
            "p:ssh": {"user": "admin", "privateKey": {"secure": "v1:x"}},
            "p:cloudInit": {"secure": "v1:y"},
            "p:k3s": {"registries": {"configs": {"r": {"auth": {"password": {"secure": "v1:z"}}}}}},
            "pulumi:x": [1],
        }
    }
    raw = stack.raw_settings(document, "p")
    assert raw["ssh"] == {"user": "admin", "privateKey": stack.HIDDEN}
    assert "cloudInit" not in raw and "x" not in raw and "v1:" not in json.dumps(raw)
    models.parse("dev", raw)


def test_every_stack_file_is_read() -> None:
    for path in sorted(stack.ROOT.glob("Pulumi.*.yaml")):
        config, layout = stack.load_settings(path.name.split(".")[1])
        assert layout.nodes and config.macvlan.name


def test_missing_and_broken_stack_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: p\n")
    with pytest.raises(LabError, match=r"no Pulumi\.x\.yaml"):
        stack.load_settings("x", tmp_path)
    (tmp_path / "Pulumi.x.yaml").write_text("a: [")
    with pytest.raises(LabError, match="no YAML"):
        stack.load_settings("x", tmp_path)


# --- Kubernetes ---


def pod(name: str, asked: str = "", given: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    annotations = {kube.NETWORKS: asked} | ({kube.STATUS: json.dumps(given)} if given is not None else {})
    return {
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {"nodeName": "server-1"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


ETH0 = {"name": "cbr0", "interface": "eth0", "ips": ["10.42.0.3"], "mac": "aa"}
NET1 = {"name": "default/macvlan-conf", "interface": "net1", "ips": ["192.168.122.200"], "mac": "bb"}


def test_pods_with_networks_are_found_and_those_that_lack_one_are_told() -> None:
    items = [
        pod("whole", "macvlan-conf", [ETH0, NET1]),
        pod("silent", "macvlan-conf", [ETH0]),
        pod("unasked", "", None),
        pod("two", '[{"name": "a"}, {"name": "b"}]', [ETH0, NET1]),
        pod("odd", "macvlan-conf, macvlan-conf", None),
        {"metadata": {"name": "plain"}, "spec": {}, "status": {}},
    ]
    found = {each.name: each for each in kube.pods({"items": items})}
    assert set(found) == {"whole", "silent", "two", "odd"}
    assert found["whole"].complete and found["whole"].second[0].address == "192.168.122.200"
    assert not found["silent"].complete and not found["two"].complete and not found["odd"].complete


def test_nodes_by_name_with_version() -> None:
    item = {
        "metadata": {"name": "server-1"},
        "status": {"nodeInfo": {"kubeletVersion": "v1.27.8+k3s2"}, "conditions": [{"type": "Ready", "status": "False"}]},
    }
    assert kube.nodes({"items": [item]}) == [kube.KubeNode(name="server-1", ready=False, version="v1.27.8+k3s2")]


@pytest.mark.parametrize("status", ["", "no json", "[]"])
def test_no_report_is_no_interface(status: str) -> None:
    assert kube.interfaces(status) == ()
