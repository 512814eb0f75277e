"""Providers that say they made a resource and make none, so that the engine itself records the state of any number of nodes.

Only for `create`: what a benchmark measures afterwards are the real providers, on a state that the real engine wrote.
Started by the engine as pulumi-resource-NAME, by way of the wrappers that `recorded.py` puts on PATH.
"""

from __future__ import annotations

import atexit
import base64
import functools
import json
import runpy
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import grpc  # type: ignore[import-untyped]
import yaml
from google.protobuf import struct_pb2  # type: ignore[import-untyped]
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from pulumi.dynamic import CreateResult, ResourceProvider
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc


def kubeconfig() -> str:
    """A kubeconfig in K3s's form, with a key that opens nothing."""
    text = base64.b64encode(b"recorded").decode()
    return yaml.safe_dump(
        {
            "clusters": [{"cluster": {"server": "https://127.0.0.1:6443"}, "name": "default"}],
            "users": [{"user": {"token": text}, "name": "default"}],
        }
    )


def command_outputs(inputs: dict[str, Any]) -> dict[str, Any]:
    """What the command provider adds: the output of the command."""
    return {**inputs, "stdout": kubeconfig() if "k3s-kubeconfig.sh" in str(inputs.get("create")) else "", "stderr": ""}


def kubernetes_outputs(inputs: dict[str, Any], number: int) -> dict[str, Any]:
    """What the Kubernetes provider adds: what the API server would, and its own notes. number: a number of this object alone."""
    metadata = {**(inputs.get("metadata") or {}), "uid": str(uuid.uuid4()), "resourceVersion": "1"}
    outputs = {
        **inputs,
        "metadata": metadata,
        "__inputs": inputs,
        "__initialApiVersion": inputs["apiVersion"],
        "__fieldManager": f"pulumi-kubernetes-{number:08x}",
    }
    if inputs["kind"] == "Pod":
        annotations = metadata["annotations"]
        status = network_status(annotations.get("k8s.v1.cni.cncf.io/networks", ""), metadata.get("namespace", "default"), number)
        metadata["annotations"] = {**annotations, "k8s.v1.cni.cncf.io/network-status": json.dumps(status)}
    if inputs["kind"] == "Secret":
        outputs["data"] = {"token": base64.b64encode(b"recorded").decode()}
    return outputs


def network_status(requested: str, namespace: str, number: int) -> list[dict[str, Any]]:
    """What Multus would note of the networks that a pod of the namespace requests: an interface of each, with the addresses that
    are requested."""
    entries = json.loads(requested) if requested.startswith("[") else [{"name": name} for name in requested.split(",") if name]
    last = number % 256
    return [
        {
            "name": entry["name"] if "/" in entry["name"] else f"{entry.get('namespace', namespace)}/{entry['name']}",
            "interface": f"net{index}",
            "ips": [ip.partition("/")[0] for ip in entry.get("ips", [f"10.0.{index}.{last}"])],
            "mac": entry.get("mac", f"6a:00:00:00:{index:02x}:{last:02x}"),
        }
        for index, entry in enumerate(entries, 1)
    ]


def without_secret_marks(value: Any) -> Any:
    """Plain data without the marks of secrets; resource references and outputs do not occur."""
    if isinstance(value, dict):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return without_secret_marks(value["value"])
        return {name: without_secret_marks(item) for name, item in value.items()}
    return [without_secret_marks(item) for item in value] if isinstance(value, list) else value


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """The real provider behind `channel`, but for `Create`."""

    def __init__(self, kind: str, channel: Any) -> None:
        """kind: command or kubernetes. channel: a gRPC channel to the real provider."""
        self.kind, self.created, self.lock = kind, 0, threading.Lock()
        real = provider_pb2_grpc.ResourceProviderStub(channel)
        for method in provider_pb2.DESCRIPTOR.services_by_name["ResourceProvider"].methods:
            if method.name != "Create" and not method.server_streaming and not method.client_streaming:
                setattr(self, method.name, functools.partial(forward, getattr(real, method.name)))

    def Create(self, request: Any, _context: Any) -> Any:  # noqa: N802 (the name in the protocol)
        marked = MessageToDict(request.properties)
        with self.lock:
            self.created += 1
            number = self.created
        if self.kind == "command":
            outputs, identity = command_outputs(marked), f"recorded-{number}"
        else:
            outputs = kubernetes_outputs(without_secret_marks(marked), number)
            names = [outputs["metadata"].get("namespace"), outputs["metadata"]["name"]]
            identity = "/".join(filter(None, names))
        properties = struct_pb2.Struct()
        properties.update(outputs)
        return provider_pb2.CreateResponse(id=identity, properties=properties)


def forward(call: Callable[[Any], Any], request: Any, context: Any) -> Any:
    """The real provider's answer, its errors included."""
    try:
        return call(request)
    except grpc.RpcError as error:
        context.set_trailing_metadata(error.trailing_metadata() or ())
        context.abort(error.code(), error.details())


def serve(kind: str, program: str, arguments: Sequence[str]) -> None:
    """Serve until the engine ends the process. program: the real provider."""
    real = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, text=True)  # noqa: S603 - the engine's own words
    atexit.register(real.kill)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    limits = [("grpc.max_receive_message_length", 2**28), ("grpc.max_send_message_length", 2**28)]
    channel = grpc.insecure_channel(f"127.0.0.1:{int(real.stdout.readline())}", options=limits)  # type: ignore[union-attr]
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=limits)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(kind, channel), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    real.wait()


def create_nothing(provider: ResourceProvider, props: dict[str, Any]) -> CreateResult:
    """In place of `create` of the dynamic providers that need a hypervisor or a pod."""
    del provider
    outs = {name: value for name, value in props.items() if not name.startswith("__")}
    outs |= {"taken": {}} if "macs" in outs else {}
    outs |= {"virt_type_used": "qemu"} if "virt_type" in outs and "mac" in outs else {}
    outs |= (
        {"path": f"{outs['pool_path']}/{outs['name']}", "backing_format": "qcow2", "prepared": True} if "pool_path" in outs else {}
    )
    outs |= {"address": "there"} if "choice" in outs else {}
    outs |= {"status": 200, "seen": outs["title"], "unseen": ""} if "title" in outs else {}
    return CreateResult(f"recorded-{uuid.uuid4()}", outs)


def serve_dynamic() -> None:
    """The SDK's own server for dynamic providers, with `create` replaced; providers of keys and tokens keep their own."""
    from components.custom import node_certificates, page_check  # noqa: PLC0415
    from components.libvirt import (  # noqa: PLC0415
        base_image,
        dhcp_claim,
        domain,
        host_device,
        overlay_disk,
        pool,
        prepared_image,
        reservation,
        seed_image,
    )

    libvirt = (base_image, dhcp_claim, domain, host_device, overlay_disk, pool, prepared_image, reservation, seed_image)
    for module in (node_certificates, page_check, *libvirt):
        for provider in vars(module).values():
            if isinstance(provider, type) and issubclass(provider, ResourceProvider) and "create" in vars(provider):
                provider.create = create_nothing  # type: ignore[method-assign, assignment]
    runpy.run_module("pulumi.dynamic", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "pulumi-python":
        del sys.argv[1:3]
        serve_dynamic()
    else:
        serve(sys.argv[1], sys.argv[2], sys.argv[3:])
