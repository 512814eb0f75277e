"""examples/statefulset: a second program, which takes the networks and the kubeconfig from the outputs of this one."""

from __future__ import annotations

import asyncio
import contextvars
import importlib.util
import json
import re
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import config as pulumi_config
from pulumi.runtime import mocks, rpc, settings

from .conftest import Run
from .engine import ROOT, opened

pytestmark = pytest.mark.program

FOLDER = ROOT / "examples/statefulset"
NETWORKS = "k8s.v1.cni.cncf.io/networks"
STACK_SETTINGS = {
    "podNetworks": {
        "lan": {"ipam": "static", "addresses": {"home-assistant": {"ip": "192.168.122.207", "mac": "02:00:00:00:00:07"}}},
        "iot": {
            "vlan": 50,
            "cidr": "192.168.50.0/24",
            "gateway": "192.168.50.1",
            "ipam": "static",
            "addresses": {"home-assistant": {"ip": "192.168.50.10"}, "printer": {"ip": "192.168.50.11"}},
        },
        "macvlan-conf": {"range": "192.168.122.200-192.168.122.204"},
    },
    "workload": {"networks": ["macvlan-conf"]},
}
REQUESTED = [
    {"name": "lan", "namespace": "default", "ips": ["192.168.122.207/24"], "mac": "02:00:00:00:00:07"},
    {"name": "iot", "namespace": "default", "ips": ["192.168.50.10/24"]},
]


@pytest.fixture(scope="module")
def booked() -> ModuleType:
    spec = importlib.util.spec_from_file_location("booked", FOLDER / "booked.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stacks(mocks.Mocks):
    """The engine: it answers for the stack that is referenced, and takes what the program registers."""

    def __init__(self, outputs: Mapping[str, Any]) -> None:
        self.outputs = {**outputs, "kubeconfig": pulumi.Output.secret(outputs["kubeconfig"])}
        self.registered: dict[str, dict[str, Any]] = {}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"{args.token} is not called")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        self.registered[args.typ] = args.inputs
        if args.typ == "pulumi:pulumi:StackReference":
            return args.resource_id, {"name": args.resource_id, "outputs": self.outputs, "secretOutputNames": ["kubeconfig"]}
        return f"id-of-{args.name}", args.inputs


def deployed(monkeypatch: pytest.MonkeyPatch, outputs: Mapping[str, Any], **config: Any) -> dict[str, dict[str, Any]]:
    """What the example registers, by type, with the defaults of its Pulumi.yaml and this configuration."""
    project = yaml.safe_load((FOLDER / "Pulumi.yaml").read_text())
    values = {name: entry["default"] for name, entry in project["config"].items()} | config
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    registered: dict[str, dict[str, Any]] = {}

    def run() -> None:
        pulumi_config.set_all_config({f"{project['name']}:{name}": value for name, value in texts.items()}, [])
        settings.set_root_resource(None)  # type: ignore[arg-type]
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            engine = Stacks(outputs)
            mocks.set_mocks(engine, project=project["name"], stack="home", preview=False)
            pulumi.runtime.test(lambda: runpy.run_path(str(FOLDER / "__main__.py"), run_name="__main__"))()  # type: ignore[no-untyped-call]
            registered.update(engine.registered)
        finally:
            loop.close()
            asyncio.set_event_loop(None)

    # As Pulumi's language host does.
    monkeypatch.syspath_prepend(str(FOLDER))
    try:
        contextvars.copy_context().run(run)
    finally:
        sys.modules.pop("booked", None)
    return registered


def test_it_deploys_what_this_program_s_outputs_say(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = opened(deploy("dev", STACK_SETTINGS).outputs)
    registered = deployed(monkeypatch, outputs)
    secret = {rpc._special_sig_key: rpc._special_secret_sig, "value": outputs["kubeconfig"]}
    assert registered["pulumi:providers:kubernetes"]["kubeconfig"] == secret
    template = registered["kubernetes:apps/v1:StatefulSet"]["spec"]["template"]
    assert json.loads(template["metadata"]["annotations"][NETWORKS]) == REQUESTED


def test_an_address_is_never_on_two_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the controller of StatefulSets does with these is documented: the next pod is made when the former one has ended."""
    books = {"lan": {"web": '[{"name": "lan"}]'}}
    spec = deployed(monkeypatch, {"kubeconfig": "{}", "attachments": books}, entry="web", networks=["lan"])[
        "kubernetes:apps/v1:StatefulSet"
    ]["spec"]
    assert spec["replicas"] == 1
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}


def test_entries_are_joined_in_the_order_of_the_networks(booked: ModuleType) -> None:
    books = {"a": {"x": '[{"name": "a"}]', "y": "[]"}, "b": {"x": '[{"name": "b", "ips": ["10.0.0.1/24"]}]'}}
    assert json.loads(booked.annotation(books, "x", ["b", "a"])) == [{"name": "b", "ips": ["10.0.0.1/24"]}, {"name": "a"}]


@pytest.mark.parametrize(
    ("entry", "network", "message"),
    [
        ("x", "c", "c is none of the stack's podNetworks: a, b"),
        ("z", "b", "entry: z is not in podNetworks.b.addresses"),
    ],
)
def test_what_is_not_booked_is_named(booked: ModuleType, entry: str, network: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        booked.annotation({"a": {}, "b": {"x": "[]"}}, entry, ["b", network] if network == "c" else [network])


def test_its_packages_are_those_of_this_program() -> None:
    def pins(path: Path) -> dict[str, str]:
        return dict(re.findall(r"(?m)^([A-Za-z0-9-]+)==([^\s#]+)", path.read_text()))

    own, all_pins = pins(FOLDER / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert own == {name: all_pins[name] for name in ("pulumi", "pulumi-kubernetes")}
