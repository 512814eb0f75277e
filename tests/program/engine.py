"""A stand-in for the Pulumi engine: it runs the whole of __main__.py and records every registration as the engine sees it.

Unlike pulumi.runtime.set_mocks it keeps secrets marked, sees dependencies, parents, `deletedWith` and hooks, and answers as
the engine does in an update (all outputs), in the first preview (inputs only) and in a preview of a stack that exists.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import gc
import hashlib
import json
import os
import runpy
import shlex
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal
from unittest import mock
from urllib.parse import urlsplit

import yaml
from google.protobuf import empty_pb2, struct_pb2  # type: ignore[import-untyped]
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from pulumi.runtime import config as pulumi_config
from pulumi.runtime import mocks, resource, rpc, settings, stack
from pulumi.runtime.proto import engine_pb2, resource_pb2, source_pb2

from components.cluster import kubernetes_api
from components.libvirt.overlay_disk import OverlayDiskProvider
from components.node import command as node_command

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "k3s-macvlan"
STACK_FILES = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
Mode = Literal["up", "first", "again", "replaced"]
"""An update; a preview of a stack that does not exist yet; of one that does; of one whose pod is to be recreated."""

TOKEN = "7e5700000000000000000000000000000000000000000000000000000000700e"
AGENT_TOKEN = "7e570000000000000000000000000000000000000000000000000000000a6e27"
TOKENS = {"k3s-token": TOKEN, "k3s-agent-token": AGENT_TOKEN}
CLIENT_KEY = "Q0xJRU5ULUtFWS1TRUNSRVQ="
SERVICE_TOKEN = "U0VSVklDRS1BQ0NPVU5ULVRPS0VO"
AT_CREATION = {"ends": "", "renewed": ""}
"""What a node's certificates have in the run that creates the resource."""
POD_ADDRESS, POD_MAC, POD_UID = "192.168.122.200", "6a:00:00:00:00:01", "pod-uid-1"


def private_key(name: str) -> str:
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\nPRIVATE-KEY-OF-{name}\n-----END OPENSSH PRIVATE KEY-----\n"


def public_key(name: str) -> str:
    return f"ssh-ed25519 AAAAC3Nza{name}"


@dataclass(frozen=True)
class Secret:
    """A value that the program marked as secret."""

    value: Any


class _Unknown:
    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN = _Unknown()


def plain(value: struct_pb2.Value) -> Any:
    """A wire value as Python data, with secrets and unknowns marked."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        fields = value.struct_value.fields
        if rpc._special_sig_key in fields and fields[rpc._special_sig_key].string_value == rpc._special_secret_sig:
            return Secret(plain(fields["value"]))
        return {name: plain(item) for name, item in fields.items()}
    if kind == "list_value":
        return [plain(item) for item in value.list_value.values]
    if kind == "string_value":
        return UNKNOWN if value.string_value == rpc.UNKNOWN else value.string_value
    if kind == "number_value":
        return value.number_value
    return value.bool_value if kind == "bool_value" else None


def wire(value: Any) -> Any:
    """The other way round, as plain data for a Struct."""
    if isinstance(value, Secret):
        return {rpc._special_sig_key: rpc._special_secret_sig, "value": wire(value.value)}
    if isinstance(value, Mapping):
        return {name: wire(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [wire(item) for item in value]
    return rpc.UNKNOWN if value is UNKNOWN else value


def opened(value: Any) -> Any:
    """The value without the marks of secrets."""
    if isinstance(value, Secret):
        return opened(value.value)
    if isinstance(value, Mapping):
        return {name: opened(item) for name, item in value.items()}
    return [opened(item) for item in value] if isinstance(value, list) else value


def leaves(value: Any, path: str = "", *, secrets: bool = True) -> Iterator[tuple[str, Any]]:
    """Every scalar with its path; with `secrets` off only what is kept in clear."""
    if isinstance(value, Secret):
        if secrets:
            yield from leaves(value.value, path)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}".lstrip("."), secrets=secrets)
            if not secrets:
                yield f"{path}.{name} (key)", name
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}", secrets=secrets)
    else:
        yield path, value


@dataclass(frozen=True, kw_only=True)
class Registered:
    """One RegisterResourceRequest. Other resources are named by their names, which are unique within a type."""

    type: str
    name: str
    urn: str
    custom: bool
    inputs: dict[str, Any]
    dependencies: frozenset[str]
    parent: str
    provider: str
    deleted_with: str
    aliases: tuple[str, ...]
    secret_outputs: frozenset[str]
    timeouts: dict[str, Any]
    hooks: dict[str, Any]
    replace_on_changes: tuple[str, ...]
    ignored: tuple[str, ...]
    delete_before_replace: bool
    protect: bool

    @property
    def kind(self) -> str:
        """The last part of the type: Domain, Command, Pod."""
        return self.type.rsplit(":", 1)[-1]

    def input(self, name: str) -> Any:
        return opened(self.inputs.get(name))

    def document(self) -> str:
        """What the script of a remote command finds on its stdin."""
        sent = str(self.input("stdin") or "")
        for command in ("create", "delete"):
            name = shlex.split(self.input(command) or "true")[-1]
            if name.endswith(".sh"):
                sent = sent.removeprefix(node_command.text(name))
        return sent


@dataclass
class Deployment:
    """What a run of the program requested of the engine."""

    resources: dict[str, Registered] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    error_hooks: list[str] = field(default_factory=list)
    resource_hooks: dict[str, Any] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Registered:
        """The resource of this name; a component gives way to a custom resource of the same name."""
        named = [resource for resource in self.resources.values() if resource.name == name]
        chosen = [resource for resource in named if resource.custom] or named
        assert len(chosen) == 1, f"{name}: {[resource.urn for resource in named]}"
        return chosen[0]

    def of(self, kind: str) -> list[Registered]:
        return [resource for resource in self.resources.values() if resource.kind == kind]

    @property
    def custom(self) -> list[Registered]:
        return [resource for resource in self.resources.values() if resource.custom]

    @property
    def names(self) -> list[str]:
        return sorted(f"{resource.kind} {resource.name}" for resource in self.resources.values())

    def edges(self) -> dict[str, set[str]]:
        """What must be there before, by URN: dependencies, provider, parent."""
        return {
            urn: {
                *resource.dependencies,
                *([resource.provider.rsplit("::", 1)[0]] if resource.provider else []),
                *([resource.parent] if resource.parent in self.resources else []),
                *([resource.deleted_with] if resource.deleted_with else []),
            }
            for urn, resource in self.resources.items()
        }

    def sorted(self) -> list[str]:
        """A topological order; raises CycleError."""
        return list(TopologicalSorter(self.edges()).static_order())

    def before(self, name: str) -> set[str]:
        """The names of all custom resources that must be there before `name`, directly or not. Parents do not count."""
        visited: set[str] = set()
        todo = [self[name].urn]
        while todo:
            resource = self.resources[todo.pop()]
            for urn in {*resource.dependencies, *([resource.provider.rsplit("::", 1)[0]] if resource.provider else [])} - visited:
                visited.add(urn)
                todo.append(urn)
        return {self.resources[urn].name for urn in visited if self.resources[urn].custom}


class Engine(mocks.MockMonitor):
    """Answers registrations. `resources` of a Deployment are filled in the order in which they come."""

    def __init__(self, deployment: Deployment, mode: Mode) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.deployment, self.mode, self.lock = deployment, mode, threading.Lock()

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 (the name in the protocol)
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == "pulumi:pulumi:Stack":
            return resource_pb2.RegisterResourceResponse(urn=urn)
        inputs = plain(struct_pb2.Value(struct_value=request.object))
        registered = Registered(
            type=request.type,
            name=request.name,
            urn=urn,
            custom=request.custom,
            inputs=inputs,
            dependencies=frozenset(request.dependencies),
            parent=request.parent,
            provider=request.provider,
            deleted_with=request.deletedWith,
            aliases=tuple(request.aliasURNs) + tuple(str(alias) for alias in request.aliases),
            secret_outputs=frozenset(request.additionalSecretOutputs),
            timeouts=MessageToDict(request.customTimeouts),
            hooks=MessageToDict(request.hooks),
            replace_on_changes=tuple(request.replaceOnChanges),
            ignored=tuple(request.ignoreChanges),
            delete_before_replace=request.deleteBeforeReplace,
            protect=request.protect,
        )
        with self.lock:
            assert urn not in self.deployment.resources, f"{urn} registered twice"
            self.deployment.resources[urn] = registered
            self.deployment.order.append(urn)
        known = self.mode != "first" and not (self.mode == "replaced" and registered.kind in ("Pod", "HttpProof"))
        outputs = {**inputs, **(made(registered) if known else {})}
        if self.mode == "first" and registered.provider:
            # The provider's kubeconfig is not known, so the engine does not query it (provider_plugin.go, Create).
            outputs = {}
        if registered.kind == "OverlayDisk":
            # check() makes it, so a preview has one; a disk recreated has another.
            # How its host is reached is no part of what it is.
            # And what is below a disk of the same generation check() keeps.
            apart = ("uri", "backing_path", "backing_format")
            made_from = [str(opened(inputs[name])) for name in OverlayDiskProvider.replaces if name in inputs and name not in apart]
            made_from.append(urlsplit(str(opened(inputs["uri"]))).netloc.rpartition("@")[2])
            outputs["serial"] = hashlib.sha256("|".join(made_from).encode()).hexdigest()[:16]
        if registered.kind == "NodeCertificates":
            # Likewise: known where it is created
            outputs |= AT_CREATION
        if registered.kind == "DataToken":
            outputs["rotated"] = bool(inputs.get("rotate"))
        if registered.kind == "DataDisk":
            # Likewise: it stays the same disk, whatever its size
            outputs["disk_id"] = f"of-{registered.name}"
        if registered.kind == "Release":
            # Likewise: kept while servers are added, another when the only server is recreated
            place = str(opened(inputs.get("data") or inputs["serial"]))
            outputs["cluster"] = f"of-{place}"
            outputs["founder"] = founder(place)
        for name in registered.secret_outputs & outputs.keys():
            outputs[name] = outputs[name] if isinstance(outputs[name], Secret) else Secret(outputs[name])
        answer = struct_pb2.Struct()
        answer.update(wire(outputs))
        identity = f"id-of-{registered.name}" if registered.custom and known else ""
        return resource_pb2.RegisterResourceResponse(urn=urn, id=identity, object=answer)

    def RegisterResourceOutputs(self, request: Any) -> Any:  # noqa: N802
        if request.urn.split("::")[2] == "pulumi:pulumi:Stack":
            self.deployment.outputs = plain(struct_pb2.Value(struct_value=request.outputs))
        return empty_pb2.Empty()


def founder(serial: str) -> str:
    """The disk that the first server had when the cluster began; a test replaces this for a server that was recreated."""
    return serial


def data_tokens() -> str:
    """What k3s-data-token.sh prints: nothing on an empty disk; a test replaces this for one with a cluster."""
    return ""


def made(resource: Registered) -> dict[str, Any]:
    """The outputs that a provider adds to the inputs."""
    inputs = opened(resource.inputs)
    match resource.kind:
        case "SshKeyPair":
            return {"private_key": private_key(resource.name), "public_key": public_key(resource.name)}
        case "Token":
            return {"value": TOKENS[resource.name]}
        case "BaseImage":
            return {"capacity": 2**31}
        case "PreparedImage":
            return {"path": f"{inputs['pool_path']}/{inputs['name']}", "backing_format": "qcow2", "prepared": True}
        case "SeedImage":
            return {"sha256": "0" * 64, "size": 2**20}
        case "DhcpClaim":
            return {"taken": {}}
        case "Domain":
            return {"virt_type_used": "qemu"}
        case "HostDevice":
            return {"address": "0000:03:00.0" if inputs["kind"] == "pci" else "there"}
        case "HttpProof":
            return {"status": 200, "seen": inputs["title"], "unseen": ""}
        case "Command":
            printed = {"k3s-kubeconfig.sh": _kubeconfig(), "k3s-data-token.sh": data_tokens()}
            script = next((name for name in printed if name in str(inputs.get("create"))), "")
            return {"stdout": printed.get(script, ""), "stderr": ""}
        case "Secret":
            return {"data": {"token": SERVICE_TOKEN}, "metadata": {**inputs["metadata"], "uid": resource.name}}
        case "Pod":
            place = (inputs["spec"].get("nodeSelector") or {}).get("kubernetes.io/hostname")
            address, mac = (POD_ADDRESS, POD_MAC) if place is None else pod_on(place)
            status = [
                {"name": "cbr0", "interface": "eth0", "ips": ["10.42.0.9"], "mac": "0a:00:00:00:00:02", "default": True},
                *(
                    {"name": network, "interface": f"net{index + 1}", "ips": [address], "mac": mac}
                    for index, network in enumerate(_networks(inputs["metadata"]))
                ),
            ]
            annotations = {
                **inputs["metadata"]["annotations"],
                "k8s.v1.cni.cncf.io/network-status": json.dumps(status),
            }
            return {"metadata": {**inputs["metadata"], "annotations": annotations, "uid": POD_UID}}
    return {"metadata": {**inputs["metadata"], "uid": resource.name}} if "metadata" in inputs else {}


def _networks(metadata: Mapping[str, Any]) -> list[str]:
    """What the annotation requests, each as namespace/name."""
    text = metadata["annotations"]["k8s.v1.cni.cncf.io/networks"]
    if text.startswith("["):
        return [f"{entry['namespace']}/{entry['name']}" for entry in json.loads(text)]
    return [name if "/" in name else f"{metadata['namespace']}/{name}" for name in text.split(",")]


def pod_on(node: str) -> tuple[str, str]:
    """Address and MAC of the pod bound to this node."""
    role, number = node.split("-")
    last = int(number) + (200 if role == "server" else 220)
    return f"192.168.122.{last}", f"6a:00:00:00:00:{last:02x}"


def _kubeconfig() -> str:
    cluster = {"server": "https://127.0.0.1:6443", "certificate-authority-data": "Q0E="}
    user = {"client-certificate-data": "Q0VSVA==", "client-key-data": CLIENT_KEY}
    return yaml.safe_dump({"clusters": [{"cluster": cluster}], "users": [{"user": user}]})


class _AtOnce(ThreadPoolExecutor):
    """Calls at once. The SDK registers each resource in a thread, since it waits for an engine; this engine is a computation."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class Hooks:
    """In place of the SDK's callback server, which is bound to the first event loop of a process (gRPC crashes on another)."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def register_error_hook(self, hook: Any) -> None:
        self.deployment.error_hooks.append(hook.name)

    def register_resource_hook(self, hook: Any) -> None:
        self.deployment.resource_hooks[hook.name] = hook


class Log:
    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def Log(self, request: Any) -> None:  # noqa: N802
        if request.severity != engine_pb2.DEBUG:
            self.deployment.log.append((engine_pb2.LogSeverity.Name(request.severity), request.message))

    def __getattr__(self, name: str) -> Any:
        return lambda _request: empty_pb2.Empty()


@functools.cache
def _document(file: str) -> Any:
    """A YAML file of the program, which no test changes. A caller gets a copy of what it takes of it."""
    return yaml.safe_load((ROOT / file).read_text())


def project_defaults() -> dict[str, Any]:
    """What the engine adds to every stack's configuration from Pulumi.yaml."""
    return {name: copy.deepcopy(entry["default"]) for name, entry in _document("Pulumi.yaml")["config"].items()}


def stack_file(name: str) -> dict[str, Any]:
    """The configuration in Pulumi.NAME.yaml, keys without the project's name."""
    document = copy.deepcopy(_document(f"Pulumi.{name}.yaml")["config"])
    return {key.removeprefix(f"{PROJECT}:"): value for key, value in document.items() if key.startswith(f"{PROJECT}:")}


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the leaves of `change`, and null taking a key out."""
    result = dict(base)
    for name, value in change.items():
        old = result.get(name)
        result[name] = merged(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return result


def config_of(name: str, change: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A stack's whole configuration as the engine hands it over, with changes."""
    return merged({**project_defaults(), **stack_file(name)}, change or {})


def run(config: Mapping[str, Any], *, stack_name: str = "dev", mode: Mode = "up") -> Deployment:
    """Run the program once. Raises what it raises; the deployment so far is then on the exception's `deployment`.

    config: by name; a name with a colon is of another namespace than the project's.
    """
    deployment = Deployment()

    def body() -> None:
        texts = {
            name if ":" in name else f"{PROJECT}:{name}": value if isinstance(value, str) else json.dumps(value)
            for name, value in config.items()
        }
        pulumi_config.set_all_config(texts, [])
        engine = Engine(deployment, mode)
        features = set(
            engine.GetDeploymentInfo(  # type: ignore[no-untyped-call]
                empty_pb2.Empty()
            ).supportedFeatures
        )
        settings.configure(
            mocks.MockSettings(  # type: ignore[no-untyped-call]
                monitor=engine,
                monitor_features=features,
                engine=Log(deployment),
                project=PROJECT,
                stack=stack_name,
                dry_run=mode != "up",
                organization=None,
                callbacks=Hooks(deployment),
            )
        )
        settings.SETTINGS.outputs.clear()
        settings.set_root_resource(None)  # type: ignore[arg-type]
        loop = asyncio.new_event_loop()
        loop.set_default_executor(_AtOnce())
        loop.set_exception_handler(lambda *_: None)  # of a run that failed, only its own error is reported
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(stack.run_in_stack(_program))
        except BaseException:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            raise
        finally:
            loop.close()
            asyncio.set_event_loop(None)

    collects = gc.isenabled()
    gc.disable()  # what a run allocates stays until its end: collections on the way would take half of its time
    try:
        # Positions in the source are recorded nowhere, and under pytest the stack of each registration is deep.
        with (
            mock.patch.object(resource, "_get_stack_trace", source_pb2.StackTrace),
            mock.patch.dict(os.environ, {kubernetes_api.ABSENT: "yes"}),
        ):
            contextvars.copy_context().run(body)
    except BaseException as error:
        error.deployment = deployment  # type: ignore[attr-defined]
        raise
    finally:
        if collects:
            gc.enable()
    return deployment


async def _program() -> None:
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
