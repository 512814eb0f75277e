"""What the tools know of a stack: outputs, state of an `up` that failed half-way, settings without their secrets."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cli import kube, networks, stack
from cli.errors import LabError
from cli.folders import ROOT
from components.config import plan as plans
from components.config import reading
from components.config import settings as models
from components.config.problems import SettingsError
from components.config.raw import HIDDEN, from_document

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
    outputs = stack.parse_outputs("dev", OUTPUTS)
    assert (outputs.ssh_user, outputs.ssh_port, outputs.private_key, outputs.kubeconfig) == ("admin", 2222, "PRIVATE", "KUBE")
    assert outputs.node("server-1") == outputs.node("192.168.122.180") == outputs.first_server
    assert "PRIVATE" not in repr(outputs) and "KUBE" not in repr(outputs)


def test_an_unknown_node_is_answered_with_those_there_are() -> None:
    with pytest.raises(LabError, match=r"no node agent-9.*server-1"):
        stack.parse_outputs("dev", OUTPUTS).node("agent-9")
    with pytest.raises(LabError, match=r"\./lab up"):
        stack.parse_outputs("dev", {}).node("server-1")


def secret(value: Any) -> dict[str, str]:
    return {stack._SECRET: "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps(value)}


def test_a_failed_first_up_is_known_by_its_state() -> None:
    config = reading.parse("dev", {"ssh": {"user": "admin", "port": 2222}})
    plan = plans.make("k3s-macvlan", "dev", config)
    kubeconfig = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n"
    resources = [
        {"urn": "urn:pulumi:dev::k3s-macvlan::x::client-key", "outputs": {"private_key": secret("PRIVATE")}},
        {"urn": "urn:pulumi:dev::k3s-macvlan::x::server-1-host-key", "outputs": {"public_key": "ssh-ed25519 AAAA c"}},
        {"urn": "urn:pulumi:dev::k3s-macvlan::x::k3s-kubeconfig", "outputs": {"stdout": secret(kubeconfig)}},
    ]
    outputs = stack.from_state(stack.parse_outputs("dev", {}), {"deployment": {"resources": resources}}, config, plan)
    assert (outputs.ssh_user, outputs.ssh_port, outputs.private_key) == ("admin", 2222, "PRIVATE")
    assert outputs.nodes[0].host_key == "ssh-ed25519 AAAA c" and outputs.nodes[0].address == "192.168.122.180"
    assert "server: https://192.168.122.180:6443" in outputs.kubeconfig
    assert "did not finish" in outputs.notes[0]
    nothing = stack.from_state(stack.parse_outputs("dev", {}), {"deployment": {}}, config, plan)
    assert nothing.nodes == () and "never brought up" in nothing.notes[0]


@pytest.mark.parametrize(
    "connection",
    [secret({"host": "h", "privateKey": "PRIVATE"}), {"host": "h", "privateKey": secret("PRIVATE")}, {"privateKey": "PRIVATE"}],
    ids=["the connection is a secret", "its key is", "neither"],
)
def test_a_key_of_the_user_s_own_is_known_after_a_failed_first_up(connection: Any) -> None:
    """As the engine keeps it: which of the two is marked as a secret depends on the provider's schema."""
    config = reading.parse("dev", {"ssh": {"privateKey": HIDDEN}})
    plan = plans.make("k3s-macvlan", "dev", config)
    urn = "urn:pulumi:dev::k3s-macvlan::x::"
    resources = [
        {"urn": f"{urn}local-pool"},
        {"urn": f"{urn}hidden", "inputs": {"connection": {stack._SECRET: "1b4", "ciphertext": "v1:x"}}},
        {"urn": f"{urn}server-1-host-key", "outputs": {"public_key": "ssh-ed25519 AAAA c"}},
        {"urn": f"{urn}server-1-answers", "inputs": {"connection": connection}},
    ]
    known = stack.from_state(stack.parse_outputs("dev", {}), {"deployment": {"resources": resources}}, config, plan)
    assert known.private_key == "PRIVATE"


def test_outputs_are_enough_where_there_are_some() -> None:
    calls: list[tuple[str, ...]] = []

    def run(*words: str) -> Any:
        calls.append(words)
        return OUTPUTS

    assert stack.read("dev", run).nodes[0].name == "server-1"
    assert calls == [("stack", "output", "-s", "dev", "--json", "--show-secrets")]


def test_encrypted_settings_are_left_out() -> None:
    document = {
        "config": {
            "p:ssh": {"user": "admin", "privateKey": {"secure": "v1:x"}},
            "p:cloudInit": {"secure": "v1:y"},
            "p:k3s": {"registries": {"configs": {"r": {"auth": {"password": {"secure": "v1:z"}}}}}},
            "pulumi:x": [1],
        }
    }
    raw = from_document(document, "p").values
    assert raw["ssh"] == {"user": "admin", "privateKey": HIDDEN}
    assert "cloudInit" not in raw and "x" not in raw and "v1:" not in json.dumps(raw)
    reading.parse("dev", raw)


def test_the_tools_find_what_the_program_finds(tmp_path: Path) -> None:
    """Without the secrets: what follows from one is not reported."""
    document = {
        "config": {
            "p:network": {"gateway": "192.168.122.185", "interface": "a b", "name": {"secure": "v1:n"}},
            "p:podNetworks": {"secure": "v1:m"},
            "p:workload": {"image": {"secure": "v1:i"}, "port": 0},
            "p:ssh": {"privateKey": {"secure": "v1:x"}, "authorizedKeys": [{"secure": "v1:k"}, "ä"]},
            "p:k3s": {"config": {"token": {"secure": "v1:t"}}, "registries": {"secure": "v1:r"}},
        }
    }
    (tmp_path / "Pulumi.yaml").write_text("name: p\n")
    (tmp_path / "Pulumi.x.yaml").write_text(json.dumps(document))
    with pytest.raises(SettingsError) as caught:
        stack.load_settings("x", tmp_path)
    assert [problem.setting for problem in caught.value.problems] == [
        "k3s.config.token", "network.interface", "network.nodes", "ssh.authorizedKeys.1", "workload.port",
    ]  # fmt: skip
    assert "v1:" not in str(caught.value)
    assert from_document(document, "p").unknown == {
        "network.name", "podNetworks", "workload.image", "ssh.privateKey", "ssh.authorizedKeys.0", "k3s.config.token",
        "k3s.registries",
    }  # fmt: skip


def test_what_looks_at_a_stack_reads_one_with_conflicts(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: p\n")
    (tmp_path / "Pulumi.x.yaml").write_text(json.dumps({"config": {"p:network": {"gateway": "192.168.122.185"}}}))
    with pytest.raises(SettingsError):
        stack.load_settings("x", tmp_path)
    config, plan = stack.read_settings("x", tmp_path)
    assert str(config.network.gateway) == "192.168.122.185" and plan.nodes[0].domain == "p-x-server-1"


def test_a_file_of_a_former_release_is_refused_with_the_text_to_write(tmp_path: Path) -> None:
    write(tmp_path, "config: {k3s-macvlan:macvlan: {range: 192.168.122.230-192.168.122.239, addressesPerNode: 2}}\n")
    for read in (stack.read_settings, stack.load_settings):
        with pytest.raises(
            SettingsError, match=r"(?s)macvlan: is of a former release.*k3s-macvlan:podNetworks:\s+macvlan-conf:\s+range"
        ):
            read("x", tmp_path)


def test_every_stack_file_is_read() -> None:
    for path in sorted(ROOT.glob("Pulumi.*.yaml")):
        config, plan = stack.load_settings(path.name.split(".")[1])
        assert plan.nodes and [network.name for network in plan.networks] == list(config.pod_networks)


def test_missing_and_broken_stack_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: p\n")
    with pytest.raises(LabError, match=r"no Pulumi\.x\.yaml"):
        stack.load_settings("x", tmp_path)
    for text in ("[1]", "config: [1]", "text"):
        (tmp_path / "Pulumi.x.yaml").write_text(text)
        with pytest.raises(LabError, match="no stack file"):
            stack.load_settings("x", tmp_path)
    (tmp_path / "Pulumi.x.yaml").write_text("a: [")
    with pytest.raises(LabError, match="no YAML"):
        stack.load_settings("x", tmp_path)


def write(folder: Path, text: str) -> None:
    (folder / "Pulumi.yaml").write_text("name: k3s-macvlan\n")
    (folder / "Pulumi.x.yaml").write_text(text)


def refused(folder: Path, text: str) -> dict[str, str]:
    """What is said of each setting of a stack file."""
    write(folder, text)
    with pytest.raises(SettingsError) as caught:
        stack.load_settings("x", folder)
    return {problem.setting: problem.conflict for problem in caught.value.problems}


def test_a_stack_file_is_read_by_pulumis_rules(tmp_path: Path) -> None:
    mac = "52:54:00:12:34:56"
    write(
        tmp_path,
        f"config:\n  k3s-macvlan:servers: {{count: 1.0, labels: {{a: yes}}, overrides: {{server-1: {{mac: {mac}}}}}}}\n",
    )
    config, plan = stack.load_settings("x", tmp_path)
    assert plan.nodes[0].mac == mac and config.servers.labels == {"a": "yes"}


@pytest.mark.parametrize("key", ["agents", "k3s-macvlan:agents", "k3s-macvlan:config:agents"])
@pytest.mark.parametrize("value", ["{count: 1}", """'{"count": 1}'"""])
def test_each_form_of_a_key_and_of_its_value_is_read(tmp_path: Path, key: str, value: str) -> None:
    networks = "{lan: {range: 192.168.122.200-192.168.122.203, addressesPerNode: 2}}"
    write(tmp_path, f"config:\n  {key}: {value}\n  podNetworks: {networks}\n  other:servers: {{count: 7}}\n")
    config, _plan = stack.load_settings("x", tmp_path)
    assert (config.agents.count, config.servers.count) == (1, 1)


def test_a_key_without_value_is_what_the_program_gets(tmp_path: Path) -> None:
    write(tmp_path, "config:\n  agents:\n")
    assert from_document({"config": {"agents": None}}, "k3s-macvlan").values == {"agents": ""}
    with pytest.raises(SettingsError, match=r"agents = '': not a mapping"):
        stack.load_settings("x", tmp_path)


def test_a_secret_is_found_under_each_form_of_a_key() -> None:
    document = {"config": {"ssh": {"privateKey": {"secure": "v1:a"}}, "p:config:cloudInit": {"secure": "v1:b"}}}
    assert from_document(document, "p").unknown == {"ssh.privateKey", "cloudInit"}


def test_a_key_that_is_there_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    conflicts = refused(tmp_path, "config:\n  k3s-macvlan:servers:\n    count: 1\n    count: 3\n  agents: {}\n  agents: {}\n")
    assert conflicts == {
        "config.k3s-macvlan:servers.count": "is set twice, at line 3 and at line 4; keep one of them",
        "config.agents": "is set twice, at line 5 and at line 6; keep one of them",
    }


def test_settings_outside_of_config_are_reported_with_their_place(tmp_path: Path) -> None:
    networks = "{macvlan-conf: {range: 192.168.122.230-192.168.122.239}}"
    text = f"encryptionsalt: v1:x\nk3s-macvlan:podNetworks: {networks}\nagents: {{}}\nConfig: {{}}\n"
    conflicts = refused(
        tmp_path, text + "config: {k3s-macvlan:workload: {port: 0}, network: {nodes: 192.168.122.190-192.168.122.203}}\n"
    )
    assert sorted(conflicts) == ["Config", "agents", "k3s-macvlan:podNetworks", "workload.port"], (
        "not what follows from the default range"
    )
    assert all(
        "stands outside of config:" in conflicts[key] and "put it below config:" in conflicts[key] for key in ("Config", "agents")
    )
    problems = stack.unread("x", tmp_path)
    assert [problem.setting for problem in problems] == ["k3s-macvlan:podNetworks", "agents", "Config"]
    write(tmp_path, "agents: {count: 1}\n")
    assert stack.read_settings("x", tmp_path)[0].agents.count == 0, "what looks at a stack reads past them like Pulumi"


def test_every_key_of_a_stack_file_that_pulumi_knows_is_taken(tmp_path: Path) -> None:
    write(tmp_path, "secretsprovider: passphrase\nencryptedkey: x\nencryptionsalt: x\nenvironment: {}\nconfig: {}\n")
    assert stack.load_settings("x", tmp_path)[0] == models.Settings() and stack.unread("x", tmp_path) == []


def test_a_setting_under_two_spellings_is_reported(tmp_path: Path) -> None:
    conflicts = refused(tmp_path, "config: {agents: {}, k3s-macvlan:agents: {}, k3s-macvlan:config:agents: {}, a:b: 1}\n")
    assert sorted(conflicts) == ["k3s-macvlan:agents", "k3s-macvlan:config:agents"]
    assert all("is the same setting as agents" in conflict for conflict in conflicts.values())
    assert len(stack.unread("x", tmp_path)) == 2


def test_keys_under_a_name_near_the_project_s_and_of_no_form_are_reported(tmp_path: Path) -> None:
    conflicts = refused(
        tmp_path, "config: {k3s-maclan:agents: {}, k3s-macvlan:a:b: 1, other:agents: {}, aws:region: x, proof: {path: x}}\n"
    )
    assert sorted(conflicts) == ["k3s-maclan:agents", "k3s-macvlan:a:b", "proof.path"]
    assert conflicts["k3s-maclan:agents"].endswith("; write k3s-macvlan:agents")
    assert conflicts["k3s-macvlan:a:b"] == "is no key that Pulumi reads; write it as k3s-macvlan:NAME"
    assert stack.unread("x", tmp_path) == [], "these `up` reports itself"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: p\n")
    (tmp_path / "Pulumi.x.yaml").write_bytes(b"config: {a: \xe9}\n")
    with pytest.raises(LabError, match=r"Pulumi\.x\.yaml is not in UTF-8 \(byte 12\)"):
        stack.load_settings("x", tmp_path)


# --- Kubernetes ---


def pod(name: str, requested: str = "", given: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    annotations = {networks.NETWORKS: requested} | ({networks.STATUS: json.dumps(given)} if given is not None else {})
    return {
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {"nodeName": "server-1"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


ETH0 = {"name": "cbr0", "interface": "eth0", "ips": ["10.42.0.3"], "mac": "aa"}
NET1 = {"name": "default/macvlan-conf", "interface": "net1", "ips": ["192.168.122.200"], "mac": "bb"}


def test_pods_with_networks_are_found_and_those_that_lack_one_are_reported() -> None:
    items = [
        pod("whole", "macvlan-conf", [ETH0, NET1]),
        pod("silent", "macvlan-conf", [ETH0]),
        pod("unasked", "", None),
        pod("two", '[{"name": "a"}, {"name": "b"}]', [ETH0, NET1]),
        pod("odd", "macvlan-conf, macvlan-conf", None),
        {"metadata": {"name": "plain"}, "spec": {}, "status": {}},
    ]
    pods = {item.name: item for item in kube.pods({"items": items})}
    assert set(pods) == {"whole", "silent", "two", "odd"}
    assert pods["whole"].complete and pods["whole"].secondary[0].addresses == ("192.168.122.200",)
    assert not pods["silent"].complete and not pods["two"].complete and not pods["odd"].complete


def test_nodes_by_name_with_version() -> None:
    item = {
        "metadata": {"name": "server-1"},
        "status": {
            "nodeInfo": {"kubeletVersion": "v1.27.8+k3s2"},
            "conditions": [{"type": "Ready", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "192.168.122.180"}, {"type": "Hostname", "address": "server-1"}],
        },
    }
    assert kube.nodes({"items": [item]}) == [
        kube.KubeNode(name="server-1", ready=False, version="v1.27.8+k3s2", addresses=("192.168.122.180",))
    ]


def pending(name: str, **status: Any) -> dict[str, Any]:
    item = pod(name, "macvlan-conf")
    item["metadata"]["uid"] = f"uid-{name}"
    item["status"] = {"phase": "Pending", **status}
    return item


def failure(name: str, message: str, at: str = "2026-11-26T10:00:00Z", uid: str = "") -> dict[str, Any]:
    return {
        "involvedObject": {"namespace": "default", "name": name, "uid": uid or f"uid-{name}"},
        "message": message,
        "lastTimestamp": at,
    }


SANDBOX = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "
    '"0123": plugin type="multus" name="multus-cni-network" failed (add): [default/full/uid:macvlan-conf]: error adding container '
    'to network "macvlan-conf": failed to allocate for range 0: no IP addresses available in range set'
)


def test_a_pod_whose_network_cannot_be_made_says_why() -> None:
    no_sandbox = {"conditions": [{"type": "PodReadyToStartContainers", "status": "False"}]}
    sandbox = {"conditions": [{"type": "PodReadyToStartContainers", "status": "True"}]}
    items = [
        pending("full"),
        pending("new", **no_sandbox),
        pending("pulls", **sandbox),  # its first attempt failed, and it got a sandbox since
        pending("pulls-old", podIP="10.42.0.9"),  # the same before Kubernetes 1.28
        pending("waits"),
        pending("nowhere", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]),
        {"metadata": {"name": "plain", "namespace": "default", "uid": "uid-plain"}, "spec": {}, "status": {"phase": "Pending"}},
    ]
    events = [
        failure("full", SANDBOX, "2026-11-26T10:00:02Z"),
        failure("full", "an older one", "2026-11-26T10:00:01Z"),
        failure("full", "of a pod of the same name", "2026-11-26T10:00:03Z", uid="another"),
        *(failure(name, SANDBOX) for name in ("new", "pulls", "pulls-old", "plain")),
    ]
    pods = {item.name: item for item in kube.pods({"items": items}, {"items": events})}
    for name in ("full", "new", "plain"):
        assert "no IP addresses available in range set" in pods[name].problems[0], name
        assert "rpc error" not in pods[name].problems[0] and not pods[name].complete
    assert "older" not in str(pods["full"].problems) and "same name" not in str(pods["full"].problems)
    assert [pods[name].problems for name in ("waits",)] == [()] and pods["waits"].waiting and not pods["waits"].complete
    assert "no interface on default/macvlan-conf" in pods["pulls"].problems[0] == pods["pulls-old"].problems[0]
    assert "0/1 nodes are available" in pods["nowhere"].problems[0]


def test_what_a_plugin_says_cannot_drive_the_terminal_and_ends_somewhere() -> None:
    events = {"items": [failure("full", "\x1b[31m" + "x" * 2000 + "the cause")]}
    problem = kube.pods({"items": [pending("full")]}, events)[0].problems[0]
    assert "\x1b" not in problem and len(problem) < 500 and problem.endswith("the cause")


def test_a_pod_that_ended_lacks_nothing_and_one_with_a_wrong_annotation_says_so() -> None:
    items = [pod("done", "macvlan-conf", [ETH0]), pod("wrong", '{"name": "a"}', [ETH0])]
    items[0]["status"]["phase"] = "Succeeded"
    done, wrong = kube.pods({"items": items})
    assert done.ended and done.complete and done.problems == ()
    assert "Multus refuses: its JSON is no list" in wrong.problems[0] and not wrong.complete


def test_what_the_api_does_not_report_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def client(_kubeconfig: str) -> Any:
        def get(path: str) -> Any:
            if "events" in path or "k8s.cni" in path:
                raise OSError("404")
            return {"items": [pod("whole", "macvlan-conf", [ETH0, NET1])] if path.endswith("pods") else []}

        return get

    monkeypatch.setattr("components.cluster.kubernetes_api.client", client)
    cluster = kube.read("")
    assert cluster.pods[0].complete and len(cluster.notes) == 2 and "404" in cluster.notes[0]


def test_definitions_say_type_and_parent() -> None:
    configs = {
        "one": {"type": "macvlan", "master": "enp2s0"},
        "chain": {"plugins": [{"type": "ipvlan", "master": "enp1s0"}, {"type": "tuning"}]},
        "tagged": {"plugins": [{"type": "vlan", "master": "enp1s0", "vlanId": 50}, {"type": "sbr"}]},
        "sliced": "",
    }
    items = [
        {"metadata": {"name": name, "namespace": "lan"}, "spec": {"config": json.dumps(config) if config else ""}}
        for name, config in configs.items()
    ]
    items += [{"metadata": {"name": "odd", "namespace": "lan"}, "spec": {"config": "{"}}, {"metadata": {"name": "none"}}]
    definitions = kube.definitions({"items": items})
    assert [(definition.network, definition.type, definition.master, definition.vlan) for definition in definitions] == [
        ("default/none", "", "", None),
        ("lan/chain", "ipvlan", "enp1s0", None),
        ("lan/odd", "", "", None),
        ("lan/one", "macvlan", "enp2s0", None),
        ("lan/sliced", "", "", None),
        ("lan/tagged", "vlan", "enp1s0", 50),
    ]


def managed(at: str, **fields: Any) -> dict[str, Any]:
    return {"manager": "x", "operation": "Apply", "time": at, "fieldsV1": fields}


def test_a_definition_has_changed_when_somebody_last_wrote_its_configuration_or_an_annotation() -> None:
    annotated: dict[str, Any] = {"f:metadata": {"f:annotations": {"f:x": {}}}}
    labelled: dict[str, Any] = {"f:metadata": {"f:labels": {"f:x": {}}}}
    entries = [
        managed("2026-11-26T11:00:00Z", **{"f:spec": {"f:config": {}}}),
        managed("2026-11-26T12:00:00Z", **annotated),
        managed("2026-11-26T13:00:00Z", **labelled),
        managed("no time", **annotated),
        {"manager": "old"},
    ]
    metadata = {"name": "lan", "creationTimestamp": "2026-11-26T10:00:00Z", "annotations": {kube.NETWORK_REVISION: "0123"}}
    (untouched,) = kube.definitions({"items": [{"metadata": metadata}]})
    (changed,) = kube.definitions({"items": [{"metadata": metadata | {"managedFields": entries}}]})
    assert untouched.changed == datetime(2026, 11, 26, 10, tzinfo=UTC) and untouched.revision == "0123"
    assert changed.changed == datetime(2026, 11, 26, 12, tzinfo=UTC)
    assert kube.definitions({"items": [{"metadata": {"name": "none"}}]})[0].changed is None


def test_a_pod_s_network_is_as_old_as_its_sandbox() -> None:
    item = pod("whole", "macvlan-conf", [ETH0, NET1])
    assert kube.pods({"items": [item]})[0].networked is None
    item["metadata"]["creationTimestamp"] = "2026-11-26T10:00:00Z"
    assert kube.pods({"items": [item]})[0].networked == datetime(2026, 11, 26, 10, tzinfo=UTC)
    restarted = {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": "2026-11-27T10:00:00Z"}
    item["status"]["conditions"] = [restarted]
    assert kube.pods({"items": [item]})[0].networked == datetime(2026, 11, 27, 10, tzinfo=UTC)
    item["status"]["conditions"] = [restarted | {"status": "False"}]
    assert kube.pods({"items": [item]})[0].networked == datetime(2026, 11, 26, 10, tzinfo=UTC)
    assert kube.pods({"items": [item]})[0].plain()["networked"] == "2026-11-26T10:00:00+00:00"


def test_the_annotation_of_the_program_s_own_is_the_one_it_writes() -> None:
    from components.network import changed_network  # noqa: PLC0415 - imports Pulumi

    assert changed_network.NETWORK_REVISION == kube.NETWORK_REVISION
    own = pod("own", "macvlan-conf", [ETH0, NET1])
    own["metadata"]["annotations"][kube.NETWORK_REVISION] = "0123,4567"
    others, mine = kube.pods({"items": [pod("others", "macvlan-conf", [ETH0, NET1]), own]})
    assert (others.revisions, mine.revisions) == (None, ("0123", "4567"))


def test_multus_is_known_by_its_container_on_each_node() -> None:
    def multus(node: str, phase: str = "Running") -> dict[str, Any]:
        containers = [{"name": "sidecar", "image": "x"}, {"name": "kube-multus", "image": f"multus:{node}"}]
        return {"metadata": {"name": f"m-{node}"}, "spec": {"nodeName": node, "containers": containers}, "status": {"phase": phase}}

    items = [multus("server-1"), multus("agent-1", "Pending"), pod("other")]
    assert kube.multus_images({"items": items}) == {"server-1": "multus:server-1"}
