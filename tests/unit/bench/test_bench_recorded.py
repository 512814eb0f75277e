"""The stand-ins that let the engine record a state of machines that are not there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc  # type: ignore[import-untyped]
import pytest
import yaml
from google.protobuf import struct_pb2  # type: ignore[import-untyped]
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2

from bench import recorded, standin
from bench.checkout import BenchError, Checkout
from cli import engine
from components.cluster.k3s_files import kubeconfig
from components.cluster.network_status import network_status
from components.custom.page_check import HttpProofProvider

pytestmark = pytest.mark.unit

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "annotations": {"a": "b", "k8s.v1.cni.cncf.io/networks": "lan"}},
    "spec": {},
}


def secret(value: Any) -> dict[str, Any]:
    return {rpc._special_sig_key: rpc._special_secret_sig, "value": value}


def create(kind: str, inputs: dict[str, Any], times: int = 1) -> list[Any]:
    provider = standin.Provider(kind, grpc.insecure_channel("127.0.0.1:1"))
    properties = struct_pb2.Struct()
    properties.update(inputs)
    return [provider.Create(provider_pb2.CreateRequest(properties=properties), None) for _ in range(times)]


def test_a_command_keeps_its_inputs_with_the_marks_of_its_secrets() -> None:
    inputs = {"create": "true", "connection": secret({"host": "192.168.122.180"})}
    (answer,) = create("command", inputs)
    assert MessageToDict(answer.properties) == {**inputs, "stdout": "", "stderr": ""}
    assert answer.id


def test_the_kubeconfig_is_one_that_the_program_reads() -> None:
    (answer,) = create("command", {"create": "sudo -n env bash -c 'eval \"$text\"' k3s-kubeconfig.sh"})
    text = kubeconfig(MessageToDict(answer.properties)["stdout"], "127.0.0.1", "p/s")
    assert yaml.safe_load(text)["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"


def test_a_pod_has_its_second_interface_and_what_the_provider_notes() -> None:
    one, two = (MessageToDict(answer.properties) for answer in create("kubernetes", POD, 2))
    for outputs in (one, two):
        assert outputs["__inputs"] == POD and outputs["__initialApiVersion"] == "v1" and outputs["__fieldManager"]
        assert outputs["metadata"]["uid"] and outputs["metadata"]["annotations"]["a"] == "b"
    addresses = [network_status(outputs["metadata"]["annotations"])[0]["ips"][0] for outputs in (one, two)]
    assert len(set(addresses)) == 2, "the program refuses one address for two pods"


def test_a_pod_has_an_interface_of_each_network_with_the_addresses_that_it_requests() -> None:
    booked = {"name": "iot", "namespace": "home", "ips": ["192.168.50.10/24", "fd00:50::10/64"], "mac": "02:00:00:00:50:10"}
    both = ["default/lan", "home/iot"]
    for annotation, names in ((json.dumps([{"name": "lan"}, booked]), both), ("lan,home/iot", both), ("", [])):
        pod = {**POD, "metadata": {"name": "web", "annotations": {"k8s.v1.cni.cncf.io/networks": annotation}}}
        (answer,) = create("kubernetes", pod)
        status = network_status(MessageToDict(answer.properties)["metadata"]["annotations"])
        assert [(entry["name"], entry["interface"]) for entry in status] == [(name, f"net{i}") for i, name in enumerate(names, 1)]
        assert all(entry["ips"] and entry["mac"] for entry in status)
        assert len({entry["mac"] for entry in status}) == len(names)
        if annotation.startswith("["):
            assert (status[1]["ips"], status[1]["mac"]) == (["192.168.50.10", "fd00:50::10"], "02:00:00:00:50:10")


def test_a_proof_has_every_output_of_the_real_one() -> None:
    inputs = {"title": "Welcome", "url": "http://10.0.0.1", "__provider": "x"}
    result = standin.create_nothing(HttpProofProvider(), inputs)
    outputs = result.outs or {}
    assert set(HttpProofProvider.outputs) <= outputs.keys()
    assert (outputs["seen"], outputs["unseen"]) == ("Welcome", "")


@pytest.mark.parametrize(("namespace", "identity"), [({"namespace": "kube-system"}, "kube-system/x"), ({}, "x")])
def test_a_kubernetes_object_has_its_id(namespace: dict[str, str], identity: str) -> None:
    (answer,) = create("kubernetes", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", **namespace}})
    assert answer.id == identity


def test_all_but_create_is_the_real_provider_s_own_answer() -> None:
    class Error(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.INVALID_ARGUMENT

        def details(self) -> str:
            return "wrong"

        def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
            return (("why", "because"),)

    class Context:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def set_trailing_metadata(self, data: Any) -> None:
            self.seen.append(data)

        def abort(self, code: Any, details: str) -> None:
            self.seen += [code, details]

    def refuse(_request: Any) -> Any:
        raise Error

    assert standin.forward(lambda request: f"answer to {request}", "check", Context()) == "answer to check"
    context = Context()
    standin.forward(refuse, "check", context)
    assert context.seen == [(("why", "because"),), grpc.StatusCode.INVALID_ARGUMENT, "wrong"]
    provider = standin.Provider("command", grpc.insecure_channel("127.0.0.1:1"))
    for name in ("Check", "Diff", "CheckConfig", "DiffConfig", "Configure", "GetPluginInfo"):
        assert name in vars(provider), f"{name} is not the real provider's"


def test_the_stand_ins_come_before_the_real_ones(tmp_path: Path) -> None:
    recorded.wrappers(tmp_path, {name: Path(f"/real/{name}") for name in recorded.PROVIDERS}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"pulumi-resource-{name}" for name in recorded.PROVIDERS}
    for name in recorded.PROVIDERS:
        path = tmp_path / f"pulumi-resource-{name}"
        assert os.access(path, os.X_OK) and f"bench.standin {name} /real/{name}" in path.read_text()
        subprocess.run(["sh", "-n", path], check=True)


def test_real_providers_are_found_where_pulumi_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries, home = tmp_path / "bin", tmp_path / "home"
    kept = home / "plugins/resource-kubernetes-v4.32.0"
    for folder in (binaries, kept):
        folder.mkdir(parents=True)
    for path in (
        binaries / "pulumi-resource-command",
        binaries / "pulumi-resource-pulumi-python",
        kept / "pulumi-resource-kubernetes",
    ):
        path.touch(mode=0o755)
    monkeypatch.setenv("PULUMI_HOME", str(home))
    monkeypatch.setenv("PATH", str(binaries))
    paths = recorded.providers(binaries)
    assert paths["kubernetes"] == kept / "pulumi-resource-kubernetes"
    assert paths["command"] == binaries / "pulumi-resource-command"
    (kept / "pulumi-resource-kubernetes").unlink()
    with pytest.raises(BenchError, match="pulumi-resource-kubernetes"):
        recorded.providers(binaries)


def test_doctor_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A recorded state stands for no machine, so nothing may look whether the host has room for it."""
    calls: list[tuple[tuple[str, ...], dict[str, str]]] = []
    monkeypatch.setattr(engine, "path", lambda: str(tmp_path / "pulumi"))
    monkeypatch.setattr(recorded, "providers", lambda _: {})

    def lab(*words: str, **environment: str) -> Any:
        calls.append((words, environment))

    recorded.record(cast(Checkout, SimpleNamespace(path=tmp_path, environment={"PATH": "/usr/bin"}, lab=lab)), "bench-1")
    [(words, environment)] = calls
    assert words[:2] == ("bench-1", "up")
    assert environment["LAB_DOCTOR"] == "off"
    assert environment["PATH"].endswith(f":{tmp_path}:/usr/bin"), "the stand-ins come first"
